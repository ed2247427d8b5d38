"""Aggregators that keep, entry by entry, what all groups agree on.

Mansilla et al. 2021 (domain generalization via gradient surgery). These are
element-wise: nothing is shared between the entries of a tensor but the scale
of the noise.
"""

import jax
import jax.numpy as jnp

from twotsrec import types


def agr_sum(zero_policy: str = 'strict') -> types.GradientAggregator:
  """The sum where all signs agree, 0 elsewhere.

  Args:
    zero_policy: 'strict' as published: a zero disagrees, so that a table row
      absent from the mini-batch of one group stands still. 'ignore': the signs
      of the groups with a non-zero entry have to agree.
  """
  return _agreeing(zero_policy, lambda total, mask, key: 0.0)


def agr_rand(
  zero_policy: str = 'strict', noise_scale: str = 'agreeing'
) -> types.GradientAggregator:
  """The sum where all signs agree, noise elsewhere.

  The noise is N(0, s^2), s the mean size of the tensor's agreeing sums.

  Args:
    zero_policy: as in `agr_sum`. With 'strict' a table row absent from one
      mini-batch receives pure noise, which Adam makes full steps of; with
      'ignore' a row that no group touches gets 0.
    noise_scale: 'agreeing' divides by the number of agreeing entries, as
      published; 'all' by all entries of the tensor, as PIN's authors do.
  """

  def noise(total, mask, key):
    # Under 'ignore' an untouched entry agrees, but says nothing about size.
    counted = mask & (total != 0)
    number = jnp.sum(counted) if noise_scale == 'agreeing' else total.size
    size = jnp.sum(jnp.where(counted, jnp.abs(total), 0.0))
    deviation = size / jnp.maximum(number, 1)
    return deviation * jax.random.normal(key, total.shape, total.dtype)

  return _agreeing(zero_policy, noise)


def _agreeing(zero_policy, otherwise):
  """The sum where signs agree, `otherwise` (sum, mask, key) elsewhere."""

  def update(group_grads, info, state, *, key=None):
    present = info.counts > 0
    leaves, treedef = jax.tree.flatten(group_grads)
    sums, masks = zip(*(_agree(g, present, zero_policy) for g in leaves))
    count = len(leaves)
    keys = [None] * count if key is None else jax.random.split(key, count)
    # A sum that is not finite is never hidden.
    chosen = [
      jnp.where(mask | ~jnp.isfinite(total), total, otherwise(total, mask, k))
      for total, mask, k in zip(sums, masks, keys)
    ]
    agreeing = jnp.sum(jnp.asarray([jnp.sum(mask) for mask in masks]))
    share = agreeing / max(sum(mask.size for mask in masks), 1)
    return treedef.unflatten(chosen), state, {'agreement': share}

  return types.GradientAggregator(lambda num_groups, params: (), update)


def _agree(stacked, present, zero_policy):
  """Sum over the groups present, and where their signs agree."""
  # Group by group, which compiles to one pass; reductions over the leading
  # axis are many times slower on CPUs.
  kept = [jnp.where(here, g, 0.0) for here, g in zip(present, stacked)]
  signs = sum(jnp.sign(g) for g in kept)
  if zero_policy == 'strict':
    voters = jnp.sum(present)
  else:
    voters = sum(jnp.abs(jnp.sign(g)) for g in kept)
  return sum(kept), jnp.abs(signs) == voters
