"""Products with the adjacency of a graph of users and items.

Node u < U is user u, node U + i - 1 is item i in 1..I. An adjacency A is
symmetric, so one layout of it serves the product and its gradient.

Two layouts. 'bcsr', compressed rows, has a native kernel on CPUs that uses all
cores. 'buckets' puts rows of similar length together and adds up neighbor
after neighbor, for all of them at once and without any scatter: for
accelerators, where that kernel is missing.
"""

from collections.abc import Sequence
import functools
from typing import NamedTuple

import chex
import jax
from jax.experimental import sparse
import jax.numpy as jnp
import numpy as np

from twotsrec import types

NORMALIZATIONS = ('left', 'right', 'symmetric', 'none')
MERGES = ('merged', 'union')
LAYOUTS = ('auto', 'bcsr', 'buckets')

# Rows are filled up to the next of these, at a cost of a fifth on taobao-copf.
# Longer rows are cut, and their parts summed by the next level.
_WIDTHS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
_STEP = 8  # neighbors of a row added at a time, in one fused loop


class Csr(NamedTuple):
  """Compressed rows, columns ascending in each of them.

  Attributes:
    values: f32[E].
    columns: i32[E], 0..n-1.
    offsets: i32[n + 1], where each row begins.
  """

  values: jax.Array
  columns: jax.Array
  offsets: jax.Array


class Bucket(NamedTuple):
  """Rows of similar length, filled with weights of 0.

  Attributes:
    weights: f32[steps, T, R], of T neighbors of each of R rows.
    columns: i32[steps, T, R].
  """

  weights: jax.Array
  columns: jax.Array


class Buckets(NamedTuple):
  """Levels of sums; every level but the first sums parts of the one before.

  Attributes:
    levels: buckets of each level.
    order: i32[n], where a row stands in the last level.
  """

  levels: tuple[tuple[Bucket, ...], ...]
  order: jax.Array


class Graph(NamedTuple):
  """The operator P = diag(left) A diag(right); a pytree, to pass to `jit`.

  Attributes:
    adjacency: A, symmetric.
    left: f32[n], or None for ones.
    right: f32[n], or None for ones.
  """

  adjacency: Csr | Buckets
  left: jax.Array | None
  right: jax.Array | None

  @property
  def num_nodes(self) -> int:
    """n, users and items."""
    if isinstance(self.adjacency, Csr):
      return self.adjacency.offsets.shape[0] - 1
    return self.adjacency.order.shape[0]


def from_pairs(
  pairs: Sequence[tuple[np.ndarray, np.ndarray]],
  num_users: int,
  num_items: int,
  normalization: str = 'left',
  merge: str = 'merged',
  layout: str = 'auto',
) -> Graph:
  """The graph of one behavior, or of several together; on the host.

  Args:
    pairs: (users i64[E], items i64[E]) of every behavior, users 0..U-1, items
      1..I; a pair counts once in a behavior.
    num_users: U.
    num_items: I.
    normalization: with D the row sums of A, 'left' is D^-1 A, 'right' A D^-1,
      'symmetric' D^-1/2 A D^-1/2, 'none' A. Rows of nodes without any
      neighbor are 0.
    merge: 'merged' weighs an edge by the number of behaviors that have it,
      'union' by 1.
    layout: 'bcsr', 'buckets', or 'auto': 'bcsr' on a CPU.
  Raises:
    types.UserError: an unknown name.
  Reference: COPF eq. 4-5, and the authors' code for 'left' and 'merged'.
  """
  _check('normalization', normalization, NORMALIZATIONS)
  _check('merge', merge, MERGES)
  _check('layout', layout, LAYOUTS)
  edges = _merge(pairs, num_users, num_items, merge)
  offsets, columns, values = _symmetric(*edges, num_users, num_items)
  if layout == 'auto':
    layout = 'bcsr' if jax.default_backend() == 'cpu' else 'buckets'
  if layout == 'bcsr':
    adjacency = Csr(jnp.asarray(values), _i32(columns), _i32(offsets))
  else:
    adjacency = _buckets(offsets, columns, values)
  left, right = _scalings(offsets, values, normalization)
  return Graph(adjacency, left, right)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def propagate(
  graph: Graph, x: jax.Array, dtype: jnp.dtype = jnp.float32
) -> jax.Array:
  """P x. Its gradient, P' g = diag(right) A diag(left) g, costs as much.

  Nothing flows into the graph. Under `vmap` over x columns are stacked: one
  product, as wide as the whole batch.

  Args:
    graph: P.
    x: f32[n, D].
    dtype: of the gathered neighbors; sums are f32. 'bfloat16' halves what an
      accelerator reads; on a CPU it gives such numbers and saves nothing.
  Returns:
    f32[n, D].
  """
  chex.assert_shape(x, (graph.num_nodes, None))
  chex.assert_type(x, jnp.float32)
  scaled = x if graph.right is None else graph.right[:, None] * x
  sums = _product(graph.adjacency, scaled.astype(dtype))
  return sums if graph.left is None else graph.left[:, None] * sums


def _forward(graph, x, dtype):
  return propagate(graph, x, dtype), graph


def _backward(dtype, graph, gradient):
  transposed = graph._replace(left=graph.right, right=graph.left)
  return None, propagate(transposed, gradient, dtype)


propagate.defvjp(_forward, _backward)


@jax.custom_batching.custom_vmap
def _product(adjacency: Csr | Buckets, x: jax.Array) -> jax.Array:
  """A x, f32[n, D]."""
  if isinstance(adjacency, Csr):
    return _csr_product(adjacency, x)
  return _buckets_product(adjacency, x)


@_product.def_vmap
def _stack_columns(axis_size, is_batched, adjacency, x):
  """The products with x[B, n, D] as one, with f32[n, B * D]."""
  del axis_size, is_batched  # only x can be a batch
  batch, num_nodes, width = x.shape
  wide = jnp.moveaxis(x, 0, 1).reshape(num_nodes, batch * width)
  sums = _product(adjacency, wide).reshape(num_nodes, batch, width)
  return jnp.moveaxis(sums, 1, 0), True


def _csr_product(adjacency, x):
  num_nodes = adjacency.offsets.shape[0] - 1
  matrix = sparse.BCSR(
    (adjacency.values, adjacency.columns, adjacency.offsets),
    shape=(num_nodes, num_nodes),
    indices_sorted=True,
    unique_indices=True,
  )
  # The kernel wants one type. A cast back is taken out by the compiler with
  # the cast before it, rounding is not.
  kept = jnp.finfo(x.dtype)
  full = x.astype(jnp.float32)
  return matrix @ jax.lax.reduce_precision(full, kept.nexp, kept.nmant)


def _buckets_product(adjacency, x):
  for level in adjacency.levels:
    x = jnp.concatenate([_bucket_sums(bucket, x) for bucket in level])
  return x.at[adjacency.order].get(mode='promise_in_bounds')


def _bucket_sums(bucket, x):
  """Weighted sums of rows of x, f32[R, D]."""

  def add(sums, neighbors):
    for weight, column in zip(*neighbors):
      row = x.at[column].get(mode='promise_in_bounds')
      sums += weight[:, None] * row
    return sums, None

  num_rows = bucket.columns.shape[-1]
  zeros = jnp.zeros((num_rows, x.shape[1]), jnp.float32)
  return jax.lax.scan(add, zeros, bucket)[0]


def _check(what: str, name: str, known: Sequence[str]) -> None:
  if name not in known:
    raise types.UserError(
      f'unknown {what} {name!r} of a graph; known: {", ".join(known)}'
    )


def _i32(values: np.ndarray) -> jax.Array:
  return jnp.asarray(values, jnp.int32)


def _merge(pairs, num_users, num_items, merge):
  """Distinct pairs, ordered: users, items - 1, how often there."""
  keys = [np.zeros(0, np.int64)]
  for users, items in pairs:
    users, items = np.asarray(users, np.int64), np.asarray(items, np.int64)
    chex.assert_equal_shape([users, items])
    if users.size:
      chex.assert_scalar_in(int(users.min()), 0, num_users - 1)
      chex.assert_scalar_in(int(users.max()), 0, num_users - 1)
      chex.assert_scalar_in(int(items.min()), 1, num_items)
      chex.assert_scalar_in(int(items.max()), 1, num_items)
    keys.append(np.unique(users * num_items + items - 1))
  distinct, counts = np.unique(np.concatenate(keys), return_counts=True)
  if merge == 'union':
    counts = np.ones_like(counts)
  return *np.divmod(distinct, max(num_items, 1)), counts.astype(np.float32)


def _symmetric(users, items, weights, num_users, num_items):
  """Rows of [[0, B], [B', 0]]: i64[n + 1] offsets, columns, values."""
  by_item = np.argsort(items, kind='stable')
  counts = np.concatenate(
    [
      np.bincount(users, minlength=num_users),
      np.bincount(items, minlength=num_items),
    ]
  )
  offsets = np.concatenate([[0], np.cumsum(counts)])
  if offsets[-1] > np.iinfo(np.int32).max:
    raise types.UserError(
      f'a graph of {len(users)} pairs; at most 2^30 - 1 can be indexed, filter'
      ' the interactions (data.min_user, data.min_item)'
    )
  columns = np.concatenate([items + num_users, users[by_item]])
  return offsets, columns, np.concatenate([weights, weights[by_item]])


def _scalings(offsets, values, normalization):
  """left and right of a normalization; None for ones."""
  if normalization == 'none':
    return None, None
  rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
  degrees = np.bincount(rows, values, minlength=len(offsets) - 1)
  power = 0.5 if normalization == 'symmetric' else 1.0
  # 1/0 is 0 here: a node without neighbors receives nothing.
  inverse = np.where(degrees > 0, np.maximum(degrees, 1.0) ** -power, 0.0)
  scaling = jnp.asarray(inverse, jnp.float32)
  left = None if normalization == 'right' else scaling
  right = None if normalization == 'left' else scaling
  return left, right


def _buckets(offsets, columns, values):
  """Lays out compressed rows; `order` is that of the last level."""
  levels = []
  while True:
    level, offsets, columns = _level(offsets, columns, values)
    values = np.ones(len(columns), np.float32)
    levels.append(level)
    if len(columns) == len(offsets) - 1:  # a part for every row
      return Buckets(tuple(levels), _i32(columns))


def _level(offsets, columns, values):
  """One level: its buckets, and rows made of its sums to be added up.

  Returns:
    (buckets; i64[n + 1] offsets of the rows' parts; i64[parts] where the level
    puts them).
  """
  lengths = np.diff(offsets)
  parts = np.maximum(-(-lengths // _WIDTHS[-1]), 1)
  part_offsets = np.concatenate([[0], np.cumsum(parts)])
  row = np.repeat(np.arange(len(parts)), parts)
  skipped = (np.arange(len(row)) - part_offsets[row]) * _WIDTHS[-1]
  starts = offsets[row] + skipped
  widths = np.minimum(lengths[row] - skipped, _WIDTHS[-1])
  kinds = np.searchsorted(_WIDTHS, widths)
  buckets, position, filled = [], np.zeros(len(row), np.int64), 0
  for kind in np.unique(kinds):
    members = np.flatnonzero(kinds == kind)
    bucket = _bucket(
      starts[members], widths[members], _WIDTHS[kind], columns, values
    )
    position[members] = filled + np.arange(len(members))
    filled += len(members)
    buckets.append(bucket)
  return tuple(buckets), part_offsets, position


def _bucket(starts, lengths, width, columns, values):
  """Rows `columns[start:start + length]`, neighbor by neighbor."""
  neighbor = np.arange(width)[:, None]
  # Place -1 is the filling: node 0 with weight 0.
  place = np.where(neighbor < lengths, starts + neighbor, -1)
  place = place.reshape(-1, min(width, _STEP), len(starts))
  columns, values = np.append(columns, 0), np.append(values, 0.0)
  return Bucket(jnp.asarray(values[place], jnp.float32), _i32(columns[place]))
