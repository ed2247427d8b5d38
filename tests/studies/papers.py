"""The declarations of the papers' experiments, loaded as the scripts do."""

import functools
import importlib.util
import pathlib
import types

from twotsrec.studies import study as study_lib

FOLDER = pathlib.Path(__file__).resolve().parents[2] / 'configs' / 'papers'
NAMES = sorted(path.stem for path in FOLDER.glob('*.py'))


@functools.cache
def module(name: str) -> types.ModuleType:
  """configs/papers/NAME.py."""
  path = FOLDER / f'{name}.py'
  spec = importlib.util.spec_from_file_location(f'papers_{name}', path)
  made = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(made)
  return made


def load(name: str) -> study_lib.Study:
  """The study it declares."""
  return module(name).STUDY
