"""Arithmetic on pytrees whose leaves carry a leading group axis."""

from typing import Any

import chex
import jax
import jax.numpy as jnp


def combine(weights: jax.Array, stacked: Any) -> Any:
  """Weighted sum, weights f32[G], of leaves [G, ...]; leaves [...]."""
  chex.assert_rank(weights, 1)
  weighted_sum = lambda g: jnp.tensordot(weights.astype(g.dtype), g, axes=1)
  return jax.tree.map(weighted_sum, stacked)


def gram(stacked: Any) -> jax.Array:
  """Inner products between the slices of leaves [G, ...], f32[G, G].

  Accumulated leaf by leaf, so the tree is never concatenated.
  """
  return products(stacked, stacked)


def products(first: Any, second: Any) -> jax.Array:
  """Inner products of the slices of one tree with those of another, f32[G, G].

  Args:
    first: leaves [G, ...], of the rows.
    second: leaves [G, ...], of the columns.
  """
  flat = lambda leaf: jnp.reshape(leaf, (leaf.shape[0], -1))
  pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
  # The default matmul precision of accelerators is too low for cosines.
  exact = {'precision': 'highest', 'preferred_element_type': jnp.float32}
  made = [jnp.einsum('gx,hx->gh', flat(g), flat(h), **exact) for g, h in pairs]
  return sum(made[1:], made[0])


def cosines(gram_matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Norms f32[G] and cosine matrix f32[G, G] behind a Gram matrix.

  A zero vector has cosine 0 with every other one.
  """
  chex.assert_rank(gram_matrix, 2)
  norms = jnp.sqrt(jnp.maximum(jnp.diagonal(gram_matrix), 0.0))
  inverse = jnp.where(norms > 0, 1.0 / jnp.where(norms > 0, norms, 1.0), 0.0)
  return norms, gram_matrix * inverse[:, None] * inverse[None, :]


def along(values: jax.Array, like: jax.Array) -> jax.Array:
  """Numbers [G] shaped to multiply a leaf [G, ...], in its dtype."""
  return values.reshape(-1, *[1] * (like.ndim - 1)).astype(like.dtype)


def take(tree: Any, index: Any) -> Any:
  """leaf[index] of every leaf; what group j has, for `index` j."""
  return jax.tree.map(lambda leaf: leaf[index], tree)


def all_finite(tree: Any) -> jax.Array:
  """Whether every number in the tree is finite, bool[]."""
  checks = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
  return jnp.all(jnp.stack(checks)) if checks else jnp.asarray(True)
