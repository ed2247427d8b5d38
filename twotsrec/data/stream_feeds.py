"""Batches of streams, made on the device from a plan of `streams.py`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec.data import columns
from twotsrec.data import prepared as prepared_lib


class Feed(NamedTuple):
  """Columns of all events, on the device.

  Attributes:
    item: i32[N].
    previous: i32[N], the item before it in its user's events, 0 at the first.
    user: i32[N].
    group: i32[U], group of every user in this job.
  """

  item: jax.Array
  previous: jax.Array
  user: jax.Array
  group: jax.Array


class Batch(NamedTuple):
  """Streams of a step, time first.

  Attributes:
    item: i32[L, B], 0 where there is no event.
    previous: i32[L, B].
    user: i32[L, B].
    reset: bool[L, B], where a run begins.
    group: i32[L B].
    weight: f32[L B], 1 for an event, 0 for filling.
    negatives: i32[L, B, p], or i32[p] for all events; None where nothing is
      trained.
  """

  item: jax.Array
  previous: jax.Array
  user: jax.Array
  reset: jax.Array
  group: jax.Array
  weight: jax.Array
  negatives: jax.Array | None = None


def make_feed(prepared: prepared_lib.Prepared, group: np.ndarray) -> Feed:
  """Events on the device.

  Args:
    prepared: the data.
    group: i32[U].
  """
  return Feed(
    item=columns.i32(prepared.items),
    previous=columns.i32(previous_items(prepared)),
    user=columns.i32(prepared_lib.event_users(prepared)),
    group=columns.i32(group),
  )


def previous_items(prepared: prepared_lib.Prepared) -> np.ndarray:
  """The item before every event in its user's events, i32[N]; 0 at a first."""
  items = np.asarray(prepared.items, np.int32)
  previous = np.concatenate([np.zeros(1, np.int32), items[:-1]])[: len(items)]
  offsets = np.asarray(prepared.user_offsets)
  first = offsets[:-1][np.diff(offsets) > 0]
  previous[first] = 0
  return previous


def make_batch_of(
  shape: tuple[int, int], num_items: int, count: int, shared: bool = False
) -> Callable[[Any, jax.Array, jax.Array], Batch]:
  """(feed, entries of a plan, key) -> Batch.

  Args:
    shape: (L, B), what the entries are brought to.
    num_items: I, negatives are uniform over 1..I.
    count: p, negatives of an event, or of all events of a step.
    shared: whether all events of a step share them.
  """

  def batch_of(feed, entries, key):
    entries = entries.reshape(shape)
    # Steps of an epoch differ in their last event; those of windows that are
    # drawn anew may not, and then offer the same items.
    key = jax.random.fold_in(key, jnp.max(entries))
    drawn = (count,) if shared else (*shape, count)
    negatives = jax.random.randint(key, drawn, 1, num_items + 1)
    return look_up(feed, entries)._replace(negatives=negatives)

  return batch_of


def look_up(feed: Feed, entries: jax.Array) -> Batch:
  """The events of a plan's entries, i32[L, B]; without negatives."""
  event, real = entries >> 1, entries >= 0  # -1 stays -1
  user = columns.take(feed.user, event)
  return Batch(
    item=columns.take(feed.item, event, 0),
    previous=columns.take(feed.previous, event, 0),
    user=user,
    reset=real & (entries & 1 > 0),
    group=feed.group[user].ravel(),
    weight=real.astype(jnp.float32).ravel(),
  )
