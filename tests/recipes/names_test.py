"""The name of a model decides in `recipes.RECIPES`, and nowhere else."""

import ast
import os
import pathlib
import subprocess
import sys

import pytest

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import models
from twotsrec import recipes
from twotsrec.evaluation import fitted

ROOT = pathlib.Path(recipes.__file__).resolve().parents[1]
# Settings are checked by who reads them; `models` says what names there are.
EXCEPT = ('recipes/__init__.py', 'models/__init__.py', 'config.py')
CONSTANTS = ('MULTI_BEHAVIOR', 'TWO_TIME')
NAMES = (*recipes.RECIPES, 'popularity')


def decisions(source: str) -> list[str]:
  """Where a program asks which model it is."""
  asked = []
  for node in ast.walk(ast.parse(source)):
    parts, literal = [], []
    if isinstance(node, ast.Compare):
      parts = [node.left, *node.comparators]
      literal = [part for part in parts if _is_literal(part)]
    elif isinstance(node, ast.Subscript):
      parts = [node.slice]
    elif isinstance(node, ast.Match):
      parts = [node.subject]
    named = [n for part in parts for n in ast.walk(part) if _is_name(n)]
    if named or literal:
      asked.append(f'line {node.lineno}: {ast.unparse(node)}')
  return asked


def _is_literal(node):
  every = node.elts if isinstance(node, (ast.Tuple, ast.List)) else [node]
  values = [one.value for one in every if isinstance(one, ast.Constant)]
  return any(value in NAMES for value in values)


def _is_name(node):
  if isinstance(node, ast.Name):
    return node.id in CONSTANTS
  if not isinstance(node, ast.Attribute):
    return False
  of = ast.unparse(node.value).split('.')[-1]
  return node.attr in CONSTANTS or (of, node.attr) == ('model', 'name')


def files():
  paths = (path.relative_to(ROOT).as_posix() for path in ROOT.rglob('*.py'))
  return sorted(path for path in paths if not path.endswith(EXCEPT))


def test_every_model_that_trains_has_a_recipe():
  named = {*models.TRAINED, models.MULTI_BEHAVIOR, models.TWO_TIME}
  named |= {models.JODIE, models.DYN_AERNN}
  named |= set(fitted.NAMES)
  assert set(recipes.RECIPES) == named
  assert config_lib.FITTED == fitted.NAMES


@pytest.mark.parametrize('name', recipes.RECIPES)
def test_a_name_stands_for_a_recipe(name):
  config = config_lib.Config()
  config.model.name = name
  assert isinstance(recipes.of(config), contracts.Recipe)


def test_a_recipe_is_imported_when_it_is_asked_for():
  ask = (
    'import sys; from twotsrec import recipes;'
    " print([name for name in sys.modules if 'recipes.' in name])"
  )
  done = subprocess.run(
    [sys.executable, '-c', ask],
    capture_output=True,
    text=True,
    env={**os.environ, 'PYTHONPATH': str(ROOT.parent)},
    check=True,
  )
  assert done.stdout.strip() == '[]'


@pytest.mark.parametrize('path', files())
def test_nothing_else_asks_for_the_name(path):
  assert decisions((ROOT / path).read_text(encoding='utf-8')) == []


@pytest.mark.parametrize(
  'source',
  [
    'config.model.name == name',
    'if experiment.config.model.name in known: pass',
    'name != models.TWO_TIME',
    'name in (MULTI_BEHAVIOR, other)',
    "name == 'two_time_scale'",
    'table[config.model.name]',
    'match config.model.name:\n  case _: pass',
  ],
)
def test_a_decision_is_seen(source):
  assert len(decisions(source)) == 1


@pytest.mark.parametrize(
  'source',
  [
    'config.model.name = models.TWO_TIME',
    "f'{config.model.name} has no stages'",
    "{'model': config.model.name}",
    'config.plugin.name == name',
  ],
)
def test_what_decides_nothing_passes(source):
  assert decisions(source) == []
