"""Both networks of 2TS in one phase: with embeddings, or with a shared W.

2TS-SingleStage trains everything at once (2TS sec. 4.2). A shared read-out W is
trained by the losses of both networks, so they cannot go one by one.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import stream_feeds
from twotsrec.data import streams
from twotsrec.models import ccf
from twotsrec.models import two_rnn
from twotsrec.objectives import streams as stream_objectives
from twotsrec.recipes.two_time import jobs as jobs_lib
from twotsrec.recipes.two_time import networks as networks_lib
from twotsrec.training import phases
from twotsrec.training import steps
from twotsrec.training import updates

NAMES = ('inactive', 'active')
_SHARED = ('readout',)


def make_parts(
  setting: networks_lib.Setting,
  jobs: tuple[jobs_lib.Job, ...],
  judge: Callable[[types.Params], float] | None,
  embeddings: tuple[types.Params, dict[str, Any]] | None = None,
) -> phases.Parts:
  """A phase whose steps hold events of both networks, in proportion.

  Args:
    setting: data, and vectors that are frozen unless there are `embeddings`.
    jobs: of inactive and of active users.
    judge: params -> MRR on validation events; None takes the last epoch.
    embeddings: parameters of `ccf.init` to train along, and their context.
  Raises:
    types.UserError: an aggregator that needs the gradient of every group.
  """
  config, trained = setting.config, embeddings is not None
  learner = contracts.Learner(
    init=lambda key: _params(setting, jobs, key, embeddings),
    context=embeddings[1] if embeddings else {'vectors': setting.vectors},
    loss=make_objective(config, trained),
  )
  source = _source(setting, jobs, trained)
  aggregator = aggregators.make(config.aggregator)
  update = updates.of_gradient(
    steps.make_gradient(learner.loss, aggregator, source.sizes, 'fused'),
    networks_lib.clipped(config)(config.two_time.rate),
    lambda key, params: aggregator.init(len(source.sizes), params),
  )
  how = phases.How(
    train=train_config(config),
    update=update,
    keys=networks_lib.phase_keys(config, 'both'),
    judge=judge and (lambda params: {'mrr': judge(params)}),
  )
  return phases.Parts(learner=learner, source=source, how=how)


def _source(setting, jobs, trained) -> contracts.Source:
  """Events of both networks side by side."""
  first = _layout(setting, jobs[0], trained)
  layouts = [first, _layout(setting, jobs[1], trained, first.shape[0])]
  groups, sizes = _groups(jobs)
  seed = setting.config.train.seed
  return contracts.Source(
    feed=tuple(stream_feeds.make_feed(setting.prepared, g) for g in groups),
    sizes=sizes,
    batch_of=_batch_of(setting, layouts),
    plan_of=lambda epoch: _plan(layouts, seed, epoch),
  )


def make_objective(
  config: config_lib.Config, trained: bool
) -> Callable[..., jax.Array]:
  """(params, context, Pair, key) -> f32[n], losses of both networks.

  The mean of the losses is (|D_in| L_in + |D_act| L_act) / |D| where a batch
  holds both in proportion.

  Args:
    config: of the networks.
    trained: whether embeddings are among the parameters, or else given.
  """
  stages = two_rnn.make_stages(config.two_time, config.model.width)
  losses = [
    stream_objectives.make(stages, own_start=part.own_start)
    for part in jobs_lib.parts(config.two_time.variant)
  ]

  def objective(params, context, batch, key=None):
    vectors = vectors_of(params, context) if trained else context['vectors']
    given = {'vectors': vectors}
    values = [
      loss(network(params, name), given, part, key)
      for name, loss, part in zip(NAMES, losses, batch.parts, strict=True)
    ]
    return jnp.concatenate(values)

  return objective


def vectors_of(
  params: types.Params, context: dict[str, Any]
) -> stream_objectives.Vectors:
  """Item and user vectors that are trained along."""
  users = params.tables['user']['embedding']
  return stream_objectives.Vectors(ccf.item_vectors(params, context), users)


def network(params: types.Params, name: str) -> types.Params:
  """One of the networks as if it had been trained alone."""
  net = params.net[name]
  extractor = {**net['extractor'], **params.net['shared']}
  return types.Params({}, {**net, 'extractor': extractor})


def networks(params: types.Params) -> dict[str, types.PyTree]:
  """Both networks, by the name of their part."""
  return {name: network(params, name).net for name in NAMES}


def train_config(config: config_lib.Config) -> config_lib.TrainConfig:
  """How the phase runs; training everything at once takes more epochs."""
  train = networks_lib.train_config(config)
  if not jobs_lib.trained_together(config.two_time.variant):
    return train
  return dataclasses.replace(train, epochs=config.two_time.single_stage_epochs)


def _params(setting, jobs, key, embeddings):
  keys = jax.random.split(key)
  if embeddings is not None:
    # Starts are small at first, and no scale to keep the states within.
    vectors = setting.vectors._replace(user=None)
    setting = setting._replace(vectors=vectors)
  nets = {
    job.part.name: networks_lib.init_net(setting, job.part, k)
    for job, k in zip(jobs, keys, strict=True)
  }
  shared = {}
  if setting.config.two_time.share_readout:
    for net in nets.values():
      shared |= {k: net['extractor'].pop(k) for k in _SHARED}
  nets['shared'] = shared
  if embeddings is None:
    return types.Params({}, nets)
  params = jax.tree.map(jnp.array, embeddings[0])
  return types.Params(params.tables, {**nets, **params.net})


def _groups(jobs):
  """Activeness groups of both jobs one after the other, and their sizes."""
  first = len(jobs[0].sizes)
  groups = (jobs[0].group, jobs[1].group + first)
  return groups, jnp.asarray(np.concatenate([job.sizes for job in jobs]))


def _layout(setting, job, windows_anew, num_steps=None):
  """Streams of a job in a given number of steps."""
  options, longest = setting.config.two_time, int(job.runs.length.max())
  tokens = jobs_lib.tokens(job.runs, options)
  anew = windows_anew and job.part.own_start
  if not (anew and options.single_stage_window == 'random'):
    return streams.packed(job.runs, longest, tokens, num_steps)
  counts = prepared_lib.train_counts(setting.prepared)[job.users]
  start = np.asarray(setting.prepared.user_offsets)[job.users]
  whole = streams.Runs(start, counts)
  draw = lambda generator: streams.windows(whole, options.window, generator)
  first = streams.packed(
    draw(np.random.default_rng(0)), longest, tokens, num_steps
  )

  def plan_of(seed, epoch):
    runs = draw(np.random.default_rng((seed, epoch, 1)))
    steps_ = first.shape[0]
    return streams.packed(runs, longest, tokens, steps_).plan_of(seed, epoch)

  return first._replace(plan_of=plan_of)


def _plan(layouts, seed, epoch):
  """Entries of both networks side by side, i32[S, n]."""
  plans = [layout.plan_of(seed, epoch) for layout in layouts]
  return np.concatenate([p.reshape(len(p), -1) for p in plans], axis=1)


def _batch_of(setting, layouts):
  """(feeds, entries, key) -> Pair."""
  drawn = stream_objectives.negatives(setting.config.two_time)
  num_items = setting.prepared.num_items
  makers = [
    stream_feeds.make_batch_of(layout.shape[1:], num_items, *drawn)
    for layout in layouts
  ]
  first = int(np.prod(layouts[0].shape[1:]))

  def batch_of(feeds, entries, key):
    halves = jnp.split(entries, [first])
    keys = jax.random.split(key)
    parts = [
      make(feed, half, k)
      for make, feed, half, k in zip(makers, feeds, halves, keys, strict=True)
    ]
    return stream_objectives.pair(*parts)

  return batch_of
