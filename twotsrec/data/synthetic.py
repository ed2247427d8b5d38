"""A seeded built-in log: power-law activity, group-specific taste, sequence.

    counts_u  = clip(round(lognormal(mean 4, sd 1.1)), 20, 2000)
    q_i, b_i  ~ N(0, I_8), N(0, 1)
    p_u       = (common_u + gamma * shift_{z(u)}) / sqrt(8)
    next item ~ softmax(p_u . q_i + b_i + kappa * q_prev . q_i), no repeats

z(u) is the activeness group (equal numbers of users). With gamma = 0 taste does
not depend on the group, so treating groups differently should gain nothing.
Ours: common_u and shift_z are N(0, I_8), scaled so that taste weighs about as
much as popularity; a user sees at most half of the items; with probability
`noise` an event is a uniformly random unseen item, by group.
"""

from typing import NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.data import tables

_WIDTH = 8
_BLOCK = 32  # items are drawn block first, then inside the block
_USERS_AT_ONCE = 256  # keeps the weights of one chunk inside the cache
_START, _SECONDS = 1_600_000_000, 365 * 86_400


class Taste(NamedTuple):
  """Tastes and items; a user likes an item by users . items + popularity."""

  group: np.ndarray  # i64[U], activeness group of the user
  users: np.ndarray  # f32[U, 8], p_u
  items: np.ndarray  # f32[I, 8], q_i
  popularity: np.ndarray  # f32[I], b_i


class _Law(NamedTuple):
  """Parameters of the law that events are drawn from."""

  counts: np.ndarray  # i64[U], events per user
  static: np.ndarray  # f32[U, I], p_u . q_i + b_i
  sequential: np.ndarray  # f32[I, I], kappa * q_prev . q_next
  noise: np.ndarray  # f32[U], share of uniformly random events


def generate(
  num_users: int = 3000,
  num_items: int = 1000,
  *,
  gamma: float = 1.0,
  kappa: float = 0.3,
  num_groups: int = 5,
  tail_noise: float = 0.0,
  head_noise: float = 0.0,
  mean_log_count: float = 4.0,
  seed: int = 0,
) -> tables.Table:
  """Draws a log, exactly from the law above (in float32).

  Args:
    num_users: users, ids 1..num_users.
    num_items: items, ids 1..num_items; at least 40, so that 20 are half.
    gamma: share of taste that belongs to the activeness group.
    kappa: strength of the dependence on the previous item.
    num_groups: activeness groups with their own taste.
    tail_noise: noise of the least active group.
    head_noise: noise of the most active group; linear in between.
    mean_log_count: mean of the logarithm of the activity.
    seed: equal seeds give equal logs.
  Returns:
    A table with a time column, one row per event.
  """
  _check(num_users, num_items, num_groups, (tail_noise, head_noise))
  rng = np.random.default_rng(seed)
  counts = np.rint(rng.lognormal(mean_log_count, 1.1, num_users))
  counts = np.clip(counts, 20, min(2000, num_items // 2)).astype(np.int64)
  taste = draw_taste(rng, counts, num_items, num_groups, gamma)
  noise = np.linspace(tail_noise, head_noise, num_groups)[taste.group]
  law = _Law(
    counts=counts,
    static=taste.users @ taste.items.T + taste.popularity,
    sequential=np.float32(kappa) * (taste.items @ taste.items.T),
    noise=noise.astype(np.float32),
  )
  items = _draw_items(rng, law)
  user = np.repeat(np.arange(num_users, dtype=np.int64), counts)
  seconds = rng.integers(0, _SECONDS, len(user))
  time = _START + seconds[np.lexsort((seconds, user))]
  return tables.make('synthetic', user=user + 1, item=items + 1, time=time)


def draw_taste(
  rng: np.random.Generator,
  counts: np.ndarray,
  num_items: int,
  num_groups: int,
  gamma: float,
) -> Taste:
  """Draws groups, tastes and items of users as active as `counts` i64[U].

  There are at most U groups; `gamma` is the share of taste that is theirs.
  """
  num_users = len(counts)
  group = np.empty(num_users, np.int64)
  ranks = np.arange(num_users)
  group[np.argsort(counts, kind='stable')] = num_groups * ranks // num_users
  normal = lambda *shape: rng.standard_normal(shape, np.float32)
  latent, popularity = normal(num_items, _WIDTH), normal(num_items)
  common, shift = normal(num_users, _WIDTH), normal(num_groups, _WIDTH)
  taste = common + np.float32(gamma) * shift[group]
  return Taste(group, taste / np.sqrt(np.float32(_WIDTH)), latent, popularity)


def _draw_items(rng: np.random.Generator, law: _Law) -> np.ndarray:
  """All events, i64[N], user after user, each in the order of time."""
  offsets = np.concatenate([[0], np.cumsum(law.counts)])
  items = np.empty(offsets[-1], np.int64)
  follow = _block_weights(law.sequential)
  # The most active first: the users still active at a step are then a prefix.
  by_activity = np.argsort(-law.counts, kind='stable')
  for start in range(0, len(by_activity), _USERS_AT_ONCE):
    users = by_activity[start : start + _USERS_AT_ONCE]
    unseen = _block_weights(law.static[users])
    steps = int(law.counts[users[0]])
    uniform = rng.random((steps, len(users)), np.float32)
    noisy = rng.random((steps, len(users)), np.float32) < law.noise[users]
    previous = np.zeros(0, np.int64)
    for step in range(steps):
      active = int(np.searchsorted(-law.counts[users], -step))
      weights = unseen[:active]
      if step > 0:
        weights = weights * follow[previous[:active]]
      strange = np.flatnonzero(noisy[step, :active])
      if len(strange):
        weights = weights.copy()
        weights[strange] = unseen[strange] > 0
      previous = _sample(weights, uniform[step, :active])
      items[offsets[users[:active]] + step] = previous
      unseen[np.arange(active), previous // _BLOCK, previous % _BLOCK] = 0.0
  return items


def _block_weights(logits: np.ndarray) -> np.ndarray:
  """Unnormalized probabilities f32[R, blocks, _BLOCK], 0 beyond the items."""
  rows, num_items = logits.shape
  num_blocks = -(-num_items // _BLOCK)
  weights = np.zeros((rows, num_blocks * _BLOCK), np.float32)
  top = np.max(logits, axis=1, keepdims=True)
  # The floor keeps every unseen item possible in float32 products.
  weights[:, :num_items] = np.exp(np.maximum(logits - top, -40.0))
  return weights.reshape(rows, num_blocks, _BLOCK)


def _sample(weights: np.ndarray, uniform: np.ndarray) -> np.ndarray:
  """One index i64[R] per row in proportion to the weights, by inverse CDF."""
  rows = np.arange(len(weights))
  below = np.cumsum(weights @ np.ones(_BLOCK, np.float32), axis=1)
  # Staying under the total by more than rounding avoids items of weight 0.
  aim = np.minimum(uniform, 1.0 - 1e-6) * below[:, -1]
  block = np.sum(below <= aim[:, None], axis=1)
  rest = aim - np.where(block > 0, below[rows, block - 1], 0.0)
  inside = np.cumsum(weights[rows, block], axis=1)
  rest = np.minimum(rest, inside[:, -1] * (1.0 - 1e-6))
  return block * _BLOCK + np.sum(inside <= rest[:, None], axis=1)


def _check(
  num_users: int, num_items: int, num_groups: int, noise: tuple[float, float]
) -> None:
  needs = ''
  if num_users < 1:
    needs = f'at least 1 user, not {num_users}'
  elif num_items < 40:
    needs = f'at least 40 items, not {num_items}'
  elif not 1 <= num_groups <= num_users:
    needs = f'1 to {num_users} groups (its users), not {num_groups}'
  if needs:
    raise types.UserError(f'the built-in log needs {needs}')
  if min(noise) < 0.0 or max(noise) > 1.0:
    raise types.UserError(f'noise is {noise}; allowed are shares from 0 to 1')
