"""Global time where only the events before a moment have times, and rough ones.

ML-1M as it can be had: every event has its position inside its user, a marker
tells the first 80 % of all events in global time, and nearly all of these have
a time that is rounded down.
"""

import numpy as np

from twotsrec.data import prepared as prepared_lib
from twotsrec.data import splits


def label(
  early: np.ndarray,
  user: np.ndarray,
  order: np.ndarray,
  time: np.ndarray,
  fractions: tuple[float, float, float] = splits.FRACTIONS,
) -> np.ndarray:
  """Labels of a global split at the marked moment.

  What comes after the moment is test. The latest of the rest by time are
  validation, as many as the fractions say of what is not test (an eighth of it
  if they are 70/10/20), and equal times are never divided. An event without a
  time happened at the last known time of its user before it, or else at the
  next one.

  Args:
    early: bool[N], before the moment.
    user: ids [N].
    order: i64[N], position inside the user; there the early come first.
    time: f64[N], NaN where it is unknown.
    fractions: shares of train, validation and test.
  Returns:
    unicode [N] of prepared_lib.SPLITS.
  """
  time = _filled(early, user, order, time)
  share = fractions[0] / (fractions[0] + fractions[1])
  ordered = np.sort(time[early])
  rank = min(int(share * len(ordered) + 1e-9), len(ordered) - 1)
  time = np.where(early, time, ordered[-1] + 1)
  codes = splits.date(time, ordered[rank], ordered[-1] + 1)
  return np.array(prepared_lib.SPLITS)[codes]


def _filled(
  early: np.ndarray, user: np.ndarray, order: np.ndarray, time: np.ndarray
) -> np.ndarray:
  """Times f64[N], known for every early event."""
  rows = np.lexsort((order, user))
  owner, moment = user[rows], time[rows]
  count = len(rows)
  at = np.where(np.isnan(moment), -1, np.arange(count))
  before = np.maximum.accumulate(at)
  after = np.minimum.accumulate(np.where(at < 0, count - 1, at)[::-1])[::-1]
  own = (before >= 0) & (owner[before] == owner)
  source = np.where(own, before, after)
  # A user of whom no time is known is as old as the log.
  stranger = (owner[source] != owner) | np.isnan(moment[source])
  filled = np.empty(count)
  filled[rows] = np.where(
    stranger, np.min(time[early & ~np.isnan(time)]), moment[source]
  )
  return filled
