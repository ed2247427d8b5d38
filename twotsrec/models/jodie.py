"""JODIE: states of users and items that events move (Kumar et al., KDD 2019).

    projection   u^ = u o (1 + w dt_u + b),   dt_u since the user's last event
    prediction   j~ = W [u^, k, s_k, s_u] + b,   k the item the user had before
    update       u' = norm tanh(A_u [i, dt_u] + B_u u),
                 i' = norm tanh(A_i [u, dt_i] + B_i i),   both from the old u, i

s are static vectors, one-hot as published or learned as in 2TS; all items are
ranked by the distance of j~ to [i, s_i], where i is the state of the item just
before the event. A user or item without an event is at a trained start.

Departure: in the authors' program the start is trained by the first span of an
epoch alone, because every state is stored from then on. Here whoever has no
event yet is at the start as it is now, and trains it.
Departure: an event has no features; the public logs with times have none.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec.data import span_feeds
from twotsrec.models import layers

Net = dict[str, Any]


class States(NamedTuple):
  """States of everybody who has had an event: f32[U, D] and f32[I + 1, D]."""

  user: jax.Array
  item: jax.Array


class Moves(NamedTuple):
  """States around events, f32[E, D]: just before them, and what they become."""

  user: jax.Array
  item: jax.Array
  previous: jax.Array
  new_user: jax.Array
  new_item: jax.Array


class Prediction(NamedTuple):
  """j~ in two parts: f32[E, D], and f32[E, S] or f32[E, I + 1] of a one-hot."""

  state: jax.Array
  static: jax.Array


def static_width(config: config_lib.Config) -> int:
  """Width of learned static vectors; 0 where they are one-hot."""
  options = config.jodie
  return options.static_width if options.static == 'learned' else 0


def size(config: config_lib.Config, num_users: int, num_items: int) -> int:
  """Numbers in the prediction layer."""
  width, static = config.model.width, static_width(config)
  if static:
    return (2 * width + 2 * static + 1) * (width + static)
  ends = num_users + num_items + 1
  return (2 * width + ends + 1) * (width + num_items + 1)


def init(
  key: jax.Array, config: config_lib.Config, num_users: int, num_items: int
) -> Net:
  """Parameters, drawn as the authors' program does.

  Returns:
    {'start', 'user_cell', 'item_cell', 'drift', 'predict'}, and 'static' where
    static vectors are learned. `predict` has a block for each input of W; those
    of one-hot inputs are tables.
  """
  width, static = config.model.width, static_width(config)
  keys = iter(jax.random.split(key, 20))
  uniform = lambda bound, *shape: jax.random.uniform(
    next(keys), shape, jnp.float32, -bound, bound
  )
  ends = num_users, num_items + 1
  outputs = width + (static or num_items + 1)
  inputs = (static, static) if static else ends
  bound = (2 * width + sum(inputs)) ** -0.5
  cell = lambda: {
    'input': uniform(width**-0.5, width, width),
    'gap': uniform(width**-0.5, width),
    'state': uniform(width**-0.5, width, width),
    'bias': uniform(width**-0.5, width),
  }
  start = lambda: jax.random.uniform(next(keys), (width,))
  net = {
    'start': {'user': start(), 'item': start()},
    'user_cell': cell(),
    'item_cell': cell(),
    'drift': {
      'weight': jax.random.normal(next(keys), (width,)),
      'bias': jax.random.normal(next(keys), (width,)),
    },
    'predict': {
      'state': uniform(bound, width, outputs),
      'previous': uniform(bound, width, outputs),
      'user': uniform(bound, inputs[0], outputs),
      'item': uniform(bound, inputs[1], outputs),
      'bias': uniform(bound, outputs),
    },
  }
  if static:
    draw = lambda rows: jax.random.normal(next(keys), (rows, static))
    scale = static**-0.5
    net['static'] = {
      'user': scale * draw(ends[0]),
      'item': scale * draw(ends[1]),
    }
  return net


def init_states(num_users: int, num_items: int, width: int) -> States:
  """Room for states; nobody has one before an event."""
  zeros = lambda rows: jnp.zeros((rows, width), jnp.float32)
  return States(zeros(num_users), zeros(num_items + 1))


def starts(net: Net) -> tuple[jax.Array, jax.Array]:
  """States of users and items without events, f32[D] each, of length 1."""
  of = lambda name: layers.unit_rows(net['start'][name][None])[0]
  return of('user'), of('item')


def update(
  cell: Net, other: jax.Array, gap: jax.Array, state: jax.Array
) -> Any:
  """New states f32[B, D] of one side, from both old ones and gaps f32[B]."""
  inside = other @ cell['input'] + gap[:, None] * cell['gap']
  return layers.unit_rows(
    jnp.tanh(inside + state @ cell['state'] + cell['bias'])
  )


def replay(
  net: Net, span: span_feeds.Span, states: States
) -> tuple[States, Moves]:
  """The events of a span, t-batch by t-batch.

  Back-propagation reaches to its start: `states` are numbers to it, and a new
  user or item is at the trained start.

  Returns:
    States after the span, and those around each event.
  """
  user, item = starts(net)
  clip = lambda table, ids: table.at[ids].get(mode='clip')
  width = span.rows.shape[1]
  # Filling has rows of its own behind the others, one for each place.
  filling = jnp.zeros((width, user.size))
  first = lambda table, ids, new, start: jnp.concatenate(
    [jnp.where(new[:, None], start, clip(table, ids)), filling]
  )
  tables = (
    first(states.user, span.users, span.new_users, user),
    first(states.item, span.items, span.new_items, item),
  )
  gaps = jnp.concatenate([span.gaps, jnp.zeros((1, 2))])
  events, place = span.user.shape[0], jnp.arange(width)
  take = lambda table, ids: table.at[ids].get(mode='promise_in_bounds')
  move = lambda table, ids, states: table.at[ids].set(
    states, mode='promise_in_bounds', unique_indices=True
  )

  def step(tables, row):
    users, items = tables
    who, what, last = span.local[row].T
    own = jnp.where(row == events, place, 0)
    who, what = who + own, what + own
    old = take(users, who), take(items, what)
    new_user = update(net['user_cell'], old[1], gaps[row, 0], old[0])
    new_item = update(net['item_cell'], old[0], gaps[row, 1], old[1])
    tables = move(users, who, new_user), move(items, what, new_item)
    return tables, Moves(*old, take(items, last), new_user, new_item)

  tables, moves = jax.lax.scan(step, tables, span.rows)
  rows = span.rows.reshape(-1)
  where = jnp.zeros(events + 1, jnp.int32).at[rows].set(jnp.arange(rows.size))
  in_time = lambda x: take(x.reshape(-1, x.shape[-1]), where[:events])
  put = lambda table, ids, values: table.at[ids].set(
    values[: ids.size], mode='drop'
  )
  states = States(
    put(states.user, span.users, tables[0]),
    put(states.item, span.items, tables[1]),
  )
  return states, jax.tree.map(in_time, moves)


def predict(
  net: Net,
  user: jax.Array,
  previous: jax.Array,
  gap: jax.Array,
  ids: tuple[jax.Array, jax.Array],
) -> Prediction:
  """j~ of some events.

  Args:
    net: parameters.
    user: f32[E, D], states of the users.
    previous: f32[E, D], states of the items that they had before.
    gap: f32[E], since their last events.
    ids: i32[E] of the users and of these items, 0 for none.
  """
  blocks, drift = net['predict'], net['drift']
  projected = user * (1.0 + gap[:, None] * drift['weight'] + drift['bias'])
  made = projected @ blocks['state'] + previous @ blocks['previous']
  for side, rows in zip(('user', 'item'), ids, strict=True):
    if 'static' in net:
      made += net['static'][side][rows] @ blocks[side]
    else:
      made += blocks[side][rows]
  made += blocks['bias']
  width = user.shape[1]
  return Prediction(made[:, :width], made[:, width:])


def distance(
  net: Net, predicted: Prediction, state: jax.Array, item: jax.Array
) -> jax.Array:
  """||j~ - [i, s_i]||^2 of an item for each event, f32[E].

  Args:
    net: parameters.
    predicted: for E events.
    state: f32[E, D], of the items.
    item: i32[E].
  """
  moving = jnp.sum((predicted.state - state) ** 2, axis=1)
  if 'static' in net:
    others = predicted.static - net['static']['item'][item]
    return moving + jnp.sum(others**2, axis=1)
  at = jnp.take_along_axis(predicted.static, item[:, None], axis=1)[:, 0]
  return moving + jnp.sum(predicted.static**2, axis=1) - 2.0 * at + 1.0


def nearness(net: Net, predicted: Prediction) -> jax.Array:
  """What static vectors add to minus half the distance, f32[E, I + 1].

  Up to a number of each event, which ranks nothing.
  """
  if 'static' not in net:
    return predicted.static
  item = net['static']['item']
  return predicted.static @ item.T - 0.5 * jnp.sum(item**2, axis=1)


def factors(
  net: Net, predicted: Prediction, state: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Queries f32[E, Q] and items f32[I + 1, Q]; a product is minus half of the
  distance, up to a number of each query.

  Args:
    net: parameters.
    predicted: of E queries.
    state: f32[I + 1, D], of all items.
  """
  static = jnp.eye(state.shape[0])
  if 'static' in net:
    static = net['static']['item']
  lengths = jnp.sum(state**2, axis=1) + jnp.sum(static**2, axis=1)
  ones = jnp.ones((predicted.state.shape[0], 1))
  query = jnp.concatenate([predicted.state, predicted.static, ones], axis=1)
  items = jnp.concatenate([state, static, -0.5 * lengths[:, None]], axis=1)
  return query, items
