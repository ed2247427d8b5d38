"""Times that cannot be right, told by their scale from those of the others.

A state that once followed an event of the year 2099 would take every later one
for late, so such an event must never move it.
"""

import datetime
import time
from typing import NamedTuple

import numpy as np

_DAY = 86_400.0
_YEAR = 365.25 * _DAY
_UNITS = (1.0, 1e3, 1e6, 1e9)  # ticks of a second
_EARLIEST = 1e8  # seconds since 1970: smaller times may count anything
_SPANS = 10  # how far a date may lie outside of a log, in lengths of the log
_OTHER_SPANS = 100  # the same of times that are no dates
_FEW = 3  # users who say where a table stands


class Plausible(NamedTuple):
  """Times that may be right.

  Attributes:
    first: the least.
    last: the largest.
    ticks: of a second, 0 where times are no dates.
  """

  first: float
  last: float
  ticks: float


def plausible(
  log: tuple[float, float] | None,
  reached: float,
  first: np.ndarray,
  last: np.ndarray,
  now: float | None = None,
) -> Plausible:
  """What a time of a table may be.

  Dates may lie up to a day after now. Times may also lie ten lengths of the log
  (at least a year) before the log, and as far after the log, the events played
  so far and most users of the table; of times that are no dates a hundred
  lengths, in both directions from all of these. Where the log has dates, none
  before 1973 goes with them, which is where minutes and hours fall.

  Args:
    log: first and last time of the log that the run was trained on, or None.
    reached: last time that was played before, -inf for none.
    first: f64[n], first time of every user of the table.
    last: f64[n], the last of every user.
    now: Unix seconds; by default those of the clock.
  """
  now = time.time() if now is None else now
  low, high = log or (np.inf, -np.inf)
  span = max(high - low, 0.0)
  high = max(high, reached)
  many = len(last) >= _FEW
  if many:
    # A quarter of the users may have bad clocks, in either direction.
    begin = np.quantile(first, 0.25, method='higher')
    end = np.quantile(last, 0.75, method='lower')
    if log is not None and _ticks(log[1], now):
      # A whole table may count minutes; the dates of the log are right.
      begin = max(begin, low)
    span = max(span, end - begin)
    low, high = min(low, begin), max(high, end)
  elif log is None and len(last):
    low, high = min(low, np.min(last)), max(high, np.min(last))
  ticks = _ticks(high if log is None else log[1], now)
  if not ticks:
    allowed = _OTHER_SPANS * span or np.inf
    return Plausible(low - allowed, high + allowed, ticks)
  allowed = max(_SPANS * span, _YEAR * ticks)
  begin = max(low - allowed, min(low, _EARLIEST * ticks))
  latest = (now + _DAY) * ticks
  end = min(high + allowed, latest) if many else latest
  return Plausible(begin, end, ticks)


def written(value: float, ticks: float) -> str:
  """A time as it stands in the table, and its date where it has one."""
  text = f'{value:.15g}'
  try:
    if not ticks:
      return text
    moment = datetime.datetime.fromtimestamp(value / ticks, datetime.UTC)
  except (ValueError, OverflowError, OSError):
    return text
  return f'{text} ({moment:%Y-%m-%d})'


def _ticks(last, now) -> float:
  """Ticks of a second where `last` is a date that has come, else 0."""
  for ticks in _UNITS:
    if _EARLIEST <= last / ticks <= now + _DAY:
      return ticks
  return 0.0
