import errno
import importlib
import pathlib
import signal
import types as python_types

import pytest

from twotsrec import types


@pytest.fixture(scope='module')
def cli():
  """launch/cli.py, which is beside the package, not in it."""
  path = pathlib.Path(__file__).resolve().parents[2] / 'launch' / 'cli.py'
  spec = importlib.util.spec_from_file_location('launch_cli', path)
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
    (OSError(errno.EROFS, 'Read-only'), 2, 'cannot write: Read-only'),
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
