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
