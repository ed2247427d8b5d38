"""Shared fixtures."""

from collections.abc import Iterator
import os
import pathlib

import pytest

from tests import compiling
from tests import finished


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


@pytest.fixture(scope='session', autouse=True)
def shared_runs(
  request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
  """Finished runs are trained once for all workers."""
  base = tmp_path_factory.getbasetemp()
  if hasattr(request.config, 'workerinput'):
    base = base.parent  # that of all workers
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv(finished.FOLDER, str(base / 'finished'))
    yield
