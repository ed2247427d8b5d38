"""Refuses settings of 2TS that cannot work, or that would change nothing."""

import dataclasses

import jax.numpy as jnp

from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import plugins
from twotsrec import types
from twotsrec.data import streams
from twotsrec.models import ccf
from twotsrec.models import two_rnn
from twotsrec.objectives import streams as stream_objectives
from twotsrec.recipes import bounds
from twotsrec.recipes import unread
from twotsrec.recipes.two_time import jobs as jobs_lib
from twotsrec.training import offer_steps
from twotsrec.training import steps

LOADERS = {'packed': streams.packed, 'padded': streams.padded}

_BOUNDS = bounds.Bounds(
  at_least={
    'two_time.window': 1,
    'two_time.stage1_epochs': 1,
    'two_time.stage1_batch': 0,
    'two_time.tokens': 0,
    'two_time.clip': 0,
    'two_time.epochs': 1,
    'two_time.patience': 0,
    'two_time.single_stage_epochs': 1,
    'two_time.evaluation_lists': 1,
  },
  below_one=(),
  finite=(
    'two_time.update_bias',
    'two_time.stage1_rate',
    'two_time.stage1_l2',
    'two_time.rate',
    'two_time.clip',
  ),
  known={
    'two_time.loader': tuple(LOADERS),
    'two_time.holdout': ('none', 'last_k', 'refit'),
    'two_time.warmup': ('replay', 'none'),
    'two_time.single_stage_window': ('random', 'last_k'),
  },
  positive=('two_time.rate',),
)
# What `train` has in common with other models; the rest is under `two_time`.
_TRAIN_USED = ('beta2', 'checkpoint_every', 'keep', 'seed', 'select_on')
_OFF = (
  'data.num_negatives',
  'data.negative_mode',
  'data.negative_exclude',
  'aggregator.table_gradients',
  'plugin.trunk',
  'plugin.trunk_gradient',
  'plugin.select',
  'plugin.select_metric',
  'routing.mode',
  'routing.cold',
  'evaluation.candidates',
  'evaluation.num_candidates',
)


def _unread(names, where, why):
  paths = tuple(f'two_time.{name}' for name in names)
  return unread.Unread(paths, where, f'changes nothing, as {why}')


_UNREAD = (
  _unread(
    ('thresholds',),
    lambda c: c.two_time.threshold_rule != 'validation',
    'only two_time.threshold_rule=validation tries some',
  ),
  _unread(
    ('pool_size',),
    lambda c: c.two_time.pool == 'event',
    'with two_time.pool=event every event has negatives of its own',
  ),
  _unread(
    ('negatives',),
    lambda c: c.two_time.pool == 'shared',
    'with two_time.pool=shared there are two_time.pool_size of them',
  ),
  _unread(
    ('single_stage_window', 'single_stage_epochs'),
    lambda c: not jobs_lib.trained_together(c.two_time.variant),
    'two_time.variant {c.two_time.variant} does not train everything in one'
    ' stage',
  ),
  _unread(
    (
      'stage1_epochs',
      'stage1_batch',
      'stage1_optimizer',
      'stage1_rate',
      'stage1_l2',
    ),
    lambda c: jobs_lib.trained_together(c.two_time.variant),
    'two_time.variant {c.two_time.variant} has no stage 1',
  ),
  _unread(
    ('epochs',),
    lambda c: jobs_lib.trained_together(c.two_time.variant),
    'two_time.variant {c.two_time.variant} trains for single_stage_epochs',
  ),
  _unread(
    ('epochs', 'patience', 'rate', 'clip', 'tokens'),
    lambda c: not _has_networks(c.two_time),
    'two_time.variant {c.two_time.variant} trains no network',
  ),
  _unread(
    ('loader',),
    lambda c: not _has_runs_to_pad(c),
    'networks that carry states, share a step with another, have plugins or'
    ' take a gradient per group are packed',
  ),
)


def check(config: config_lib.Config) -> None:
  """Refuses what no phase can be made of.

  Raises:
    types.UserError: the value, what is allowed and the way out.
  """
  options = config.two_time
  jobs_lib.parts(options.variant)
  bounds.refuse(config, _BOUNDS)
  if not options.stage1_epochs:
    raise types.UserError(
      'two_time.stage1_epochs names no number of epochs; give one or more, as'
      ' in 10,20'
    )
  _check_unused(config)
  unread.refuse(config, _UNREAD)
  stream_objectives.negatives(options)
  two_rnn.check(options)
  ccf.check(config)
  offer_steps.make(config, jnp.ones(config.groups.num_groups))
  _check_readout(options)
  _check_scale(options)
  _check_aggregator(config)
  if config.plugin.name != 'none':
    _check_plugin(config)


def _check_unused(config):
  train = [
    f'train.{field.name}'
    for field in dataclasses.fields(config_lib.TrainConfig)
    if field.name not in _TRAIN_USED
  ]
  why = (
    'changes nothing with model.name=two_time_scale, whose settings are under'
    ' two_time'
  )
  row = unread.Unread((*_OFF, *train), lambda c: True, why)
  unread.refuse(config, [row])
  if config.train.select_on != 'validation':
    raise types.UserError(
      f'train.select_on {config.train.select_on!r}: two_time_scale selects on'
      ' validation events alone; leave it out'
    )


def _has_networks(options):
  """Whether one serves, or is trained to choose how long stage 1 trains."""
  serves = any(p.reads != 'nothing' for p in jobs_lib.parts(options.variant))
  return serves or len(set(options.stage1_epochs)) > 1


def _has_runs_to_pad(config):
  """Whether `two_time.loader` lays out every network of the run."""
  options = config.two_time
  reads = {part.reads for part in jobs_lib.parts(options.variant)}
  together = jobs_lib.trained_together(options.variant)
  aggregator = aggregators.make(config.aggregator)
  form = steps.resolve_form(aggregator, config.aggregator.form)
  return (
    not (together or options.share_readout)
    and 'carried' not in reads
    and reads != {'nothing'}
    and config.plugin.name == 'none'
    and form != 'explicit'
  )


def _check_scale(options):
  together = jobs_lib.trained_together(options.variant)
  if options.cell == 'scaled_gru' and together:
    raise types.UserError(
      'two_time.cell scaled_gru takes its scale from the embeddings of stage 1,'
      f' and two_time.variant {options.variant} has no stage 1; use gru'
    )


def _check_readout(options):
  if options.share_readout and not two_rnn.reads_out(options):
    raise types.UserError(
      f'two_time.share_readout is for two networks with a read-out, and'
      f' two_time.variant {options.variant} has none to share; use'
      f' {" or ".join(two_rnn.READ_OUT)}, or leave it out'
    )


def _check_aggregator(config):
  """Phases that take one backward pass need weights known before it."""
  options = config.two_time
  aggregator = aggregators.make(config.aggregator)
  form = steps.resolve_form(aggregator, config.aggregator.form)
  reads = [part.reads for part in jobs_lib.parts(options.variant)]
  why = None
  if 'carried' in reads:
    why = f'two_time.variant {options.variant} carries states between steps'
  elif options.share_readout or jobs_lib.trained_together(options.variant):
    why = 'networks that are trained together take one pass'
  if why and form == 'explicit':
    raise types.UserError(
      f'aggregator {config.aggregator.name!r} in form'
      f' {config.aggregator.form!r} needs a gradient per group, but {why}; use'
      ' joint, backdoor or class_balanced, in form auto'
    )


def _check_plugin(config):
  options, plugin = config.two_time, config.plugin
  plugins.make(plugin)
  if jobs_lib.with_plugins(config) is None or options.share_readout:
    raise types.UserError(
      f'plugin.name {plugin.name}: two_time.variant {options.variant} has no'
      ' network of inactive users of its own to put plugins in; use 2ts,'
      ' 2ts_plus (share_readout=False) or plugin.name=none'
    )
  own_items = plugin.name != 'naive' and 'A' in plugin.points
  if own_items and not plugin.history_only:
    raise types.UserError(
      f'plugin.points {plugin.points} would change the frozen item vectors of a'
      ' group; use plugin.history_only=True or plugin.points=Z'
    )
