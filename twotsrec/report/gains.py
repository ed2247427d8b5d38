"""Who is served better by a system than by the base, and who worse."""

from typing import NamedTuple

import numpy as np

from twotsrec.report import content as content_lib
from twotsrec.runs import compare
from twotsrec.runs import compared_runs

_SAME = 1e-9  # differences that are rounding


class Gains(NamedTuple):
  """Who is served better by a system than by the base, by group.

  Attributes:
    metric: that is compared.
    users: i64[G].
    better: f64[G], share of users.
    worse: f64[G], the same.
    up: f64[G], mean difference of those who are served better; NaN of nobody.
    down: f64[G], of those who are served worse.
  """

  metric: str
  users: np.ndarray
  better: np.ndarray
  worse: np.ndarray
  up: np.ndarray
  down: np.ndarray


def of_systems(content: content_lib.Content) -> dict[str, Gains]:
  """Every system against the base; {} of a single one."""
  if content.compared is None:
    return {}
  # What a user has, and more of it is better.
  names = [m for m in content.metrics if m not in ('auc', 'log_loss')]
  if not names:
    return {}
  metric = 'user_auc' if 'user_auc' in names else names[0]
  first = compared_runs.per_target(content.first, 'groups')
  pooled = compare.pooled(content.systems, first, [metric])
  base = pooled.pop(content.base)
  return {
    name: _gains(metric, base.table, other.table)
    for name, other in pooled.items()
  }


def _gains(metric, base, other) -> Gains:
  groups = base.counts.shape[1] - 1
  made = np.full((5, groups), np.nan)
  for group in range(groups):
    counts = base.counts[:, group, 0]
    there = counts > 0
    sums = other.sums[there, group, 0] - base.sums[there, group, 0]
    change = sums / counts[there]
    up, down = change[change > _SAME], change[change < -_SAME]
    number = max(change.size, 1)
    made[:3, group] = change.size, up.size / number, down.size / number
    made[3, group] = up.mean() if up.size else np.nan
    made[4, group] = down.mean() if down.size else np.nan
  return Gains(metric, made[0].astype(np.int64), *made[1:])
