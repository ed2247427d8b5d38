"""`--help` of a script answers at once: it imports no array and trains nothing.

What is imported is counted instead of seconds, which depend on the machine.
"""

import os
import pathlib
import subprocess
import sys

import pytest

from tests.studies import papers
from twotsrec.data import choices
from twotsrec.data import raw

LAUNCH = pathlib.Path(__file__).resolve().parents[2] / 'launch'
STUDIES = tuple(f'reproduce/{name}' for name in papers.NAMES)
COMPILING = (
  'advise', 'evaluate', 'export', 'online', 'pin', 'recommend', 'serve',
  'sweep', 'train', 'benchmarks/run', *STUDIES,
)  # fmt: skip
CHECKING = ('document_settings', 'reproduce/render')  # write into the code
SCRIPTS = (
  'compare',
  'document_api',
  'download',
  'prepare',
  'report',
  *COMPILING,
  *CHECKING,
)
# Reading a table, with flags that `cli.py` defines.
OF_COLUMNS = ('online', 'prepare', 'recommend')
HEAVY = ('jax', 'numpy', 'flax', 'optax', 'orbax', 'chex', 'polars', 'rich')
_ASK = """
import runpy, sys
script = sys.argv.pop(1)
sys.argv[0] = script
try:
  runpy.run_path(script, run_name='__main__')
except SystemExit as ended:
  assert not ended.code
  print('imported:', *sorted(name for name in sys.modules if '.' not in name))
"""


@pytest.mark.parametrize('name', SCRIPTS)
def test_help_shows_the_flags_and_imports_no_array(name):
  script = LAUNCH / f'{name}.py'
  environment = {
    **os.environ,
    'PYTHONPATH': os.pathsep.join([str(LAUNCH.parent), str(LAUNCH)]),
  }
  done = subprocess.run(
    [sys.executable, '-c', _ASK, script, '--help'],
    capture_output=True,
    text=True,
    env=environment,
    check=True,
  )
  text, _, imported = done.stdout.rpartition('imported:')
  assert f'{name}.py' in text
  assert ('--compile_cache' in text) == (name in COMPILING)
  for flag in ('--time_column:', '--delimiter:'):
    assert (flag in text) == (name in OF_COLUMNS)
  assert '--out' in text or '--workdir' in text or name in CHECKING
  assert ('--[no]overwrite:' in text) == (name in ('export', 'prepare'))
  # Files and figures of studies are read and drawn by NumPy, a tenth of JAX.
  light = {'numpy'} if '/' in name else set()
  assert set(HEAVY) & set(imported.split()) <= light


def test_the_names_of_published_logs_are_those_that_can_be_read():
  assert set(choices.PUBLISHED) == set(raw.SOURCES)
