"""What a history says of an item by itself, added to the scores of a model.

A sequence model learns from some hundred thousand events what people like; that
they come back to what they had, and that two items go together, stands in the
log as plain counts. So a score becomes

    w_0 model(u, i) + sum_f w_f x_f(u, i)

where the x are few and come from the history alone, whatever the model is:

  repeats     whether the user had the item: how many events ago, in steps that
              double, and log(how often)
  neighbors   log(1 + sum of the cosines of the item with all items that the
              user had), as in item-item nearest neighbors
  successors  log(1 + cosine of the item with what comes soon after the last
              item of the history)

The last two have a weight of their own where the user had the item. Cosines
are in units of their mean. A user without a history gains nothing.

The weights are those of a choice among all items (McFadden 1974), fitted on
events that neither the model nor the counts have seen: stacking (Wolpert 1992).
Recency and frequency are what repeats depend on in Anderson et al. 2014, "The
dynamics of repeat consumption".
Departure: there both make up the whole model of what is taken again; here they
stand beside a model of all items, so nothing decides before whether an event is
a repeat.
"""

from collections.abc import Sequence
import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config
from twotsrec import contracts
from twotsrec import types
from twotsrec.ops import rows as rows_ops

TERMS = config.PRIOR_TERMS
REPEATS, NEIGHBORS, SUCCESSORS = TERMS
# Events ago, from a power of 2 to the next.
_AGES = ('1', '2', '4', '8', '16', '32', '64', '128 or more')
_COLUMNS = {
  REPEATS: (*(f'had {age} ago' for age in _AGES), 'log count'),
  NEIGHBORS: ('neighbors', 'neighbors, had'),
  SUCCESSORS: ('successors', 'successors, had'),
}


class Nearest(NamedTuple):
  """Items that go with every item; 0 and 0 where there are fewer than k.

  Attributes:
    ids: i32[I + 1, k].
    weights: f32[I + 1, k].
  """

  ids: jax.Array
  weights: jax.Array


class Memory(NamedTuple):
  """What train events say of pairs of items.

  Attributes:
    blank: f32[I + 1], zeros.
    near: {term: items that go with every item}, of `NEIGHBORS` and `SUCCESSORS`
      those that are asked for.
  """

  blank: jax.Array
  near: dict[str, Nearest]


class Evidence(NamedTuple):
  """What a history says of items, f32[..., I + 1] or of candidates [..., C].

  Attributes:
    count: events of the item.
    age: 1 for the last event, 2 for the one before; 0 of no event.
    near: {term: sum of weights}, of `NEIGHBORS` and `SUCCESSORS`.
  """

  count: jax.Array
  age: jax.Array
  near: dict[str, jax.Array]


def names(terms: Sequence[str]) -> tuple[str, ...]:
  """Columns in the order of their weights; the model's score comes first."""
  named = (_COLUMNS[term] for term in TERMS if term in terms)
  return ('model', *itertools.chain(*named))


def nearest(ids: np.ndarray, weights: np.ndarray) -> Nearest:
  """On the device, in units of the mean weight."""
  mean = weights[weights > 0].mean() if np.any(weights > 0) else 1.0
  return Nearest(jnp.asarray(ids), jnp.asarray(weights / mean))


def evidence(memory: Memory, history: jax.Array) -> Evidence:
  """Looks through histories.

  Args:
    memory: of the train events.
    history: i32[B, L], oldest first, right-padded with 0.
  Returns:
    Leaves f32[B, I + 1].
  """
  blank = memory.blank

  def of_user(history):
    place = 1.0 + jnp.arange(len(history), dtype=jnp.float32)
    length = jnp.sum(history > 0)
    count = blank.at[history].add(1.0).at[0].set(0.0)
    last = blank.at[history].max(place).at[0].set(0.0)
    near = {}
    if NEIGHBORS in memory.near:
      # An item that occurs twice speaks once.
      share = jnp.where(history > 0, 1.0 / jnp.maximum(count[history], 1.0), 0)
      near[NEIGHBORS] = _sum(blank, memory.near[NEIGHBORS], history, share)
    if SUCCESSORS in memory.near:
      item = history[jnp.maximum(length - 1, 0)]
      near[SUCCESSORS] = _sum(blank, memory.near[SUCCESSORS], item, 1.0)
    return Evidence(count, jnp.where(last > 0, length - last + 1.0, 0.0), near)

  return jax.vmap(of_user)(history)


def _sum(blank, table, items, share):
  """Sums what items say of others, f32[I + 1]."""
  share = jnp.asarray(share, jnp.float32)[..., None]
  said = table.weights[items] * share
  return blank.at[table.ids[items]].add(said)


def columns(terms: Sequence[str], seen: Evidence) -> tuple[jax.Array, ...]:
  """The x_f of a choice without the model's score, each like `seen.count`."""
  had = seen.count > 0
  made = []
  if REPEATS in terms:
    age = jnp.floor(jnp.log2(jnp.maximum(seen.age, 1.0)))
    age = jnp.minimum(age, len(_AGES) - 1)
    for step in range(len(_AGES)):
      made.append(jnp.where(had & (age == step), 1.0, 0.0))
    made.append(jnp.log(jnp.maximum(seen.count, 1.0)))
  for term in (NEIGHBORS, SUCCESSORS):
    if term in terms:
      said = jnp.log1p(seen.near[term])
      made += [said, jnp.where(had, said, 0.0)]
  return tuple(made)


def around(
  ranker: contracts.Ranker,
  terms: Sequence[str],
  memory: Memory,
  weights: Sequence[float],
  history_length: int,
) -> contracts.Ranker:
  """The ranker whose scores gain what histories say.

  Args:
    ranker: a model that reads histories.
    terms: of `TERMS`.
    memory: of the train events, for these terms.
    weights: as `names` has them.
    history_length: events that the terms look at; the model reads as many of
      the last ones as before.
  """
  by_column = jnp.asarray(weights, jnp.float32)

  def joined(params):
    items = params.tables['item']
    ids = jnp.arange(memory.blank.size, dtype=jnp.int32)
    net = {'model': params.net, 'memory': memory, 'weights': by_column}
    return types.Params({'item': {'model': items, 'id': ids}}, net)

  several = isinstance(ranker.params, list)
  params = ranker.params
  return ranker._replace(
    model=_model(ranker.model, tuple(terms), ranker.history_length),
    params=[joined(one) for one in params] if several else joined(params),
    history_length=max(history_length, ranker.history_length),
  )


@functools.cache  # one model, one set of programs
def _model(
  model: types.Model, terms: tuple[str, ...], length: int
) -> types.Model:
  """Parameters are those of `around`; `length` is what the model reads."""

  def init(key, context, sizes):
    raise ValueError('a prior is fitted to a model that is trained')

  def encode(net, rows, context, inputs, *, key=None):
    history = inputs['history']
    last, rows = _last(length, history, rows['model'])
    inner = model.encode(
      net['model'], rows, context, {**inputs, 'history': last}, key=key
    )
    made = columns(terms, evidence(net['memory'], history))
    gain = sum(w * x for w, x in zip(net['weights'][1:], made, strict=True))
    return {'model': inner, 'gain': gain}

  def score(net, encoded, candidate_rows, *, key=None):
    rows = candidate_rows['model']
    scores = model.score(net['model'], encoded['model'], rows, key=key)
    gain = rows_ops.of_candidates(encoded['gain'], candidate_rows['id'])
    return net['weights'][0] * scores + gain

  return types.Model(init, encode, score)


def _last(length, history, rows):
  """The last events of histories, i32[B, length], with their rows."""
  if history.shape[1] <= length:
    return history, rows
  count = jnp.sum(history > 0, axis=1, keepdims=True)
  place = jnp.maximum(count - length, 0) + jnp.arange(length)
  there = place < count
  place = jnp.minimum(place, history.shape[1] - 1)
  last = jnp.where(there, jnp.take_along_axis(history, place, axis=1), 0)
  each = jnp.arange(history.shape[0])[:, None]
  return last, jax.tree.map(lambda leaf: leaf[each, place], rows)
