"""Changed copies of histories: items are replaced, and others put between.

What takes the place of an item, or comes after it, goes with it: it is drawn
from the items whose users overlap most with its own. The items to predict stay
as they were (TADA, Dang et al. 2026, has the two operators).
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp


class Changed(NamedTuple):
  """Histories after a change.

  Attributes:
    history: i32[B, L], right-padded with 0.
    source: i32[B, L], the position that an item had, or that the item before
      an inserted one had; 0 for padding.
    inserted: bool[B, L].
  """

  history: jax.Array
  source: jax.Array
  inserted: jax.Array


def change(
  keys: jax.Array,
  history: jax.Array,
  near: jax.Array,
  substitute: float,
  insert: float,
) -> Changed:
  """Replaces a share of the items, and inserts another after a share of them.

  A history that becomes longer than L loses its oldest items.

  Args:
    keys: one for each history, [B].
    history: i32[B, L], right-padded with 0.
    near: i32[I + 1, K], items that go with each; 0 where there is none, and
      then nothing is replaced or inserted.
    substitute: share of items that are replaced.
    insert: share of items after which one is inserted.
  """
  chex.assert_rank([history, near], 2)
  return jax.vmap(lambda key, own: _one(key, own, near, substitute, insert))(
    keys, history
  )


def _one(key, history, near, substitute, insert):
  length, real = history.shape[0], history > 0
  chance_key, choice_key = jax.random.split(key)
  chances = jax.random.uniform(chance_key, (2, length))
  # The draw is from the neighbors there are; they come first.
  number = jnp.sum(near[history] > 0, axis=1)
  choice = jax.random.randint(
    choice_key, (2, length), 0, jnp.maximum(number, 1)
  )
  other, after = near[history, choice]
  replaced = real & (chances[0] < substitute) & (other > 0)
  added = real & (chances[1] < insert) & (after > 0)
  items = jnp.where(replaced, other, history)
  # Every inserted item moves those after it by one place.
  place = jnp.arange(length) + jnp.cumsum(added) - added
  total = jnp.sum(real) + jnp.sum(added)
  place -= jnp.maximum(total - length, 0)
  put = lambda column, place, values: column.at[
    jnp.where((place >= 0) & (place < length), place, length)
  ].set(values, mode='drop')
  blank = jnp.zeros(length, jnp.int32)
  own = jnp.arange(length, dtype=jnp.int32)
  kept = jnp.where(real, place, length)
  between = jnp.where(added, place + 1, length)
  inserted = put(blank, between, 1) > 0
  return Changed(
    history=put(put(blank, kept, items), between, after),
    source=put(put(blank, kept, own), between, own),
    inserted=inserted,
  )
