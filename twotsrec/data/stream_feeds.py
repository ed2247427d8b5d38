"""Batches of streams, made on the device from a plan of `streams.py`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec.data import feeds
from twotsrec.data import prepared as prepared_lib


class Feed(NamedTuple):
  """Columns of all events, on the device."""

  item: jax.Array  # i32[N]
  previous: jax.Array  # i32[N], see `previous_items`
  user: jax.Array  # i32[N]
  group: jax.Array  # i32[U], group of every user in this job


class Batch(NamedTuple):
  """Streams of a step, time first."""

  item: jax.Array  # i32[L, B], 0 where there is no event
  previous: jax.Array  # i32[L, B]
  user: jax.Array  # i32[L, B]
  reset: jax.Array  # bool[L, B], where a run begins
  group: jax.Array  # i32[L B]
  weight: jax.Array  # f32[L B], 1 for an event, 0 for filling
  # i32[L, B, p], or i32[p] for all events; None where nothing is trained.
  negatives: jax.Array | None = None


def make_feed(prepared: prepared_lib.Prepared, group: np.ndarray) -> Feed:
  """Events on the device, of users in groups i32[U]."""
  return Feed(
    item=feeds.i32(prepared.items),
    previous=feeds.i32(previous_items(prepared)),
    user=feeds.i32(prepared.event_users),
    group=feeds.i32(group),
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
  user = feeds.take(feed.user, event)
  return Batch(
    item=feeds.take(feed.item, event, 0),
    previous=feeds.take(feed.previous, event, 0),
    user=user,
    reset=real & (entries & 1 > 0),
    group=feed.group[user].ravel(),
    weight=real.astype(jnp.float32).ravel(),
  )
