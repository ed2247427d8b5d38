"""What a stage-2 phase of 2TS compiles: one network on frozen vectors."""

from collections.abc import Callable
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import plugins
from twotsrec import stream_objectives
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import stream_feeds
from twotsrec.data import streams
from twotsrec.models import two_rnn
from twotsrec.plugins import plugged
from twotsrec.plugins import recurrent
from twotsrec.recipes import two_time_jobs as jobs_lib
from twotsrec.training import loop
from twotsrec.training import optimizers
from twotsrec.training import plugin_steps
from twotsrec.training import steps
from twotsrec.training import stream_steps

# Of random numbers. The one network of a control draws what the network of
# inactive users draws, so that what it reads is all that differs.
_STREAMS = {'both': 4, 'active': 6, 'inactive': 8, 'everyone': 8}
_LOADERS = {'packed': streams.packed, 'padded': streams.padded}


class Setting(NamedTuple):
  """What the phases of a run have in common.

  Attributes:
    config: of the run.
    prepared: the data.
    vectors: frozen vectors of items and users, from stage 1.
  """

  config: config_lib.Config
  prepared: prepared_lib.Prepared
  vectors: stream_objectives.Vectors


class Update(NamedTuple):
  """How a network moves.

  Attributes:
    layout: of its events.
    gradient: as `steps.make_gradient`.
    optimizer: what the gradient is given to.
    state: of the method, before the first step.
    post: from `steps.make_post`, or None.
  """

  layout: streams.Layout
  gradient: Callable[..., Any]
  optimizer: optax.GradientTransformation
  state: types.PyTree
  post: Callable[..., Any] | None = None


def make_phase(
  setting: Setting,
  job: jobs_lib.Job,
  judge: Callable[[types.PyTree], float] | None,
  trunk: types.PyTree | None = None,
) -> tuple[loop.Phase, steps.TrainState]:
  """Trains a network on its events (2TS eq. 11 or 12).

  Args:
    setting: data and vectors.
    job: whose events.
    judge: net -> MRR on validation events; None takes the last epoch.
    trunk: a trained network to put plugins in; None trains it from the start.
  Raises:
    types.UserError: parts that do not go together.
  """
  config = setting.config
  init_key, train_key, data_key = phase_keys(
    config, job.part.name, plugins_on=trunk is not None
  )
  net = init_net(setting, job.part, init_key) if trunk is None else trunk
  params = types.Params({}, net)
  if trunk is not None:
    params = plugged.join(params, init_plugins(setting, job, net, init_key))
  update = make_update(setting, job, params, plugged_in=trunk is not None)
  phase = loop.Phase(
    runner=steps.make_runner(
      steps.make_step(update.gradient, update.optimizer, update.post),
      _batch_of(setting, update.layout.shape),
    ),
    context={'vectors': setting.vectors},
    feed=stream_feeds.make_feed(setting.prepared, job.group),
    plan_of=lambda epoch: update.layout.plan_of(config.train.seed, epoch),
    negative_key=lambda epoch: jax.random.fold_in(data_key, epoch),
    num_losses=len(job.sizes),
    evaluate=judge and (lambda params: {'mrr': judge(params.net)}),
  )
  params = jax.tree.map(jnp.array, params)  # the first update donates them
  return phase, steps.init_state(
    params, update.optimizer, update.state, train_key
  )


def phase_keys(
  config: config_lib.Config, name: str, plugins_on: bool = False
) -> jax.Array:
  """Keys of parameters, updates and negatives, one set for each phase."""
  key = jax.random.fold_in(jax.random.key(config.train.seed), _STREAMS[name])
  if plugins_on:
    key = jax.random.fold_in(key, 1)
  return jax.random.split(key, 3)


def train_config(
  config: config_lib.Config, plugins_on: bool = False
) -> config_lib.TrainConfig:
  """How a phase of stage 2 runs, stops and selects."""
  options, plugin = config.two_time, config.plugin
  return dataclasses.replace(
    config.train,
    epochs=plugin.epochs if plugins_on else options.epochs,
    patience=plugin.patience if plugins_on else options.patience,
    evaluate_every=1,
    learning_rate=options.rate,
    select_metric='mrr',
    select_on='validation',
  )


def init_net(
  setting: Setting, part: jobs_lib.Part, key: jax.Array
) -> types.PyTree:
  """A fresh network; psi only where users start at it."""
  options, width = setting.config.two_time, setting.config.model.width
  stages = two_rnn.make_stages(options, width)
  net = stages.init(key, None, types.Sizes(1, 1, 1)).net
  extractor = dict(net['extractor'])
  if part.own_start:
    del extractor['psi']
  if setting.vectors.user is not None:
    extractor = two_rnn.with_scale(extractor, setting.vectors.user)
  return {**net, 'extractor': extractor}


def init_plugins(
  setting: Setting, job: jobs_lib.Job, net: types.PyTree, key: jax.Array
) -> types.PyTree:
  """A plugin for every activeness group of a job, leaves [G, ...]."""
  options, width = setting.config.plugin, setting.config.model.width
  stages = two_rnn.make_stages(setting.config.two_time, width)
  table = {'embedding': setting.vectors.item}
  trunk = types.Params({'item': table}, net)
  sizes = types.Sizes(1, table['embedding'].shape[0] - 1, 2)
  return plugins.make(options).init(key, stages, trunk, len(job.sizes), sizes)


def make_update(
  setting: Setting,
  job: jobs_lib.Job,
  params: types.Params,
  plugged_in: bool = False,
) -> Update:
  """How a network is moved by its events.

  Args:
    setting: data and vectors.
    job: whose events.
    params: of the network.
    plugged_in: whether they are those of a trunk and plugins.
  Raises:
    types.UserError: parts that do not go together.
  """
  config = setting.config
  sizes = jnp.asarray(job.sizes)
  aggregator = aggregators.make(config.aggregator)
  stages = two_rnn.make_stages(config.two_time, config.model.width)
  optimizer = optimizers.clipped(config.two_time.rate, config.two_time.clip)
  own_start = job.part.own_start
  if plugged_in:
    trunk = plugged.split(params)[0]
    state = aggregator.init(len(job.sizes), trunk)
    return _plugged(setting, job, aggregator, sizes, state)
  state = aggregator.init(len(job.sizes), params)
  if job.part.reads == 'carried':
    objective = stream_objectives.make_carried(stages, own_start)
    layout = make_layout(job, config.two_time)
    width = two_rnn.cell_of(config.two_time).states * config.model.width
    carried = {'carried': jnp.zeros((layout.shape[2], width)), 'method': state}
    gradient = stream_steps.make_carried_gradient(objective, aggregator, sizes)
    return Update(layout, gradient, optimizer, carried)
  form = steps.resolve_form(aggregator, config.aggregator.form)
  objective = stream_objectives.make(stages, own_start)
  gradient = steps.make_gradient(objective, aggregator, sizes, form)
  layout = make_layout(job, config.two_time, by_group=form == 'explicit')
  group_loss = steps.make_group_loss(objective)
  post = steps.make_post(group_loss, aggregator, sizes)
  return Update(layout, gradient, optimizer, state, post)


def _plugged(setting, job, aggregator, sizes, state):
  """Plugins of all groups and their trunk (PIN sec. 3.3)."""
  config = setting.config

  bind = recurrent.make_bind(config)

  def plugin_loss(trunk, plugin, context, batch, key):
    stages, _ = bind({'trunk': None, 'plugins': plugin})
    objective = stream_objectives.make(stages, job.part.own_start)
    return steps.make_group_loss(objective)(trunk, context, batch, key)

  rate = config.plugin.trunk_learning_rate
  frozen = plugin_steps.frozen_trunk if rate == 0 else None
  gradient = plugin_steps.make_gradient(plugin_loss, frozen, aggregator, sizes)
  post = None
  if rate:
    group_loss = plugin_steps.make_group_loss(plugin_loss)
    post = steps.make_post(group_loss, aggregator, sizes)
  clip = config.two_time.clip
  optimizer = plugin_steps.make_optimizer(
    optimizers.clipped(rate, clip),
    optimizers.clipped(optimizers.plugin_rate(config.plugin), clip),
  )
  layout = make_layout(job, config.two_time, by_group=True)
  return Update(layout, gradient, optimizer, state, post)


def make_layout(
  job: jobs_lib.Job, options: config_lib.TwoTimeConfig, by_group: bool = False
) -> streams.Layout:
  """How the events of a job are laid out; `by_group` is packed."""
  tokens = jobs_lib.tokens(job.runs, options)
  if job.part.reads == 'carried':
    width = min(max(tokens // options.window, 1), len(job.users))
    return streams.carried(job.runs, options.window, width)
  longest = int(job.runs.length.max())
  if not by_group:
    return _LOADERS[options.loader](job.runs, longest, tokens)
  num_steps = streams.packed(job.runs, longest, tokens).shape[0]
  runs_of = lambda mine: streams.Runs(*(x[mine] for x in job.runs))
  of_run = job.group[job.users]
  return streams.stacked(
    [
      streams.packed(runs_of(of_run == g), longest, tokens, num_steps)
      for g in range(len(job.sizes))
    ]
  )


def _batch_of(setting, shape):
  """(feed, entries, key) -> Batch; leaves [G, ...] where groups are stacked."""
  options = setting.config.two_time
  batch_of = stream_feeds.make_batch_of(
    shape[-2:],
    setting.prepared.num_items,
    *stream_objectives.negatives(options),
  )
  if len(shape) == 3:
    return batch_of
  by_group = jax.vmap(batch_of, in_axes=(None, 0, None))

  def stacked_batch_of(feed, entries, key):
    batch = by_group(feed, entries, key)
    # Filling is of user 0; here it belongs to its row's group.
    own = jnp.arange(shape[1], dtype=batch.group.dtype)
    group = jnp.broadcast_to(own[:, None], batch.group.shape)
    return batch._replace(group=group)

  return stacked_batch_of
