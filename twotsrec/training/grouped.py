"""Activeness groups side by side: their mini-batches, and what is their own.

A model per group on that group alone is what PIN sets out against (sec. 1):
nothing of what groups have in common reaches the small ones.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from twotsrec import trees
from twotsrec import types

# Where filling costs more than this factor, groups run one by one; below this
# many rows a program G times as long is not worth it.
_MAX_FILLING = 1.5
_MIN_ROWS = 256


def map_groups(
  function: Callable[..., Any], widths: Sequence[int] | None = None
) -> Callable[..., Any]:
  """(shared, own, context, batch, key) -> results, leaves [G, ...].

  `function` takes the same of one group: the parameters that all groups have
  in common, those of the group, given arrays, its examples and its key.

  This is a `vmap`, where groups fill about as many rows. Proportional batches
  do not (16 to 295 of 512 on ML-1M, PIN sec. 4.1.4), and a `vmap` pads all of
  them to the largest. There every group runs on its own rows instead: the same
  numbers, no computation on filling.

  Args:
    function: of one group.
    widths: rows that group j fills at most; None if they are not known.
  """
  mapped = jax.vmap(function, in_axes=(None, 0, None, 0, 0))

  def run(shared, own, context, batch: types.Batch, key):
    keys = jax.random.split(key, batch.weight.shape[0])
    if widths is None or not _is_ragged(widths):
      return mapped(shared, own, context, batch, keys)
    results = []
    for j, width in enumerate(widths):
      rows = trees.take(batch, (j, slice(width)))
      results.append(
        function(shared, trees.take(own, j), context, rows, keys[j])
      )
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)

  return run


def _is_ragged(widths: Sequence[int]) -> bool:
  rows = sum(widths)
  return rows >= _MIN_ROWS and len(widths) * max(widths) > _MAX_FILLING * rows


def own_gradient(
  group_loss: Callable[..., jax.Array], widths: Sequence[int] | None = None
) -> Callable[..., Any]:
  """A gradient as in `steps`, of parameters with leaves [G, ...].

  Args:
    group_loss: (params, context, batch, key) of one group -> f32[].
    widths: as in `map_groups`.
  """
  slope = jax.value_and_grad(group_loss)
  mapped = map_groups(lambda shared, *rest: slope(*rest), widths)

  def gradient(params, context, batch, state, key):
    losses, grads = mapped((), params, context, batch, key)
    counts = jnp.sum(batch.weight, axis=1)
    return grads, state, losses * counts, counts

  return gradient


def own_optimizer(
  optimizer: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
  """An optimizer of its own for every group, over leaves [G, ...].

  A group without examples in the batch does not move, and neither do its
  moments and its step count. Update takes `counts`, f32[G].
  """

  def update(updates, state, params=None, **extra):
    there = extra['counts'] > 0
    keep = lambda new, old: jnp.where(
      jnp.reshape(there, (-1, *[1] * (new.ndim - 1))), new, old
    )
    updates, moved = jax.vmap(optimizer.update)(updates, state, params)
    still = jax.tree.map(jnp.zeros_like, updates)
    return jax.tree.map(keep, updates, still), jax.tree.map(keep, moved, state)

  return optax.GradientTransformationExtraArgs(jax.vmap(optimizer.init), update)


def stack(params: Any, num_groups: int) -> Any:
  """The same start for every group, leaves [G, ...]."""
  repeat = lambda leaf: jnp.repeat(leaf[None], num_groups, axis=0)
  return jax.tree.map(repeat, params)


def unstack(stacked: Any, num_groups: int) -> list[Any]:
  """A tree for each group, of leaves [G, ...]."""
  return [trees.take(stacked, j) for j in range(num_groups)]
