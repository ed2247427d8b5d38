"""Movement of users' states with each event (2TS fig. 4)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

LONGEST = 50


def curves(
  per_target: Mapping[str, np.ndarray], threshold: int, longest: int = LONGEST
) -> dict[str, dict[str, list]]:
  """Mean movement of inactive and of active users by the event's number.

  The movement of the k-th held-out event of a user is ||h^k - h^(k-1)||, its
  relative form divides by ||h^(k-1)|| and leaves states of norm 0 out. A mean
  is over the users of the group that have k events or more.

  Args:
    per_target: arrays [T] of one split: train_count, position (k, from 1),
      movement, norm.
    threshold: t*; users with more training events are active.
    longest: last k.
  Returns:
    {'inactive' and 'active': {'k', 'users', 'mean', 'se', 'relative_users',
    'relative_mean', 'relative_se'}}, lists over k = 1..longest; null where
    nobody (for the standard error, only one user) is left.
  """
  active = np.asarray(per_target['train_count']) > threshold
  position = np.asarray(per_target['position'])
  moved = np.asarray(per_target['movement'], np.float64)
  norm = np.asarray(per_target['norm'], np.float64)
  divisible = norm > 0
  relative = moved / np.where(divisible, norm, 1.0)
  result = {}
  for name, chosen in (('inactive', ~active), ('active', active)):
    chosen = chosen & (position <= longest)
    users, mean, error = _summary(moved, position, chosen, longest)
    shares = _summary(relative, position, chosen & divisible, longest)
    result[name] = {
      'k': list(range(1, longest + 1)),
      'users': users,
      'mean': mean,
      'se': error,
      'relative_users': shares[0],
      'relative_mean': shares[1],
      'relative_se': shares[2],
    }
  return result


def _summary(values, position, chosen, longest) -> tuple[list, list, list]:
  """Number, mean and standard error of the mean of the values at each k."""
  place, values = position[chosen] - 1, values[chosen]
  add = lambda x: np.bincount(place, weights=x, minlength=longest)
  number = np.bincount(place, minlength=longest)
  mean = add(values) / np.maximum(number, 1)
  # Around the mean: sums of squares would cancel.
  spread = add((values - mean[place]) ** 2)
  variance = spread / np.maximum(number - 1, 1)
  error = np.sqrt(variance / np.maximum(number, 1))
  return (
    number.tolist(),
    _or_null(mean, number > 0),
    _or_null(error, number > 1),
  )


def _or_null(values: np.ndarray, defined: np.ndarray) -> list[Any]:
  """Values for JSON, which has null for an undefined one."""
  return [float(v) if ok else None for v, ok in zip(values, defined)]
