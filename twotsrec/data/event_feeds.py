"""Training events without their order: batches of stage 1 (2TS sec. 3.1).

The host plans which event is trained at which step; the columns live on the
device, where a batch draws the items on offer beside the chosen ones.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config as config_lib
from twotsrec import fields
from twotsrec import types
from twotsrec.data import dislikes
from twotsrec.data import feeds
from twotsrec.data import plans
from twotsrec.data import prepared as prepared_lib

POOLS = ('event', 'shared')


class EventFeed(NamedTuple):
  """Device-resident columns of E events."""

  user: jax.Array  # i32[E]
  item: jax.Array  # i32[E], 1..I
  group: jax.Array  # i32[E], activeness group of the user, 0..G-1
  weight: jax.Array  # f32[E], 1 for an event


class OfferBatch(NamedTuple):
  """Events and what was on offer; leaves [B, ...] or [G, B, ...]."""

  user: jax.Array  # i32[B], -1 for filling
  item: jax.Array  # i32[B], the chosen one; -1 for filling
  negatives: jax.Array  # i32[B, p], or i32[S] for all events of the batch
  group: jax.Array  # i32[B], 0..G-1
  weight: jax.Array  # f32[B], 0 for filling


def make(
  prepared: prepared_lib.Prepared,
  user_group: np.ndarray,
  held_out: np.ndarray | None = None,
) -> EventFeed:
  """Every training event, of every user, but for those that are held out.

  Args:
    prepared: the data.
    user_group: i32[U].
    held_out: i64[...], indices into prepared.items, or None.
  Raises:
    types.UserError: no event is left, or there is one item only.
  """
  keep = np.asarray(prepared.split) == prepared_lib.TRAIN
  if held_out is not None:
    keep[np.asarray(held_out)] = False
  dislikes.refuse(prepared, 'a model of 2TS')
  event = np.flatnonzero(keep)
  if not len(event):
    raise types.UserError(
      f'{prepared.path or "this log"}: no training event is left for stage 1;'
      ' lower two_time.window, use two_time.holdout=none, or another split'
    )
  feeds.require_choice(prepared)
  user = prepared.event_users[event]
  return EventFeed(
    user=feeds.i32(user),
    item=feeds.i32(np.asarray(prepared.items)[event]),
    group=feeds.i32(np.asarray(user_group)[user]),
    weight=jnp.ones(len(event), jnp.float32),
  )


def make_context(
  feed: EventFeed, num_users: int, num_items: int
) -> dict[str, Any]:
  """Training counts, 'user_counts' f32[U] and 'item_counts' f32[I + 1].

  0 marks a cold row.
  """
  count = lambda ids, size: jnp.asarray(
    np.bincount(np.asarray(ids), minlength=size), jnp.float32
  )
  return {
    'user_counts': count(feed.user, num_users),
    'item_counts': count(feed.item, num_items + 1),
  }


def make_plan(
  num_events: int, batch_size: int, seed: int, epoch: int
) -> np.ndarray:
  """All events in random order, i32[S, B], -1 fills the last batch."""
  one_group = np.zeros(num_events, np.int8)
  return plans.make_plan(one_group, 1, batch_size, 'natural', seed, epoch)


def make_batch_of(
  num_items: int, options: config_lib.TwoTimeConfig
) -> Callable[[EventFeed, jax.Array, jax.Array], OfferBatch]:
  """(feed, examples, key) -> OfferBatch.

  Examples are a row of a plan, i32[B] or i32[G, B]; the key is that of the
  epoch. Negatives are uniform over all items, the chosen one among them: the
  loss hides it. Those of an event depend on the key and the event alone, those
  of a shared pool on the key and the events of the step as a set, so that the
  form of a batch changes nothing.

  Raises:
    types.UserError: an unknown pool, or none to draw.
  """
  fields.refuse_section(options, 'two_time')
  pool = options.pool_size if options.pool == 'shared' else 0

  def batch_of(feed, examples, key):
    if pool:
      # No two steps of an epoch have their last event in common.
      drawn = _draw(jax.random.fold_in(key, jnp.max(examples)), pool, num_items)
      negatives = jnp.broadcast_to(drawn, (*examples.shape[:-1], pool))
    else:
      own = lambda e: _draw(
        jax.random.fold_in(key, e), options.negatives, num_items
      )
      negatives = jax.vmap(own)(jnp.maximum(examples, 0).ravel())
      negatives = negatives.reshape(*examples.shape, options.negatives)
    return OfferBatch(
      user=feeds.take(feed.user, examples, -1),
      item=feeds.take(feed.item, examples, -1),
      negatives=negatives,
      group=feeds.take(feed.group, examples),
      weight=feeds.take(feed.weight, examples, 0.0),
    )

  return batch_of


def _draw(key, count, num_items):
  """Items, i32[count]."""
  # Half the bits of `randint`; one item is likelier than another by I / 2^32.
  bits = jax.random.bits(key, (count,), jnp.uint32)
  return 1 + (bits % jnp.uint32(num_items)).astype(jnp.int32)
