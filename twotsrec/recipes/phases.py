"""From an experiment to what a training phase compiles."""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import types
from twotsrec.data import behavior_feeds
from twotsrec.data import feeds
from twotsrec.data import plans
from twotsrec.data import prepared as prepared_lib
from twotsrec.models import multi_behavior
from twotsrec.objectives import sampled as objectives
from twotsrec.plugins import plugged
from twotsrec.recipes import behavior_phases
from twotsrec.recipes import experiment as experiment_lib
from twotsrec.recipes import reports
from twotsrec.recipes import updates
from twotsrec.training import diagnostics
from twotsrec.training import loop
from twotsrec.training import separate
from twotsrec.training import steps
from twotsrec.training import validation


class Input(NamedTuple):
  """Where batches come from.

  Attributes:
    feed: device columns.
    batch_of: (feed, row of a plan, key) -> Batch.
    plan_of: epoch -> i32[S, B].
    stack: i32[S, B] -> i32[S, G, M], the same batches with a row per group.
    widths: places that each group fills at most in such a row.
  """

  feed: feeds.Feed
  batch_of: Callable[..., types.Batch]
  plan_of: Callable[[int], np.ndarray]
  stack: Callable[[Any], np.ndarray]
  widths: tuple[int, ...] | None = None


class Parts(NamedTuple):
  """An update and what it is applied to.

  Attributes:
    inputs: batches, already stacked by group if the gradient wants that.
    objective: losses per example.
    step: from `steps.make_step`.
    init_state: () -> TrainState.
  """

  inputs: Input
  objective: objectives.Objective
  step: Callable[..., Any]
  init_state: Callable[[], steps.TrainState]


def make_input(experiment: experiment_lib.Experiment) -> Input:
  """Training batches as configured, flat."""
  config, prepared = experiment.config, experiment.prepared
  every_position = config.train.objective == 'every_position'
  if experiment.behaviors is not None:
    feed = behavior_feeds.make_target_feed(
      experiment.behaviors, experiment.groups.user_group
    )
  else:
    make = feeds.make_sequence_feed if every_position else feeds.make_feed
    feed = make(prepared, experiment.groups, config.data)
  group = np.asarray(feed.group)
  train, num_groups = config.train, config.groups.num_groups
  plan_of = lambda epoch: plans.make_plan(
    group, num_groups, train.batch_size, train.batching, train.seed, epoch
  )
  capacity, widths = train.batch_size, None
  if train.batching != 'natural':
    sizes = np.bincount(group, minlength=num_groups)
    shares = plans.group_batch_sizes(sizes, train.batch_size, train.batching)
    capacity, widths = int(shares.max()), tuple(shares.tolist())
  stack = lambda plan: plans.stack_plan(
    np.asarray(plan), group, num_groups, capacity
  )
  return Input(feed, _batch_of(experiment), plan_of, stack, widths)


def make_parts(
  experiment: experiment_lib.Experiment, start: types.Params | None = None
) -> Parts:
  """The update as configured, and its start.

  Args:
    experiment: data and model.
    start: parameters to start from; None draws them.
  """
  config, model = experiment.config, experiment.model
  inputs = make_input(experiment)
  # What the feed trains: a sequence longer than L trains L positions.
  sizes = jnp.asarray(
    np.bincount(
      np.asarray(inputs.feed.group),
      np.asarray(inputs.feed.weight),
      config.groups.num_groups,
    ),
    jnp.float32,
  )
  update = updates.make(experiment, sizes, inputs.widths)
  if update.stacked:
    inputs = _by_group(inputs)
  step = steps.make_step(update.gradient, update.optimizer, update.post)

  def init_state():
    init_key, train_key = jax.random.split(_keys(config)[0])
    method_key = jax.random.fold_in(init_key, 1)
    if start is not None:
      params = jax.tree.map(jnp.array, start)  # the first update donates it
    else:
      params = jax.jit(model.init, static_argnums=2)(
        init_key, experiment.context, experiment.sizes
      )
    if config.train.method == 'separate':
      params = separate.stack(params, config.groups.num_groups)
    return steps.init_state(
      params, update.optimizer, update.init(method_key, params), train_key
    )

  objective = objectives.make(config.train.objective, model)
  return Parts(inputs, objective, step, init_state)


def _by_group(flat: Input) -> Input:
  """The same batches with a row per group."""
  return flat._replace(
    batch_of=jax.vmap(flat.batch_of, in_axes=(None, 0, None)),
    plan_of=lambda epoch: flat.stack(flat.plan_of(epoch)),
    stack=np.asarray,
  )


def make_phase(
  experiment: experiment_lib.Experiment, start: types.Params | None = None
) -> tuple[loop.Phase, steps.TrainState]:
  """Everything a training phase compiles, and the state it starts from."""
  if isinstance(experiment.model, multi_behavior.MultiBehavior):
    return behavior_phases.make_phase(experiment)
  config = experiment.config
  parts = make_parts(experiment, start)
  inputs = parts.inputs
  diagnose = None
  if config.train.log_groups:
    diagnose = diagnostics.make_diagnose(
      parts.objective,
      _batch_of(experiment),
      inputs.stack,
      shared=_shared(config),
    )
  evaluate = make_evaluate(experiment)
  if evaluate is not None and config.train.method == 'separate':
    judge, num_groups = evaluate, config.groups.num_groups
    evaluate = lambda params: judge(separate.unstack(params, num_groups))
  phase = loop.Phase(
    runner=steps.make_runner(parts.step, inputs.batch_of),
    context=experiment.context,
    feed=inputs.feed,
    plan_of=inputs.plan_of,
    negative_key=_negative_key(config),
    num_losses=config.groups.num_groups,
    evaluate=evaluate,
    diagnose=diagnose,
    by_group=_by_group_selection(config),
  )
  return phase, parts.init_state()


def verify(experiment: experiment_lib.Experiment) -> None:
  """Refuses what no phase can be made of, without compiling anything.

  Raises:
    types.UserError: as `make_phase`.
  """
  if isinstance(experiment.model, multi_behavior.MultiBehavior):
    behavior_phases.make_phase(experiment)
    return
  make_evaluate(experiment)
  jax.eval_shape(make_parts(experiment).init_state)


def _by_group_selection(config):
  """What every group keeps of its own best epoch; None if one is for all."""
  num_groups = config.groups.num_groups
  if not experiment_lib.selects_by_group(config):
    return None
  if config.train.method == 'separate':
    return lambda params: separate.unstack(params, num_groups)
  # The trunk of that epoch too: G snapshots of everything.
  return lambda params: [params] * num_groups


def _shared(config):
  """gradient -> the part of it that groups have in common."""
  if config.plugin.name == 'none':
    return lambda gradient: gradient
  return lambda gradient: plugged.split(gradient)[0]


def make_evaluate(
  experiment: experiment_lib.Experiment,
) -> Callable[[types.Params], dict[str, Any]] | None:
  """params -> metrics for selection; None if nothing is selected.

  Raises:
    types.UserError: nothing is held out for it, or an unknown metric.
  """
  config, prepared = experiment.config, experiment.prepared
  metric, select_on = config.train.select_metric, config.train.select_on
  if metric == 'none':
    return None
  reports.require_selection_events(experiment)
  if metric != 'loss':
    return reports.make_metric(experiment, select_on)
  # Among all items nobody touched, so never against the item itself.
  data = dataclasses.replace(config.data, negative_exclude='all')
  split = prepared_lib.SPLITS.index(select_on)
  feed = feeds.make_feed(prepared, experiment.groups, data, split)
  # One target at a time, whatever training does.
  name = 'bpr' if config.train.objective == 'bpr' else 'bce'
  objective = objectives.make(name, experiment.model)
  loss = validation.make_loss(
    objective, _batch_of(experiment, single=True), config.groups.num_groups
  )
  return validation.make_evaluate(
    loss,
    experiment.context,
    feed,
    config.train.batch_size,
    jax.random.key(config.data.seed),
  )


def _batch_of(experiment, single=False):
  """(feed, examples, key) -> Batch; `single` gives one target a history."""
  data = experiment.config.data
  every_position = experiment.config.train.objective == 'every_position'
  return functools.partial(
    feeds.make_batch,
    history_length=experiment.sizes.history_length,
    num_negatives=data.num_negatives,
    num_items=experiment.prepared.num_items,
    every_position=every_position and not single,
  )


def _negative_key(config):
  """epoch -> key of the training negatives."""
  if config.data.negative_mode == 'static':
    # Whatever the seed of the training, like a file of them.
    return lambda epoch: jax.random.key(config.data.seed)
  data_key = _keys(config)[1]
  return lambda epoch: jax.random.fold_in(data_key, epoch)


def _keys(config):
  """Independent keys for parameters and updates, and for negatives."""
  return jax.random.split(jax.random.key(config.train.seed))
