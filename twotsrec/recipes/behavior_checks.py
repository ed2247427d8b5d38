"""Refuses settings of several behaviors that would change nothing."""

import dataclasses

from twotsrec import config as config_lib
from twotsrec import models
from twotsrec import plugins
from twotsrec import types
from twotsrec.models import shared_heads
from twotsrec.recipes import unread

SECTIONS = ('fusion', 'head', 'behavior')

# What `multi_behavior` is not made for.
_OFF = (
  'data.negative_exclude',
  'train.method',
  'train.penalty',
  'train.penalty_weight',
  'train.penalty_warmup',
  'train.fishr_decay',
  'train.inner_rate',
  'train.adversary_weight',
  'train.objective',
  'train.log_groups',
  'aggregator.table_gradients',
  'evaluation.num_candidates',
)
# What stage 2 alone reads.
PLUGINS_OWN = (
  'data.num_negatives',
  'data.negative_mode',
  'train.batching',
  'routing.mode',
  'routing.cold',
  'routing.hysteresis',
)
_AGGREGATOR = tuple(
  f'aggregator.{field.name}'
  for field in dataclasses.fields(config_lib.AggregatorConfig)
  if field.name != 'table_gradients'
)
_FIT = (
  'head.transfer_layers',
  'head.transfer_output',
  'head.modulate_residual',
  'head.alpha',
  'head.beta',
)
_EXPERTS = (
  'head.transfer', 'head.gate_order', 'head.stop_gate', 'head.tower'
)  # fmt: skip


def _with(path: str) -> str:
  return f'changes nothing with {path}={{c.{path}}}'


def _unread(blamed, where, *paths, harmless=()):
  return unread.Unread(paths, where, _with(blamed), harmless)


_UNREAD = (
  _unread('plugin.name', lambda c: c.plugin.name == 'none', *PLUGINS_OWN),
  _unread('model.name', lambda c: True, *_OFF),
  unread.Unread(
    _AGGREGATOR,
    lambda c: c.behavior.aggregate == 'loss',
    'changes nothing with behavior.aggregate=loss, one weighted sum'
    ' (behaviors and groups read it)',
  ),
  _unread('plugin.name', lambda c: c.plugin.name != 'none', 'aggregator.form'),
  _unread('head.name', lambda c: c.head.name != 'experts', *_FIT, *_EXPERTS),
  _unread(
    'head.name',
    lambda c: c.head.name != 'experts',
    'head.gate',
    'head.gradient_policy',
    harmless=('none',),
  ),
  _unread(
    'head.name',
    lambda c: c.head.name != 'experts' and not c.head.unique_weight,
    'head.transfer_scale',
  ),
  _unread(
    'head.name',
    lambda c: c.head.name in shared_heads.NAMES,
    'head.unique_weight',
  ),
  _unread(
    'head.name', lambda c: c.head.name != 'bilinear', 'head.relation_init'
  ),
  _unread(
    'head.name', lambda c: c.head.name != 'shared_bottom', 'head.linear_tower'
  ),
  _unread('head.name', lambda c: c.head.name != 'mmoe', 'head.num_experts'),
  _unread(
    'head.unique_weight',
    lambda c: not c.head.unique_weight,
    'head.unique_label',
  ),
  _unread('head.transfer', lambda c: c.head.transfer != 'fit', *_FIT),
  _unread(
    'head.transfer',
    lambda c: c.head.transfer in ('none', 'attention'),
    'head.gate_order',
  ),
  _unread(
    'head.transfer',
    lambda c: (
      c.head.transfer in ('none', 'attention') and not c.head.unique_weight
    ),
    'head.transfer_scale',
  ),
  _unread(
    'head.transfer',
    lambda c: c.head.transfer == 'none',
    'head.gradient_policy',
    harmless=('none',),
  ),
  _unread(
    'head.transfer', lambda c: c.head.transfer == 'none', 'head.stop_gate'
  ),
  _unread(
    'head.gate',
    lambda c: c.head.gate == 'none',
    'head.stop_gate',
    'head.gate_order',
  ),
  _unread(
    'head.gradient_policy',
    lambda c: c.head.gradient_policy == 'none',
    'head.stop_gate',
  ),
  _unread(
    'fusion.pre_behavior',
    lambda c: c.fusion.pre_behavior != 'nearest',
    'fusion.keep_initial',
  ),
  _unread(
    'fusion.in_behavior',
    lambda c: c.fusion.in_behavior == 'own',
    'fusion.operator',
  ),
  _unread(
    'fusion.num_layers',
    lambda c: c.fusion.num_layers and not any(c.fusion.num_layers),
    'fusion.in_behavior',
    'fusion.operator',
  ),
  # What is unique to one behavior of a shared representation is nothing.
  _unread(
    'fusion.post_behavior',
    lambda c: c.fusion.post_behavior == 'merged',
    'head.unique_weight',
  ),
  # The temperature is one of a dataset, as weights are; it may stay.
  _unread(
    'behavior.contrastive',
    lambda c: not c.behavior.contrastive,
    'behavior.anchors',
    'behavior.normalizer',
    'behavior.similarity',
  ),
  _unread('behavior.l2', lambda c: not c.behavior.l2, 'behavior.l2_scope'),
  _unread(
    'behavior.prior',
    lambda c: c.behavior.prior == 'none',
    'behavior.prior_smoothing',
    'behavior.prior_scale',
  ),
)


def check(config: config_lib.Config) -> None:
  """Refuses what is not read; for any model.

  Raises:
    types.UserError: the value, why it is not read, and the way out.
  """
  default = config_lib.Config()
  if config.model.name != models.MULTI_BEHAVIOR:
    for section in SECTIONS:
      if getattr(config, section) != getattr(default, section):
        raise types.UserError(
          f'settings under {section} change nothing with model.name'
          f' {config.model.name!r}; use model.name=multi_behavior, or leave'
          ' them out'
        )
    return
  unread.refuse(config, _UNREAD)
  _check_protocol(config)
  if config.plugin.name != 'none':
    _check_plugin(config)


def _check_protocol(config):
  if config.evaluation.candidates in ('all', 'sampled'):
    raise types.UserError(
      f'evaluation.candidates {config.evaluation.candidates!r} leaves out what'
      ' a user touched but for the held-out item, which would stand alone among'
      ' strangers; use unbought (COPF), or never_interacted'
    )
  if config.groups.key == 'sample_history_len':
    raise types.UserError(
      "groups.key 'sample_history_len' divides single samples, but"
      ' model.name=multi_behavior trains users; use user_train_count'
    )


def _check_plugin(config):
  plugin = config.plugin
  if 'points' in plugins.OPTIONS[plugin.name] and plugin.points != 'Z':
    raise types.UserError(
      f'plugin.points is {plugin.points}, but model.name=multi_behavior reads'
      ' no history; use Z, before the head'
    )
  ungated = config.head.name == 'experts' and config.head.gate == 'none'
  if plugin.name == 'naive' and ungated:
    raise types.UserError(
      'plugin.name naive moves parameters of the head, and a head without a'
      ' gate has none; use light or film'
    )
  if plugin.trunk_learning_rate:
    raise types.UserError(
      f'plugin.trunk_learning_rate is {plugin.trunk_learning_rate}, but with'
      ' model.name=multi_behavior plugins stand on what the graphs gave; set it'
      ' to 0'
    )
  if plugin.select_metric == 'loss':
    raise types.UserError(
      "plugin.select_metric 'loss' judges sequence models; for"
      ' model.name=multi_behavior use group_auc, hr@10, another ranking metric,'
      ' or none'
    )
