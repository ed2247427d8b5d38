"""Spans of a timeline on the device, one for each step of JODIE."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec.data import timelines

_LAYOUT = ('rows', 'users', 'items', 'new_users', 'new_items', 'local')
_EVENTS = ('gaps', 'user', 'item', 'previous', 'group', 'weight')


class Span(NamedTuple):
  """Events of a span in order of time; fields as in `timelines.Layout`.

  Attributes:
    rows: i32[R, W].
    users: i32[M].
    items: i32[J].
    new_users: bool[M].
    new_items: bool[J].
    local: i32[E + 1, 3].
    gaps: f32[E, 2].
    user: i32[E].
    item: i32[E], 1..I.
    previous: i32[E].
    group: i32[E].
    weight: f32[E], 0 for filling.
    number: i32[], of the span.
    negative: i32[E], another item of each event; or None where none is drawn.
  """

  rows: jax.Array
  users: jax.Array
  items: jax.Array
  new_users: jax.Array
  new_items: jax.Array
  local: jax.Array
  gaps: jax.Array
  user: jax.Array
  item: jax.Array
  previous: jax.Array
  group: jax.Array
  weight: jax.Array
  number: jax.Array
  negative: jax.Array | None = None


def make(
  line: timelines.Timeline, layout: timelines.Layout, group: np.ndarray
) -> dict[str, jax.Array]:
  """Columns of all spans and events; a last event is filling.

  Args:
    line: the events.
    layout: their spans.
    group: i32[N], activeness group of every event.
  """
  columns = {
    'gaps': line.gaps,
    'user': line.user,
    'item': line.item,
    'previous': line.previous,
    'group': np.asarray(group, np.int32),
    'weight': np.ones(len(line.event), np.float32),
  }
  feed = {
    name: np.concatenate([x, np.zeros((1, *x.shape[1:]), x.dtype)])
    for name, x in columns.items()
  }
  feed |= {name: getattr(layout, name) for name in ('events', *_LAYOUT)}
  return jax.tree.map(jnp.asarray, feed)


def make_batch_of(
  num_items: int, negatives: bool
) -> Callable[[Any, jax.Array, jax.Array], Span]:
  """(feed, number of a span i32[], key) -> Span.

  Args:
    num_items: I.
    negatives: whether another item is drawn for every event.
  """

  def batch_of(feed, number, key):
    of_span = {name: feed[name][number] for name in _LAYOUT}
    events = feed['events'][number]
    of_events = {name: feed[name][events] for name in _EVENTS}
    drawn = None
    if negatives:
      key = jax.random.fold_in(key, number)
      # One of the others, each as likely.
      drawn = jax.random.randint(key, events.shape, 1, num_items)
      drawn += drawn >= of_events['item']
    return Span(**of_span, **of_events, number=number, negative=drawn)

  return batch_of
