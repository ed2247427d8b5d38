"""From learner, source and update to what a training phase compiles."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types
from twotsrec.training import loop
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
  """How a phase moves, stops and selects.

  Attributes:
    train: epochs, patience, selection.
    update: what a step does with a batch.
    keys: random numbers.
    judge: params -> {metric: value, metric_by_group: values}; None takes the
      last epoch.
    diagnose: (state, context, feed, plan, key) -> {name: array}, or None.
    by_group: params -> what to keep of them for each group, where every group
      takes its own best epoch; None takes one epoch for all.
    snapshots: epochs, from 1, after which the parameters are kept for good.
  """

  train: config_lib.TrainConfig
  update: updates.Update
  keys: Keys
  judge: Callable[[Any], dict[str, Any]] | None = None
  diagnose: Callable[..., dict[str, Any]] | None = None
  by_group: Callable[[Any], list[Any]] | None = None
  snapshots: tuple[int, ...] = ()


class Parts(NamedTuple):
  """A phase as `Work.fit` takes it: what learns, from what, and how."""

  learner: contracts.Learner
  source: contracts.Source
  how: How


def keys_of(key: jax.Array) -> Keys:
  """Keys of a phase from one; negatives change with the epoch."""
  init, train, data = jax.random.split(key, 3)
  return Keys(init, train, lambda epoch: jax.random.fold_in(data, epoch))


def make(
  learner: contracts.Learner,
  source: contracts.Source,
  how: How,
  start: types.PyTree | None = None,
) -> loop.Phase:
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

  return loop.Phase(
    runner=steps.make_runner(how.update.step, source.batch_of),
    init_state=init_state,
    context=learner.context,
    feed=source.feed,
    plan_of=source.plan_of,
    negative_key=how.keys.negatives,
    num_losses=how.update.num_losses or len(source.sizes),
    evaluate=how.judge,
    diagnose=how.diagnose,
    by_group=how.by_group,
    snapshots=how.snapshots,
  )


def verify(
  learner: contracts.Learner, source: contracts.Source, how: How
) -> None:
  """Refuses what no phase can be made of, without compiling anything.

  Raises:
    types.UserError: as `make`.
  """
  jax.eval_shape(make(learner, source, how).init_state)


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


def rows_by_group(flat: contracts.Source) -> contracts.Source:
  """Batches of a source that has `stack`, laid out by group."""
  return flat._replace(
    batch_of=jax.vmap(flat.batch_of, in_axes=(None, 0, None)),
    plan_of=lambda epoch: flat.stack(flat.plan_of(epoch)),
    by_group=None,
    stack=np.asarray,
  )
