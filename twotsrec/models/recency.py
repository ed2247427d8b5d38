"""How lately a user touched an item, where a log has times.

The age of an item is how many items its user touched later, by a behavior that
comes before the target. What is bought was mostly touched lately, so a pair's
logit gains

    slope (log(1 + age) - mean of log(1 + age))

with the slope fitted to choices (McFadden 1974): at the last training purchase
of each user, among the items touched by then and not bought before, with the
logit without ages as a given part. Ages are those of that moment; afterwards
they are those at the end of training. The mean is over all pairs, so that what
is touched gains nothing as a whole.
"""

from collections.abc import Callable

import numpy as np

from twotsrec.data import behaviors as behaviors_lib

_RIDGE = 1.0  # of the squared slope
_MAX_STEPS = 50


def of_pairs(
  touches: behaviors_lib.Touches, user: np.ndarray, item: np.ndarray
) -> np.ndarray:
  """log(1 + age) less its mean, at the end of training, f64[M].

  Args:
    touches: train events.
    user: i64[M], of all pairs with an upstream behavior, ascending.
    item: i64[M], 1..I, ascending inside a user.
  """
  width = _width(touches)
  code, last = _last(touches, width, ~touches.is_target)
  age = ages(user, last[np.searchsorted(code, user * width + item)])
  return age - (np.mean(age) if len(age) else 0.0)


def fit(
  touches: behaviors_lib.Touches,
  user: np.ndarray,
  item: np.ndarray,
  logits: np.ndarray,
) -> float:
  """The slope, beside what is known of the pairs without ages, f64[M]."""
  width = _width(touches)
  return slope(*_choices(touches, width, user * width + item, logits))


def ages(user: np.ndarray, last: np.ndarray) -> np.ndarray:
  """log(1 + items touched later) of pairs in order of their users, f64[M].

  Args:
    user: i64[M].
    last: [M], when each was last touched.
  """
  order = np.lexsort([-last.astype(np.float64), user])
  ordered, when = user[order], last[order]
  first = np.searchsorted(ordered, ordered)
  # Items of one moment are as old as the first of them.
  starts = np.ones(len(order), bool)
  starts[1:] = (np.diff(ordered) != 0) | (np.diff(when) != 0)
  place = np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))
  found = np.empty(len(order))
  found[order] = np.log1p(place - first)
  return found


def _last(touches, width, chosen) -> tuple[np.ndarray, np.ndarray]:
  """Pairs of the chosen events, user * width + item, and their last times."""
  code = touches.user[chosen] * width + touches.item[chosen]
  time = touches.time[chosen]
  order = np.lexsort([time, code])
  code, time = code[order], time[order]
  ends = np.append(np.diff(code) != 0, True)[: len(code)]
  return code[ends], time[ends]


def _choices(touches, width, pairs, logits):
  """(user of each candidate, whether it was taken, age, given logit)."""
  user, target = touches.user, touches.is_target
  number = int(user.max(initial=-1)) + 1
  never = np.finfo(np.float64).min
  now = np.full(number, never)
  np.maximum.at(now, user[target], touches.time[target].astype(np.float64))
  before, at = touches.time < now[user], touches.time == now[user]
  code, last = _last(touches, width, ~target & (before | at))
  codes = lambda chosen: user[chosen] * width + touches.item[chosen]
  left = ~np.isin(code, codes(target & before))
  code, last = code[left], last[left]
  taken = np.isin(code, codes(target & at))
  whose = code // width
  # A choice has one item that was taken, and others.
  each = np.bincount(whose, minlength=number)
  chosen = (np.bincount(whose, taken, number) == 1) & (each > 1)
  kept = chosen[whose]
  whose, taken, last = whose[kept], taken[kept], last[kept]
  given = logits[np.searchsorted(pairs, code[kept])]
  return whose, taken, ages(whose, last), given


def slope(
  whose: np.ndarray, taken: np.ndarray, age: np.ndarray, given: np.ndarray
) -> float:
  """The slope of `age` under which the choices are likeliest.

  Args:
    whose: i64[C], the choice that a candidate belongs to.
    taken: bool[C], one of each choice.
    age: f64[C].
    given: f64[C], the part of the logit that stays.
  """
  _, place = np.unique(whose, return_inverse=True)
  sums: Callable[..., np.ndarray] = lambda values: np.bincount(place, values)
  found = 0.0
  for _ in range(_MAX_STEPS if len(whose) else 0):
    logit = given + found * age
    top = np.full(place.max() + 1, -np.inf)
    np.maximum.at(top, place, logit)
    chance = np.exp(logit - top[place])
    chance /= sums(chance)[place]
    mean = sums(chance * age)
    gradient = np.sum(mean) - np.sum(age[taken]) + _RIDGE * found
    curvature = np.sum(sums(chance * age**2) - mean**2) + _RIDGE
    # The loss is convex in one number; a long step would overshoot.
    step = float(np.clip(gradient / curvature, -1.0, 1.0))
    found -= step
    if abs(step) < 1e-9:
      break
  return found


def _width(touches):
  return int(touches.item.max(initial=0)) + 1
