import dataclasses
import typing

import pytest

from tests import small_runs as runs
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.recipes import bounds
from twotsrec.recipes import checks


def _tuples():
  """Names of all settings of several values, and the kind of a value."""
  for section in dataclasses.fields(config_lib.Config):
    hints = typing.get_type_hints(type(getattr(runs.config(), section.name)))
    for name, hint in hints.items():
      if typing.get_origin(hint) is tuple:
        yield f'{section.name}.{name}', typing.get_args(hint)[0]


@pytest.mark.parametrize(('path', 'kind'), list(_tuples()))
def test_every_setting_of_several_values_has_values_of_one_kind(path, kind):
  wrong = {int: (1, 1.5), float: (1.0, 'nan'), str: ('view', 0)}[kind]
  right = {int: (1, 2), float: (1, 0.5), str: ('view', 'buy')}[kind]
  config = runs.config()
  config_lib.change(config, {path: right})
  bounds.refuse_kinds(config)
  config_lib.change(config, {path: wrong})
  with pytest.raises(types.UserError) as caught:
    checks.check(config)
  message = str(caught.value)
  assert message.startswith(f'{path} {wrong[1]!r} must be')
  assert '\n' not in message


@pytest.mark.parametrize(
  ('path', 'value', 'message'),
  [
    ('evaluation.ks', (True,), 'ks True must be a whole number'),
    ('evaluation.ks', 10, r'must be several, as in \(10,\)'),
    ('aggregator.prior', (1.0, True), 'prior True must be a number'),
    ('data.behaviors', 'view', r"must be several, as in \('view',\)"),
    (
      'data.behaviors',
      ('view,buy',),
      '''one name with commas.*behaviors="'view','buy'"''',
    ),
  ],
)
def test_what_a_flag_reads_as_something_else_is_told(path, value, message):
  config = runs.config()
  config_lib.change(config, {path: value})
  with pytest.raises(types.UserError, match=message):
    checks.check(config)


_BOUNDS = bounds.Bounds(
  at_least={'train.epochs': 1, 'evaluation.ks': 2},
  below_one=('train.beta2',),
  finite=('data.gamma',),
  known={'train.select_on': ('test', 'both')},
  positive=('train.learning_rate', 'head.score_scale'),
)
_WITHIN = {
  'train.epochs': 1,
  'evaluation.ks': (2, 3),
  'train.beta2': 0.99,
  'data.gamma': -1.0,
  'train.select_on': 'both',
  'train.learning_rate': 1e-9,
  'head.score_scale': (1.0, 2.0),
}


@pytest.mark.parametrize(
  ('path', 'value', 'message'),
  [
    ('train.epochs', 0, 'train.epochs 0 must be at least 1'),
    ('evaluation.ks', (2, 1), 'evaluation.ks 1 must be at least 2'),
    ('train.beta2', 1.0, 'train.beta2 1.0 must be below 1'),
    ('data.gamma', float('-inf'), 'data.gamma -inf must be a finite number'),
    ('train.select_on', 'none', "train.select_on 'none'; known: test, both"),
    ('train.learning_rate', 0.0, 'train.learning_rate 0.0 must be positive'),
    ('head.score_scale', (1.0, 0.0), 'head.score_scale 0.0 must be positive'),
  ],
)
def test_one_value_out_of_bounds_is_named(path, value, message):
  config = runs.config()
  config_lib.change(config, _WITHIN)
  bounds.refuse(config, _BOUNDS)
  config_lib.change(config, {path: value})
  with pytest.raises(types.UserError) as caught:
    bounds.refuse(config, _BOUNDS)
  assert str(caught.value) == message
