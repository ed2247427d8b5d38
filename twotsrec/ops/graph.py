"""Products with the adjacency of a graph of users and items.

Node u < U is user u, node U + i - 1 is item i in 1..I. An adjacency A is
symmetric, so one layout of it (`graph_layouts`) serves the product and its
gradient.
"""

from collections.abc import Callable, Sequence
import functools
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
import numpy as np

from twotsrec import fields
from twotsrec import types
from twotsrec.ops import graph_layouts

NORMALIZATIONS = ('left', 'right', 'symmetric', 'none')
MERGES = ('merged', 'union')
_EDGES = 8192  # gone over at a time where only some rows are asked for


class Graph(NamedTuple):
  """The operator P = diag(left) A diag(right); a pytree, to pass to `jit`.

  Attributes:
    adjacency: A, symmetric.
    left: f32[n], or None for ones.
    right: f32[n], or None for ones.
  """

  adjacency: graph_layouts.Adjacency
  left: jax.Array | None
  right: jax.Array | None

  @property
  def num_nodes(self) -> int:
    """n, users and items."""
    return self.adjacency.num_nodes


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
    layout: of `graph_layouts.NAMES`, or 'auto': that of the backend.
  Raises:
    types.UserError: an unknown name.
  Reference: COPF eq. 4-5, and the authors' code for 'left' and 'merged'.
  """
  fields.refuse_unknown('normalization', normalization, NORMALIZATIONS)
  fields.refuse_unknown('merge', merge, MERGES)
  fields.refuse_unknown('layout', layout, ('auto', *graph_layouts.NAMES))
  edges = _merge(pairs, num_users, num_items, merge)
  offsets, columns, values = _symmetric(*edges, num_users, num_items)
  adjacency = graph_layouts.make(layout, offsets, columns, values)
  left, right = _scalings(offsets, values, normalization)
  return Graph(adjacency, left, right)


class Bipartite(NamedTuple):
  """P = D^-1 A of one behavior, the rows of users and of items apart.

  Attributes:
    users: B, a row for each user and a column for each item.
    items: B', a row for each item and a column for each user.
    user_scale: f32[U, 1], one over the items of a user, 0 without any.
    item_scale: f32[I, 1], one over the users of an item.
  """

  users: graph_layouts.Adjacency
  items: graph_layouts.Adjacency
  user_scale: jax.Array
  item_scale: jax.Array


def bipartite(
  pairs: tuple[np.ndarray, np.ndarray],
  num_users: int,
  num_items: int,
  layout: str = 'auto',
) -> Bipartite:
  """The two blocks of the graph of one behavior, as `from_pairs` takes it."""
  users, items, _ = _merge([pairs], num_users, num_items, 'union')
  blocks, scales = [], []
  for rows, columns, number in (
    (users, items, num_users),
    (items, users, num_items),
  ):
    order = np.argsort(rows, kind='stable')
    counts = np.bincount(rows, minlength=number)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    values = np.ones(len(order), np.float32)
    blocks.append(graph_layouts.make(layout, offsets, columns[order], values))
    inverse = np.where(counts > 0, 1.0 / np.maximum(counts, 1), 0.0)
    scales.append(jnp.asarray(inverse[:, None], jnp.float32))
  return Bipartite(*blocks, *scales)


class Edges(NamedTuple):
  """Training pairs of several behaviors, and the graphs they make.

  Attributes:
    pairs: (users i64[E], items i64[E]) of each behavior, on the host; users
      0..U-1, items 1..I.
    num_users: U.
    num_items: I.
    graph: (behaviors, normalization='left', merge='merged') -> Graph of these
      behaviors together, as `from_pairs` makes it; built once, however often
      it is asked for.
  """

  pairs: tuple[tuple[np.ndarray, np.ndarray], ...]
  num_users: int
  num_items: int
  graph: Callable[..., Graph]


def make_edges(
  pairs: Sequence[tuple[np.ndarray, np.ndarray]], num_users: int, num_items: int
) -> Edges:
  """The edges of all behaviors, from the pairs of each as in `from_pairs`."""
  pairs = tuple(pairs)

  @functools.cache
  def build(behaviors, normalization, merge):
    chosen = [pairs[k] for k in behaviors]
    return from_pairs(chosen, num_users, num_items, normalization, merge)

  def graph(behaviors, normalization='left', merge='merged'):
    # A behavior alone has every edge once, however edges are merged.
    alone = len(behaviors) == 1
    return build(tuple(behaviors), normalization, MERGES[0] if alone else merge)

  return Edges(pairs, num_users, num_items, graph)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def propagate(
  graph: Graph, x: jax.Array, dtype: DTypeLike = jnp.float32
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
  sums = graph_layouts.product(graph.adjacency, scaled.astype(dtype))
  return sums if graph.left is None else graph.left[:, None] * sums


def _forward(graph, x, dtype):
  return propagate(graph, x, dtype), graph


def _backward(dtype, graph, gradient):
  transposed = graph._replace(left=graph.right, right=graph.left)
  return None, propagate(transposed, gradient, dtype)


propagate.defvjp(_forward, _backward)


def neighbors(
  graph: Bipartite,
  x: jax.Array,
  users: jax.Array | None = None,
  dtype: DTypeLike = jnp.float32,
) -> jax.Array:
  """Mean of x over the neighbors of every item and of some or all users.

  A head needs no other users than those of a batch. On a CPU, where this is
  what a step spends its time on, the edges of other users are left out.

  Args:
    graph: of a behavior.
    x: f32[U + I, D], of all nodes.
    users: i32[B], or None for all.
    dtype: of the gathered neighbors, as in `propagate`.
  Returns:
    f32[B + I, D], or f32[U + I, D].
  """
  of_users, of_items = jnp.split(x, [graph.user_scale.shape[0]])
  items = jnp.asarray(_sums(graph.items, graph.users, of_users, dtype))
  scale = graph.user_scale if users is None else graph.user_scale[users]
  if users is None or not isinstance(graph.users, graph_layouts.Csr):
    sums = jnp.asarray(_sums(graph.users, graph.items, of_items, dtype))
    sums = sums if users is None else sums[users]
  else:
    sums = jnp.asarray(_sums_of_rows(graph.users, users, of_items, dtype))
  return jnp.concatenate([scale * sums, graph.item_scale * items])


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _sums(block, transposed, x, dtype):
  """B x; its gradient is B' g."""
  del transposed
  return graph_layouts.product(block, x.astype(dtype))


def _sums_forward(block, transposed, x, dtype):
  return _sums(block, transposed, x, dtype), (block, transposed)


def _sums_backward(dtype, blocks, gradient):
  block, transposed = blocks
  return None, None, _sums(transposed, block, gradient, dtype)


_sums.defvjp(_sums_forward, _sums_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _sums_of_rows(block, chosen, x, dtype):
  """Some rows of B x, f32[B, D], edge by edge."""

  def add(slot, column, sums):
    of_edges = jnp.asarray(x.astype(dtype)[column], jnp.float32)
    return sums.at[slot].add(of_edges, mode='drop', indices_are_sorted=True)

  return _over_edges(block, chosen, add, (len(chosen), x.shape[1]))


def _sums_of_rows_forward(block, chosen, x, dtype):
  return _sums_of_rows(block, chosen, x, dtype), (block, chosen, x.shape)


def _sums_of_rows_backward(dtype, inputs, gradient):
  block, chosen, shape = inputs

  def add(slot, column, sums):
    of_edges = gradient.astype(dtype).at[slot].get(mode='fill', fill_value=0)
    return sums.at[column].add(jnp.asarray(of_edges, jnp.float32))

  return None, None, _over_edges(block, chosen, add, shape)


_sums_of_rows.defvjp(_sums_of_rows_forward, _sums_of_rows_backward)


def _over_edges(block, chosen, add, shape):
  """Goes over the edges of some rows, of which the host knows no number.

  add: (place of the row in `chosen`, past the end for filling, column, sums).
  """
  sums = jnp.zeros(shape, jnp.float32)
  if not block.columns.size:
    return sums
  starts, ends = block.offsets[chosen], block.offsets[chosen + 1]
  last = jnp.cumsum(ends - starts)

  def step(number, sums):
    place = number * _EDGES + jnp.arange(_EDGES)
    slot = jnp.searchsorted(last, place, side='right')
    row = jnp.minimum(slot, len(chosen) - 1)
    at = ends[row] - (last[row] - place)
    return add(slot, block.columns.at[at].get(mode='clip'), sums)

  return jax.lax.fori_loop(0, -(-last[-1] // _EDGES), step, sums)


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
