"""Runs a script of launch/ in this process, as its command line would."""

from collections.abc import Iterator
import contextlib
import importlib.util
import pathlib
import sys
from typing import NamedTuple

from absl import flags

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAUNCH = ROOT / 'launch'


class Ended(NamedTuple):
  """How a command ended."""

  code: int
  out: str
  err: str


def assert_refused(ended: Ended, *words: str, lines: int = 1) -> None:
  """A command has said these words in at most so many lines, and no more."""
  assert ended.code == 2 and ended.out == ''
  assert ended.err.startswith('error: ')
  assert all(some in ended.err for some in words), ended.err
  assert len(ended.err.splitlines()) <= lines


def load(name: str):
  """The module launch/NAME.py; its flags are defined as it is read."""
  spec = importlib.util.spec_from_file_location(
    f'launch_{name}', LAUNCH / f'{name}.py'
  )
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@contextlib.contextmanager
def forgotten() -> Iterator[None]:
  """Flags that are defined inside are forgotten afterwards."""
  before = set(flags.FLAGS)
  try:
    yield
  finally:
    for flag in set(flags.FLAGS) - before:
      delattr(flags.FLAGS, flag)


def run(capsys, name: str, *arguments: str) -> Ended:
  """Parses the flags and runs `main`; the flags are forgotten afterwards."""
  argv = [f'{name}.py', *arguments]
  kept, sys.argv = sys.argv, argv  # read by the definition of --config
  sys.path.insert(0, str(LAUNCH))
  capsys.readouterr()
  try:
    with forgotten():
      script = load(name)
      script.cli._guard(script.main, script.cli._parse(argv))
  except SystemExit as ended:
    shown = capsys.readouterr()
    return Ended(ended.code or 0, shown.out, shown.err)
  finally:
    sys.argv = kept
    sys.path.remove(str(LAUNCH))
    flags.FLAGS.unparse_flags()
