import ast
import dataclasses
import importlib.util
import pathlib
import re

import jax
import pytest

from tests.studies import papers
from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import models
from twotsrec import recipes
from twotsrec import types
from twotsrec.data import datasets
from twotsrec.data import pipeline
from twotsrec.models import closed_form
from twotsrec.models import jodie
from twotsrec.models import multi_behavior
from twotsrec.models import two_rnn
from twotsrec.objectives import behaviors as behavior_objectives
from twotsrec.objectives import sampled as objectives
from twotsrec.presets import copf
from twotsrec.presets import pin as pin_presets
from twotsrec.presets import two_time as two_time_presets

ROOT = pathlib.Path(__file__).resolve().parents[1]
NAMES = sorted(
  path.relative_to(ROOT).as_posix()
  for path in (ROOT / 'configs').rglob('*.py')
  if path.parent != papers.FOLDER  # declarations of studies, with many runs
)
PIN = {
  f'configs/pin/{file}.py': dataset
  for dataset, file in papers.module('pin').FILES.items()
}
BEHAVIORS = {
  f'configs/copf/{file}.py': dataset
  for dataset, file in papers.module('copf').FILES.items()
}

TWO_TIME = {
  f'configs/two_time_scale/{file}.py': dataset
  for dataset, file in papers.module('two_time_scale').FILES.items()
}


def _load(name):
  spec = importlib.util.spec_from_file_location('experiment', ROOT / name)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_every_model_has_a_config_on_every_dataset_of_the_paper():
  expected = {
    f'configs/pin/{data}_{model}.py'
    for data in ('ml1m', 'ml100k', 'beauty', 'impressions')
    for model in ('din', 'gru4rec', 'sasrec')
  }
  expected |= {'configs/quickstart.py', 'configs/closed_form.py'}
  expected |= {'configs/own.py', 'configs/copf/own.py', 'configs/pin/own.py'}
  expected |= {'configs/copf/amazon_book.py', 'configs/jodie/wikipedia.py'}
  expected |= {
    f'configs/sequences/{data}.py' for data in ('ml1m', 'beauty', 'games')
  }
  expected |= {*PIN, *BEHAVIORS, *TWO_TIME}
  assert expected <= set(NAMES)


@pytest.mark.parametrize('name', NAMES)
def test_a_config_describes_an_experiment_that_can_be_made(name):
  module = _load(name)
  config = module.get_config()
  assert type(config) is config_lib.Config
  recipes.check(config)
  assert config.data.dataset in (*pipeline.BUILT_IN, *datasets.DATASETS)
  if config.model.name == models.MULTI_BEHAVIOR:
    _make_multi_behavior(config)
  elif config.model.name == models.TWO_TIME:
    two_rnn.make_stages(config.two_time, config.model.width)
  elif config.model.name == models.JODIE:
    jodie.init(jax.random.key(0), config, 2, 3)
  elif config.model.name in closed_form.NAMES:
    closed_form.make_model(config.model.name, 9, config.closed_form)
  else:
    model = models.make(config.model)
    objectives.make(objectives.of_config(config, 9), model)
  aggregators.make(config.aggregator)
  assert config.aggregator.name == 'joint'
  # A change of one is no change of the next.
  config.train.epochs += 1
  assert module.get_config().train.epochs == config.train.epochs - 1


def _make_multi_behavior(config, num_behaviors=0):
  if not num_behaviors:
    num_behaviors = copf.num_behaviors(config.data.dataset) or 1
  multi_behavior.make(config, num_behaviors, num_users=2, num_items=3)
  behavior_objectives.check(config.behavior, num_behaviors)


@pytest.mark.parametrize('name', BEHAVIORS)
def test_every_variant_of_copf_can_be_made_on_its_datasets(name):
  module, dataset = _load(name), BEHAVIORS[name]
  assert module.get_config() == copf.preset(dataset)
  for variant in copf.VARIANTS:
    config = module.get_config(variant)
    assert config == copf.preset(dataset, variant)
    recipes.check(config)
    _make_multi_behavior(config)
  with pytest.raises(types.UserError, match="'copf_x' is unknown; known: copf"):
    module.get_config('copf_x')


@pytest.mark.parametrize('number', [2, 4, 5])
def test_every_variant_of_copf_can_be_made_with_any_behaviors(number):
  module = _load('configs/copf/own.py')
  for variant in copf.VARIANTS:
    config = module.get_config(f'{variant},{number}')
    recipes.check(config)
    _make_multi_behavior(config, number)
  with pytest.raises(types.UserError, match='no number .* write wo_con,3$'):
    module.get_config('wo_con,one')


def test_the_models_for_a_log_of_ones_own_can_be_made():
  module = _load('configs/own.py')
  for name in ('sasrec', 'gru4rec', 'din'):
    config = module.get_config(name)
    assert config.model.name == name
    recipes.check(config)
    assert 0 < config.train.min_epochs < config.train.epochs
  with pytest.raises(types.UserError, match='known: sasrec, gru4rec, din'):
    module.get_config('sasrex')


def test_the_variants_of_copf_are_named_where_they_are_used():
  text = (ROOT / 'configs/copf/taobao.py').read_text('utf-8')
  words = {word.strip(',') for word in text.split()}
  assert set(copf.VARIANTS) <= words


@pytest.mark.parametrize('name', TWO_TIME)
def test_every_variant_of_2ts_can_be_made_on_its_datasets(name):
  module, dataset = _load(name), TWO_TIME[name]
  assert module.get_config() == two_time_presets.preset(dataset)
  for variant in (*two_time_presets.VARIANTS, *two_time_presets.BASELINES):
    config = module.get_config(variant)
    assert config == two_time_presets.preset(dataset, variant=variant)
    recipes.check(config)
  with pytest.raises(types.UserError, match="'gru' is unknown; known: 2ts"):
    module.get_config('gru')


def test_the_variants_of_2ts_are_named_where_they_are_used():
  text = (ROOT / 'configs/two_time_scale/ml1m.py').read_text('utf-8')
  words = {word.strip(',') for word in text.split()}
  named = {*two_time_presets.VARIANTS, *two_time_presets.BASELINES}
  assert named <= {word.strip(';') for word in words}


@pytest.mark.parametrize('name', NAMES)
def test_a_config_tells_its_command(name):
  text = ast.get_docstring(ast.parse((ROOT / name).read_text('utf-8')))
  assert f'python launch/train.py --config={name}' in text
  assert '--workdir=' in text
  config = _load(name).get_config()
  assert ('--data_root=' in text) == (
    config.data.dataset not in pipeline.BUILT_IN
  )


@pytest.mark.parametrize('name', PIN)
def test_every_model_of_pin_can_be_made_on_its_datasets(name):
  """And is the same by the name of a file of its own, where it has one."""
  module, dataset = _load(name), PIN[name]
  assert module.get_config() == pin_presets.preset(dataset)
  for model in pin_presets.MODELS:
    config = module.get_config(model)
    assert (config.data.dataset, config.model.name) == (dataset, model)
    recipes.check(config)
    alone = name.replace('.py', f'_{model}.py')
    if alone in NAMES:
      assert _load(alone).get_config() == config
  with pytest.raises(types.UserError, match="'gru' is unknown; known: din"):
    module.get_config('gru')


@pytest.mark.parametrize('name', PIN)
def test_the_models_of_pin_are_named_where_they_are_used(name):
  words = re.findall(r'\w+', (ROOT / name).read_text('utf-8'))
  assert set(pin_presets.MODELS) <= set(words)


def test_an_unknown_dataset_of_pin_is_one_line():
  with pytest.raises(types.UserError, match="'moon' is unknown; known: ml-1m"):
    pin_presets.preset('moon')


def test_fields_are_of_the_types_they_declare():
  for section in dataclasses.fields(config_lib.Config):
    made = section.default_factory()
    for field in dataclasses.fields(made):
      declared = getattr(field.type, '__origin__', field.type)
      assert type(getattr(made, field.name)) is declared, field.name
