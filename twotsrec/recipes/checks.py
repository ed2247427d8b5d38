"""Refuses settings that cannot work, before anything is read or written."""

from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import models
from twotsrec import plugins
from twotsrec import types
from twotsrec.data import routing
from twotsrec.recipes import behavior_checks
from twotsrec.recipes import bounds
from twotsrec.training import penalties
from twotsrec.training import sequential

SPLITS = ('validation', 'test')

_AT_LEAST = {
  'data.history_length': 1,
  'data.num_negatives': 1,
  'data.seed': 0,
  'model.width': 1,
  'model.hidden': 1,
  'model.num_layers': 1,
  'model.dropout': 0,
  'train.batch_size': 1,
  'train.beta2': 0,
  'train.epochs': 1,
  'train.patience': 0,
  'train.evaluate_every': 1,
  'train.checkpoint_every': 0,
  'train.keep': 1,
  'train.seed': 0,
  'train.penalty_weight': 0,
  'train.penalty_warmup': 0,
  'train.adversary_weight': 0,
  'train.fishr_decay': 0,
  'plugin.learning_rate': 0,
  'head.unique_weight': 0,
  'behavior.contrastive': 0,
  'behavior.l2': 0,
  'behavior.prior_scale': 0,
  'plugin.trunk_learning_rate': 0,
  'plugin.epochs': 1,
  'plugin.patience': 0,
  'evaluation.user_tile': 1,
  'evaluation.item_tile': 1,
  'evaluation.bootstrap': 0,
  'evaluation.seed': 0,
}
_BELOW_ONE = ('model.dropout', 'train.beta2', 'train.fishr_decay')
_POSITIVE = (
  'train.learning_rate',
  'train.inner_rate',
  'head.score_scale',
  'behavior.bpr_scale',
  'behavior.decay_rate',
  'behavior.prior_smoothing',
)
_FINITE = (
  'data.gamma',
  'aggregator.tau',
  'train.learning_rate',
  'train.penalty_weight',
  'train.inner_rate',
  'train.adversary_weight',
  'plugin.learning_rate',
  'plugin.trunk_learning_rate',
  'head.transfer_scale',
  'head.alpha',
  'head.beta',
  'head.score_scale',
  'head.unique_weight',
  'behavior.bpr_scale',
  'behavior.contrastive',
  'behavior.temperature',
  'behavior.l2',
  'behavior.decay_rate',
  'behavior.prior_smoothing',
  'behavior.prior_scale',
)
_KNOWN = {
  'data.negative_mode': ('static', 'per_epoch'),
  'data.negative_exclude': ('all', 'train'),
  'aggregator.form': ('auto', 'fused', 'explicit'),
  'train.select_on': SPLITS,
  'train.method': ('aggregator', *sequential.NAMES, 'separate'),
  'train.penalty': ('none', *penalties.NAMES),
  'plugin.trunk_gradient': ('through', 'bare'),
  'plugin.select': ('global', 'per_group'),
}
# What the data, models and protocols check is theirs.
_BOUNDS = bounds.Bounds(_AT_LEAST, _BELOW_ONE, _FINITE, _KNOWN, _POSITIVE)


def check(config: config_lib.Config) -> None:
  """Refuses values, and combinations that would train something else.

  Raises:
    types.UserError: the value, what is allowed and the way out.
  """
  bounds.refuse_kinds(config)
  bounds.refuse(config, _BOUNDS)
  routing.check(config.routing)
  aggregators.make(config.aggregator)  # refuses what it does not know
  _check_combinations(config)
  _check_method(config)
  _check_separate(config)
  _check_plugin(config)
  behavior_checks.check(config)
  _check_two_time(config)


def _check_two_time(config: config_lib.Config) -> None:
  if config.model.name == models.TWO_TIME:
    return
  if config.two_time != config_lib.TwoTimeConfig():
    raise types.UserError(
      'settings under two_time change nothing with model.name'
      f' {config.model.name!r}; use model.name=two_time_scale, or leave them'
      ' out'
    )


def _check_combinations(config: config_lib.Config) -> None:
  if config.data.prepared:
    for name in ('validation', 'min_user', 'min_item', 'core'):
      value = getattr(config.data, name)
      if value != getattr(config_lib.DataConfig(), name):
        raise types.UserError(
          f'data.{name} {value!r} changes nothing in prepared data'
          f' ({config.data.prepared}); give it to launch/prepare.py'
        )
  given, wanted = len(config.aggregator.prior), config.groups.num_groups
  over_groups = config.behavior.aggregate != 'behaviors'
  if given and given != wanted and over_groups:
    raise types.UserError(
      f'aggregator.prior has {given} values for {wanted} groups; give one per'
      ' group'
    )
  if config.model.name == 'popularity':
    raise types.UserError(
      "model.name 'popularity' has nothing to train; every report shows it"
      ' beside the model'
    )
  if (
    config.train.objective == 'every_position'
    and config.groups.key == 'sample_history_len'
  ):
    raise types.UserError(
      "groups.key 'sample_history_len' divides single samples, but an example"
      " of train.objective 'every_position' is a whole sequence; use"
      ' train.objective=bce or groups.key=user_train_count'
    )


def _check_method(config: config_lib.Config) -> None:
  train, aggregator = config.train, config.aggregator
  changes_nothing = None
  if train.method != 'aggregator':
    if aggregator.name != 'joint':
      changes_nothing = 'aggregator.name', aggregator.name
    if train.penalty != 'none':
      changes_nothing = 'train.penalty', train.penalty
  if changes_nothing:
    name, value = changes_nothing
    raise types.UserError(
      f'{name} {value!r} changes nothing with train.method {train.method!r},'
      ' which does not aggregate group gradients; leave one of them out'
    )
  if train.method == 'separate' and aggregator.table_gradients == 'rows':
    raise types.UserError(
      'aggregator.table_gradients rows is for a table that groups share, but'
      " train.method 'separate' has one per group; use auto"
    )
  if train.penalty != 'none' and aggregator.form == 'explicit':
    raise types.UserError(
      'aggregator.form explicit changes nothing with a train.penalty, which'
      ' takes one pass; use auto'
    )


def _check_separate(config: config_lib.Config) -> None:
  if config.train.method != 'separate':
    return
  if config.train.log_groups:
    raise types.UserError(
      'train.log_groups compares the gradients of one model, but train.method'
      " 'separate' trains one per group; leave one of them out"
    )
  for name, value, needed in (
    ('mode', 'soft', 'blends plugins of one trunk'),
    ('cold', 'trunk', 'is the model without its plugin'),
  ):
    if getattr(config.routing, name) == value:
      raise types.UserError(
        f'routing.{name} {value!r} {needed}, but train.method separate has a'
        f' model per group; leave routing.{name} out'
      )


def _check_plugin(config: config_lib.Config) -> None:
  plugin, train = config.plugin, config.train
  if config.model.name == models.TWO_TIME:
    return  # its own phase, see two_time_checks
  if plugin.name == 'none':
    if plugin.trunk:
      raise types.UserError(
        f'plugin.trunk {plugin.trunk!r} changes nothing without a plugin; set'
        ' plugin.name=light, or leave it out'
      )
    return
  plugins.make(plugin)  # refuses what it does not know
  for name, off in (('method', 'aggregator'), ('penalty', 'none')):
    if getattr(train, name) != off:
      raise types.UserError(
        f'train.{name} {getattr(train, name)!r} is for stage 1; stage 2'
        f' (plugin.name {plugin.name!r}) needs train.{name}={off}'
      )
  if not plugin.trunk:
    raise types.UserError(
      f'plugin.name {plugin.name!r} needs plugin.trunk, the run directory of a'
      ' finished stage 1; launch/pin.py trains both stages'
    )
  if plugin.trunk_gradient == 'bare' and not plugin.trunk_learning_rate:
    raise types.UserError(
      'plugin.trunk_gradient bare changes nothing in a trunk that is frozen'
      ' (plugin.trunk_learning_rate 0)'
    )
  if plugin.select == 'per_group' and plugin.select_metric == 'none':
    raise types.UserError(
      'plugin.select per_group needs a plugin.select_metric to select by'
    )
  if plugin.select == 'per_group' and config.routing.mode == 'soft':
    raise types.UserError(
      'routing.mode soft blends plugins of one trunk, but plugin.select'
      ' per_group keeps a trunk per group; use plugin.select=global'
    )
