"""What each recipe reads; its own checks are in the tests of `checks`."""

import fnmatch

import pytest

from tests import configured
from tests import jodie_toys
from twotsrec import config as config_lib
from twotsrec import fields
from twotsrec import types
from twotsrec.fields import Reads
from twotsrec.presets import copf
from twotsrec.presets import two_time as two_time_presets
from twotsrec.recipes import dyn_aernn as dyn_aernn_recipe
from twotsrec.recipes import jodie as jodie_recipe
from twotsrec.training import settings


def _dyn_aernn():
  made = config_lib.Config()
  made.model.name = 'dyn_aernn'
  return made


# Recipe -> (what it reads, an experiment of it, what it never reads).
RECIPES = {
  'sequence': (
    settings.SEQUENCE,
    config_lib.Config(),
    # All of two_time but evaluation_lists, which evaluation.online reads.
    'fusion.* head.* behavior.* two_time.[!e]* two_time.epochs jodie.*'
    ' closed_form.l2 dyn_aernn.*'
    ' cascade.* discovery.*',
  ),
  'multi_behavior': (
    settings.MULTI_BEHAVIOR,
    copf.preset('synthetic-behaviors'),
    'closed_form.* cascade.* prior.* augment.* two_time.[!e]* two_time.epochs'
    ' jodie.* dyn_aernn.*'
    ' plugin.transfer plugin.near'
    ' data.negative_exclude'
    ' train.method'
    ' train.penalty*'
    ' train.fishr_decay train.inner_rate train.adversary_weight'
    ' train.objective train.positions train.gbce_calibration'
    ' train.log_frequency train.mask_share train.temperatures'
    ' train.worst_share train.worst_smoothing data.negative_sharing'
    ' data.negative_power train.log_groups aggregator.table_gradients'
    ' train.table_*',
  ),
  'two_time_scale': (
    settings.TWO_TIME_SCALE,
    two_time_presets.preset('synthetic'),
    'closed_form.* cascade.* discovery.* prior.* augment.* fusion.* head.*'
    ' behavior.* jodie.* dyn_aernn.*'
    ' data.num_negatives'
    ' data.negative_* aggregator.table_gradients train.method train.penalty*'
    ' train.fishr_decay'
    ' train.inner_rate train.adversary_weight train.objective train.positions'
    ' train.gbce_calibration train.log_frequency train.mask_share'
    ' train.temperatures train.worst_share train.worst_smoothing'
    ' train.log_groups train.table_rate'
    ' train.batch_size train.batching train.learning_rate train.epochs'
    ' train.patience train.min_epochs train.evaluate_every train.select_metric'
    ' plugin.trunk plugin.trunk_gradient plugin.select plugin.select_metric'
    ' plugin.transfer plugin.near'
    ' routing.* evaluation.users evaluation.candidates'
    ' evaluation.num_candidates evaluation.online',
  ),
  'jodie': (
    jodie_recipe.READS,
    jodie_toys.config(),
    'closed_form.* cascade.* discovery.* prior.* fusion.* head.* behavior.*'
    ' two_time.[!e]* two_time.epochs plugin.* routing.* data.num_negatives'
    ' data.negative_* aggregator.table_gradients aggregator.form train.method'
    ' train.penalty* train.fishr_decay train.inner_rate train.adversary_weight'
    ' train.objective train.positions train.gbce_calibration'
    ' train.log_frequency train.mask_share train.temperatures'
    ' train.worst_share train.worst_smoothing augment.* dyn_aernn.*'
    ' train.log_groups train.table_*'
    ' train.batch_size train.batching train.select_*'
    ' evaluation.users evaluation.candidates'
    ' evaluation.num_candidates evaluation.online',
  ),
  'dyn_aernn': (
    dyn_aernn_recipe.READS,
    _dyn_aernn(),
    'closed_form.* cascade.* discovery.* prior.* fusion.* head.* behavior.*'
    ' two_time.[!e]* two_time.epochs jodie.* plugin.* routing.* aggregator.*'
    ' data.num_negatives data.negative_* augment.* train.method'
    ' train.penalty* train.fishr_decay train.inner_rate train.adversary_weight'
    ' train.objective train.positions train.gbce_calibration'
    ' train.log_frequency train.mask_share train.temperatures'
    ' train.worst_share train.worst_smoothing train.log_groups'
    ' train.table_* train.batching',
  ),
}
_FIELDS = {path: field for path, field, _ in fields.walk(config_lib.Config())}


def _changed(path):
  """A value that is neither the default nor idle."""
  field = _FIELDS[path]
  setting, default = field.metadata['setting'], field.default
  if setting.names:
    return next(n for n in setting.names if n not in (default, *setting.idle))
  if isinstance(default, tuple):
    return (*default, 7)
  return {bool: not default, str: 'x'}.get(field.type, 7)


@pytest.mark.parametrize('name', RECIPES)
def test_a_recipe_refuses_what_it_never_reads_and_nothing_else(name):
  reads, experiment, never = RECIPES[name]
  for path in _FIELDS:
    made = fields.only_read(experiment, (Reads('*'),))
    config_lib.change(made, {path: _changed(path)})
    try:
      fields.refuse_unread(made, reads, 'this recipe')
      message = ''
    except types.UserError as error:
      message = str(error)
    is_never = any(fnmatch.fnmatch(path, p) for p in never.split())
    assert (f'{path} ' in message and 'with this recipe' in message) == is_never
    for pattern in never.split():
      assert fnmatch.filter(_FIELDS, pattern)


@pytest.mark.parametrize(
  ('changes', 'refused'),
  [
    ({'routing.mode': 'soft'}, 'plugin.name=none'),
    ({'train.batching': 'natural'}, 'plugin.name=none'),
    ({'plugin.name': 'light', 'data.num_negatives': 7}, ''),
    ({'aggregator.name': 'pcgrad'}, 'behavior.aggregate=loss'),
    ({'aggregator.form': 'explicit'}, 'behavior.aggregate=loss'),
    ({'evaluation.online': True, 'evaluation.candidates': 'auto'}, ''),
    (
      {
        'evaluation.online': True,
        'evaluation.candidates': 'auto',
        'discovery.by': 'each',
      },
      'evaluation.online=True',
    ),
    ({'behavior.aggregate': 'groups', 'aggregator.form': 'explicit'}, ''),
    (
      {
        'behavior.aggregate': 'groups',
        'aggregator.form': 'explicit',
        'plugin.name': 'light',
      },
      'plugin.name=light',
    ),
  ],
)
def test_what_several_behaviors_read_depends(changes, refused):
  made = configured.by(changes, copf.preset('synthetic-behaviors'))
  if not refused:
    fields.refuse_unread(made, settings.MULTI_BEHAVIOR, '')
    return
  with pytest.raises(types.UserError, match=f'nothing with {refused}; leave'):
    fields.refuse_unread(made, settings.MULTI_BEHAVIOR, '')


@pytest.mark.parametrize(
  ('changes', 'refused'),
  [
    ({'evaluation.online': True, 'two_time.evaluation_lists': 7}, ''),
    ({'two_time.evaluation_lists': 7}, 'evaluation.online=False'),
    ({'evaluation.candidates': 'sampled'}, ''),
    (
      {'evaluation.online': True, 'evaluation.candidates': 'all'},
      'evaluation.online=True',
    ),
  ],
)
def test_candidates_are_those_of_the_protocol(changes, refused):
  made = configured.by(changes)
  if not refused:
    fields.refuse_unread(made, settings.SEQUENCE, '')
    return
  with pytest.raises(types.UserError, match=f'nothing with {refused}; leave'):
    fields.refuse_unread(made, settings.SEQUENCE, '')


# ---- A recipe in a file of the user

_EASE = (Reads('data.* groups.* evaluation.*'), Reads('train.seed model.name'))


def _of_user(**changes):
  return configured.by({'model.name': 'ease.py:make'}, **changes)


def test_a_recipe_of_the_user_is_checked_as_any_other():
  settings.check(_of_user(train__seed=3, data__history_length=7), _EASE)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'train__seed': -1}, 'train.seed -1 must be at least 0'),
    ({'data__split': 'zigzag'}, "data.split 'zigzag'; known: leave_last_out"),
    ({'two_time__window': 0}, 'two_time.window 0 must be at least 1'),
    (
      {'train__epochs': 3},
      'train.epochs 3 changes nothing with model.name=ease.py:make; leave it at'
      ' 20',
    ),
    ({'head__alpha': 0.5}, 'or use model.name=multi_behavior'),
    (
      {'evaluation__num_candidates': 7},
      'nothing with evaluation.candidates=auto; leave it at 100, or use'
      ' evaluation.candidates=sampled',
    ),
  ],
)
def test_it_refuses_the_same_for_it(changes, message):
  with pytest.raises(types.UserError) as caught:
    settings.check(_of_user(**changes), _EASE)
  assert message in str(caught.value)
  assert '\n' not in str(caught.value)
