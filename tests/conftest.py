"""Shared fixtures, and what holds for every test.

Tests compile into one folder, whichever worker runs them and whatever command
they start. It is `.pytest_cache/d/compiled`, so that a second run of the suite
compiles what has changed; TWOTSREC_TEST_CACHE=DIR moves it, and
TWOTSREC_TEST_CACHE=new takes an empty one, for measuring.
"""

from collections.abc import Iterator
import os
import pathlib

import pytest

from tests import compiling
from tests import finished
from tests import two_time_toys

pytest_plugins = ['tests.slowest_files']

# Folders whose files train, the longest first.
_TRAINING = (
  'gold',
  'two_time',
  'recipes',
  'runs',
  'launch',
  'models',
  'studies',
)

compiling.quickly()  # before a test file that computes is imported


def pytest_configure(config: pytest.Config) -> None:
  """Another worker may be writing a program: then it is compiled here too."""
  config.addinivalue_line(
    'filterwarnings', 'ignore:Error .* persistent compilation cache'
  )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
  """Files that train come first: no worker ends alone with a long one."""
  place = {name: number for number, name in enumerate(_TRAINING)}
  items.sort(key=lambda item: place.get(item.path.parent.name, len(place)))


@pytest.fixture(scope='session', autouse=True)
def quick_compilation(
  request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
  """Compiled programs are shared."""
  folder = os.environ.get('TWOTSREC_TEST_CACHE')
  if folder == 'new':
    folder = tmp_path_factory.getbasetemp()
    if hasattr(request.config, 'workerinput'):
      folder = folder.parent  # that of all workers
    folder = folder / 'compiled'
  elif not folder and request.config.pluginmanager.hasplugin('cacheprovider'):
    folder = request.config.cache.mkdir('compiled')
  folder = folder or tmp_path_factory.mktemp('compiled')
  with compiling.once(folder), compiling.one_of_a_kind():
    yield


@pytest.fixture(scope='module')
def small_programs() -> Iterator[None]:
  """Programs of 2TS that are quick to compile."""
  with two_time_toys.small_programs():
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
