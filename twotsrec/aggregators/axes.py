"""Principal axes of gradients, the short ones as exact as the long ones.

`eigh` of a Gram matrix errs by eps times its largest eigenvalue, which is more
than a gradient has that is a thousand times shorter than another.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec.aggregators import solvers

_SWEEPS = 12  # at most; it takes some five
_ORTHOGONAL = 1e-6  # a cosine
_EXACT = jax.lax.Precision.HIGHEST


class Axes(NamedTuple):
  """Eigenvectors of a Gram matrix.

  Attributes:
    vectors: f32[G, G], one in every row.
    lengths: f32[G], roots of the eigenvalues.
    counts: bool[G], whether the eigenvalue is not numerically 0: as many as
      the cosines have.
  """

  vectors: jax.Array
  lengths: jax.Array
  counts: jax.Array


def principal(matrix: jax.Array, present: jax.Array) -> Axes:
  """Axes of f32[G, G], a matrix as in `solvers`.

  One-sided Jacobi: the rows of a factor of the matrix are turned, two at a
  time, until all are orthogonal. Where the cosines are well conditioned every
  eigenvalue has its own relative accuracy (Demmel and Veselic 1992).
  """
  cosines, norms, kept = solvers.cosines(matrix, present)
  values, vectors = jnp.linalg.eigh(cosines)
  # NaN compares as small; it has to reach the update.
  counted = ~(values <= solvers.tolerance(matrix) * values[-1])
  factor = vectors * jnp.sqrt(jnp.where(counted, values, 0.0))
  norms = jnp.where(kept, norms, 0.0)
  # Long rows first, then few rotations are needed.
  order = jnp.argsort(-norms)
  factor = (norms[:, None] * factor)[order]
  rows, turned = _orthogonal(factor, jnp.eye(matrix.shape[0])[order])
  lengths = jnp.sqrt(jnp.sum(rows**2, axis=1))
  place = jnp.argsort(jnp.argsort(-lengths))
  return Axes(turned, lengths, place < jnp.sum(counted))


def _orthogonal(rows, turned):
  """Rows made orthogonal by rotations, and `turned` by the same ones."""
  pairs = jnp.asarray(np.stack(np.triu_indices(rows.shape[0], 1), axis=1))
  if not len(pairs):
    return rows, turned

  def meet(number, carry):
    rows, turned, largest = carry
    pair = pairs[number]
    rotation, cosine = _rotation(*rows[pair])
    turn = lambda x: x.at[pair].set(
      jnp.matmul(rotation, x[pair], precision=_EXACT)
    )
    return turn(rows), turn(turned), jnp.maximum(largest, cosine)

  def sweep(carry):
    count, rows, turned, _ = carry
    start = (rows, turned, jnp.float32(0.0))
    return count + 1, *jax.lax.fori_loop(0, len(pairs), meet, start)

  going = lambda carry: (carry[0] < _SWEEPS) & (carry[-1] > _ORTHOGONAL)
  first = (0, rows, turned, jnp.float32(jnp.inf))
  return jax.lax.while_loop(going, sweep, first)[1:3]


def _rotation(first, second):
  """f32[2, 2] that makes two rows orthogonal, and the cosine they had."""
  product = jnp.dot(first, second, precision=_EXACT)
  square, other = jnp.sum(first**2), jnp.sum(second**2)
  both = jnp.sqrt(square) * jnp.sqrt(other)
  cosine = jnp.abs(product) / jnp.where(both == 0, 1.0, both)
  # The smaller root of t^2 + 2 z t = 1; a large z may overflow to t = 0.
  z = (other - square) / jnp.where(product == 0, 1.0, 2.0 * product)
  tangent = jnp.where(z < 0, -1.0, 1.0) / (jnp.abs(z) + jnp.sqrt(1.0 + z**2))
  tangent = jnp.where(product == 0, 0.0, tangent)
  rotation = jnp.array([[1.0, -tangent], [tangent, 1.0]])
  return rotation / jnp.sqrt(1.0 + tangent**2), cosine
