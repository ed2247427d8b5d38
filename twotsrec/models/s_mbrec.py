"""S-MBRec: behaviors weighed by a user's activity, and a star contrast.

    X_k^{l+1} = S_k X_k^l W_k^l,   S_k of A_k + I, from one table (IJCAI 2022)
    a_uk = softmax_k(w_k n_uk / max_k n_uk)
    e_u = (sum_k a_uk x_uk) V + v,    e_i = [x_i1 || ... || x_iK] U + b

n_uk are the items of a user in behavior k. All behaviors are scored by e_u and
e_i; the X_k are there for the loss 'star' (`objectives.auxiliaries`), with the
nodes that are like a node in the target by pointwise mutual information.

Departure: the authors published no program. Equations are those of the abstract
and of a summary; what they leave open is chosen: no activation, the last layer
as X_k, degrees over a user's largest, one map of the items, and of the nodes
that are alike the ten with the highest information.
"""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import cascade
from twotsrec.models import layers

NEIGHBORS = 10
_ROWS = 1024  # whose common neighbors are counted at a time


def make(config: config_lib.Config, sizes: types.NodeSizes) -> types.Fusion:
  """The fusion; its net is {'layers': f32[K, L, D, D], 'share', maps}.

  Raises:
    types.UserError: more than one number of layers.
  """
  options, number, width = config.fusion, sizes.num_behaviors, sizes.width
  depth, walk = cascade.depth(options), cascade.walk(options)

  def init(key):
    walked, user, item = jax.random.split(key, 3)
    xavier = jax.nn.initializers.glorot_uniform(batch_axis=(0, 1))
    return {
      'layers': xavier(walked, (number, depth, width, width), jnp.float32),
      'share': jnp.ones(number),
      'user': layers.init_dense(user, width, width),
      'item': layers.init_dense(item, number * width, width),
    }

  def encode(net, nodes, context, *, key=None):
    del key  # no dropout
    tables = []
    for weights, graph, scale in zip(
      net['layers'], context['graphs'], context['scales'], strict=True
    ):
      # S of A + I, from a graph of A without a normalization.
      layer = lambda at, x, weights=weights, graph=graph, scale=scale: (
        (scale * (walk(graph, scale * x) + scale * x)) @ weights[at]
      )
      tables.append(cascade.stack(nodes, depth, layer)[-1])
    share = jax.nn.softmax(net['share'] * context['activity'], axis=1)
    sides = [jnp.split(table, [sizes.num_users]) for table in tables]
    mixed = [share[:, [k]] * side[0] for k, side in enumerate(sides)]
    user = layers.dense(net['user'], jnp.asarray(sum(mixed)))
    together = jnp.concatenate([side[1] for side in sides], axis=1)
    item = layers.dense(net['item'], together)
    table = jnp.concatenate([user, item])
    extra = {'views': tuple(tables), 'alike': context['alike']}
    return types.Fused((table,) * number, extra)

  return types.Fusion(
    init=init,
    context=lambda edges: _context(edges, sizes),
    encode=encode,
    width=width,
    merged=True,
    reads=('num_layers', 'product_dtype'),
    extra=('views', 'alike'),
    least_behaviors=2,
  )


def _context(edges, sizes):
  matrices = [_matrix(pairs, sizes) for pairs in edges.pairs]
  degrees = [
    np.concatenate([matrix.sum(axis=1), matrix.sum(axis=0)])
    for matrix in matrices
  ]
  counts = np.stack([degree[: sizes.num_users] for degree in degrees], axis=1)
  most = np.maximum(counts.max(axis=1, keepdims=True), 1)
  users, items = alike(matrices[-1]), alike(matrices[-1].T.tocsr())
  nodes = [users, np.where(items < 0, -1, items + sizes.num_users)]
  f32 = lambda array: jnp.asarray(array, jnp.float32)
  return {
    'graphs': cascade.own_graphs(edges, 'none'),
    'scales': tuple(f32((d + 1.0) ** -0.5)[:, None] for d in degrees),
    'activity': f32(counts / most),
    'alike': jnp.asarray(np.concatenate(nodes), jnp.int32),
  }


def _matrix(pairs, sizes):
  users, items = pairs
  shape, ones = (sizes.num_users, sizes.num_items), np.ones(len(users))
  matrix = scipy.sparse.csr_array((ones, (users, items - 1)), shape)
  matrix.data[:] = 1.0  # pairs given twice count once
  return matrix


def alike(matrix: scipy.sparse.csr_array) -> np.ndarray:
  """Rows that are most like each row, i64[R, 10]; -1 where there are fewer.

      PMI(r, s) = log(|r and s| C / (|r| |s|))

  Counted in blocks of rows, so no matrix of rows by rows is ever made. Rows of
  the same information are taken in their order.

  Args:
    matrix: of ones, [R, C].
  """
  sizes = np.maximum(matrix.sum(axis=1), 1)
  made = np.full((len(sizes), NEIGHBORS), -1)
  other = matrix.T.tocsc()
  for start in range(0, len(sizes), _ROWS):
    block = matrix[start : start + _ROWS]
    common = (block @ other).tocoo()
    row, column = common.row, common.col
    # The logarithm and C change no order.
    score = common.data / (sizes[start + row] * sizes[column])
    keep = row + start != column
    row, column, score = row[keep], column[keep], score[keep]
    order = np.lexsort((column, -score, row))
    row, column = row[order], column[order]
    begins = np.searchsorted(row, np.arange(_ROWS))
    place = np.arange(len(row)) - begins[row]
    best = place < NEIGHBORS
    made[start + row[best], place[best]] = column[best]
  return made
