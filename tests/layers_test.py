"""A lower layer never imports a higher one, and libraries stay in their place.

The rules are checked on the syntax tree, so imports inside functions count.
"""

import ast
from collections.abc import Iterator
import graphlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

LAYERS = {
  '__init__': 0,
  'types': 0,
  'contracts': 0,
  'config': 0,
  'aggregator_config': 0,
  'behavior_config': 0,
  'fields': 0,
  'extras': 0,
  'ops': 1,
  'own': 1,
  'trees': 1,
  'losses': 1,
  'metrics': 1,
  'data': 2,
  'models': 2,
  'aggregators': 2,
  'plugins': 2,
  'theory': 2,
  'objectives': 3,
  'evaluation': 3,
  'serving': 3,
  'training': 4,
  'testing': 5,
  'recipes': 5,
  'presets': 5,
  'runs': 6,
  'report': 7,
  'studies': 7,
  'web': 7,
  'downloads': 7,
}

# Files of higher layers than their folders, whose functions import what users
# look for there; importing the folder runs nothing of it.
DOORS = {'serving/__init__.py': 7}

# Library -> where in the package it may be imported.
ALLOWED = {
  'absl': (),
  'ml_collections': (),
  'orbax': ('training/checkpoints.py',),
  'flax': ('models/',),
  'pickle': ('data/arrays_only.py',),
  'polars': ('data/', 'serving/'),
  'fastapi': ('web/',),
  'prometheus_client': ('web/',),
  'psycopg': ('runs/state_postgres.py',),
  'pydantic': ('web/',),
  'uvicorn': ('web/',),
}
FORBIDDEN = (
  'cloudpickle', 'dill', 'joblib', 'marshal', 'shelve',
  'clu', 'ray', 'tensorflow', 'torch',
  'cli', 'configs', 'launch', 'tests',
)  # fmt: skip
HOST_ONLY = 'data/'  # NumPy on the host, but for these
TO_DEVICE = (
  'data/batches.py',
  'data/feeds.py',
  'data/behavior_feeds.py',
  'data/event_feeds.py',
  'data/stream_feeds.py',
  'data/span_feeds.py',
)
DEVICE_LIBRARIES = ('jax', 'jaxlib', 'optax')


def imported_modules(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
  """Yields every import with the full name of what it imports."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      for alias in node.names:
        yield node, alias.name
    elif isinstance(node, ast.ImportFrom):
      for alias in node.names:
        yield node, '.' * node.level + f'{node.module or ""}.{alias.name}'
    elif isinstance(node, ast.Call) and node.args:
      function = ast.unparse(node.func).split('.')[-1]
      name = node.args[0]
      if function in ('import_module', '__import__') and isinstance(
        name, ast.Constant
      ):
        yield node, str(name.value)


def violations(path: str, source: str) -> list[str]:
  """What a file of the package does against the rules.

  Args:
    path: relative to the package, with slashes.
    source: its text.
  """
  tree = ast.parse(source)
  top = path.split('/')[0].removesuffix('.py')
  if top not in LAYERS:
    return [f'{path}: {top} is in no layer']
  found = []
  for node, name in imported_modules(tree):
    complaint = _complaint(path, top, name)
    if complaint:
      found.append(f'{path}:{node.lineno}: {complaint}')
  for node in ast.walk(tree):
    if (
      isinstance(node, ast.keyword)
      and node.arg == 'allow_pickle'
      and getattr(node.value, 'value', True) is not False
    ):
      found.append(f'{path}:{node.value.lineno}: allow_pickle')
  return found


def _complaint(path: str, top: str, name: str) -> str | None:
  """Why `path` may not import `name`, or None if it may."""
  library, *rest = name.split('.')
  if name.startswith('.'):
    return f'relative import of {name}'
  if library == 'twotsrec':
    # `import twotsrec` gives the version alone.
    target = rest[0] if rest and not rest[0].startswith('__') else '__init__'
    if target not in LAYERS:
      return f'{name} is in no layer'
    layer = DOORS.get(path, LAYERS[top])
    if LAYERS[target] > layer:
      return f'layer {layer} imports {name} of layer {LAYERS[target]}'
  if library in FORBIDDEN:
    return f'imports {name}'
  if library in ALLOWED and not path.startswith(ALLOWED[library]):
    places = ', '.join(ALLOWED[library]) or 'launch/'
    return f'imports {name}, which belongs into {places}'
  if (
    library in DEVICE_LIBRARIES
    and path.startswith(HOST_ONLY)
    and path not in TO_DEVICE
  ):
    places = ', '.join(TO_DEVICE)
    return f'imports {name}, but {HOST_ONLY} is NumPy except {places}'
  return None


def beside(path: str, source: str) -> set[str]:
  """Folders of the same level that a file of the package imports."""
  top = path.split('/')[0].removesuffix('.py')
  names = [name.split('.') for _, name in imported_modules(ast.parse(source))]
  targets = {
    rest[0] for library, *rest in names if library == 'twotsrec' and rest
  }
  return {t for t in targets - {top} if LAYERS.get(t) == LAYERS[top]}


def circle(imports: dict[str, set[str]]) -> list[str] | None:
  """Folders that import each other in a circle, or None.

  Args:
    imports: of each folder, those of its own level that it imports.
  """
  try:
    graphlib.TopologicalSorter(imports).prepare()
  except graphlib.CycleError as error:
    return error.args[1]
  return None


def package_files() -> list[str]:
  package = ROOT / 'twotsrec'
  return sorted(
    path.relative_to(package).as_posix() for path in package.rglob('*.py')
  )


def test_there_are_files_to_check():
  assert {'types.py', 'training/checkpoints.py'} < set(package_files())


@pytest.mark.parametrize('path', package_files())
def test_a_file_keeps_to_its_layer(path):
  source = (ROOT / 'twotsrec' / path).read_text(encoding='utf-8')
  assert violations(path, source) == []


@pytest.mark.parametrize('path', DOORS)
def test_a_door_imports_nothing_of_the_package_before_it_is_opened(path):
  tree = ast.parse((ROOT / 'twotsrec' / path).read_text(encoding='utf-8'))
  inside = {
    node
    for scope in ast.walk(tree)
    if isinstance(scope, ast.FunctionDef)
    or (
      isinstance(scope, ast.If) and 'TYPE_CHECKING' in ast.unparse(scope.test)
    )
    for node in ast.walk(scope)
  }
  found = list(imported_modules(tree))
  assert any(name.startswith('twotsrec') for _, name in found)
  at_once = [name for node, name in found if node not in inside]
  assert [name for name in at_once if name.startswith('twotsrec')] == []


@pytest.mark.parametrize(
  ('path', 'source'),
  [
    ('types.py', 'from twotsrec import losses'),
    ('ops/rows.py', 'from twotsrec.models import din'),
    ('ops/rows.py', 'import twotsrec.data.tables'),
    ('losses.py', 'def f():\n  from twotsrec.training import loop'),
    ('data/tables.py', 'from twotsrec import serving'),
    ('training/loop.py', 'from twotsrec.presets import copf'),
    ('training/loop.py', 'from twotsrec.utils import copf'),
    ('training/loop.py', 'from . import steps'),
    ('training/loop.py', 'from ..data import feeds'),
    ('training/loop.py', 'import importlib\nimportlib.import_module("flax")'),
    ('training/loop.py', '__import__("twotsrec.presets.copf")'),
    ('utils.py', ''),
    ('presets/copf.py', 'from twotsrec.studies import plans'),
    ('presets/copf.py', 'from absl import logging'),
    ('presets/copf.py', 'import ml_collections'),
    ('presets/copf.py', 'import launch.train'),
    ('presets/copf.py', 'import torch.nn'),
    ('training/loop.py', 'import orbax.checkpoint as ocp'),
    ('training/steps.py', 'from flax import linen as nn'),
    ('objectives/sampled.py', 'import flax.linen as nn'),
    ('evaluation/report.py', 'def f():\n  import polars'),
    ('data/prepared.py', 'import jax.numpy as jnp'),
    ('data/prepared.py', 'def f():\n  import jax'),
    ('data/prepared.py', 'import pickle'),
    ('serving/recommend.py', 'def f():\n  from twotsrec.runs import run'),
    ('serving/__init__.py', 'def f():\n  import flax'),
    ('data/prepared.py', 'np.load(path, allow_pickle=True)'),
    ('data/prepared.py', 'np.load(path, allow_pickle=flag)'),
  ],
)
def test_a_violation_is_found(path, source):
  assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
  ('path', 'source'),
  [
    ('presets/copf.py', 'import twotsrec\nfrom twotsrec.training import loop'),
    ('training/report.py', 'from twotsrec import __version__'),
    ('training/loop.py', 'from twotsrec.training import steps'),
    ('training/checkpoints.py', 'import orbax.checkpoint as ocp'),
    ('models/din.py', 'import flax.linen as nn'),
    ('data/tables.py', 'import polars as pl'),
    ('data/arrays_only.py', 'import pickle'),
    ('data/feeds.py', 'import jax'),
    ('data/prepared.py', 'np.load(path, allow_pickle=False)'),
    ('data/prepared.py', '"""We never import pickle."""  # import torch'),
  ],
)
def test_what_the_rules_allow_passes(path, source):
  assert violations(path, source) == []


def test_folders_of_one_level_import_each_other_in_one_direction_only():
  imports = {}
  for path in package_files():
    source = (ROOT / 'twotsrec' / path).read_text(encoding='utf-8')
    top = path.split('/')[0].removesuffix('.py')
    imports.setdefault(top, set()).update(beside(path, source))
  assert circle(imports) is None


def test_a_circle_of_folders_is_found():
  models = beside(
    'models/din.py', 'def f():\n  from twotsrec.plugins import film'
  )
  plugins = beside('plugins/film.py', 'import twotsrec.models.layers')
  assert (models, plugins) == ({'plugins'}, {'models'})
  assert circle({'models': models, 'plugins': plugins, 'data': {'theory'}})
  assert circle({'models': {'data'}, 'plugins': {'models', 'data'}}) is None


def test_a_plugin_reads_no_more_of_models_than_stages_and_layers():
  names = set()
  for path in (ROOT / 'twotsrec' / 'plugins').glob('*.py'):
    tree = ast.parse(path.read_text(encoding='utf-8'))
    names |= {name for _, name in imported_modules(tree)}
  of_models = {name for name in names if name.startswith('twotsrec.models')}
  assert of_models == {'twotsrec.models.stages', 'twotsrec.models.layers'}


def test_launch_scripts_are_alone_with_absl():
  for path in (ROOT / 'launch').rglob('*.py'):
    tree = ast.parse(path.read_text(encoding='utf-8'))
    for _, name in imported_modules(tree):
      assert name.split('.')[0] not in ('orbax', 'flax', 'pickle'), path
