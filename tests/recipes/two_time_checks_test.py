import math

import pytest

from tests import two_time_toys as toys
from twotsrec import recipes
from twotsrec import types
from twotsrec.data import stream_jobs
from twotsrec.presets import two_time as presets


@pytest.mark.parametrize('dataset', presets.DATASETS)
@pytest.mark.parametrize('variant', presets.VARIANTS)
def test_every_preset_can_be_trained(dataset, variant):
  recipes.check(presets.preset(dataset, variant=variant))


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'thresholds': (2, 4)}, 'or use two_time.threshold_rule=validation'),
    ({'pool_size': 7}, 'at 512, or use two_time.pool=shared'),
    ({'pool': 'shared', 'negatives': 7}, 'with two_time.pool=shared; leave'),
    ({'single_stage_epochs': 3}, 'use two_time.variant=single_stage or'),
    ({'variant': 'ccf', 'single_stage_window': 'last_k'}, 'variant=ccf; leave'),
    (
      {'variant': 'single_stage', 'stage1_epochs': (3,)},
      'variant=single_stage',
    ),
    ({'variant': 'single_stage', 'stage1_batch': 7}, 'variant=single_stage'),
    ({'variant': 'single_stage', 'stage1_rate': 0.1}, 'variant=single_stage'),
    ({'variant': 'single_stage_plus', 'stage1_l2': 0.1}, 'single_stage_plus'),
    ({'variant': 'single_stage', 'epochs': 7}, 'variant=single_stage'),
    ({'variant': 'single_stage', 'cell': 'scaled_gru'}, 'use gru'),
    ({'variant': 'ccf', 'epochs': 7}, 'variant ccf trains no network'),
    (
      {'variant': 'shrunk', 'holdout': 'none'},
      "two_time.holdout 'none' changes nothing",
    ),
    (
      {'variant': 'shrunk_plus', 'warmup': 'none'},
      "two_time.warmup 'none' changes nothing",
    ),
    (
      {'variant': 'shrunk_plus', 'share_readout': True},
      'shrunk_plus has none to share; use 2ts_plus or single_stage_plus',
    ),
    ({'variant': 'ccf', 'rate': 0.1}, 'variant ccf trains no network'),
  ],
)
def test_what_would_change_nothing_is_refused_in_a_line(changes, message):
  _assert_refused(message, **changes)


def test_rows_are_for_the_tables_of_stage_1():
  config = toys.config(
    two_time__variant='single_stage', train__table_optimizer='lazy_adam'
  )
  message = (
    "train.table_optimizer 'lazy_adam' changes nothing with"
    " two_time.variant=single_stage; leave it at 'adam'"
  )
  with pytest.raises(types.UserError, match=message):
    recipes.check(config)


@pytest.mark.parametrize(
  'changes',
  [
    *({'two_time__variant': v} for v in ('one_gru', 'two_gru', 'ccf')),
    {'two_time__variant': 'single_stage'},
    {'two_time__variant': '2ts_plus', 'two_time__share_readout': True},
    {'plugin__name': 'light', 'plugin__points': 'Z'},
    {'aggregator__name': 'pcgrad'},
    {'aggregator__form': 'explicit'},
  ],
)
def test_padding_is_refused_where_streams_are_packed(changes):
  config = toys.config(two_time__loader='padded', **changes)
  with pytest.raises(types.UserError, match="loader 'padded' changes nothing"):
    recipes.check(config)


@pytest.mark.parametrize(
  'changes',
  [
    {'loader': 'padded'},
    {'loader': 'padded', 'variant': 'frozen_user'},
    {'threshold_rule': 'validation', 'thresholds': (2, 4)},
    {'pool': 'shared', 'pool_size': 7},
    {'variant': 'single_stage', 'single_stage_window': 'last_k'},
    {'variant': 'single_stage', 'single_stage_epochs': 3, 'patience': 1},
    # A network is trained to choose how long stage 1 trains.
    {'variant': 'ccf', 'stage1_epochs': (1, 2), 'epochs': 3},
    {'cell': 'scaled_gru', 'update_bias': 2.0, 'clip': 0.0},
  ],
)
def test_what_a_run_reads_is_allowed(changes):
  defaults = {'negatives': 10} if 'pool' in changes else {}
  recipes.check(_config(**defaults | changes))


@pytest.mark.parametrize(
  ('name', 'value'),
  [
    ('update_bias', math.nan),
    ('update_bias', -math.inf),
    ('stage1_rate', math.inf),
    ('stage1_l2', math.inf),
    ('clip', math.inf),
  ],
)
def test_numbers_are_finite(name, value):
  _assert_refused(f'two_time.{name} {value} must be a finite', **{name: value})


def test_candidates_of_other_models_are_refused():
  config = toys.config(evaluation__num_candidates=7)
  with pytest.raises(types.UserError, match='num_candidates 7 changes nothing'):
    recipes.check(config)


@pytest.mark.parametrize('variant', stream_jobs.PARTS)
def test_every_variant_at_the_size_of_the_tests(variant):
  recipes.check(toys.config(two_time__variant=variant))


def _config(**changes):
  return toys.config(**{f'two_time__{k}': v for k, v in changes.items()})


def _assert_refused(message, **changes):
  with pytest.raises(types.UserError) as error:
    recipes.check(_config(**changes))
  assert message in str(error.value)
  assert len(str(error.value).splitlines()) == 1
