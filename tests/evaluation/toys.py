"""A scorer with exact arithmetic, and a log small enough for literal loops."""

import functools

import jax.numpy as jnp
import numpy as np

from twotsrec import types
from twotsrec.data import prepared


@functools.cache  # one model, one set of programs
def dot_model() -> types.Model:
  """Sum of the history rows, dot product with the candidate's row."""

  def init(key, context, sizes):
    raise NotImplementedError('tests give the parameters')

  def encode(net, rows, context, inputs, *, key=None):
    del net, context, key
    mask = (inputs['history'] > 0)[..., None]
    return jnp.sum(jnp.where(mask, rows['embedding'], 0.0), axis=1)

  def score(net, encoded, candidate_rows, *, key=None):
    del net, key
    table = candidate_rows['embedding']
    shared = 'bd,cd->bc' if table.ndim == 2 else 'bd,bcd->bc'
    return jnp.einsum(shared, encoded, table)

  return types.Model(init, encode, score)


@functools.cache
def rounded_model() -> types.Model:
  """The same with a faster program that is off by up to .3, by the item."""
  plain = dot_model()

  def score(net, encoded, candidate_rows, *, key=None):
    exact = plain.score(net, encoded, candidate_rows, key=key)
    row = candidate_rows['embedding'] @ jnp.array([1.0, 5.0, 25.0])
    return exact + 0.3 * jnp.cos(row)

  faster = plain._replace(score=score, any_length=True)
  return plain._replace(shared=faster, any_length=True)


@functools.cache
def routed_model() -> types.Model:
  """The same with `net` f32[G, D], a vector per group added to the user's."""
  plain = dot_model()

  def encode(net, rows, context, inputs, *, key=None):
    groups, weights = inputs['route']
    shift = jnp.sum(net[groups] * weights[..., None], axis=-2)
    return plain.encode(net, rows, context, inputs, key=key) + shift

  return plain._replace(encode=encode)


def routed_params(
  rng: np.random.Generator, num_items: int, num_groups: int
) -> types.Params:
  """Small integers, the vectors of the groups all different."""
  shifts = rng.permutation(27)[:num_groups, None] // [1, 3, 9] % 3 - 1
  params = integer_params(rng, num_items)
  return params._replace(net=jnp.asarray(shifts, jnp.float32))


def loop_shifts(params, routes):
  """What `routed_model` adds to every row, f32[T, D], one by one."""
  net = np.asarray(params.net)
  return np.array(
    [
      sum(weight * net[group] for group, weight in zip(chosen, weights))
      for chosen, weights in zip(*routes)
    ]
  )


def integer_params(rng: np.random.Generator, num_items: int) -> types.Params:
  """Small integers: sums are exact in any order, and ties are many."""
  table = rng.integers(-2, 3, size=(num_items + 1, 3)).astype(np.float32)
  return types.Params({'item': {'embedding': jnp.asarray(table)}}, {})


def log(
  rng: np.random.Generator, num_users: int, num_items: int, held_out: int = 1
) -> prepared.Prepared:
  """Users with 3-9 events, the last `held_out` of them test events."""
  counts = rng.integers(2 + held_out, 10, size=num_users)
  offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
  items = [
    1 + rng.choice(num_items, size=count, replace=False) for count in counts
  ]
  user = np.repeat(np.arange(num_users), counts)
  from_end = offsets[user + 1] - 1 - np.arange(offsets[-1])
  split = np.where(from_end < held_out, prepared.TEST, prepared.TRAIN)
  return prepared.build(
    user.astype(np.int32),
    np.concatenate(items).astype(np.int32),
    split.astype(np.int8),
    user_ids=np.arange(100, 100 + num_users),
    item_ids=np.arange(1, num_items + 1) * 10,
  )


def loop_scores(params, data, targets, length, shifts=None):
  """Scores of every item for every target, [T, I + 1], one by one.

  `shifts` f32[T, D] are added to the users.
  """
  if shifts is None:
    shifts = np.zeros(len(targets.user))[:, None]
  table = np.asarray(params.tables['item']['embedding'])
  scores = []
  for user, end, shift in zip(targets.user, targets.history_end, shifts):
    history = data.items[data.user_offsets[user] : end][-length:]
    scores.append(table @ (table[history].sum(axis=0) + shift))
  return np.array(scores)


def loop_negatives(data, user):
  """Items the user never interacted with."""
  own = data.items[data.user_offsets[user] : data.user_offsets[user + 1]]
  return np.setdiff1d(np.arange(1, data.num_items + 1), own)


BEHAVIORS = ('view', 'cart', 'buy')


def behavior_log(
  rng: np.random.Generator, num_users: int, num_items: int
) -> prepared.Prepared:
  """Views and carts at random, and 3-5 buys, the last two held out in turn."""
  user, item, behavior, split = [], [], [], []
  for row in range(num_users):
    for upstream, most in ((0, num_items), (1, num_items // 2)):
      shown = 1 + rng.choice(num_items, rng.integers(most), replace=False)
      user += [row] * len(shown)
      item += shown.tolist()
      behavior += [upstream] * len(shown)
      split += [prepared.TRAIN] * len(shown)
    bought = 1 + rng.choice(num_items, rng.integers(3, 6), replace=False)
    user += [row] * len(bought)
    item += bought.tolist()
    behavior += [2] * len(bought)
    split += [prepared.TRAIN] * (len(bought) - 2)
    split += [prepared.VALIDATION, prepared.TEST]
  return prepared.build(
    np.array(user, np.int32),
    np.array(item, np.int32),
    np.array(split, np.int8),
    user_ids=np.arange(num_users),
    item_ids=np.arange(1, num_items + 1),
    behaviors=np.array(behavior, np.int8),
    behavior_names=BEHAVIORS,
    history_rule=prepared.FIXED,
  )


@functools.cache
def factor_model() -> types.Model:
  """sum_k g_k <a_k, b_k> with a gate whose logits are a user's plus an item's.

  The form that every gated head has for ranking; it knows its users.
  """

  def init(key, context, sizes):
    raise NotImplementedError('tests give the parameters')

  def encode(net, rows, context, inputs, *, key=None):
    del rows, context, key
    user = jnp.maximum(inputs['user'], 0)
    return net['factor'][user] * jnp.repeat(
      net['gate'][user], net['factor'].shape[1] // net['gate'].shape[1], axis=1
    ), net['gate'][user]

  def score(net, encoded, candidate_rows, *, key=None):
    del net, key
    user, gate = encoded
    shared = 'bd,cd->bc' if candidate_rows['gate'].ndim == 2 else 'bd,bcd->bc'
    above = jnp.einsum(shared, user, candidate_rows['factor'])
    return above / jnp.einsum(shared, gate, candidate_rows['gate'])

  return types.Model(init, encode, score)


def factor_params(
  rng: np.random.Generator, num_users: int, num_items: int, count: int = 3
) -> types.Params:
  """`count` behaviors, four wide each."""

  def table(rows):
    gate = np.exp(rng.normal(size=(rows, count)))
    return {
      'factor': rng.normal(size=(rows, 4 * count)).astype(np.float32),
      'gate': gate.astype(np.float32),
    }

  item = table(num_items + 1)
  item['factor'] *= np.repeat(item['gate'], 4, axis=1)
  item = {name: jnp.asarray(values) for name, values in item.items()}
  user = {k: jnp.asarray(v) for k, v in table(num_users).items()}
  return types.Params({'item': item}, user)


def loop_factor_scores(params):
  """The same pair by pair, [U, I + 1]."""
  as_numpy = lambda table: {k: np.asarray(v, 'f8') for k, v in table.items()}
  net, table = as_numpy(params.net), as_numpy(params.tables['item'])
  pairs = [
    [
      _factor_score(net, table, user, item)
      for item in range(len(table['gate']))
    ]
    for user in range(len(net['gate']))
  ]
  return np.array(pairs)


def _factor_score(net, table, user, item):
  """Softmax gate of the sum of the logits, f64."""
  logits = np.log(net['gate'][user]) + np.log(table['gate'][item])
  gate = np.exp(logits) / np.exp(logits).sum()
  experts = table['factor'][item].reshape(len(gate), -1)
  experts = experts / table['gate'][item][:, None]
  own = net['factor'][user].reshape(len(gate), -1)
  return sum(g * a @ b for g, a, b in zip(gate, own, experts))


def disliked(rng, data: prepared.Prepared) -> list[list[int]]:
  """Items of every user that the user has no event of; none for some."""
  everything = np.arange(1, data.num_items + 1)
  users = zip(data.user_offsets[:-1], data.user_offsets[1:], strict=True)
  left = [np.setdiff1d(everything, data.items[a:b]) for a, b in users]
  counts = rng.integers(0, 4, len(left))
  return [
    sorted(rng.choice(items, min(len(items), count), replace=False).tolist())
    for items, count in zip(left, counts, strict=True)
  ]


def with_disliked(data: prepared.Prepared, low: list[list[int]], times=None):
  """The data with such items of every user, and their times."""
  offsets = np.concatenate([[0], np.cumsum([len(items) for items in low])])
  return data._replace(
    disliked_offsets=offsets.astype(np.int64),
    disliked_items=np.concatenate(low).astype(np.int32),
    disliked_times=times,
  )
