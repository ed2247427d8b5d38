"""InfoNCE of some anchors against every row of a table, in one pass."""

import functools

import chex
import jax
import jax.numpy as jnp

from twotsrec import fields
from twotsrec import types

SIMILARITIES = ('cosine', 'inner')

# Logits of a block of anchors, held twice, and the most anchors of it, which
# share the reading of a table. A CPU works in its caches (16 MB); elsewhere
# what costs is a loop of small kernels, so blocks are as large as 512 MB allow.
_LIMITS = {'cpu': (2**21, 128)}
_ELSEWHERE = (2**26, 4096)
_SMALLEST_BLOCK = 8
# From here on exp(-2 / temperature), of opposite vectors, is a normal number.
_FIXED_SHIFT_FROM = 0.025
_EPSILON = 1e-12  # under the root of a norm


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def info_nce(
  anchors: jax.Array,
  weights: jax.Array,
  positives: jax.Array,
  table: jax.Array,
  temperature: float,
  similarity: str = 'cosine',
) -> jax.Array:
  """Weighted sum of the InfoNCE losses of anchors against all rows.

      sum_i w_i (logsumexp_j s(a_i, t_j) / tau - s(a_i, t_{p_i}) / tau)

  Value and gradients come from one pass over blocks of anchors, of which the
  gradients alone are kept. Blocks after the last anchor with a weight are left
  out, so filling costs nothing where it comes last. An anchor that occurs
  several times costs least as one, with that count as its weight.

  Args:
    anchors: f32[P, D].
    weights: f32[P], 0 for filling; no gradient flows into them.
    positives: i32[P], rows of the table.
    table: f32[n, D].
    temperature: tau > 0, known before compilation.
    similarity: 'cosine', or 'inner' for the inner product.
  Returns:
    f32[].
  Raises:
    types.UserError: another similarity, or a temperature of 0 or less.
  Reference: COPF eq. 8; with cosines in the authors' code.
  """
  arguments = anchors, weights, positives, table, temperature, similarity
  return _one_pass(*arguments)[0]


def _backward(temperature, similarity, gradients, cotangent):
  del temperature, similarity  # the gradients are there already
  by_anchors, by_table = gradients
  return cotangent * by_anchors, None, None, cotangent * by_table


def _one_pass(anchors, weights, positives, table, temperature, similarity):
  """f32[], and its gradients to anchors and table."""
  _check(temperature, similarity)
  chex.assert_equal_shape_prefix([anchors, weights, positives], 1)
  chex.assert_equal_shape_suffix([anchors, table], 1)
  chex.assert_type([anchors, weights, table], jnp.float32)
  towards, anchor_scales = directions(anchors, similarity)
  keys, key_scales = directions(table, similarity)
  is_bounded = similarity == 'cosine' and temperature >= _FIXED_SHIFT_FROM
  shift = 1.0 / temperature if is_bounded else None
  queries = towards / temperature
  loss, by_queries, by_keys = _over_blocks(
    queries, weights, positives, keys, shift
  )
  by_keys = by_keys.at[positives].add(-weights[:, None] * queries)
  by_directions = by_queries / temperature
  by_anchors = _through_scaling(by_directions, towards, anchor_scales)
  return loss, (by_anchors, _through_scaling(by_keys, keys, key_scales))


info_nce.defvjp(_one_pass, _backward)


def _over_blocks(queries, weights, positives, keys, shift):
  """The loss, and its gradients by queries and, without positives, by keys."""
  count = len(weights)
  size = _block_size(count, len(keys))
  filling = max(-count % size, size - count)  # at least one block is traced
  fill = lambda x: jnp.pad(x, [(0, filling)] + [(0, 0)] * (x.ndim - 1))
  arrays = jax.tree.map(fill, (queries, weights, positives))
  places = jnp.arange(1, len(arrays[1]) + 1)
  last = jnp.max(places, initial=0, where=arrays[1] > 0)

  def add_block(number, totals):
    loss, by_queries, by_keys = totals
    start = number * size
    cut = lambda x: jax.lax.dynamic_slice_in_dim(x, start, size)
    added, by_query, by_key = _block(keys, shift, *map(cut, arrays))
    by_queries = jax.lax.dynamic_update_slice_in_dim(
      by_queries, by_query, start, axis=0
    )
    return loss + added, by_queries, by_keys + by_key

  nothing = jnp.float32(0), jnp.zeros_like(arrays[0]), jnp.zeros_like(keys.T)
  steps = -(-last // size) if size < count else 1  # one block needs no loop
  loss, by_queries, by_keys = jax.lax.fori_loop(0, steps, add_block, nothing)
  return loss, by_queries[:count], by_keys.T


def _block(keys, shift, queries, weights, positives):
  """What `_over_blocks` adds up, of B anchors."""
  logits = queries @ keys.T
  at_positive = jnp.take_along_axis(logits, positives[:, None], axis=1)
  if shift is None:
    shift = jnp.max(logits, axis=1, keepdims=True)
  exponentials = jnp.exp(logits - shift)
  sums = jnp.sum(exponentials, axis=1, keepdims=True)
  losses = jnp.log(sums) + shift - at_positive
  # Scaling [B, D] rather than [B, n] saves two passes over the logits.
  expected = exponentials @ keys / sums
  by_queries = weights[:, None] * (expected - keys[positives])
  # [D, n]: the same product as [n, D] takes half as long again on a CPU.
  by_keys = (queries * weights[:, None] / sums).T @ exponentials
  return jnp.dot(weights, losses[:, 0]), by_queries, by_keys


def _block_size(num_anchors: int, num_keys: int) -> int:
  """Anchors of a block, a power of two."""
  logits, largest = _LIMITS.get(jax.default_backend(), _ELSEWHERE)
  fitting = max(logits // max(num_keys, 1), _SMALLEST_BLOCK)
  all_of_them = 1 << max(num_anchors - 1, 0).bit_length()
  return min(1 << (fitting.bit_length() - 1), largest, all_of_them)


def directions(
  vectors: jax.Array, similarity: str
) -> tuple[jax.Array, jax.Array | None]:
  """Vectors as they are compared, and what scaled them.

  Args:
    vectors: f32[..., D].
    similarity: of `SIMILARITIES`.
  Returns:
    f32[..., D], and f32[..., 1] or None.
  """
  if similarity == 'inner':
    return vectors, None
  squares = jnp.sum(vectors * vectors, axis=-1, keepdims=True)
  scales = jax.lax.rsqrt(squares + _EPSILON)
  return vectors * scales, scales


def _through_scaling(gradients, directions, scales):
  """Gradients by vectors from those by their directions."""
  if scales is None:
    return gradients
  along = jnp.sum(directions * gradients, axis=1, keepdims=True)
  return scales * (gradients - along * directions)


def _check(temperature, similarity):
  fields.refuse_unknown('similarity', similarity, SIMILARITIES)
  if not temperature > 0:
    raise types.UserError(
      f'a temperature of {temperature}; the contrastive loss needs one above 0'
    )
