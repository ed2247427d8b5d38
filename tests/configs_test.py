import ast
import dataclasses
import importlib.util
import pathlib

import pytest

from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import models
from twotsrec import objectives
from twotsrec.data import datasets
from twotsrec.recipes import checks

ROOT = pathlib.Path(__file__).resolve().parents[1]
NAMES = sorted(
  path.relative_to(ROOT).as_posix() for path in (ROOT / 'configs').rglob('*.py')
)


def _load(name):
  spec = importlib.util.spec_from_file_location('experiment', ROOT / name)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_every_model_has_a_config_on_every_dataset_of_the_paper():
  expected = {
    f'configs/pin/{data}_{model}.py'
    for data in ('ml1m', 'ml100k', 'beauty')
    for model in ('din', 'gru4rec', 'sasrec')
  }
  assert expected | {'configs/quickstart.py'} <= set(NAMES)


@pytest.mark.parametrize('name', NAMES)
def test_a_config_describes_an_experiment_that_can_be_made(name):
  module = _load(name)
  config = module.get_config()
  assert type(config) is config_lib.Config
  checks.check(config)
  assert config.data.dataset in ('synthetic', *datasets.DATASETS)
  model = models.make(config.model)
  objectives.make(config.train.objective, model)
  aggregators.make(config.aggregator)
  assert config.aggregator.name == 'joint'
  # A change of one is no change of the next.
  config.train.epochs += 1
  assert module.get_config().train.epochs == config.train.epochs - 1


@pytest.mark.parametrize('name', NAMES)
def test_a_config_tells_its_command(name):
  text = ast.get_docstring(ast.parse((ROOT / name).read_text('utf-8')))
  assert f'python launch/train.py --config={name}' in text
  assert '--workdir=' in text
  config = _load(name).get_config()
  assert ('--data_root=' in text) == (config.data.dataset != 'synthetic')


@pytest.mark.parametrize(
  ('name', 'dataset', 'model'),
  [
    (name, dataset, model)
    for name, dataset in (
      ('ml1m', 'ml-1m'),
      ('ml100k', 'ml-100k'),
      ('beauty', 'amazon-beauty-5core'),
    )
    for model in ('din', 'gru4rec', 'sasrec')
  ],
)
def test_a_config_is_what_its_name_says(name, dataset, model):
  config = _load(f'configs/pin/{name}_{model}.py').get_config()
  assert (config.data.dataset, config.model.name) == (dataset, model)


def test_fields_are_of_the_types_they_declare():
  for section in dataclasses.fields(config_lib.Config):
    made = section.default_factory()
    for field in dataclasses.fields(made):
      declared = getattr(field.type, '__origin__', field.type)
      assert type(getattr(made, field.name)) is declared, field.name
