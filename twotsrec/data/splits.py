"""Train, validation and test: who is held out, and when.

Every function takes columns of events sorted by user and, inside a user, by
time: users i32[N], times i64[N] or f64[N], labels text [N]. It returns i8[N] of
prepared_lib.TRAIN, VALIDATION and TEST. Validation never equals test; when
`validation` is off its events are train events. Fractions are shares of train,
validation and test and sum to 1.
"""

from collections.abc import Sequence
import datetime
import re
from typing import NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.data import choices
from twotsrec.data import ids
from twotsrec.data import prepared as prepared_lib

NAMES = choices.SPLITS
FRACTIONS = (0.7, 0.1, 0.2)
_UNVALIDATED = 'turn validation off (--novalidation)'
_FEW = (
  'use weaker filters, a log with more of a user, another --user_column, or'
  ' --split=global_time'
)
_FIRST_DATE, _LAST_DATE = 1e8, 1e11  # 1973 and 5138, in Unix seconds


class Rule(NamedTuple):
  """A split by name."""

  # One of NAMES; '' is given if the data carry a split, else leave_last_out.
  name: str = ''
  # Whether a validation is held out; if not, its events are train events.
  validation: bool = True
  validation_from: str = ''  # first time of validation, for date
  test_from: str = ''  # first time of test, for date
  # Of train, validation and test, for global_time and per_user_time.
  shares: tuple[float, ...] = FRACTIONS


def cuts(rule: Rule) -> tuple[float | None, float | None]:
  """First times of validation and test of a split by date."""
  first = parse_time(rule.validation_from) if rule.validation else None
  return first, parse_time(rule.test_from)


def parse_shares(words: Sequence[str]) -> tuple[float, ...]:
  """Shares as a flag has them.

  Raises:
    types.UserError: something that is no number.
  """
  try:
    return tuple(float(word) for word in words)
  except ValueError as error:
    raise types.UserError(
      f'shares are {",".join(words)}; give three numbers, as in 0.8,0.1,0.1'
    ) from error


def check_shares(rule: Rule, coarse: object = None) -> None:
  """Refuses shares that a split cannot have, or does not read.

  Raises:
    types.UserError: the shares, and the way out.
  """
  _check_fractions(rule.shares)
  cut = 'global_time', 'per_user_time'
  if rule.shares != FRACTIONS and rule.name not in cut:
    raise types.UserError(
      f'shares {rule.shares} change nothing with split'
      f' {rule.name or "given"!r}; leave them out, or use split global_time or'
      ' per_user_time'
    )
  if coarse and rule.name == 'global_time' and rule.shares != FRACTIONS:
    raise types.UserError(
      f'shares {rule.shares} cannot be cut where times are coarse and the parts'
      ' of split global_time are marked; use split per_user_time'
    )


def by_rule(
  rule: Rule,
  user: np.ndarray,
  time: np.ndarray | None,
  labels: ids.Column | None = None,
  unit: str = 'events',
) -> np.ndarray:
  """The split of events by a rule; `unit` names the events in an error."""
  if rule.name == 'leave_last_out':
    return leave_last_out(user, rule.validation, unit)
  if rule.name == 'per_user_time':
    return per_user_time(user, rule.shares, rule.validation, unit)
  if rule.name == 'given':
    return given(labels, rule.validation)
  if rule.name == 'global_time':
    return global_time(time, rule.validation, rule.shares)
  return date(time, *cuts(rule))


def leave_last_out(
  user: np.ndarray, validation: bool = True, unit: str = 'events'
) -> np.ndarray:
  """Last event of a user is test, the one before it validation.

  With validation a user needs three events, otherwise two, so that a history
  is left; all events of a user with fewer are train events.
  """
  rank, count = _ranks(user)
  split = last_by_rank(rank, count, validation)
  way_out = _FEW
  if validation and np.any(count > 1):
    way_out = f'{_UNVALIDATED}, then 2 are enough'
  reason = f'no user has {2 + validation} {unit}'
  _require(split, prepared_lib.TEST, reason, way_out)
  return split


def last_by_rank(
  rank: np.ndarray, count: np.ndarray, validation: bool = True
) -> np.ndarray:
  """The rule of `leave_last_out` for any events, i8[N].

  Args:
    rank: i64[N], events of the user before the event.
    count: i64[N], events of the user.
    validation: whether the event before the last is held out.
  """
  split = np.full(len(rank), prepared_lib.TRAIN, np.int8)
  if validation:
    split[(rank == count - 2) & (count >= 3)] = prepared_lib.VALIDATION
  split[(rank == count - 1) & (count >= 2 + validation)] = prepared_lib.TEST
  return split


def per_user_time(
  user: np.ndarray,
  fractions: tuple[float, ...] = FRACTIONS,
  validation: bool = True,
  unit: str = 'events',
) -> np.ndarray:
  """Cuts every user's own events at two shares of their count, 70/10/20.

  Of c events the first max(1, floor(.7 c)) are train events and those up to
  floor(.8 c) validation, so that nothing of a user is held out without a train
  event before it. One event is a train event, of two or three the last is
  test, and four are the fewest with validation. It needs an order inside
  users, not times.
  """
  _check_fractions(fractions)
  split = codes_by_rank(*_ranks(user), fractions, validation)
  _require(split, prepared_lib.TEST, f'no user has 2 {unit}', _FEW)
  if validation and fractions[1] > 0:
    reason = f'users have too few {unit} for {fractions[1]:g} of them'
    way_out = f'choose another split, or {_UNVALIDATED}'
    _require(split, prepared_lib.VALIDATION, reason, way_out)
  return split


def codes_by_rank(
  rank: np.ndarray,
  count: np.ndarray,
  fractions: tuple[float, ...] = FRACTIONS,
  validation: bool = True,
) -> np.ndarray:
  """The rule of `per_user_time` by rank and count, see `last_by_rank`."""
  train, train_and_validation = np.cumsum(fractions)[:2]
  # The small term undoes rounding: 0.7 + 0.1 of ten events are eight.
  share = lambda part: np.maximum(np.floor(part * count + 1e-9), 1)
  split = np.full(len(rank), prepared_lib.TRAIN, np.int8)
  if validation:
    split[rank >= share(train)] = prepared_lib.VALIDATION
  split[rank >= share(train_and_validation)] = prepared_lib.TEST
  return split


def global_time(
  time: np.ndarray | None,
  validation: bool = True,
  fractions: tuple[float, ...] = FRACTIONS,
) -> np.ndarray:
  """Cuts all events at two quantiles of time, 70/10/20 by default.

  Events with the time of a cut all go to the later side, so equal times are
  never divided; with coarse times the shares differ from the fractions.
  """
  time = _require_times(time, 'global_time')
  _check_fractions(fractions)
  ordered = np.sort(time)
  # The small term undoes rounding: 0.7 + 0.1 of ten events are eight.
  ranks = np.floor(np.cumsum(fractions)[:2] * len(ordered) + 1e-9).astype(int)
  validation_from, test_from = ordered[np.minimum(ranks, len(ordered) - 1)]
  return date(time, validation_from if validation else None, test_from)


def date(
  time: np.ndarray | None,
  validation_from: float | None,
  test_from: float | None,
) -> np.ndarray:
  """Events from two times on are held out; None for no validation."""
  time = _require_times(time, 'date')
  if test_from is None:
    raise types.UserError(
      'split date needs the first date of test; give --test_from=2021-07-01'
    )
  first, last = _written(validation_from), _written(test_from)
  if validation_from is not None and validation_from > test_from:
    raise types.UserError(
      f'validation_from {first} is after test_from {last}; exchange them'
    )
  split = codes_by_time(time, validation_from, test_from)
  span = f'times run from {_written(np.min(time))} to {_written(np.max(time))}'
  way_out = 'choose another split, or other dates that lie between'
  held_out = first if validation_from is not None else last
  for code, reason in (
    (prepared_lib.TEST, f'test starts at {last}, {span}'),
    (prepared_lib.TRAIN, f'training ends at {held_out}, {span}'),
  ):
    _require(split, code, reason, way_out)
  if validation_from is not None:
    reason = f'validation runs from {first} to {last}, {span}'
    way_out += f', or {_UNVALIDATED}'
    _require(split, prepared_lib.VALIDATION, reason, way_out)
  return split


def codes_by_time(
  time: np.ndarray, validation_from: float | None, test_from: float
) -> np.ndarray:
  """The rule of `date` for any events, i8[N]."""
  split = np.full(len(time), prepared_lib.TRAIN, np.int8)
  if validation_from is not None:
    split[time >= validation_from] = prepared_lib.VALIDATION
  split[time >= test_from] = prepared_lib.TEST
  return split


def given(labels: ids.Column | None, validation: bool = True) -> np.ndarray:
  """Reads a column of 'train', 'validation' and 'test'."""
  if labels is None:
    raise types.UserError(
      'split given needs a split column or tables of parts; give '
      '--split_column, or --test_table'
    )
  names, codes = ids.number(labels)
  unknown = sorted(set(names.tolist()) - set(prepared_lib.SPLITS))
  if unknown:
    raise types.UserError(
      f'the split column has {unknown[0]!r}; allowed are '
      + ', '.join(prepared_lib.SPLITS)
    )
  numbers = [prepared_lib.SPLITS.index(name) for name in names.tolist()]
  split = np.array(numbers, np.int8)[codes]
  if not validation:
    split[split == prepared_lib.VALIDATION] = prepared_lib.TRAIN
  for name in ('train', 'test'):
    code, reason = prepared_lib.SPLITS.index(name), f'no row says {name}'
    _require(split, code, reason, f'label some rows {name!r}')
  return split


def parse_time(text: str) -> float | int | None:
  """A cut in the unit of the time column, or an ISO date as Unix seconds.

  A date without a zone is UTC; '' is None.
  """
  if not text:
    return None
  if re.fullmatch(r'-?\d+', text):
    return int(text)
  if re.fullmatch(r'-?\d+\.\d*', text):
    return float(text)
  try:
    moment = datetime.datetime.fromisoformat(text)
  except ValueError as error:
    raise types.UserError(
      f'{text!r} is not a time; write 2021-07-01, 2021-07-01T12:00:00 or a '
      'number in the unit of the time column'
    ) from error
  if moment.tzinfo is None:
    moment = moment.replace(tzinfo=datetime.UTC)
  return moment.timestamp()


def _check_fractions(fractions: tuple[float, ...]) -> None:
  three = len(fractions) == 3 and min(fractions) >= 0
  if not three or abs(sum(fractions) - 1.0) > 1e-6:
    raise types.UserError(
      f'fractions are {fractions}; allowed are three shares that sum to 1'
    )


def _ranks(user: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Events of the same user before each event, and in all, i64[N]."""
  first = np.flatnonzero(np.diff(user, prepend=-1))
  counts = np.diff(first, append=len(user))
  rank = np.arange(len(user)) - np.repeat(first, counts)
  return rank, np.repeat(counts, counts)


def _require_times(time: np.ndarray | None, name: str) -> np.ndarray:
  if time is None:
    raise types.UserError(
      f'split {name} needs the time of every event; give --time_column, or use'
      ' --split=leave_last_out or per_user_time'
    )
  return time


def _written(time: float | None) -> str:
  """A time as `parse_time` reads it: as a date, if it can be one."""
  if time is None or not _FIRST_DATE <= time < _LAST_DATE:
    return f'{time:.15g}' if time is not None else 'none'
  moment = datetime.datetime.fromtimestamp(float(time), datetime.UTC)
  return moment.replace(tzinfo=None).isoformat()


def _require(split: np.ndarray, code: int, reason: str, way_out: str) -> None:
  if not np.any(split == code):
    raise nothing_left(code, reason, way_out)


def nothing_left(
  code: int, reason: str, way_out: str = 'choose another split'
) -> types.UserError:
  """The user error for a split without events."""
  return types.UserError(
    f'nothing is left for {prepared_lib.SPLITS[code]}: {reason}; {way_out}'
  )
