"""Two experts for the items of a user: what was touched, and the rest.

Ours, after MEMBER (arXiv 2508.19507), which gives visited and unvisited items
an expert each. Here both are logistic regressions of what can be counted:

    touched   logit P = b_p + r_p log(rate_i) + n_p x_ui     for each pattern p
    the rest  logit P = b_0 + n_0 x_ui

with patterns and rates as in `pair_prior`, and

    x_ui = log(1 + sum of the cosines of i with what the user bought)

where two items are near if the same users touched or bought them; cosines are
in units of their mean, and an item does not speak for itself. What goes with a
purchase is found by it, whether the user has seen it or not: on taobao-copf it
puts .127 of the purchases nobody could be reminded of among ten such items,
where popularity has .016.

Where the log has times, the first expert also gains by how lately an item was
touched (`recency`). Both give the chance of the same event, so that one list
can hold both. The pair's own user is left out of what the second expert learns
from: without this, every new purchase would speak for itself.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import behaviors as behaviors_lib
from twotsrec.models import closed_form
from twotsrec.models import discovery
from twotsrec.models import pair_prior
from twotsrec.models import recency
from twotsrec.models import reminders
from twotsrec.ops import graph as graph_lib
from twotsrec.ops import rows as rows_ops

_SMOOTHING = reminders.SMOOTHING
_USERS = 1024  # whose pairs are counted at once, on the host
_BINS = 4096  # of x, for the pairs of which only the number counts


class Counted(NamedTuple):
  """What a log says of its pairs, on the host.

  Attributes:
    num_behaviors: K.
    pairs: with an upstream behavior, by user and item.
    x: f64[M], of `pairs`.
    age: f64[M], of `pairs`, as in `recency`; 0 in a log without times.
    touches: the events, or None in such a log.
    x_new: f64[N], of pairs bought without any, by all other users.
    others: f64[B], how many of the remaining pairs have the x of each bin.
    width: of a bin.
    ids: i32[I + 1, k], items near to an item.
    weights: f32[I + 1, k], of them, 1 in the mean; 0 where there is none.
    bought: (offsets i64[U + 1], items i64[E]) of every user.
  """

  num_behaviors: int
  pairs: pair_prior.Touched
  x: np.ndarray
  age: np.ndarray
  touches: behaviors_lib.Touches | None
  x_new: np.ndarray
  others: np.ndarray
  width: float
  ids: np.ndarray
  weights: np.ndarray
  bought: tuple[np.ndarray, np.ndarray]


class Context(NamedTuple):
  """The same on the device, to rank by.

  Attributes:
    touched: items with an upstream behavior.
    pattern: i32[M + 1], of `touched`.
    rate: f32[M + 1], the same.
    age: f32[M + 1], the same, as in `recency`; 0 in a log without times.
    patterns: i32[2^(K-1)], whose length says how many there are.
    bought: items of the target behavior.
    near: {'ids', 'weights'}, as in `Counted`.
  """

  touched: discovery.Ragged
  pattern: jax.Array
  rate: jax.Array
  age: jax.Array
  patterns: jax.Array
  bought: discovery.Ragged
  near: dict[str, jax.Array]


def count(
  edges: graph_lib.Edges,
  options: config_lib.ClosedFormConfig,
  touches: behaviors_lib.Touches | None = None,
) -> Counted:
  """Looks at all training pairs.

  Args:
    edges: of every behavior, the target last.
    options: neighbors and shrinkage of the cosines.
    touches: the events of the edges, in a log with times.
  Raises:
    types.UserError: one behavior, or too many.
  """
  if len(edges.pairs) < 2:
    raise types.UserError(
      'pair_experts tells what a user touched from what the user did not, and'
      ' these data have one behavior; use item_knn, or prepare them with two'
      ' or more (--behaviors)'
    )
  pair_prior.check(len(edges.pairs), 'pair_experts', 'cascading_rank')
  pairs = pair_prior.touched(edges.pairs, edges.num_items, _SMOOTHING)
  bought = _matrix(edges, edges.pairs[-1:])
  every = _matrix(edges, edges.pairs)
  ids, weights = closed_form.nearest(
    every, every, options.neighbors, options.shrinkage
  )
  mean = float(weights[weights > 0].mean()) if np.any(weights > 0) else 1.0
  touched = _matrix(edges, edges.pairs[:-1])
  alone = (bought - bought.multiply(touched)).tocoo()
  new = alone.row.astype(np.int64), alone.col.astype(np.int64) + 1
  near = _speaks(ids, weights / mean)
  # Of the user's own two items of a pair nothing is left in their cosine.
  norms = np.sqrt(np.asarray(every.sum(axis=0)).ravel())
  own = 1.0 / (norms[near.row] * norms[near.col] + options.shrinkage) / mean
  by_others = near.copy()
  by_others.data = np.maximum(near.data - own, 0.0)
  largest = np.asarray(near.sum(axis=0)).max(initial=0.0)
  width = float(max(np.log1p(largest), 1.0)) / (_BINS - 1)
  asked = [(pairs.user, pairs.item), new]
  (x, x_own), bins = _looked_up(bought, near, asked, width)
  (x_new,), _ = _looked_up(bought, by_others, [new], width)
  offsets = np.asarray(bought.indptr, np.int64)
  return Counted(
    num_behaviors=len(edges.pairs),
    pairs=pairs,
    x=x,
    age=_ages(touches, pairs),
    touches=touches,
    x_new=x_new,
    others=bins - _bins(np.concatenate([x, x_own]), width),
    width=width,
    ids=ids,
    weights=(weights / mean).astype(np.float32),
    bought=(offsets, bought.indices.astype(np.int64) + 1),
  )


def _ages(touches, pairs):
  if touches is None:
    return np.zeros(len(pairs.user))
  return recency.of_pairs(touches, pairs.user, pairs.item)


def _matrix(edges, pairs) -> scipy.sparse.csr_matrix:
  """1 where a user shows one of the behaviors toward an item, U x I."""
  users, items = (np.concatenate(column) for column in zip(*pairs))
  shape = (edges.num_users, edges.num_items)
  ones = np.ones(len(users))
  made = scipy.sparse.csr_matrix((ones, (users, items - 1)), shape)
  made.data[:] = 1.0
  made.sort_indices()
  return made


def _speaks(ids, weights) -> scipy.sparse.coo_matrix:
  """What item j says of item i, at [j, i]."""
  count, k = ids.shape
  about = np.repeat(np.arange(count) - 1, k)
  real = weights.ravel() > 0
  place = ids.ravel()[real] - 1, about[real]
  values = weights.ravel()[real].astype(np.float64)
  return scipy.sparse.coo_matrix((values, place), (count - 1, count - 1))


def _looked_up(bought, near, asked, width):
  """x of pairs, f64[M] for each list of them, and how many of all have which.

  Args:
    bought: sparse [U, I].
    near: what items say of others, sparse [I, I].
    asked: (users, items) in order of their users, for each list.
    width: of a bin of x.
  """
  near, found = near.tocsr(), [np.zeros(len(users)) for users, _ in asked]
  bins = np.zeros(_BINS)
  for first in range(0, bought.shape[0], _USERS):
    sums = (bought[first : first + _USERS] @ near).tocsr()
    sums.data = np.log1p(sums.data)
    for values, (users, items) in zip(found, asked, strict=True):
      part = slice(*np.searchsorted(users, [first, first + _USERS]))
      if part.start < part.stop:
        looked = sums[users[part] - first, items[part] - 1]
        values[part] = np.asarray(looked).ravel()
    bins += _bins(sums.data, width)
    bins[0] += sums.shape[0] * sums.shape[1] - sums.nnz
  return found, bins


def _bins(x, width) -> np.ndarray:
  return np.bincount(np.rint(x / width).astype(np.int64), minlength=_BINS)


class Fitted(NamedTuple):
  """What the experts have learned.

  Attributes:
    weights: f64[2^(K-1), 3], bias, slope of the rate and slope of x of each
      pattern.
    recency: slope of the age of what was touched; 0 in a log without times.
  """

  weights: np.ndarray
  recency: float


def fit(counted: Counted) -> Fitted:
  """Fits both experts, one pattern after the other."""
  pairs, width = counted.pairs, counted.width
  fitted = pair_prior.fit(pairs, counted.num_behaviors, [counted.x])
  x = np.concatenate([counted.x_new, width * np.arange(_BINS)])
  took = np.arange(len(x)) < len(counted.x_new)
  number = np.concatenate([np.ones(len(counted.x_new)), counted.others])
  bias, slope = pair_prior.logistic([x], took, number)
  fitted[0] = bias, 0.0, slope
  if counted.touches is None:
    return Fitted(fitted, 0.0)
  own = fitted[pairs.pattern].T
  logits = own[0] + own[1] * pairs.rate + own[2] * counted.x
  age = recency.fit(counted.touches, pairs.user, pairs.item, logits)
  return Fitted(fitted, age)


def params(fitted: Fitted, num_items: int) -> types.Params:
  """Parameters of `make_model` from what `fit` gives."""
  ids = jnp.arange(num_items + 1, dtype=jnp.int32)
  net = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), fitted._asdict())
  return types.Params({'item': {'id': ids}}, net)


def context(counted: Counted) -> Context:
  """What the model ranks by, on the device."""
  pairs, (offsets, bought) = counted.pairs, counted.bought
  each = np.bincount(pairs.user, minlength=len(offsets) - 1)
  filled = lambda values, kind: jnp.asarray(np.append(values, 0), kind)
  return Context(
    touched=discovery.ragged(each, pairs.item),
    pattern=filled(pairs.pattern, jnp.int32),
    rate=filled(pairs.rate, jnp.float32),
    age=filled(counted.age, jnp.float32),
    patterns=jnp.arange(1 << (counted.num_behaviors - 1)),
    bought=discovery.ragged(np.diff(offsets), bought),
    near={
      'ids': jnp.asarray(counted.ids),
      'weights': jnp.asarray(counted.weights),
    },
  )


@functools.cache  # one model, one set of programs
def make_model(num_items: int) -> types.Model:
  """Logits of known users, whose context is a `Context`; -1 has nothing."""

  def init(key, context, sizes):
    del key
    weights = np.zeros((len(context.patterns), 3))
    return params(Fitted(weights, 0.0), sizes.num_items)

  def encode(net, rows, context, inputs, *, key=None):
    del rows, key
    return logits(net, context, inputs['user'], num_items)

  def score(net, encoded, candidate_rows, *, key=None):
    del net, key
    return rows_ops.of_candidates(encoded, candidate_rows['id'])

  return types.Model(init, encode, score)


def logits(
  net: dict[str, jax.Array], context: Context, users: jax.Array, num_items: int
) -> jax.Array:
  """Of all items for users i32[B], f32[B, I + 1]."""
  row = jnp.arange(users.shape[0])[:, None]
  had = discovery.marked(context.bought, users, num_items)
  neighbors = closed_form.sparse(num_items, context.near['ids'].shape[1])
  sums = neighbors.score({}, had.T.astype(jnp.float32), context.near)
  x = jnp.log1p(sums)
  bias, _, slope = net['weights'][0]
  items, place = discovery.items_of(context.touched, users)
  own = net['weights'][context.pattern[place]]
  known = own[..., 0] + own[..., 1] * context.rate[place]
  known += own[..., 2] * jnp.take_along_axis(x, items, axis=1)
  known += net['recency'] * context.age[place]
  return (bias + slope * x).at[row, items].set(known)
