import hypothesis
from hypothesis import strategies
import numpy as np

from twotsrec.data import datasets


def literal_labels(rows):
  """The rule of the module, one event at a time.

  Args:
    rows: (early, user, order, time or None).
  """
  known = [time for early, _, _, time in rows if early and time is not None]

  def moment(row):
    _, user, order, time = row
    if time is not None:
      return time
    own = [r for r in rows if r[1] == user and r[3] is not None]
    before = [r for r in own if r[2] < order]
    after = [r for r in own if r[2] > order]
    if before:
      return max(before, key=lambda r: r[2])[3]
    return min(after, key=lambda r: r[2])[3] if after else min(known)

  times = sorted(moment(row) for row in rows if row[0])
  cut = times[len(times) * 7 // 8]
  part = lambda row: 'validation' if moment(row) >= cut else 'train'
  return [part(row) if row[0] else 'test' for row in rows]


@hypothesis.settings(max_examples=50, deadline=None, derandomize=True)
@hypothesis.given(
  strategies.lists(
    strategies.lists(
      strategies.one_of(strategies.none(), strategies.integers(1, 60)),
      max_size=6,
    ),
    min_size=1,
    max_size=8,
  ),
  strategies.randoms(use_true_random=False),
)
def test_labels_equal_the_rule_written_out(users, random):
  # Every user: early events with rising times, then late ones without.
  rows = [(True, -1, n, 2 * n) for n in range(16)] + [(False, -1, 99, None)]
  for user, times in enumerate(users):
    rising = iter(sorted(time for time in times if time is not None))
    for order, time in enumerate(times):
      rows.append((True, user, order, None if time is None else next(rising)))
    rows.append((False, user, len(times), None))
  random.shuffle(rows)
  early, user, order = (np.array([row[n] for row in rows]) for n in range(3))
  time = np.array([np.nan if row[3] is None else row[3] for row in rows])
  labels = datasets.label_coarse(early, user, order, time)
  hypothesis.assume(len(set(literal_labels(rows))) == 3)
  assert labels.tolist() == literal_labels(rows)
