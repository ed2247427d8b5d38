"""Shared fixtures."""

from collections.abc import Iterator
import os
import pathlib

import pytest

from tests import compiling


@pytest.fixture(scope='session', autouse=True)
def quick_compilation(tmp_path_factory) -> Iterator[None]:
  """Small programs, run once or twice: compiling them is what takes time."""
  shared = os.environ.get('TWOTSREC_TEST_CACHE')
  with compiling.once(shared or tmp_path_factory.mktemp('compiled')):
    yield


@pytest.fixture(scope='session')
def shared_data() -> pathlib.Path:
  """Folder of the public datasets that stand beside a checkout."""
  folder = pathlib.Path(__file__).resolve().parents[2] / 'shared' / 'data'
  if not folder.is_dir():
    pytest.skip('no ../shared/data beside this checkout')
  return folder
