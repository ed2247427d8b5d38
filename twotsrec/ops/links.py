"""Weights of single edges of a graph: attention and dropped edges.

`graph.propagate` multiplies with weights that never change. Here the weight of
an edge is an array of its own that gradients flow into. Two products are all
there is: `dots` compares the two ends of every edge, `weigh` sums neighbors by
weights, and the gradient of each is the other. What has a row for an edge and a
column for a component is only ever a block of edges.
"""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from twotsrec.ops import graph as graph_lib
from twotsrec.ops import graph_layouts

_BLOCK_NUMBERS = 2**20  # of each end of a block of edges: 4 MB


class Links(NamedTuple):
  """Edges of a symmetric graph in both directions, row by row.

  Attributes:
    rows: i32[E], ascending.
    columns: i32[E], ascending in each row.
    offsets: i32[n + 1], where each row begins.
    reverse: i32[E], where the same edge stands in the other direction.
  """

  rows: jax.Array
  columns: jax.Array
  offsets: jax.Array
  reverse: jax.Array

  @property
  def num_nodes(self) -> int:
    """n."""
    return self.offsets.shape[0] - 1


def from_pairs(
  pairs: Sequence[tuple[np.ndarray, np.ndarray]], num_users: int, num_items: int
) -> Links:
  """Edges of several behaviors together, each once; on the host.

  Args:
    pairs: as in `graph.from_pairs`.
    num_users: U.
    num_items: I.
  """
  graph = graph_lib.from_pairs(
    pairs, num_users, num_items, 'none', 'union', layout='segments'
  )
  adjacency = graph.adjacency
  if not isinstance(adjacency, graph_layouts.Segments):
    raise TypeError(f'another layout than was asked for: {type(adjacency)}')
  csr, rows = adjacency
  # Sorted by column, then row, entry e is the reverse of what stands e-th.
  reverse = np.argsort(np.asarray(csr.columns), kind='stable')
  reverse = jnp.asarray(reverse, jnp.int32)
  return Links(rows, csr.columns, csr.offsets, reverse)


@jax.custom_vjp
def dots(links: Links, x: jax.Array, y: jax.Array) -> jax.Array:
  """<x_row, y_column> of every edge, f32[E], for x and y f32[n, D]."""
  chex.assert_equal_shape([x, y])
  chex.assert_shape(x, (links.num_nodes, None))
  count, width = len(links.rows), max(x.shape[1], 1)
  size = max(min(_BLOCK_NUMBERS // width, count), 1)
  in_blocks = lambda ids: jnp.pad(ids, (0, -count % size)).reshape(-1, size)
  ends = in_blocks(links.rows), in_blocks(links.columns)
  gather = lambda table, ids: table.at[ids].get(mode='promise_in_bounds')
  compare = lambda ends: jnp.sum(gather(x, ends[0]) * gather(y, ends[1]), 1)
  return jax.lax.map(compare, ends).reshape(-1)[:count]


def _dots_forward(links, x, y):
  return dots(links, x, y), (links, x, y)


def _dots_backward(saved, gradient):
  links, x, y = saved
  by_x = weigh(links, gradient, y)
  return None, by_x, weigh(links, gradient[links.reverse], x)


dots.defvjp(_dots_forward, _dots_backward)


@jax.custom_vjp
def weigh(links: Links, weights: jax.Array, x: jax.Array) -> jax.Array:
  """Sum over the edges of a row of weight times x_column, f32[n, D].

  Args:
    links: edges.
    weights: f32[E]; `weights[links.reverse]` are those of the transpose.
    x: f32[n, D].
  """
  chex.assert_equal_shape([weights, links.rows])
  chex.assert_shape(x, (links.num_nodes, None))
  csr = graph_layouts.Csr(weights, links.columns, links.offsets)
  if graph_layouts.of_backend() == 'bcsr':
    return graph_layouts.product(csr, x)
  return graph_layouts.product(graph_layouts.Segments(csr, links.rows), x)


def _weigh_forward(links, weights, x):
  return weigh(links, weights, x), (links, weights, x)


def _weigh_backward(saved, gradient):
  links, weights, x = saved
  by_weights = dots(links, gradient, x)
  return None, by_weights, weigh(links, weights[links.reverse], gradient)


weigh.defvjp(_weigh_forward, _weigh_backward)


def softmax(links: Links, logits: jax.Array) -> jax.Array:
  """Softmax over the edges of each row, f32[E]."""
  number = links.num_nodes
  by_row = {'num_segments': number, 'indices_are_sorted': True}
  largest = jax.ops.segment_max(
    jax.lax.stop_gradient(logits), links.rows, **by_row
  )
  exponentials = jnp.exp(logits - largest[links.rows])
  sums = jax.ops.segment_sum(exponentials, links.rows, **by_row)
  return exponentials / sums[links.rows]


def attend(links: Links, logits: jax.Array, values: jax.Array) -> jax.Array:
  """Mean of the neighbors by the softmax of a row's edges, f32[n, D].

  Args:
    links: edges.
    logits: f32[E], such as `dots` gives.
    values: f32[n, D].
  Returns:
    f32[n, D], 0 for a node without neighbors.
  """
  return weigh(links, softmax(links, logits), values)


def drop(links: Links, key: jax.Array, share: float) -> jax.Array:
  """Weights that leave out a share of the edges, f32[E].

  An edge goes in both directions or in none; what stays weighs 1.
  """
  draw = jax.random.uniform(key, links.rows.shape)
  forward = links.rows < links.columns
  draw = jnp.where(forward, draw, draw[links.reverse])
  return (draw >= share).astype(jnp.float32)
