"""Refuses settings of several behaviors that would change nothing."""

from collections.abc import Callable
from typing import NamedTuple

from twotsrec import config as config_lib
from twotsrec import models
from twotsrec import plugins
from twotsrec import types
from twotsrec.models import shared_heads

SECTIONS = ('fusion', 'head', 'behavior')

# What `multi_behavior` is not made for.
_OFF = (
  'data.num_negatives',
  'data.negative_mode',
  'data.negative_exclude',
  'train.method',
  'train.penalty',
  'train.objective',
  'train.batching',
  'train.log_groups',
  'aggregator.table_gradients',
  'aggregator.form',
)
# But for its plugins, and where gradients are aggregated.
_ON_WITH_PLUGINS = (
  'data.num_negatives', 'data.negative_mode', 'train.batching'
)  # fmt: skip
_FIT = (
  'head.transfer_layers',
  'head.transfer_output',
  'head.modulate_residual',
  'head.alpha',
  'head.beta',
)
_EXPERTS = (
  'head.transfer',
  *_FIT,
  'head.gate',
  'head.gate_order',
  'head.gradient_policy',
  'head.stop_gate',
  'head.tower',
)
_NONE = ('head.gate', 'head.gradient_policy')  # 'none' says what is the case


class _Unused(NamedTuple):
  """Settings that nothing reads.

  Attributes:
    when: configuration -> whether it is so.
    why: the setting to blame.
    paths: of the settings.
  """

  when: Callable[[config_lib.Config], bool]
  why: str
  paths: tuple[str, ...]


_UNUSED = (
  _Unused(lambda c: c.head.name != 'experts', 'head.name', _EXPERTS),
  _Unused(
    lambda c: c.head.name != 'experts' and not c.head.unique_weight,
    'head.name',
    ('head.transfer_scale',),
  ),
  _Unused(
    lambda c: c.head.name in shared_heads.NAMES,
    'head.name',
    ('head.unique_weight',),
  ),
  _Unused(
    lambda c: c.head.name != 'bilinear', 'head.name', ('head.relation_init',)
  ),
  _Unused(
    lambda c: c.head.name != 'shared_bottom',
    'head.name',
    ('head.linear_tower',),
  ),
  _Unused(lambda c: c.head.name != 'mmoe', 'head.name', ('head.num_experts',)),
  _Unused(
    lambda c: not c.head.unique_weight,
    'head.unique_weight',
    ('head.unique_label',),
  ),
  _Unused(lambda c: c.head.transfer != 'fit', 'head.transfer', _FIT),
  _Unused(
    lambda c: c.head.transfer in ('none', 'attention'),
    'head.transfer',
    ('head.gate_order',),
  ),
  _Unused(
    lambda c: (
      c.head.transfer in ('none', 'attention') and not c.head.unique_weight
    ),
    'head.transfer',
    ('head.transfer_scale',),
  ),
  _Unused(
    lambda c: c.head.transfer == 'none',
    'head.transfer',
    ('head.gradient_policy',),
  ),
  _Unused(lambda c: c.head.gate == 'none', 'head.gate', ('head.stop_gate',)),
  _Unused(
    lambda c: c.head.gradient_policy == 'none',
    'head.gradient_policy',
    ('head.stop_gate',),
  ),
  _Unused(
    lambda c: c.fusion.pre_behavior != 'nearest',
    'fusion.pre_behavior',
    ('fusion.keep_initial',),
  ),
  _Unused(
    lambda c: c.fusion.in_behavior == 'own',
    'fusion.in_behavior',
    ('fusion.operator',),
  ),
  # The temperature is one of a dataset, as weights are; it may stay.
  _Unused(
    lambda c: not c.behavior.contrastive,
    'behavior.contrastive',
    ('behavior.anchors', 'behavior.normalizer', 'behavior.similarity'),
  ),
  _Unused(lambda c: not c.behavior.l2, 'behavior.l2', ('behavior.l2_scope',)),
  _Unused(
    lambda c: c.behavior.prior == 'none',
    'behavior.prior',
    ('behavior.prior_smoothing', 'behavior.prior_scale'),
  ),
  _Unused(
    lambda c: c.behavior.aggregate == 'loss',
    'behavior.aggregate',
    ('aggregator.tau', 'aggregator.prior', 'aggregator.granularity'),
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
  on = _on(config)
  for path in _OFF:
    if path not in on:
      _refuse(config, default, path, 'model.name')
  for unused in _UNUSED:
    if unused.when(config):
      for path in unused.paths:
        _refuse(config, default, path, unused.why)
  _check_protocol(config)
  if config.plugin.name != 'none':
    _check_plugin(config)


def _on(config):
  if config.plugin.name != 'none':
    return _ON_WITH_PLUGINS
  return ('aggregator.form',) if config.behavior.aggregate != 'loss' else ()


def _refuse(config, default, path, why):
  """Refuses a value that is not the default."""
  value, off = _at(config, path), _at(default, path)
  if value == off or (path in _NONE and value == 'none'):
    return
  raise types.UserError(
    f'{path} {value!r} changes nothing with {why}={_at(config, why)}; leave it'
    f' at {off!r}'
  )


def _at(config, path):
  section, name = path.split('.')
  return getattr(getattr(config, section), name)


def _check_protocol(config):
  if config.evaluation.candidates == 'all':
    raise types.UserError(
      "evaluation.candidates 'all' leaves out what a user touched but for the"
      ' held-out item, which would stand alone among strangers; use unbought'
      ' (COPF), or never_interacted'
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
