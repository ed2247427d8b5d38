import math

import pytest

from tests import small_runs as runs
from twotsrec import config as config_lib
from twotsrec import recipes
from twotsrec import types

_SEPARATE = {
  'train__method': 'separate',
  'aggregator__name': 'joint',
  'train__log_groups': False,
}
_PLUGIN = {'plugin__name': 'light', 'plugin__trunk': 'runs/ga'}
_PER_GROUP = {**_PLUGIN, 'plugin__select': 'per_group'}


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'train__epochs': 0}, 'train.epochs 0 must be at least 1'),
    ({'train__batch_size': -5}, 'train.batch_size -5 must be at least 1'),
    ({'train__evaluate_every': 0}, 'must be at least 1'),
    ({'train__patience': -1}, 'must be at least 0'),
    ({'train__keep': 0}, 'train.keep 0 must be at least 1'),
    ({'train__seed': -1}, 'train.seed -1 must be at least 0'),
    ({'train__learning_rate': 0.0}, 'must be positive'),
    ({'train__learning_rate': math.nan}, 'must be a finite number'),
    ({'train__learning_rate': math.inf}, 'must be a finite number'),
    ({'train__beta2': 1.0}, 'train.beta2 1.0 must be below 1'),
    ({'train__select_on': 'train'}, "'train'; known: validation, test"),
    ({'data__history_length': 0}, 'must be at least 1'),
    ({'data__num_negatives': 0}, 'must be at least 1'),
    ({'data__negative_mode': 'rare'}, "'rare'; known: per_epoch, static"),
    ({'data__gamma': math.nan}, 'must be a finite number'),
    ({'model__width': 0}, 'model.width 0 must be at least 1'),
    ({'model__hidden': (4, 0)}, 'model.hidden 0 must be at least 1'),
    ({'model__num_layers': 0}, 'must be at least 1'),
    ({'model__dropout': 1.0}, 'model.dropout 1.0 must be below 1'),
    ({'model__dropout': -0.1}, 'must be at least 0'),
    ({'model__name': 'popularity'}, 'nothing to train'),
    ({'aggregator__tau': math.inf}, 'must be a finite number'),
    (
      {'aggregator__name': 'mean'},
      "'mean' is unknown; known: joint, backdoor, class_balanced, pcgrad",
    ),
    ({'aggregator__form': 'fast'}, 'known: auto, fused, explicit'),
    ({'aggregator__prior': (1.0, 2.0)}, '2 values for 3 groups; give one for'),
    ({'aggregator__prior': (1.0, -2.0, 1.0)}, 'prior -2.0 must be at least 0'),
    ({'aggregator__prior': (0.0, 0.0, 0.0)}, 'with a positive sum'),
    ({'aggregator__prior': (1.0, math.nan, 1.0)}, 'must be a finite number'),
    (
      {'train__method': 'fishy'},
      "'fishy'; known: aggregator, fish, grad_transfer, separate",
    ),
    ({'train__penalty': 'rex'}, "'rex'; known: none, vrex, irm, fishr"),
    ({'train__penalty_weight': -1.0}, 'must be at least 0'),
    ({'train__penalty_warmup': -1}, 'must be at least 0'),
    ({'train__fishr_decay': 1.0}, 'train.fishr_decay 1.0 must be below 1'),
    ({'train__inner_rate': 0.0}, 'train.inner_rate 0.0 must be positive'),
    ({'train__inner_rate': -0.1}, 'train.inner_rate -0.1 must be positive'),
    ({'train__adversary_weight': -0.1}, 'must be at least 0'),
    (
      {'train__method': 'fish'},
      "aggregator.name 'backdoor' changes nothing with train.method=fish",
    ),
    (
      {
        'train__method': 'separate',
        'aggregator__name': 'joint',
        'train__penalty': 'vrex',
      },
      "train.penalty 'vrex' changes nothing with train.method=separate",
    ),
    (
      {'train__method': 'separate', 'aggregator__name': 'joint'},
      'train.log_groups True changes nothing with train.method=separate',
    ),
    ({**_SEPARATE, 'routing__mode': 'soft'}, 'has a model per group'),
    ({**_SEPARATE, 'routing__cold': 'trunk'}, 'has a model per group'),
    (
      {'train__penalty': 'vrex', 'aggregator__form': 'explicit'},
      'aggregator.form explicit changes nothing with a train.penalty',
    ),
    ({'routing__mode': 'random'}, 'known: frozen, dynamic, soft'),
    ({'routing__cold': 'random'}, 'known: group1, trunk'),
    ({'routing__hysteresis': -0.1}, 'must be at least 0'),
    ({**_PLUGIN, 'plugin__name': 'lite'}, 'known: light, naive, film'),
    ({**_PLUGIN, 'plugin__trunk': ''}, 'needs plugin.trunk'),
    (
      {**_PLUGIN, 'plugin__name': 'none'},
      "plugin.trunk 'runs/ga' changes nothing with plugin.name=none",
    ),
    (
      {**_PLUGIN, 'plugin__name': 'naive', 'plugin__ratio': 0.25},
      'naive has no such option',
    ),
    ({**_PLUGIN, 'plugin__learning_rate': -1e-4}, 'must be at least 0'),
    ({**_PLUGIN, 'plugin__trunk_learning_rate': -1e-4}, 'must be at least 0'),
    ({**_PLUGIN, 'plugin__learning_rate': math.inf}, 'must be a finite number'),
    ({**_PLUGIN, 'plugin__epochs': 0}, 'plugin.epochs 0 must be at least 1'),
    ({**_PLUGIN, 'plugin__patience': -1}, 'must be at least 0'),
    ({**_PLUGIN, 'plugin__select': 'mine'}, 'known: global, per_group'),
    ({**_PLUGIN, 'plugin__trunk_gradient': 'none'}, 'known: through, bare'),
    ({**_PLUGIN, 'train__method': 'separate'}, 'train.method'),
    (
      {**_PLUGIN, 'train__method': 'fish', 'aggregator__name': 'joint'},
      "train.method 'fish' is for stage 1; stage 2 (plugin.name 'light') needs"
      ' train.method=aggregator',
    ),
    ({**_PLUGIN, 'train__penalty': 'irm'}, 'needs train.penalty=none'),
    (
      {
        **_PLUGIN,
        'plugin__trunk_gradient': 'bare',
        'plugin__trunk_learning_rate': 0.0,
      },
      'changes nothing in a trunk that is frozen',
    ),
    ({**_PER_GROUP, 'plugin__select_metric': 'none'}, 'to select by'),
    ({**_PER_GROUP, 'routing__mode': 'soft'}, 'keeps a trunk per group'),
    ({'evaluation__bootstrap': -1}, 'must be at least 0'),
    ({'evaluation__item_tile': 0}, 'must be at least 1'),
    (
      {
        'train__positions': 'every',
        'groups__key': 'sample_history_len',
      },
      'groups.key=user_train_count',
    ),
  ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(changes, message):
  with pytest.raises(types.UserError) as error:
    recipes.check(runs.config(**changes))
  assert message in str(error.value)
  assert len(str(error.value).splitlines()) == 1


def test_the_defaults_and_the_extremes_pass():
  recipes.check(config_lib.Config())
  recipes.check(
    runs.config(
      model__hidden=(),
      train__patience=0,
      train__checkpoint_every=0.0,
      train__beta2=0.0,
      evaluation__bootstrap=0,
      aggregator__tau=-1.0,
    )
  )


@pytest.mark.parametrize(
  'changes',
  [
    _SEPARATE,
    _PLUGIN,
    {**_PLUGIN, 'plugin__trunk_learning_rate': 0.0},
    {**_PLUGIN, 'plugin__trunk_gradient': 'bare', 'routing__mode': 'soft'},
    {**_PER_GROUP, 'routing__mode': 'dynamic', 'routing__cold': 'trunk'},
    {'train__penalty': 'vrex', 'aggregator__form': 'fused'},
    {'train__method': 'fish', 'aggregator__name': 'joint'},
  ],
)
def test_what_goes_together_passes(changes):
  recipes.check(runs.config(**changes))
