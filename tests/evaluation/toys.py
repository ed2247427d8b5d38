"""A scorer with exact arithmetic, and a log small enough for literal loops."""

import jax.numpy as jnp
import numpy as np

from twotsrec import types
from twotsrec.data import prepared


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
