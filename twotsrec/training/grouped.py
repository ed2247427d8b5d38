"""One function on the mini-batches of all activeness groups."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from twotsrec import trees
from twotsrec import types

# Where filling costs more than this factor, groups run one by one; below this
# many rows a program G times as long is not worth it.
_MAX_FILLING = 1.5
_MIN_ROWS = 256


def map_groups(
  function: Callable[..., Any], widths: Sequence[int] | None = None
) -> Callable[..., Any]:
  """(shared, own, batch) -> results of `function`, leaves [G, ...].

  `function` takes (shared, own_j, batch_j): what all groups have in common,
  what is the group's, and its examples.

  This is a `vmap`, where groups fill about as many rows. Proportional batches
  do not (16 to 295 of 512 on ML-1M, PIN sec. 4.1.4), and a `vmap` pads all of
  them to the largest. There every group runs on its own rows instead: the same
  numbers, no computation on filling.

  Args:
    function: of one group.
    widths: rows that group j fills at most; None if they are not known.
  """
  mapped = jax.vmap(function, in_axes=(None, 0, 0))
  if widths is None or not _is_ragged(widths):
    return mapped

  def one_by_one(shared, own, batch: types.Batch):
    results = [
      function(shared, trees.take(own, j), trees.take(batch, (j, slice(width))))
      for j, width in enumerate(widths)
    ]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)

  return one_by_one


def _is_ragged(widths: Sequence[int]) -> bool:
  rows = sum(widths)
  return rows >= _MIN_ROWS and len(widths) * max(widths) > _MAX_FILLING * rows
