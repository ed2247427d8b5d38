"""What a training phase of a multi-behavior model compiles."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import aggregators
from twotsrec import types
from twotsrec.data import behavior_feeds
from twotsrec.data import behaviors as behaviors_lib
from twotsrec.models import experts
from twotsrec.objectives import behaviors as behavior_objectives
from twotsrec.ops import pairs as pairs_lib
from twotsrec.recipes import experiment as experiment_lib
from twotsrec.recipes import reports
from twotsrec.training import behavior_steps
from twotsrec.training import loop
from twotsrec.training import optimizers
from twotsrec.training import steps


def make_phase(
  experiment: experiment_lib.Experiment,
) -> tuple[loop.Phase, steps.TrainState]:
  """As `phases.make_phase`: batches of users, losses by behavior.

  Raises:
    types.UserError: parts that do not go together.
  """
  config, behaviors = experiment.config, experiment.behaviors
  num_behaviors = len(behaviors.names)
  options = config.behavior
  behavior_objectives.check(options, num_behaviors)
  feed, layout = behavior_feeds.make(
    behaviors, experiment.groups.user_group, config
  )
  aggregator, sizes = _aggregation(experiment)
  gradient = behavior_steps.make_gradient(
    experiment.model,
    config,
    behaviors.num_users,
    num_behaviors,
    layout.unique,
    aggregator,
    sizes,
    config.aggregator.form,
  )
  init_key, train_key, data_key = jax.random.split(
    jax.random.key(config.train.seed), 3
  )
  params = jax.jit(experiment.model.init)(init_key)
  optimizer = _optimizer(experiment)
  state = () if aggregator is None else aggregator.init(len(sizes), params)
  post = behavior_steps.make_post(
    experiment.model, config, num_behaviors, aggregator, sizes
  )
  step = steps.make_step(gradient, optimizer, post)
  phase = loop.Phase(
    runner=steps.make_runner(step, _batch_of(experiment, layout)),
    context=experiment.context,
    feed=feed,
    plan_of=lambda epoch: behavior_feeds.make_plan(
      layout, config.train.seed, epoch
    ),
    negative_key=lambda epoch: jax.random.fold_in(data_key, epoch),
    num_losses=num_behaviors,
    evaluate=_evaluate(experiment),
    diagnose=_diagnose(experiment),
  )
  return phase, steps.init_state(params, optimizer, state, train_key)


def _aggregation(experiment):
  """Whose gradients are aggregated, and how large they are."""
  config, behaviors = experiment.config, experiment.behaviors
  over = config.behavior.aggregate
  if over not in behavior_steps.AGGREGATES:
    raise types.UserError(
      f'behavior.aggregate {over!r}; known:'
      f' {", ".join(behavior_steps.AGGREGATES)}'
    )
  if over == 'loss':  # one weighted sum, COPF eq. 16
    return None, None
  if over == 'behaviors':
    sizes = [len(seen.items) for seen in behaviors.train]
  else:
    sizes = _pairs_by_group(experiment)
  # An aggregator may divide by a size, or take its logarithm.
  sizes = jnp.maximum(jnp.asarray(sizes, jnp.float32), 1.0)
  return aggregators.make(config.aggregator), sizes


def _pairs_by_group(experiment):
  """Training pairs of the behaviors that have a loss, i64[G]."""
  config, behaviors = experiment.config, experiment.behaviors
  number = config.groups.num_groups
  weights = behavior_objectives.task_weights(
    config.behavior, len(behaviors.names)
  )
  group = np.asarray(experiment.groups.user_group)
  sizes = np.zeros(number, np.int64)
  for weight, seen in zip(weights, behaviors.train, strict=True):
    if weight:
      sizes += np.bincount(group[behaviors_lib.users(seen)], minlength=number)
  return sizes


def _optimizer(experiment):
  """Adam whose rate falls once an epoch, as in the authors' code."""
  config = experiment.config
  every = max(experiment.behaviors.num_users // config.train.batch_size, 1)
  return optimizers.make(config.train, config.behavior.decay_rate, every)


def _batch_of(experiment, layout):
  """(feed, users, key) -> Batch."""
  num_items = experiment.behaviors.num_items
  num_behaviors = len(experiment.behaviors.names)
  places = layout.places.tolist()

  def batch_of(feed, users, key):
    # A user is in one batch of an epoch: its first user tells batches apart.
    key = jax.random.fold_in(key, users[0])
    keys = jax.random.split(key, len(places))
    drawn = tuple(
      pairs_lib.draw(k, own, users, num_items, count)
      for k, own, count in zip(keys, feed.pairs, places, strict=True)
    )
    pairs, unique = drawn[:num_behaviors], drawn[num_behaviors:]
    known = jnp.maximum(users, 0)
    group = feed.group[known]
    return behavior_objectives.Batch(users, group, pairs, unique)

  return batch_of


def _evaluate(experiment) -> Callable[..., dict[str, Any]] | None:
  train = experiment.config.train
  if train.select_metric == 'none':
    return None
  if train.select_metric == 'loss':
    raise types.UserError(
      'train.select_metric loss judges sequence models; for'
      ' model.name=multi_behavior use hr@10, another ranking metric, or none'
    )
  reports.require_selection_events(experiment)
  return reports.make_metric(experiment, train.select_on)


def _diagnose(experiment):
  """What tells at once how a run is doing, for the target behavior.

  Size of the representations, of the transferred experts against the own one,
  and the gate's mean and spread over random pairs.
  """
  config, behaviors = experiment.config, experiment.behaviors
  target, model = len(behaviors.names) - 1, experiment.model
  generator = np.random.default_rng(0)
  count = 4096
  users = jnp.asarray(generator.integers(behaviors.num_users, size=count))
  items = jnp.asarray(generator.integers(behaviors.num_items, size=count))

  @jax.jit
  def look(params, context):
    encoded = model.encode(params, context, (target,))
    rms = lambda x, axis=None: jnp.sqrt(jnp.mean(jnp.square(x), axis=axis))
    found = {'table_rms': jnp.stack([rms(b) for b in encoded.behaviors])}
    if config.head.name != 'experts':
      return found
    table = encoded.tasks[target]
    user, item = table[users], table[behaviors.num_users + items]
    products = user * item
    slots = experts.sources(target, target + 1, config.head)
    sizes = rms(products.reshape(count, len(slots), -1), (0, 2))
    found['expert_rms'] = sizes
    if 'gate' in params.net['head']:
      halves = experts.gate_halves(
        params.net['head']['gate'], user, item, slots.index(target)
      )
      gate = jax.nn.softmax(sum(halves))
      found |= {'gate_mean': gate.mean(0), 'gate_std': gate.std(0)}
    return found

  def diagnose(state, context, feed, plan, key):
    del feed, plan, key
    return jax.device_get(look(state.params, context))

  return diagnose
