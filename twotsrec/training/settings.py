"""Refuses settings that cannot work, before anything is read or written.

What a setting may be, and when it is read, stands with it in `config.py`. Here
stands what each recipe reads, and what does not go together in it: a
`types.UserError` names the value, what is allowed and the way out.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import fields
from twotsrec import plugins
from twotsrec import types
from twotsrec.fields import Reads
from twotsrec.models import ccf
from twotsrec.models import history_prior
from twotsrec.models import two_rnn
from twotsrec.objectives import auxiliaries
from twotsrec.training import offer_steps
from twotsrec.training import steps
from twotsrec.training import table_rows

_WITH_PLUGIN = fields.read_unless('plugin.name', 'none')
_WITHOUT_PLUGIN = fields.read_if('plugin.name', 'none')
_WITH_PRIOR = fields.read_unless('prior.terms', ())
_BY_PARTS = fields.read_unless('behavior.aggregate', 'loss')

# Of a recipe that ranks by either protocol, that of 2TS has its own candidates.
OFFLINE_OR_ONLINE = (
  Reads('evaluation.*', but='evaluation.candidates evaluation.num_candidates'),
  Reads(
    'evaluation.candidates evaluation.num_candidates',
    read=fields.read_if('evaluation.online', False),
  ),
  Reads(
    'two_time.evaluation_lists', read=fields.read_if('evaluation.online', True)
  ),
)
SEQUENCE = (
  Reads('data.* groups.* model.* aggregator.* train.* plugin.*'),
  Reads('routing.* augment.* prior.*'),
  *OFFLINE_OR_ONLINE,
  Reads('closed_form.neighbors closed_form.shrinkage', read=_WITH_PRIOR),
)
MULTI_BEHAVIOR = (
  Reads('groups.* model.* fusion.* head.* behavior.*'),
  Reads('plugin.*', but='plugin.transfer plugin.near'),
  # Places are shared out among the items of a list that is asked for once.
  Reads('discovery.*', read=fields.read_if('evaluation.online', False)),
  *OFFLINE_OR_ONLINE,
  Reads('data.*', but='data.num_negatives data.negative_*'),
  Reads(
    'train.batch_size train.learning_rate train.beta2 train.epochs'
    ' train.patience train.min_epochs train.evaluate_every train.select_*'
    ' train.checkpoint_every train.keep train.seed'
  ),
  Reads(
    'data.num_negatives data.negative_mode train.batching routing.*',
    read=_WITH_PLUGIN,
  ),
  Reads(
    'aggregator.*',
    but='aggregator.table_gradients aggregator.form',
    read=_BY_PARTS,
  ),
  Reads('aggregator.form', read=fields.all_of(_BY_PARTS, _WITHOUT_PLUGIN)),
)
TWO_TIME_SCALE = (
  Reads('groups.* model.* two_time.*'),
  Reads('data.*', but='data.num_negatives data.negative_*'),
  Reads('aggregator.*', but='aggregator.table_gradients'),
  Reads('train.beta2 train.select_on train.checkpoint_every train.keep'),
  Reads('train.seed'),
  Reads(
    'train.table_optimizer',
    read=fields.read_unless('two_time.variant', *config_lib.ONE_STAGE),
  ),
  Reads(
    'plugin.*',
    but='plugin.trunk plugin.trunk_gradient plugin.select* plugin.transfer'
    ' plugin.near',
  ),
  Reads(
    'evaluation.*',
    but='evaluation.candidates evaluation.num_candidates evaluation.users'
    ' evaluation.online',
  ),
)


def check(
  config: config_lib.Config, reads: Sequence[Reads], recipe: str = ''
) -> None:
  """Refuses values out of bounds, and settings that a recipe does not read.

  Args:
    config: the settings.
    reads: what the recipe reads.
    recipe: its words in a message; '' is model.name.
  """
  fields.refuse_values(config)
  aggregators.make(config.aggregator)  # refuses what it does not have
  recipe = recipe or f'model.name={config.model.name}'
  fields.refuse_unread(config, reads, recipe)


def sequence(config: config_lib.Config) -> None:
  """Checks the training of a sequence model, and of plugins on one."""
  check(config, SEQUENCE)
  _check_groups(config)
  _check_history_prior(config)
  train = config.train
  if train.positions != 'last':
    _refuse_samples(
      config,
      f'an example of train.positions {train.positions!r} is a whole sequence;'
      ' use train.positions=last or groups.key=user_train_count',
    )
  _check_draws(config)
  _check_tables(config)
  _check_augmentation(config)
  if train.penalty != 'none' and config.aggregator.form == 'explicit':
    raise types.UserError(
      'aggregator.form explicit changes nothing with a train.penalty, which'
      ' takes one pass; use auto'
    )
  if train.method == 'separate':
    _check_separate(config)
  if config.plugin.name != 'none':
    _check_plugin(config)


def _check_augmentation(config):
  few, number = config.augment.groups, config.groups.num_groups
  if few > number:
    raise types.UserError(
      f'augment.groups is {few}, but there are {number} groups; allowed are 1'
      f' to {number}'
    )


def _check_draws(config):
  data, train, rows = config.data, config.train, config.aggregator
  given, wanted = len(train.temperatures), config.groups.num_groups
  if given not in (0, 1, wanted):
    raise types.UserError(
      f'train.temperatures has {given} values for {wanted} groups; give one for'
      ' all, or one per group'
    )
  if data.negative_sharing != 'none' and train.positions == 'last':
    raise types.UserError(
      'data.negative_sharing sequence is for train.positions every or masked:'
      ' with last every observed item has its own negatives; leave it out'
    )
  if train.objective == 'cross_entropy' and rows.table_gradients == 'rows':
    raise types.UserError(
      'aggregator.table_gradients rows: train.objective cross_entropy moves the'
      ' rows of all items; use dense'
    )


def _check_tables(config):
  name, plugin = config.train.table_optimizer, config.plugin
  if name == 'adam':
    return
  refused = (
    (config.train.objective == 'cross_entropy',
     'train.objective cross_entropy needs those of all items; use'
     ' train.objective=softmax'),
    (config.train.method == 'separate',
     'train.method separate has tables of every group; use'
     ' train.method=aggregator'),
    (config.aggregator.table_gradients == 'dense',
     'aggregator.table_gradients dense is of whole tables; use auto'),
    (plugin.name != 'none' and not plugin.trunk_learning_rate,
     'plugin.trunk_learning_rate 0 moves none; use a rate above 0'),
    (config.aggregator.name in table_rows.DENSE_ONLY,
     f'aggregator.name {config.aggregator.name!r} acts on rows that no group'
     ' touches; use backdoor or pcgrad'),
  )  # fmt: skip
  for holds, why in refused:
    if holds:
      raise types.UserError(
        f'train.table_optimizer {name!r} moves the rows of a batch, and {why},'
        ' or train.table_optimizer=adam'
      )


def _check_groups(config):
  number = config.groups.num_groups
  aggregators.check_number(config.aggregator, number, 'groups')


def _check_history_prior(config):
  prior = config.prior
  given, wanted = len(prior.weights), history_prior.names(prior.terms)
  if given and given != len(wanted):
    raise types.UserError(
      f'prior.weights has {given} values, but prior.terms {prior.terms} has'
      f' {len(wanted)}: {", ".join(wanted)}; give one for each, or leave it out'
    )


def _refuse_samples(config, why):
  if config.groups.key == 'sample_history_len':
    raise types.UserError(
      f"groups.key 'sample_history_len' divides single samples, but {why}"
    )


def _check_separate(config):
  if config.routing.groups:
    raise types.UserError(
      f'routing.groups is {config.routing.groups}, but train.method separate'
      ' has a model per group and no trunk for the others; leave routing.groups'
      ' out'
    )
  refused: tuple[tuple[str, Any, str], ...] = (
    ('aggregator.table_gradients', 'rows', 'is for a table that groups share'),
    ('routing.mode', 'soft', 'blends plugins of one trunk'),
    ('routing.mode', 'shrunk', 'weighs plugins against their trunk'),
    ('routing.cold', 'trunk', 'is the model without its plugin'),
  )
  values = {path: value for path, _, value in fields.walk(config)}
  for path, value, needed in refused:
    if values[path] == value:
      raise types.UserError(
        f'{path} {value!r} {needed}, but train.method separate has a model per'
        f' group; leave {path} out'
      )


def _check_plugin(config):
  plugin, train = config.plugin, config.train
  plugins.make(plugin)  # refuses what it does not have
  served, number = config.routing.groups, config.groups.num_groups
  if served > number:
    raise types.UserError(
      f'routing.groups is {served}, but there are {number} groups; allowed are'
      f' 0 for all to {number}'
    )
  if served and config.routing.mode == 'shrunk':
    raise types.UserError(
      f'routing.groups is {served}, but routing.mode shrunk weighs the plugins'
      ' of all groups by how they differ; leave routing.groups out'
    )
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
      ' (plugin.trunk_learning_rate 0); leave it out, or change the rate'
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


def multi_behavior(config: config_lib.Config) -> None:
  """Checks the training of COPF and its relatives, and of plugins on them."""
  check(config, MULTI_BEHAVIOR)
  auxiliaries.check(config)
  if config.behavior.aggregate != 'behaviors':
    _check_groups(config)
  _refuse_samples(
    config, f'model.name={config.model.name} trains users; use user_train_count'
  )
  if config.plugin.name != 'none':
    _check_plugin(config)
    _check_plugin_of_graphs(config)


def _check_plugin_of_graphs(config):
  plugin, model = config.plugin, f'model.name={config.model.name}'
  if 'points' in plugins.OPTIONS.get(plugin.name, ()) and plugin.points != 'Z':
    raise types.UserError(
      f'plugin.points is {plugin.points}, but {model} reads no history; use Z,'
      ' before the head'
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
      f' {model} plugins stand on what the graphs gave; set it to 0'
    )
  if plugin.select_metric == 'loss':
    raise types.UserError(
      f"plugin.select_metric 'loss' judges sequence models, not {model}; use"
      ' group_auc, hr@10, another ranking metric, or none'
    )


def two_time_scale(config: config_lib.Config, parts: Sequence[Any]) -> None:
  """Checks the training of 2TS, its ablations and controls.

  Args:
    config: the settings.
    parts: networks of the variant, each with what it `reads`: 'whole', 'window'
      or 'carried' events, 'ends', or 'nothing'.
  """
  check(
    config,
    TWO_TIME_SCALE,
    'model.name=two_time_scale, whose settings are under two_time',
  )
  _check_groups(config)
  if config.train.select_on != 'validation':
    raise types.UserError(
      f'train.select_on {config.train.select_on!r}: two_time_scale selects on'
      ' validation events alone; leave it out'
    )
  ccf.check(config)
  offer_steps.make(config, jnp.ones(config.groups.num_groups))
  _check_variant(config, [part.reads for part in parts])
  if config.plugin.name != 'none':
    _check_plugin_of_streams(config, parts[0].reads)


def _check_variant(config, reads):
  options = config.two_time
  variant = f'two_time.variant {options.variant}'
  together = options.variant in config_lib.ONE_STAGE
  if not options.stage1_epochs:
    raise types.UserError(
      'two_time.stage1_epochs names no number of epochs; give one or more, as'
      ' in 10,20'
    )
  if options.cell == 'scaled_gru' and together:
    raise types.UserError(
      'two_time.cell scaled_gru takes its scale from the embeddings of stage 1,'
      f' and {variant} has no stage 1; use gru'
    )
  if options.share_readout and options.variant not in two_rnn.TWO_READ_OUTS:
    raise types.UserError(
      'two_time.share_readout is for two networks with a read-out, and'
      f' {variant} has none to share; use'
      f' {" or ".join(two_rnn.TWO_READ_OUTS)}, or leave it out'
    )
  # Otherwise a network serves, or tells how long stage 1 trains.
  if set(reads) == {'nothing'} and len(set(options.stage1_epochs)) == 1:
    names = ('epochs', 'patience', 'rate', 'clip', 'tokens')
    unread = [f'two_time.{name}' for name in names]
    fields.refuse_changed(config, unread, f'as {variant} trains no network')
  if 'ends' in reads:
    fields.refuse_changed(
      config,
      ['two_time.holdout', 'two_time.warmup'],
      f'as {variant} starts every user before the last window, from an'
      ' embedding that has not seen it, and replays it',
    )
  one_pass = together or options.share_readout
  aggregator = aggregators.make(config.aggregator)
  explicit = steps.resolve_form(aggregator, config.aggregator.form) != 'fused'
  if explicit and ('carried' in reads or one_pass):
    why = 'networks that are trained together take one pass'
    if 'carried' in reads:
      why = f'{variant} carries states between steps'
    raise types.UserError(
      f'aggregator {config.aggregator.name!r} in form'
      f' {config.aggregator.form!r} needs a gradient per group, but {why}; use'
      ' joint, backdoor or class_balanced, in form auto'
    )
  plugged = config.plugin.name != 'none'
  packed = 'carried' in reads or set(reads) == {'nothing'} or one_pass
  if packed or explicit or plugged:
    fields.refuse_changed(
      config,
      ['two_time.loader'],
      'as networks that carry states, share a step with another, have plugins'
      ' or take a gradient per group are packed',
    )


def _check_plugin_of_streams(config, reads):
  options, plugin = config.two_time, config.plugin
  plugins.make(plugin)
  together = options.variant in config_lib.ONE_STAGE
  alone = reads in ('whole', 'ends')
  if together or not alone or options.share_readout:
    raise types.UserError(
      f'plugin.name {plugin.name}: two_time.variant {options.variant} has no'
      ' network of inactive users of its own to put plugins in; use 2ts,'
      ' shrunk, 2ts_plus (share_readout=False) or plugin.name=none'
    )
  own_items = plugin.name != 'naive' and 'A' in plugin.points
  if own_items and not plugin.history_only:
    raise types.UserError(
      f'plugin.points {plugin.points} would change the frozen item vectors of a'
      ' group; use plugin.history_only=True or plugin.points=Z'
    )
