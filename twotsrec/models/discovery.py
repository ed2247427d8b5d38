"""Shares places of a list between what a user has touched and what is new.

Whatever a model scores, it orders what the user has touched, by any behavior,
and what the user has not. Two ways put the two orders together:

  raised  what is new gains one number, the same for all users, that
          `evaluation/discoveries.py` has chosen so that it takes a share of the
          first places of all lists together. Who has something promising that
          is new gets more of it; this needs scores that users can be compared
          by.
  merged  every list alike: of its first p places, floor(p share) are new, as
          long as both orders last. Only the order of scores matters.
"""

import fractions
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import contracts
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.ops import rows as rows_ops


class Ragged(NamedTuple):
  """Items of every user, one user after the other.

  Attributes:
    starts: i32[U], where a user's begin.
    counts: i32[U].
    items: i32[M + 1], 1..I; the last is filling.
    steps: i32[largest count], whose length bounds a user's items.
  """

  starts: jax.Array
  counts: jax.Array
  items: jax.Array
  steps: jax.Array


class Merge(NamedTuple):
  """How two orders become one.

  Attributes:
    touched_before: i32[I + 2], touched items that stand before the new item of
      each rank, from 1, if there are as many.
    new_before: i32[I + 2], new items before the touched one of each rank.
  """

  touched_before: jax.Array
  new_before: jax.Array


def ragged(counts: np.ndarray, items: np.ndarray) -> Ragged:
  """On the device, from the number of each user's items, and the items."""
  as_i32 = lambda values: jnp.asarray(values, jnp.int32)
  return Ragged(
    starts=as_i32(np.cumsum(counts) - counts),
    counts=as_i32(counts),
    items=as_i32(np.append(items, 0)),
    steps=as_i32(np.arange(max(int(np.max(counts, initial=0)), 1))),
  )


def items_of(of: Ragged, users: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Items of users i32[B], i32[B, L], 0 where there is none; and their places.

  A place is one in `Ragged.items`, the last where there is none; -1 is nobody.
  """
  user = jnp.maximum(users, 0)[:, None]
  inside = (of.steps < of.counts[user]) & (users >= 0)[:, None]
  last = of.items.shape[0] - 1
  place = jnp.where(inside, of.starts[user] + of.steps, last)
  return of.items[place], place


def marked(of: Ragged, users: jax.Array, num_items: int) -> jax.Array:
  """Whether an item is one of the user's, bool[B, I + 1]."""
  items, _ = items_of(of, users)
  row = jnp.arange(users.shape[0])[:, None]
  blank = jnp.zeros((users.shape[0], num_items + 1), jnp.bool_)
  return blank.at[row, items].set(True).at[:, 0].set(False)


def merge_of(share: float, num_items: int) -> Merge:
  """The orders of a share p / q, exact, for up to so many items."""
  exact, every = fractions.Fraction(str(share)), num_items + 1
  new, old = exact.numerator, exact.denominator - exact.numerator
  ranks = range(1, every + 1)
  # The r-th new item has place ceil(r q / p); ceil(a / b) is -(-a // b).
  before = [-(-rank * old // new) if new else every for rank in ranks]
  after = [(rank - 1) * new // old if old else every for rank in ranks]
  as_i32 = lambda values: jnp.asarray(
    np.clip([0, *values], 0, every), jnp.int32
  )
  return Merge(as_i32(before), as_i32(after))


def raised(
  ranker: contracts.Ranker, touched: Ragged, gain: float, num_items: int
) -> contracts.Ranker:
  """The ranker whose scores of what is new gain a number."""
  more = {'touched': touched, 'gain': jnp.asarray(gain, jnp.float32)}
  return _around(ranker, _raised(ranker.model, num_items), num_items, more)


def merged(
  ranker: contracts.Ranker,
  touched: Ragged,
  gone: prepared_lib.SeenItems,
  share: float,
  num_items: int,
) -> contracts.Ranker:
  """The ranker whose lists have a share of what is new.

  Args:
    ranker: whose scores order both.
    touched: items of every user that are not new.
    gone: items that take no place, as they do not compete.
    share: of the places.
    num_items: I.
  """
  more = {
    'touched': touched,
    'merge': merge_of(share, num_items),
    'gone': ragged(np.diff(gone.offsets), gone.items),
  }
  return _around(
    ranker, _merged(ranker.model, num_items), num_items, more, whole=True
  )


def _around(ranker, model, num_items, more, whole=False):
  ids = jnp.arange(num_items + 1, dtype=jnp.int32)

  def joined(params):
    items = params.tables['item']
    net = {'model': params.net, **more}
    if whole:
      net['items'] = items
    return types.Params({'item': {'model': items, 'id': ids}}, net)

  params = ranker.params
  several = isinstance(params, list)
  params = [joined(one) for one in params] if several else joined(params)
  return ranker._replace(model=model, params=params)


def _encode_inner(model, net, rows, context, inputs, key):
  return model.encode(net['model'], rows['model'], context, inputs, key=key)


def _init(key, context, sizes):
  raise ValueError('places are shared out among what a trained model scores')


@functools.cache  # one model, one set of programs
def _raised(model: types.Model, num_items: int) -> types.Model:

  def encode(net, rows, context, inputs, *, key=None):
    inner = _encode_inner(model, net, rows, context, inputs, key)
    known = marked(net['touched'], inputs['user'], num_items)
    return {'model': inner, 'new': ~known}

  def score(net, encoded, candidate_rows, *, key=None):
    rows = candidate_rows['model']
    scores = model.score(net['model'], encoded['model'], rows, key=key)
    new = rows_ops.of_candidates(encoded['new'], candidate_rows['id'])
    return scores + jnp.where(new, net['gain'], 0.0)

  return types.Model(_init, encode, score)


@functools.cache
def _merged(model: types.Model, num_items: int) -> types.Model:

  def encode(net, rows, context, inputs, *, key=None):
    inner = _encode_inner(model, net, rows, context, inputs, key)
    scores = model.score(net['model'], inner, net['items'], key=key)
    out = marked(net['gone'], inputs['user'], num_items).at[:, 0].set(True)
    new = ~marked(net['touched'], inputs['user'], num_items)
    return -places(net['merge'], scores, new, out)

  def score(net, encoded, candidate_rows, *, key=None):
    del net, key
    return rows_ops.of_candidates(encoded, candidate_rows['id'])

  return types.Model(_init, encode, score)


def places(
  merge: Merge, scores: jax.Array, new: jax.Array, out: jax.Array
) -> jax.Array:
  """Place of every item in the list of its row, f32[B, C], from 1.

  Args:
    merge: how both orders become one.
    scores: f32[B, C]; of equal ones the first stands before.
    new: bool[B, C].
    out: bool[B, C], what takes no place and comes last.
  """
  order = jnp.argsort(jnp.where(out, jnp.inf, -scores), axis=1)
  sort = lambda values: jnp.take_along_axis(values, order, axis=1)
  is_out, is_new = sort(out), sort(new)
  new_rank = jnp.cumsum(is_new & ~is_out, axis=1)
  touched_rank = jnp.cumsum(~is_new & ~is_out, axis=1)
  of_new = jnp.minimum(merge.touched_before[new_rank], touched_rank[:, -1:])
  of_touched = jnp.minimum(merge.new_before[touched_rank], new_rank[:, -1:])
  place = jnp.where(is_new, new_rank + of_new, touched_rank + of_touched)
  place = jnp.where(is_out, 2 * scores.shape[1], place).astype(jnp.float32)
  row = jnp.arange(scores.shape[0])[:, None]
  return jnp.zeros(scores.shape).at[row, order].set(place)
