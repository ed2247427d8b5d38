"""States of users that move with their events, for serving 2TS.

A user is one small vector of numbers. An event moves it by one step of a
recurrence (2TS eq. 8-9), at a cost that does not depend on the history, and
parameters do not change. Users are independent of each other: a batch gives
what its users give one by one.

    state = start(service, users)
    queries = query(service, state)  # before the event
    state = update(service, state, items)

Who is new starts at psi and is served by the network of inactive users, and
stays with it: a start of one's own, or the plugin of a more active group, comes
with the next training. Items without train events have the vector that their
features give, if the run has features; items that came after training have
none and are skipped, and counted, until the next training.
"""

from collections.abc import Callable, Sequence
import dataclasses
import hashlib
import json
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import ids as ids_lib
from twotsrec.evaluation import gathers
from twotsrec.models import two_rnn
from twotsrec.ops import recurrence
from twotsrec.ops import rows
from twotsrec.plugins import recurrent
from twotsrec.serving import online_steps
from twotsrec.serving import recommend as recommend_lib

State = online_steps.State
Weights = online_steps.Weights
NO_EVENT = online_steps.NO_EVENT
_CHUNK = 8192  # users of a request for recommendations


class Ids(NamedTuple):
  """External ids, ascending: user u is user[u], item i is item[i - 1]."""

  user: np.ndarray
  item: np.ndarray


class Service(NamedTuple):
  """A trained 2TS that serves.

  Attributes:
    cell: name of the recurrence.
    networks: their names; a state has the position.
    groups: G, plugins of a network; 1 without plugins.
    digest: 16 bytes that tell its parameters from others.
    weights: item vectors and networks.
    known: the users of the run after all of its events, host arrays [U, ...].
    new: a user without any event, host arrays [1, ...].
    ids: of users and items.
    advance: (weights, State, items i32[B]) -> State, compiled for each B; the
      memory of the old state is used again.
    read: (weights, State) -> queries f32[B, D], compiled for each B.
  """

  cell: str
  networks: tuple[str, ...]
  groups: int
  digest: bytes
  weights: Weights
  known: State
  new: State
  ids: Ids
  advance: Callable[..., State]
  read: Callable[..., jax.Array]

  @property
  def width(self) -> int:
    """D."""
    return self.weights.item.shape[1]

  @property
  def state_width(self) -> int:
    """S."""
    return self.new.state.shape[1]

  @property
  def num_items(self) -> int:
    """I."""
    return self.weights.item.shape[0] - 1


def make(
  config: config_lib.Config,
  params: types.Params,
  networks: Sequence[str],
  known: State,
  ids: Ids,
) -> Service:
  """A service of trained parameters.

  Args:
    config: of the run.
    params: of `serving.two_time_ranker`.
    networks: names of all networks, those that move nothing among them.
    known: users of the run, [U, ...].
    ids: of users and items.
  """
  nets = tuple(params.net['networks'].get(name) for name in networks)
  weights = Weights(params.tables['item']['embedding'], nets)
  bind = recurrent.make_bind(
    two_rnn.make_stages(config.two_time, config.model.width), config.plugin
  )
  plugged = [net['plugins'] for net in nets if net and 'plugins' in net]
  leaves = jax.tree.leaves(plugged)
  return Service(
    cell=config.two_time.cell,
    networks=tuple(networks),
    groups=leaves[0].shape[0] if leaves else 1,
    digest=_digest(config, weights, networks),
    weights=weights,
    known=jax.tree.map(np.asarray, known),
    new=_new(config, params, networks),
    ids=ids,
    advance=online_steps.make_advance(bind),
    read=online_steps.make_read(bind),
  )


def start(service: Service, users: Any) -> State:
  """States of users, as the run left them.

  `users` is one or i[B], 0..U-1; -1 for somebody new, as `users_of` gives.
  """
  return jax.tree.map(jnp.array, start_on_host(service, users))


def start_on_host(service: Service, users: Any) -> State:
  """The same as NumPy arrays, which can be written to."""
  users = np.atleast_1d(np.asarray(users, np.int64))
  chex.assert_rank(users, 1)
  is_new = users < 0

  def pick(of_run, new):
    chosen = np.repeat(new, len(users), axis=0)
    chosen[~is_new] = of_run[users[~is_new]]
    return chosen

  return State(*map(pick, service.known, service.new))


def update(service: Service, state: State, item: Any) -> State:
  """The states after one more event of every user.

  The old state is given away: its memory is used again. `item` is i[B], or one
  number for one user. An id outside of 1..I is an unknown item: the state stays
  and `skipped` counts it. `NO_EVENT` changes nothing.
  """
  if not isinstance(item, jax.Array):
    # A number that does not fit into 32 bits is as unknown as any other.
    item = np.clip(item, NO_EVENT - 1, service.num_items + 1)
    item = np.asarray(item, np.int32)
  item = item.reshape(-1)
  chex.assert_equal_shape([item, state.last])
  return service.advance(service.weights, state, item)


def query(service: Service, state: State) -> jax.Array:
  """Queries f32[B, D]; the score of an item is its inner product with one."""
  return service.read(service.weights, state)


def recommend(
  service: Service,
  state: State,
  k: int,
  exclude: gathers.Exclusions | None = None,
  allowed: np.ndarray | None = None,
) -> recommend_lib.Chunk:
  """The k best items of every user, (ids i32[B, K], scores f32[B, K]).

  Lists are cut at the catalog: K = min(k, I).

  Args:
    service: the run.
    state: of B users.
    k: items per user; id 0 and -inf where items run out.
    exclude: internal items of each row that are left out; None for none.
    allowed: bool[I + 1], items that may be recommended at all; None is all.
  Raises:
    types.UserError: k below 1, or scores that are not numbers.
  """
  queries = np.asarray(query(service, state))
  table = {'item': {'embedding': service.weights.item}}
  if exclude is None:
    offsets = np.zeros(len(queries) + 1, np.int64)
    exclude = gathers.Exclusions(offsets, offsets[:0])
  chunks = []
  for first in range(0, len(queries), _CHUNK):
    part = np.arange(first, min(first + _CHUNK, len(queries)))
    request = recommend_lib.Request(
      history=np.zeros((len(part), 1), np.int32),
      seen=gathers.exclusions(exclude, part),
      user=part - first,
    )
    params = types.Params(table, {'query': queries[part]})
    chunks += recommend_lib.recommend(
      contracts.Ranker(_RANKER, params, None),
      [request],
      num_items=service.num_items,
      k=k,
      allowed=allowed,
    )
  return recommend_lib.Chunk(*map(np.concatenate, zip(*chunks, strict=True)))


def play(
  service: Service,
  state: State,
  offsets: np.ndarray,
  items: np.ndarray,
  *,
  rows_at_once: int = 256,
  show: Callable[[int, int], None] = lambda users, events: None,
) -> State:
  """The states after many events, as host arrays.

  Users with as many events go together. Every batch is filled up to the same
  size, so that one program plays all events: a state has the same bits whether
  its events come in one go or in many, and whoever else is played with it.

  Args:
    service: the run.
    state: of B users.
    offsets: i64[B + 1], events of each user.
    items: i32[N], in the order in which they happened.
    rows_at_once: users of a batch.
    show: called with users done and events played since the last call.
  """
  host = on_host(state)
  length = np.diff(offsets)
  order = np.argsort(-length, kind='stable')
  size = rows_at_once
  for first in range(0, len(order), size):
    mine = order[first : first + size]
    filled = np.append(mine, np.zeros(size - len(mine), mine.dtype))
    left = np.where(np.arange(size) < len(mine), length[filled], 0)
    if not left.any():  # nor is anything left of those behind
      show(len(order), 0)
      break
    part = State(*(jnp.array(leaf[filled]) for leaf in host))
    for step in range(left.max()):
      event = np.where(step < left, offsets[filled] + step, 0)
      item = np.where(step < left, items[event], NO_EVENT)
      part = update(service, part, item)
    for leaf, moved in zip(host, part, strict=True):
      leaf[mine] = np.asarray(moved)[: len(mine)]
    show(first + len(mine), int(left.sum()))
  return host


def on_host(state: State) -> State:
  """A copy whose leaves are NumPy arrays, which can be written to."""
  return jax.tree.map(np.array, state)


def users_of(service: Service, values: Any) -> np.ndarray:
  """Users of external ids, i32[B]; -1 for somebody new."""
  return ids_lib.encode(service.ids.user, np.atleast_1d(np.asarray(values)))


def items_of(service: Service, values: Any) -> np.ndarray:
  """Items of external ids, i32[B]; 0 for one that is not in the catalog."""
  values = np.atleast_1d(np.asarray(values))
  return ids_lib.encode_items(service.ids.item, values)


def _new(config, params, networks) -> State:
  """A user without events, in the least active group."""
  names = [n for n in ('inactive', 'everyone') if n in networks]
  net = params.net['networks'].get(names[0])
  first = params.net['new']
  if net is not None:
    first = net.get('trunk', net)['extractor']['psi']
  cell = two_rnn.cell_of(config.two_time)
  values = np.asarray(recurrence.start(cell, jnp.asarray(first)[None]))
  zero = np.zeros(1, np.int32)
  network = np.full(1, networks.index(names[0]), np.int32)
  return State(values, zero, network, zero, zero, zero)


def _digest(config, weights, networks) -> bytes:
  """Tells the parameters that a state belongs to; users are no part of it."""
  options = config.two_time
  about = {
    'cell': options.cell,
    'reads_out': two_rnn.reads_out(options),
    'networks': list(networks),
    'plugin': dataclasses.asdict(config.plugin),
  }
  hashed = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
  for path, leaf in jax.tree_util.tree_flatten_with_path(weights)[0]:
    values = np.asarray(leaf).astype('<f4', copy=False)
    hashed.update(f'{jax.tree_util.keystr(path)} {values.shape}'.encode())
    hashed.update(values.tobytes())
  return hashed.digest()[:16]


def _no_init(key, context, sizes):
  raise ValueError('it takes queries, there is nothing to train')


def _encode(net, history_rows, context, inputs, *, key=None):
  del history_rows, context, key
  return rows.gather(net, jnp.maximum(inputs['user'], 0))['query']


def _score(net, encoded, candidate_rows, *, key=None):
  del net, key
  return jnp.einsum('bd,cd->bc', encoded, candidate_rows['embedding'])


# Ranks by queries that are there already; all users share the candidates.
_RANKER = types.Model(_no_init, _encode, _score)
