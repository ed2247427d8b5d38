"""States of users as their events arrive, and queries before each of them.

Item vectors stand still, so users are independent of each other: every user's
own order is enough, and streams of many users run side by side. Parameters do
not change (2TS sec. 4, the online protocol).
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import types
from twotsrec.data import stream_feeds
from twotsrec.data import streams
from twotsrec.evaluation import online
from twotsrec.models import two_rnn
from twotsrec.objectives import streams as stream_objectives
from twotsrec.ops import rows

_STREAMS = 256
_LENGTH = 64

# net -> (stages, what they take as net): where a plugin is put on.
Bind = Callable[[types.PyTree], tuple[types.Stages, types.PyTree]]


class Step(NamedTuple):
  """Queries at some events, and the states after the last ones of runs.

  Attributes:
    block: events asked for, and their queries.
    ended: i64[m], last events of runs.
    state: f32[m, S], the states after these.
  """

  block: online.Block
  ended: np.ndarray
  state: np.ndarray


def make_walk(
  bind: Bind, own_start: bool, state_width: int
) -> Callable[..., Iterator[Step]]:
  """(net, vectors, feed, runs, wanted) -> steps, compiled once.

  The walk plays runs of events through a network. `wanted`, bool[N], are the
  events whose queries are asked for. Memory is bounded by a step of 256
  streams.

  Args:
    bind: stages of the network.
    own_start: whether users start at their own vectors.
    state_width: S.
  """

  @jax.jit
  def advance(net, vectors, feed, entries, carried):
    stages, inner = bind(net)
    events = stream_feeds.look_up(feed, entries)
    summary = stream_objectives.summarize(
      stages, inner, vectors, events, own_start, carried
    )
    query = two_rnn.query_of(stages)(inner, summary)
    before, after = summary.hidden, summary.after
    if after is None:
      raise ValueError('a network of streams gives the states after events too')
    moved = after[..., : before.shape[-1]] - before
    norms = (jnp.linalg.norm(x, axis=-1) for x in (moved, before))
    return query, *norms, after

  def walk(net, vectors, feed, runs, wanted):
    if not len(runs.start):
      return
    num_streams = min(_STREAMS, len(runs.start))
    length = min(_LENGTH, int(runs.length.max()))
    plan = streams.carried(runs, length, num_streams).plan_of(0, 0)
    is_end = np.zeros(len(wanted), bool)
    is_end[runs.start + runs.length - 1] = True
    carried = jnp.zeros((num_streams, state_width))
    for entries in plan:
      *seen, after = advance(net, vectors, feed, jnp.asarray(entries), carried)
      carried = after[-1]
      yield _picked(entries, seen, after, wanted, is_end)

  return walk


def read_out(
  bind: Bind,
  net: types.PyTree,
  item: jax.Array,
  hidden: jax.Array,
  last_items: jax.Array,
) -> jax.Array:
  """Queries f32[n, D] of users with a hidden state f32[n, D] and a last item.

  `item` are the vectors f32[I + 1, D]; the hidden state leads a full one.
  """
  stages, inner = bind(net)
  look = rows.gather({'embedding': item}, last_items)
  previous = stages.embed(inner['embed'], look, {'history': last_items})
  summary = two_rnn.Summary(hidden, previous)
  return two_rnn.query_of(stages)(inner, summary)


def make_read(bind: Bind) -> Callable[..., np.ndarray]:
  """(net, vectors, states f32[n, S], last items i[n]) -> queries f32[n, D]."""

  @jax.jit
  def read(net, vectors, states, last_items):
    hidden = states[:, : vectors.item.shape[-1]]
    return read_out(bind, net, vectors.item, hidden, last_items)

  def read_all(net, vectors, states, last_items):
    ids = jnp.asarray(last_items, jnp.int32)
    return np.asarray(read(net, vectors, jnp.asarray(states), ids))

  return read_all


def _picked(entries, seen, after, wanted, is_end) -> Step:
  """Rows of the wanted events, and of the last events of runs."""
  real = entries >= 0
  event = np.where(real, entries >> 1, 0)
  ask, end = real & wanted[event], real & is_end[event]
  block = online.Block(event[ask], *(np.asarray(x)[ask] for x in seen))
  return Step(block, event[end], np.asarray(after)[end])


def final_states(
  steps: Iterator[Step], event_user: np.ndarray, states: np.ndarray
) -> np.ndarray:
  """`states`, f32[U, S], with those of users who had events in a walk."""
  states = np.array(states)
  for step in steps:
    states[event_user[step.ended]] = step.state
  return states


def blocks(steps: Iterator[Step]) -> Iterator[Any]:
  """The queries of a walk."""
  return (step.block for step in steps if step.block.event.size)
