"""Aggregators that are weighted sums with weights known beforehand.

`info.counts` b_j are the samples of group j in the batch, `info.sizes` n_j
those in the training set, and a group gradient m_j is the mean over the
group's samples in the batch. Both the explicit form (`update` on stacked
gradients) and the fused form (one gradient of the weighted loss) take their
weights from one function, so they cannot drift apart.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import trees
from twotsrec import types


def _linear(
  weights: Callable[[types.GroupInfo], jax.Array],
) -> types.GradientAggregator:
  """The aggregator sum_j weights(info)_j m_j; it has no state."""

  def update(group_grads, info, state, *, key=None):
    del key  # deterministic
    group_weights = weights(info)
    grads = trees.combine(group_weights, group_grads)
    return grads, state, {'weights': group_weights}

  init = lambda num_groups, params: ()
  return types.GradientAggregator(init, update, weights)


def joint() -> types.GradientAggregator:
  """The plain mini-batch gradient, sum_j (b_j / B) m_j (PIN eq. 4-5)."""

  def weights(info):
    return info.counts / jnp.maximum(jnp.sum(info.counts), 1.0)

  return _linear(weights)


def backdoor(
  tau: float = 0.0, prior: Sequence[float] = (), weighting: str = 'self_norm'
) -> types.GradientAggregator:
  """Back-door adjusted gradient, sum_j P(z=j) m_j (PIN eq. 6-7).

  PIN eq. 7 is 1/n sum_j (N / n_j) g_j, where g_j is the group's share of the
  batch gradient, (b_j / B) m_j. In a batch with b_j = B n_j / N that is the
  uniform prior on the group means. Scale cancels in Adam but not in clipping,
  so the weights always sum to one when every group is present.

  Args:
    tau: the prior over groups is proportional to n_j^tau. 0 is eq. 6's uniform
      prior, 1 joint training, -1 what eq. 7 gives when read with mean
      gradients instead of sums.
    prior: any non-negative weights, one per group; overrides `tau`.
    weighting: 'self_norm' renormalizes over the groups in the batch, exact for
      any b_j > 0; 'importance' multiplies by N b_j / (n_j B), unbiased when
      the b_j are random. They agree on proportional batches.
  Raises:
    types.UserError: a negative or all-zero prior.
  """
  return _linear(backdoor_weights(tau, prior, weighting))


def backdoor_weights(
  tau: float = 0.0, prior: Sequence[float] = (), weighting: str = 'self_norm'
) -> Callable[[types.GroupInfo], jax.Array]:
  """The weights of `backdoor`, info -> f32[G]."""
  given = np.asarray(prior, np.float32)
  if given.size and (np.any(~(given >= 0)) or not given.sum() > 0):
    raise types.UserError(
      f'aggregator prior {tuple(prior)}: needs non-negative numbers with a'
      ' positive sum, one per group'
    )

  def weights(info):
    target = _prior(info.sizes, tau, given)
    if weighting == 'importance':
      share = info.sizes / jnp.sum(info.sizes)
      in_batch = info.counts / jnp.maximum(jnp.sum(info.counts), 1.0)
      return target * in_batch / share
    present = jnp.where(info.counts > 0, target, 0.0)
    return _share(present)

  return weights


def class_balanced(beta: float = 0.9999) -> types.GradientAggregator:
  """Groups by their effective number of samples (Cui et al. 2019, eq. 12).

  A sample of group j weighs (1 - beta) / (1 - beta^n_j), so the group's prior
  is n_j times that, over the groups in the batch. beta = 0 is `backdoor` with
  tau 1, beta to 1 with tau 0.
  """

  def weights(info):
    # beta^n - 1 through expm1, since n (1 - beta) may be tiny.
    effective = -jnp.expm1(info.sizes * np.log(max(beta, 1e-30)))
    return _share(jnp.where(info.counts > 0, info.sizes / effective, 0.0))

  return _linear(weights)


def _share(values):
  """Values over their sum; 0 where they are all 0."""
  total = jnp.sum(values)
  return values / jnp.where(total > 0, total, 1.0)


def _prior(sizes, tau, given):
  """P(z) over groups, f32[G]."""
  if given.size:
    if given.size != sizes.shape[0]:
      raise types.UserError(
        f'aggregator prior has {given.size} values for {sizes.shape[0]}'
        ' groups; give one per group'
      )
    return jnp.asarray(given / given.sum())
  # In logarithms, so that a large |tau| cannot overflow.
  return jax.nn.softmax(tau * jnp.log(sizes))
