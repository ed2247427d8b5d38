import errno
import importlib
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import types as python_types

import pytest

from twotsrec import types

LAUNCH = pathlib.Path(__file__).resolve().parents[2] / 'launch'


@pytest.fixture(scope='module')
def cli():
  """launch/cli.py, which is beside the package, not in it."""
  spec = importlib.util.spec_from_file_location('launch_cli', LAUNCH / 'cli.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def raising(error):
  def main():
    raise error

  return main


@pytest.mark.parametrize(
  ('error', 'code', 'message'),
  [
    (types.UserError('12 is wrong; use 7'), 2, 'error: 12 is wrong; use 7'),
    (OSError(errno.ENOSPC, 'No space left', 'a.npy'), 2, 'a.npy: No space'),
    (OSError(errno.EROFS, 'Read-only'), 2, 'cannot read or write: Read-only'),
    (KeyboardInterrupt(), 130, 'interrupted'),
  ],
)
def test_expected_failures_are_a_line_and_a_code(
  cli, capsys, error, code, message
):
  with pytest.raises(SystemExit) as left:
    cli._guard(raising(error), ['x.py'])
  assert left.value.code == code
  shown = capsys.readouterr().err
  assert message in shown
  assert len(shown.splitlines()) == 1


def test_programming_errors_keep_their_traceback(cli):
  with pytest.raises(ZeroDivisionError):
    cli._guard(raising(ZeroDivisionError()), ['x.py'])
  with pytest.raises(OSError, match='bad descriptor'):
    cli._guard(raising(OSError(errno.EBADF, 'bad descriptor')), ['x.py'])


def test_the_code_of_main_is_the_code_of_the_program(cli):
  with pytest.raises(SystemExit) as left:
    cli._guard(lambda: 143, ['x.py'])
  assert left.value.code == 143


def test_an_argument_that_is_no_flag_is_an_error(cli, capsys):
  with pytest.raises(SystemExit) as left:
    cli._guard(lambda: 0, ['x.py', 'stray'])
  assert left.value.code == 2
  assert "unexpected argument 'stray'" in capsys.readouterr().err


def test_a_missing_flag_is_named(cli):
  missing = python_types.SimpleNamespace(name='out', value=None)
  with pytest.raises(types.UserError, match='--out is missing'):
    cli.required(missing)
  present = python_types.SimpleNamespace(name='out', value='here')
  assert cli.required(present) == 'here'


@pytest.mark.parametrize(
  ('argument', 'expected'),
  [
    ('--config.train.lrate=1', "no field 'lrate'; known: method, objective"),
    ('--config.trains.epochs=1', "no field 'trains'; known: data, groups"),
    ('--config.train.epochs.x=1', 'known: none, it is a value'),
    ('--config.train.epochs=1', None),
    ('--other.train.lrate=1', None),
  ],
)
def test_an_unknown_configuration_field_lists_the_known_ones(
  cli, argument, expected
):
  found = cli._unknown_field(['x.py', '--config=a.py', argument])
  assert found is None if expected is None else expected in found


def _of_name(name):
  """What a library raises that takes names in UTF-8 alone."""
  try:
    name.encode()
  except UnicodeEncodeError as error:
    return error


def _of_import():
  """What an extension raises that is interrupted while it is imported."""
  try:
    raise KeyboardInterrupt
  except KeyboardInterrupt as interrupt:
    error = ImportError('initializing the extension')
    error.__cause__ = interrupt
    return error


@pytest.mark.parametrize(
  ('error', 'code', 'message'),
  [
    (MemoryError('Unable to allocate 58 TiB'), 2, 'memory: Unable to allocate'),
    (MemoryError(), 2, 'not enough memory: MemoryError; '),
    (
      RuntimeError('RESOURCE_EXHAUSTED: 9 bytes\nmore'),
      2,
      ': 9 bytes; ask for',
    ),
    (OSError(errno.EIO, 'I/O error', 'a'), 2, 'error: a: I/O error'),
    (OSError(errno.EISDIR, 'Is a directory', 'b'), 2, 'error: b: Is a'),
    (OSError(errno.ENOMEM, 'Cannot allocate'), 2, 'not enough memory: '),
    (RuntimeError("can't start new thread"), 2, 'not enough memory: '),
    (_of_name('caf\udce9'), 2, "error: 'caf\\udce9' is not UTF-8; rename it"),
    (_of_import(), 130, 'interrupted'),
  ],
)
def test_what_the_machine_lacks_is_a_line(cli, capsys, error, code, message):
  with pytest.raises(SystemExit) as left:
    cli._guard(raising(error), ['x.py'])
  assert left.value.code == code
  shown = capsys.readouterr().err
  assert message in shown and len(shown.splitlines()) == 1


def _script(tmp_path, body):
  """A script beside cli.py, without any array."""
  path = tmp_path / 'script.py'
  path.write_text(
    f'import sys\nsys.path.insert(0, {str(LAUNCH)!r})\nimport cli\n'
    f'def main():\n  {body}\n'
    'cli.run(main, compiles=False)\n',
    encoding='utf-8',
  )
  return [sys.executable, str(path)]


def _environment():
  return {**os.environ, 'PYTHONPATH': str(LAUNCH.parent)}


@pytest.mark.skipif(os.name == 'nt', reason='no such pipes')
@pytest.mark.parametrize(
  ('body', 'flags'),
  [
    ('print("x")', []),
    ('print("x" * 10 ** 6)', []),
    ('print("x" * 10 ** 6, file=sys.stderr)', []),
    ('raise ValueError', ['--help']),
  ],
)
def test_a_reader_that_has_gone_is_told_nothing(tmp_path, body, flags):
  reader, writer = os.pipe()
  os.close(reader)
  other = subprocess.PIPE
  to_err = 'stderr' in body
  done = subprocess.run(
    [*_script(tmp_path, body), *flags],
    stdout=other if to_err else writer,
    stderr=writer if to_err else other,
    env=_environment(),
  )
  os.close(writer)
  assert done.returncode == 141
  assert not (done.stdout or done.stderr)


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='Linux only')
def test_an_output_without_room_is_a_line_and_one_that_is_closed_nothing(
  tmp_path,
):
  with open('/dev/full', 'w', encoding='utf-8') as full:
    done = subprocess.run(
      _script(tmp_path, 'print("x")'),
      stdout=full,
      stderr=subprocess.PIPE,
      text=True,
      env=_environment(),
    )
  assert done.returncode == 2
  assert len(done.stderr.splitlines()) == 1 and 'No space left' in done.stderr
  command = shlex.join(_script(tmp_path, 'print("x")'))
  done = subprocess.run(
    f'{command} >&-',
    shell=True,
    stderr=subprocess.PIPE,
    env=_environment(),
  )
  assert (done.returncode, done.stderr) == (0, b'')


def test_a_name_in_any_bytes_can_be_printed(tmp_path):
  done = subprocess.run(
    _script(tmp_path, 'print("caf\\udce9.csv")'),
    capture_output=True,
    env={**_environment(), 'PYTHONIOENCODING': 'ascii:strict'},
    check=True,
  )
  assert done.stdout == b'caf\\udce9.csv\n'


def test_a_home_folder_is_spelled_out_wherever_it_starts_a_value(cli):
  home = os.path.expanduser('~')
  given = ['--out=~/a.csv', '--runs=~/a+~/b,~/c', '--delimiter=~', '--x=a~/b']
  expected = [
    f'--out={home}/a.csv',
    f'--runs={home}/a+{home}/b,{home}/c',
    '--delimiter=~',
    '--x=a~/b',
  ]
  assert [cli._at_home(argument) for argument in given] == expected


def test_ctrl_c_asks_to_stop_once_and_stops_the_second_time(cli, capfd):
  kept = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
  signal.signal(signal.SIGINT, signal.default_int_handler)
  try:
    stop = cli.stop_on_signal()
    assert not stop()
    signal.raise_signal(signal.SIGINT)
    assert stop() == signal.SIGINT
    assert 'Ctrl-C again ends at once' in capfd.readouterr().err
    assert cli.stopped('runs/x', stop) == 130
    assert 'saved in runs/x; the same command resumes' in capfd.readouterr().out
    with pytest.raises(KeyboardInterrupt):
      signal.raise_signal(signal.SIGINT)
    # What ignores Ctrl-C, as under nohup, goes on ignoring it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = cli.stop_on_signal()
    signal.raise_signal(signal.SIGINT)
    assert not stop()
    signal.raise_signal(signal.SIGTERM)
    assert cli.stopped('runs/x', stop) == 143
  finally:
    for number, handler in kept.items():
      signal.signal(number, handler)
