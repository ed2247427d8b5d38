"""Whatever every group has of its own, trained side by side.

A model per group on that group alone is what PIN sets out against (sec. 1):
nothing of what groups have in common reaches the small ones.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from twotsrec import trees
from twotsrec.objectives import sampled as objectives
from twotsrec.training import grouped
from twotsrec.training import steps


def make_gradient(
  objective: objectives.Objective, widths: Sequence[int] | None = None
) -> Callable[..., Any]:
  """As `steps.make_gradient`, for parameters with leaves [G, ...].

  Args:
    objective: of one group's parameters and examples.
    widths: rows that each group fills at most, as in `grouped.map_groups`.
  """
  loss_and_gradient = jax.value_and_grad(steps.make_group_loss(objective))

  def one(context, own, batch):
    params, key = own
    return loss_and_gradient(params, context, batch, key)

  mapped = grouped.map_groups(one, widths)

  def gradient(params, context, batch, state, key):
    keys = jax.random.split(key, batch.weight.shape[0])
    losses, grads = mapped(context, (params, keys), batch)
    counts = jnp.sum(batch.weight, axis=1)
    return grads, state, losses * counts, counts

  return gradient


def make_optimizer(
  optimizer: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
  """An optimizer of its own for every group, over leaves [G, ...].

  A group without examples in the batch does not move, and neither do its
  moments and its step count. Update takes `counts`, f32[G].
  """

  def init(params):
    return jax.vmap(optimizer.init)(params)

  def update(grads, state, params=None, *, counts, **extra):
    del extra
    kept = lambda new, old: jnp.where(
      jnp.reshape(counts > 0, (-1, *[1] * (new.ndim - 1))), new, old
    )
    updates, moved = jax.vmap(optimizer.update)(grads, state, params)
    still = jax.tree.map(jnp.zeros_like, updates)
    return jax.tree.map(kept, updates, still), jax.tree.map(kept, moved, state)

  return optax.GradientTransformationExtraArgs(init, update)


def stack(params: Any, num_groups: int) -> Any:
  """The same start for every group, leaves [G, ...]."""
  repeat = lambda leaf: jnp.repeat(leaf[None], num_groups, axis=0)
  return jax.tree.map(repeat, params)


def unstack(stacked: Any, num_groups: int) -> list[Any]:
  """What each group has, a list of G trees."""
  return [trees.take(stacked, j) for j in range(num_groups)]
