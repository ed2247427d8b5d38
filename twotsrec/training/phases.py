"""From learner, source and update to what a training phase compiles."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types
from twotsrec.training import steps
from twotsrec.training import updates


class Keys(NamedTuple):
  """Random numbers of a phase, independent of each other.

  Attributes:
    init: of parameters; the state of a method starts from a part of it.
    train: of updates, as dropout.
    negatives: epoch -> key of what is drawn for its batches.
  """

  init: jax.Array
  train: jax.Array
  negatives: Callable[[int], jax.Array]


class How(NamedTuple):
  """Update, stopping and selection of a phase.

  Attributes:
    train: epochs, patience, selection.
    update: what a step does with a batch.
    keys: random numbers.
    judge: params -> {metric: value, metric_by_group: values}; None takes the
      last epoch.
    diagnose: (state, context, feed, plan, key) -> {name: array}, or None.
    by_group: params -> what to keep of them for each group, where every group
      takes its own best epoch; None takes one epoch for all.
    snapshots: epochs, from 1, after which the parameters are saved for good.
    rate: learning rate that updates are told, so that phases that differ in it
      share a compiled program; None leaves it to the update.
  """

  train: config_lib.TrainConfig
  update: updates.Update
  keys: Keys
  judge: Callable[[Any], dict[str, Any]] | None = None
  diagnose: Callable[..., dict[str, Any]] | None = None
  by_group: Callable[[Any], Sequence[Any]] | None = None
  snapshots: tuple[int, ...] = ()
  rate: float | None = None


class Parts(NamedTuple):
  """A phase as `Work.fit` takes it: what learns, from what, and how."""

  learner: contracts.Learner
  source: contracts.Source
  how: How


class Phase(NamedTuple):
  """Parts that are ready to run.

  Attributes:
    runner: from `steps.make_runner`.
    init_state: () -> steps.TrainState before the first update.
    learner: what is trained.
    source: its batches, laid out as the update wants them.
    how: update, stopping and selection.
    num_losses: losses a step tells apart: of G groups, or of K behaviors.
  """

  runner: Any
  init_state: Callable[[], steps.TrainState]
  learner: contracts.Learner
  source: contracts.Source
  how: How
  num_losses: int


def keys_of(key: jax.Array) -> Keys:
  """Keys of a phase from one; negatives change with the epoch."""
  init, train, data = jax.random.split(key, 3)
  return Keys(init, train, lambda epoch: jax.random.fold_in(data, epoch))


def make(
  learner: contracts.Learner,
  source: contracts.Source,
  how: How,
  start: types.PyTree | None = None,
) -> Phase:
  """The phase of a loop.

  Args:
    learner: what is trained.
    source: its batches, cut by group if the update wants that.
    how: update, stopping and selection.
    start: parameters to begin with; None draws them.
  Raises:
    types.UserError: an update by group of batches that have none.
  """
  if how.update.stacked:
    source = by_group(source)

  def init_state():
    if start is None:
      params = learner.init(how.keys.init)
    else:
      params = jax.tree.map(jnp.array, start)  # the first update donates it
    method_key = jax.random.fold_in(how.keys.init, 1)
    return how.update.init(params, how.keys.train, method_key)

  return Phase(
    runner=steps.make_runner(how.update.step, source.batch_of),
    init_state=init_state,
    learner=learner,
    source=source,
    how=how,
    num_losses=how.update.num_losses or len(source.sizes),
  )


def by_group(source: contracts.Source) -> contracts.Source:
  """The source with a row per group.

  Raises:
    types.UserError: its batches have none.
  """
  if source.by_group is None:
    raise types.UserError(
      'batches of this model cannot be cut by group; use an aggregator whose'
      ' weights are known before the gradient: joint, backdoor or'
      ' class_balanced'
    )
  return source.by_group()
