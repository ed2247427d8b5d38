import os
import pathlib
import subprocess
import sys

import pytest

from twotsrec.data import prepared

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(*flags):
  """Runs the script as a user does."""
  return subprocess.run(
    [sys.executable, str(ROOT / 'launch' / 'prepare.py'), *flags],
    capture_output=True,
    text=True,
    check=False,
    env={**os.environ, 'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu'},
  )


def test_a_table_is_prepared_and_reported(tmp_path):
  table = tmp_path / 'log.csv'
  table.write_text(
    'who;what\n'
    + ''.join(f'{user};{item}\n' for user in 'abcde' for item in range(4))
  )
  out = tmp_path / 'out'
  done = run(
    f'--table={table}',
    '--user_column=who',
    '--item_column=what',
    '--delimiter=;',
    '--num_groups=2',
    f'--out={out}',
  )
  assert (done.returncode, done.stderr) == (0, '')
  assert 'users            5' in done.stdout
  assert f'prepared data in {out}' in done.stdout
  assert prepared.load(str(out), verify=True).num_events == 20


def test_help_shows_the_flags_of_columns():
  done = run('--help')
  for flag in ('--out:', '--time_column:', '--delimiter:', '--[no]overwrite:'):
    assert flag in done.stdout
  assert done.stderr == ''


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--table=none.csv', '--out=OUT'], 'none.csv'),
    (['--tabel=none.csv', '--out=OUT'], "Unknown command line flag 'tabel'"),
  ],
)
def test_wrong_input_is_one_line_without_a_traceback(tmp_path, flags, message):
  done = run(*(flag.replace('OUT', str(tmp_path / 'out')) for flag in flags))
  assert done.returncode == 2
  assert done.stdout == ''
  assert message in done.stderr
  assert len(done.stderr.splitlines()) <= 2
  assert 'Traceback' not in done.stderr
  assert not list(tmp_path.iterdir())
