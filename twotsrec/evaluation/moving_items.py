"""Ranks of held-out events among items that events move (JODIE).

Events come in the order of time. Every one is ranked by the states just before
it, of its user and of all items: those of earlier events of others have moved
too. States are those of a replay of all events from the start; t-batches give
what the events change, and a walk in order of time what they see.
"""

import collections
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec.data import prepared as prepared_lib
from twotsrec.data import span_feeds
from twotsrec.data import timelines
from twotsrec.evaluation import counting
from twotsrec.evaluation import gathers
from twotsrec.evaluation import online
from twotsrec.evaluation import rules
from twotsrec.evaluation import tiles
from twotsrec.models import jodie

_SCORES = 1 << 23  # of a block: 32 MB


class Player(NamedTuple):
  """The events of a log up to a split, ready to be replayed.

  Attributes:
    prepared: the data.
    line: the events in order of time.
    feed: on the device.
    first_item: i32[I + 1], span of the first event of every item.
  """

  prepared: prepared_lib.Prepared
  line: timelines.Timeline
  feed: dict[str, jax.Array]
  first_item: jax.Array


def make(prepared: prepared_lib.Prepared, until: int, spans: int) -> Player:
  """A player of the events of the splits up to `until`."""
  line = timelines.make(prepared, until, spans)
  layout = timelines.lay_out(line)
  feed = span_feeds.make(line, layout, np.zeros_like(line.user))
  return Player(prepared, line, feed, jnp.asarray(line.first[1]))


def _span(feed, number):
  batch_of = span_feeds.make_batch_of(num_items=0, negatives=False)
  return batch_of(feed, number, jax.random.key(0))  # nothing is drawn


@jax.jit
def _play(net, feed, number, states):
  """States after a span, and its moves."""
  return jodie.replay(net, _span(feed, number), states)


@jax.jit
def _read(net, feed, number, moves):
  """Queries f32[E, D], and what static vectors add to scores, f32[E, I + 1]."""
  span = _span(feed, number)
  ids = span.user, span.previous
  predicted = jodie.predict(
    net, moves.user, moves.previous, span.gaps[:, 0], ids
  )
  return predicted.state, jodie.nearness(net, predicted)


def replay(
  player: Player, net: jodie.Net
) -> Iterator[tuple[int, jodie.States, jodie.States, jodie.Moves]]:
  """(number, states before, states after, moves) of span after span."""
  prepared, width = player.prepared, net['start']['user'].shape[0]
  states = jodie.init_states(prepared.num_users, prepared.num_items, width)
  for number in range(player.line.num_spans):
    before = states
    index = jnp.asarray(number, jnp.int32)
    states, moves = _play(net, player.feed, index, states)
    yield number, before, states, moves


def items_at(
  net: jodie.Net, states: jodie.States, first: jax.Array, number: int
) -> jax.Array:
  """States of all items before a span, f32[I + 1, D], some at the start."""
  some = first < number
  return jnp.where(some[:, None], states.item, jodie.starts(net)[1])


@jax.jit
def walk(
  items: jax.Array,
  queries: jax.Array,
  static: jax.Array,
  item: jax.Array,
  moved: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Scores all items before each of some events, in order of time.

  Args:
    items: f32[I + 1, D], states before the first of them.
    queries: f32[E, D].
    static: f32[E, I + 1], what is added to the scores.
    item: i32[E], items that they move; 0 moves none.
    moved: f32[E, D], to these states.
  Returns:
    States after the last f32[I + 1, D], and scores f32[E, I + 1]: minus half
    the distance, up to a number of each event.
  """

  def step(carry, event):
    items, halves = carry
    query, static, item, moved = event
    product = jnp.matmul(items, query, precision=jax.lax.Precision.HIGHEST)
    scores = product - halves + static
    items = items.at[item].set(moved)
    halves = halves.at[item].set(0.5 * jnp.sum(moved**2))
    return (items, halves), scores

  carry = items, 0.5 * jnp.sum(items**2, axis=1)
  (items, _), scores = jax.lax.scan(step, carry, (queries, static, item, moved))
  return items, scores


def rank(
  player: Player,
  net: jodie.Net,
  events: np.ndarray,
  among: Sequence[rules.Rule],
  progress: Callable[[int, int], None] | None = None,
) -> dict[str, np.ndarray]:
  """Counts for every event; arrays as of `online.rank`.

  Args:
    player: of all events up to the last of them.
    net: parameters.
    events: i64[T] ascending, of `online.held_out`.
    among: rules of `online.usual_rules`, or some of them.
    progress: called with (events done, events).
  """
  facts = online.describe(player.prepared, events)
  columns = online.still(events.size)
  counts = counting.add_up(
    _parts(player, net, facts, among, columns),
    events.size,
    len(among),
    progress=progress,
  )
  return online.together(facts, columns, among, counts)


def _parts(player, net, facts, among, columns) -> Iterator[counting.Part]:
  """Events as time has them, a block of a span at a time."""
  place = np.full(player.prepared.num_events, -1)
  place[facts['event']] = np.arange(facts['event'].size)
  in_line = place[player.line.event]  # i64[N], -1 where it is not asked for
  spans = np.asarray(player.feed['events'])
  size = max(1, min(spans.shape[1], _SCORES // player.prepared.num_items))
  for number, before, _, moves in replay(player, net):
    asked = np.append(in_line, -1)[spans[number]]
    if not np.any(asked >= 0):
      continue
    movement = np.asarray(jnp.linalg.norm(moves.new_user - moves.user, axis=1))
    norm = np.asarray(jnp.linalg.norm(moves.user, axis=1))
    mine = asked >= 0
    columns['movement'][asked[mine]] = movement[mine]
    columns['norm'][asked[mine]] = norm[mine]
    index = jnp.asarray(number, jnp.int32)
    query, static = _read(net, player.feed, index, moves)
    items = items_at(net, before, player.first_item, number)
    item = np.append(player.line.item, 0)[spans[number]]
    for first in range(0, len(asked), size):
      block = slice(first, first + size)
      of_block = [
        jnp.asarray(gathers.pad_rows(np.asarray(x)[block], size))
        for x in (query, static, item, moves.new_item)
      ]
      items, scores = walk(items, *of_block)
      if np.any(asked[block] >= 0):
        yield _part(scores, asked[block], facts, among, columns)


def _part(scores, asked, facts, among, columns) -> counting.Part:
  """Counts scores f32[E, I + 1] of events; those with -1 are not asked for."""
  row = np.flatnonzero(asked >= 0)
  row = row[np.argsort(asked[row])]
  rows, size = asked[row], tiles.round_up(len(asked), 16)
  event, user, item = (facts[name][rows] for name in ('event', 'user', 'item'))
  targets = prepared_lib.Targets(event, user, item, event)
  excluded = [rule.excluded(targets) for rule in among]
  for one in excluded:
    if one.fingerprint is not None:
      columns['list'][rows] = one.fingerprint
  num_items = scores.shape[1] - 1
  number = -(-num_items // tiles.MOST_ITEMS)
  width = tiles.round_up(-(-num_items // number), 16)
  scores = scores[gathers.pad_rows(row, size)]
  target = gathers.pad_rows(item, size)
  own = jnp.take_along_axis(scores, jnp.asarray(target)[:, None], axis=1)[:, 0]
  masks, tallies = zip(*(one.masks(size, width) for one in excluded)), []
  for index, of_tile in zip(range(number), masks):
    first = index * width + 1
    tile = scores[:, first : first + width]
    tile = jnp.pad(tile, ((0, 0), (0, width - tile.shape[1])))
    bounds = first, num_items, rows.size
    tallies.append(counting.tally(tile, own, target, bounds, of_tile))
  left = [one.number for one in excluded]
  return counting.Part(rows=rows, own=own, number=left, tallies=tallies)


def after_all(player: Player, net: jodie.Net) -> tuple[jax.Array, jax.Array]:
  """Queries f32[U, Q] and items f32[I + 1, Q] once all events are played.

  Users are projected to the time of the last event. `jodie.factors` says what a
  product of them is.
  """
  *_, (_, _, states, _) = collections.deque(replay(player, net), maxlen=1)
  line, (user_start, _) = player.line, jodie.starts(net)
  users = np.arange(player.prepared.num_users)
  last = np.full(len(users), -1)
  last[line.user] = np.arange(len(line.user))  # the latest is written last
  some = last >= 0
  item = jnp.asarray(np.where(some, line.item[last], 0))
  user = jnp.where(some[:, None], states.user, user_start)
  items = items_at(net, states, player.first_item, line.num_spans)
  gap = jnp.asarray(line.at_end)
  predicted = jodie.predict(
    net, user, items[item], gap, (jnp.asarray(users), item)
  )
  return jodie.factors(net, predicted, items)
