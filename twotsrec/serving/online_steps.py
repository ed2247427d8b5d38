"""One event of a batch of users, whoever serves them.

All users go through every network that serves one of them, and keep what their
own says: a batch costs as many steps as it has networks and plugins.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import types
from twotsrec.evaluation import online_states
from twotsrec.models import two_rnn
from twotsrec.ops import rows
from twotsrec.plugins import recurrent

NO_EVENT = -1  # an item that is filling
Array = jax.Array | np.ndarray  # states live on the device and on the host


class State(NamedTuple):
  """B users as they are now.

  Attributes:
    state: f32[B, S], of the recurrence; its first D numbers are h.
    last: i32[B], last item; 0 for none.
    network: i32[B], which of `Service.networks` moves it.
    group: i32[B], whose plugin serves it, 0..G-1, as it was at the start.
    consumed: i32[B], events so far, those of the run among them.
    skipped: i32[B], events with unknown items since the start.
  """

  state: Array
  last: Array
  network: Array
  group: Array
  consumed: Array
  skipped: Array


class Weights(NamedTuple):
  """Item vectors and networks, which move states and read them.

  Attributes:
    item: f32[I + 1, D].
    nets: by network; None for one that moves nothing.
  """

  item: jax.Array
  nets: tuple[types.PyTree | None, ...]


def make_advance(bind: Callable[..., Any]) -> Callable[..., State]:
  """(weights, State, items i32[B]) -> State, compiled once for each B.

  The memory of the old state is used again. The computation is that of
  `evaluation.online_states`, one event long; `bind` is of
  `plugins.recurrent.make_bind`.
  """

  def step(net, vectors, values, ids):
    stages, inner = bind(net)
    look = rows.gather({'embedding': vectors}, ids[None])
    embedded = stages.embed(inner['embed'], look, {'history': ids[None]})
    streams = two_rnn.Streams(
      reset=jnp.zeros((1, ids.shape[0]), bool),
      fresh=jnp.zeros(values.shape[1]),  # nobody begins here
      carried=values,
    )
    return stages.summarize(inner['extractor'], embedded, streams).after[0]

  def advance(weights, state, item):
    in_catalog = (item > 0) & (item < len(weights.item))
    ids = jnp.where(in_catalog, item, 0)
    values = state.state
    for net, mine in _parts(weights.nets, state):
      after = lambda now, net=net: step(net, weights.item, now, ids)
      values = _where(mine & in_catalog, after, values)
    unknown = ~in_catalog & (item != NO_EVENT)
    return state._replace(
      state=values,
      last=jnp.where(in_catalog, item, state.last),
      consumed=state.consumed + in_catalog,
      skipped=state.skipped + unknown,
    )

  return jax.jit(advance, donate_argnums=1)


def make_read(bind: Callable[..., Any]) -> Callable[..., jax.Array]:
  """(weights, State) -> queries f32[B, D], compiled once for each B."""

  def read(weights, state):
    values = state.state[:, : weights.item.shape[1]]
    for net, mine in _parts(weights.nets, state):
      out = lambda now, net=net: online_states.read_out(
        bind, net, weights.item, now, state.last
      )
      values = _where(mine, out, values)
    return values

  return jax.jit(read)


def _parts(nets, state: State) -> Iterator[tuple[types.PyTree, jax.Array]]:
  """(net with one plugin or none, whom it serves bool[B]), each user once."""
  for number, net in enumerate(nets):
    mine = jnp.asarray(state.network == number)
    if net is None:
      continue
    if 'plugins' not in net:
      yield net, mine
      continue
    for g in range(jax.tree.leaves(net['plugins'])[0].shape[0]):
      yield recurrent.of_group(net, g), mine & (state.group == g)


def _where(mine, change, values):
  """`change(values)` in rows of `mine`; nothing is computed without any."""
  return jax.lax.cond(
    jnp.any(mine),
    lambda now: jnp.where(mine[:, None], change(now), now),
    lambda now: now,
    values,
  )
