"""Aggregators that choose, entry by entry, which groups are heard.

Nothing is shared between the entries of a tensor.
"""

import jax
import jax.numpy as jnp

from twotsrec import types


def graddrop(leak: float = 0.0) -> types.GradientAggregator:
  """One sign per entry, drawn by its share (Chen et al. 2020, GradDrop).

  P = (1 + sum_j g_j / sum_j |g_j|) / 2 is the purity of an entry; its positive
  parts are summed with probability P, or else the negative ones. The expected
  update is therefore the sum of all.

  Args:
    leak: share of the other sign that is let through; 1 is the sum.
  """

  def choose(parts, present, key):
    size = sum(jnp.abs(g) for g in parts)
    purity = 0.5 * (1.0 + sum(parts) / jnp.where(size == 0, 1.0, size))
    draws = jax.random.uniform(key, parts[0].shape, parts[0].dtype)
    positive = draws < purity
    # Products, so that what is not finite stays so.
    heard = lambda g: jnp.where((g > 0) == positive, 1.0, leak) * g
    return sum(heard(g) for g in parts)

  return _by_entry(choose)


def trimmed_mean(
  number: int = 1, zero_policy: str = 'strict'
) -> types.GradientAggregator:
  """The mean without the extremes of every entry (Yin et al. 2018).

  Args:
    number: values left out at each end, or as many as leave one, of the m
      groups that have a say.
    zero_policy: 'strict' as published: a zero is a value, so that a table row
      in the mini-batches of `number` groups or fewer stands still. 'ignore':
      only the groups with an entry other than zero have a say, and their
      trimmed mean counts m times among all groups present.
  """

  def choose(parts, present, key):
    del key  # deterministic
    strict = zero_policy == 'strict'
    say = [here & (strict | (g != 0)) for here, g in zip(present, parts)]
    voters = sum(there.astype(jnp.int32) for there in say)
    cut = jnp.minimum(number, jnp.maximum(voters - 1, 0) // 2)
    left = jnp.maximum(voters - 2 * cut, 1)
    total = 0.0
    # Ranks by comparing pairs, which compiles to one pass; a sort over the
    # leading axis is many times slower on CPUs.
    for i, g in enumerate(parts):
      rank = sum(
        say[j] & ((h < g) | ((h == g) & (j < i))) for j, h in enumerate(parts)
      )
      inside = say[i] & (rank >= cut) & (rank < voters - cut)
      total = total + jnp.where(inside, g, 0.0)
    share = 1.0 if strict else voters / jnp.maximum(jnp.sum(present), 1)
    mean = total * (share / left)
    # A sum that is not finite is never hidden.
    whole = sum(parts)
    return jnp.where(jnp.isfinite(whole), mean, whole)

  return _by_entry(choose)


def _by_entry(choose):
  """The aggregator with `choose` (G entries, present, key) for every leaf."""

  def update(group_grads, info, state, *, key=None):
    present = info.counts > 0
    leaves, treedef = jax.tree.flatten(group_grads)
    keys = [None] * len(leaves)
    if key is not None:
      keys = jax.random.split(key, len(leaves))
    chosen = []
    for stacked, leaf_key in zip(leaves, keys):
      parts = [jnp.where(here, g, 0.0) for here, g in zip(present, stacked)]
      chosen.append(choose(parts, present, leaf_key))
    return treedef.unflatten(chosen), state, {}

  return types.GradientAggregator(lambda num_groups, params: (), update)
