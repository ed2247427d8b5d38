import hypothesis
from hypothesis import strategies
import numpy as np
import pytest

from tests.data import small_logs
from twotsrec import types
from twotsrec.data import interactions
from twotsrec.data import prepared
from twotsrec.data import splits
from twotsrec.data import target_splits

TRAIN, VALIDATION, TEST = prepared.TRAIN, prepared.VALIDATION, prepared.TEST
NAMES = ('view', 'cart', 'buy')
settings = hypothesis.settings(max_examples=50, deadline=None, derandomize=True)
# (user, item, behavior) in the order of time.
logs = strategies.lists(
  strategies.tuples(
    strategies.integers(0, 3),
    strategies.integers(1, 6),
    strategies.sampled_from(NAMES),
  ),
  min_size=1,
  max_size=50,
)
# A user who has enough for every rule.
ENOUGH = [(9, item, 'buy') for item in (1, 2, 3, 4)]


def events_of(rows, dedup='first', **columns):
  user, item, behavior = map(np.array, zip(*rows, strict=True))
  table = small_logs.table(user, item, behavior=behavior, **columns)
  return interactions.from_table(
    table, interactions.Filters(dedup=dedup), NAMES
  )


def timed(rows, dedup='first'):
  return events_of(rows, dedup, time=np.arange(len(rows)))


def hold_out(events, name, validation=True, *, seed=0, **cuts):
  cuts = {name: str(time) for name, time in cuts.items()}
  rule = splits.Rule(name, validation, **cuts)
  return target_splits.hold_out(events, rule, seed)


def outcome(events, held):
  """One letter per event: t, v, e for test, and - if it is dropped."""
  letters = np.array(list('tve'))[held.split]
  for rows in held.gone.values():
    letters[rows] = '-'
  return ''.join(letters)


def loop_leave_last_out(rows, validation):
  """The rule written out, for one user's (item, behavior) in order."""
  buys = [n for n, (_, behavior) in enumerate(rows) if behavior == 'buy']
  letters = ['t'] * len(rows)
  if len(buys) >= 2 + validation:
    letters[buys[-1]] = 'e'
    if validation:
      letters[buys[-2]] = 'v'
    for late in range(buys[-1] + 1, len(rows)):
      letters[late] = '-'
  return letters


@settings
@hypothesis.given(logs, strategies.booleans())
def test_leave_last_out_equals_a_loop_over_users(rows, validation):
  events = timed([*rows, *ENOUGH])
  held = hold_out(events, 'leave_last_out', validation)
  expected = []
  for user in range(len(events.user_ids)):
    own = np.flatnonzero(events.user == user)
    behavior = [NAMES[code] for code in events.behavior[own]]
    expected += loop_leave_last_out(
      list(zip(own, behavior, strict=True)), validation
    )
  assert outcome(events, held) == ''.join(expected)


def test_without_an_order_upstream_rows_after_the_test_event_are_kept():
  rows = [(1, 1, 'buy'), (1, 2, 'buy'), (1, 3, 'buy'), (1, 3, 'view')]
  held = hold_out(events_of(rows), 'leave_last_out')
  assert outcome(events_of(rows), held) == 'tvet'
  held = hold_out(timed(rows), 'leave_last_out')
  assert outcome(timed(rows), held) == 'tve-'


@settings
@hypothesis.given(
  logs,
  strategies.sampled_from(['leave_last_out', 'global_time', 'date', 'given']),
  strategies.booleans(),
  strategies.sampled_from(['none', 'first', 'last']),
)
def test_only_target_events_are_held_out_and_no_held_out_pair_is_trained_on(
  rows, name, validation, dedup
):
  rows = [*rows, *ENOUGH]
  labels = np.full(len(rows), 'train', '<U10')
  labels[-1] = 'test'
  labels[: len(rows) // 3] = 'test'
  events = events_of(rows, dedup, time=np.arange(len(rows)), split=labels)
  half = len(rows) // 2
  try:
    held = hold_out(
      events, name, validation, validation_from=half, test_from=len(rows) - 1
    )
  except types.UserError as error:
    assert 'nothing is left for' in str(error)
    return
  assert (
    len(held.split)
    == len(rows) - events.dropped.get(f'duplicate, {dedup} one kept', (0,))[0]
  )
  gone = np.sum(list(held.gone.values()), axis=0)
  assert np.max(gone) <= 1
  kept = gone == 0
  held_out = kept & (held.split != TRAIN)
  of_target = events.behavior == NAMES.index('buy')
  assert np.all(of_target[held_out])
  pairs = list(zip(events.user.tolist(), events.item.tolist(), strict=True))
  heldout_pairs = [pairs[n] for n in np.flatnonzero(held_out)]
  in_training = np.flatnonzero(kept & of_target & (held.split == TRAIN))
  if name in target_splits.MOMENTS:
    # Training ends at the first cut, and nothing of it is dropped for a repeat.
    first = np.min(events.time[held_out])
    assert np.all(events.time[kept & (held.split == TRAIN)] < first)
    assert np.all(kept[of_target & (events.time < first)])
    heldout_pairs = [
      (held.split[n], *pairs[n]) for n in np.flatnonzero(held_out)
    ]
  else:
    assert not set(heldout_pairs) & {pairs[n] for n in in_training}
  assert len(set(heldout_pairs)) == len(heldout_pairs)


def test_global_time_gives_its_fractions_of_the_target_events():
  rows = [(1, item, 'buy') for item in range(10)]
  rows = [row for buy in rows for row in ((1, buy[1], 'view'), buy)]
  events = timed(rows)
  held = hold_out(events, 'global_time')
  # The view before the cut goes before, those of later purchases are dropped.
  assert outcome(events, held) == 'tt' * 7 + 'tv' + '-e' * 2
  held = hold_out(events, 'global_time', validation=False)
  assert outcome(events, held) == 'tt' * 8 + 'te' + '-e'


def test_date_drops_upstream_events_from_the_first_cut_on():
  rows = [
    (1, 1, 'buy'),
    (1, 2, 'cart'),
    (1, 3, 'view'),
    (1, 3, 'buy'),
    (1, 4, 'cart'),
    (1, 4, 'buy'),
  ]
  events = timed(rows)
  cuts = {'validation_from': 2, 'test_from': 4}
  held = hold_out(events, 'date', True, **cuts)
  assert outcome(events, held) == 'tt-v-e'
  held = hold_out(events, 'date', False, **cuts)
  assert outcome(events, held) == 'tttt-e'


def test_what_is_bought_after_a_moment_is_given_all_before_it():
  rows = [(1, 1, 'buy'), (1, 2, 'buy'), (1, 3, 'view'), (1, 4, 'buy')]
  rows += [(1, 3, 'cart'), (2, 1, 'buy'), (2, 1, 'view')]  # before time 7
  rows += [(1, 1, 'buy'), (1, 5, 'view'), (1, 5, 'buy'), (1, 5, 'buy')]
  rows += [(1, 1, 'buy'), (2, 1, 'buy')]
  events = timed(rows, dedup='none')
  by_user = np.argsort([row[0] for row in rows], kind='stable')

  def told(letters):
    return ''.join(np.array(list(letters))[by_user])

  held = hold_out(events, 'date', True, test_from=7)
  assert outcome(events, held) == told('tttvttte-e--e')
  held = hold_out(events, 'date', False, test_from=7)
  assert outcome(events, held) == told('ttttttte-e--e')
  # A pair of validation is asked for again in the test.
  held = hold_out(events, 'date', True, validation_from=7, test_from=11)
  assert outcome(events, held) == told('tttttttv-v-ee')


def test_nobody_to_lend_a_validation_before_the_moment_is_said():
  events = timed([(1, 1, 'buy'), (1, 2, 'view'), (1, 3, 'buy')])
  with pytest.raises(
    types.UserError, match='no user has 3 training buy events'
  ):
    hold_out(events, 'date', True, test_from=2)


def test_a_repeated_purchase_is_not_trained_on_when_it_is_held_out():
  rows = [(1, 1, 'buy'), (1, 1, 'view'), (1, 2, 'buy'), (1, 1, 'buy')]
  events = timed(rows, dedup='none')
  held = hold_out(events, 'leave_last_out', False)
  assert outcome(events, held) == '-tte'
  # The earliest is the one kept by default, and is no test of a repeat.
  events = timed(rows)
  held = hold_out(events, 'leave_last_out', False)
  assert outcome(events, held) == 'tte'


def given(rows):
  """Events of (user, item, behavior, label)."""
  labels = np.array([row[3] for row in rows])
  return events_of([row[:3] for row in rows], split=labels)


def test_upstream_rows_of_a_test_part_are_dropped():
  events = given(
    [
      (1, 1, 'view', 'train'),
      (1, 2, 'cart', 'test'),
      (1, 2, 'buy', 'test'),
      (2, 1, 'cart', 'validation'),
      (2, 1, 'buy', 'validation'),
    ]
  )
  assert outcome(events, hold_out(events, 'given')) == 't-e-v'
  off = hold_out(events, 'given', validation=False)
  assert outcome(events, off) == 't-ett'


def test_a_validation_of_a_given_split_is_not_drawn_again():
  rows = [(1, item, 'buy', 'train') for item in range(5)]
  rows += [(2, 1, 'buy', 'validation'), (2, 2, 'buy', 'test')]
  events = given(rows)
  assert outcome(events, hold_out(events, 'given')) == 'tttttve'


def lending():
  """Users 1 to 300 with 4, user 301 with 2 training purchases, and views."""
  rows = [(u, i, 'buy', 'train') for u in range(1, 301) for i in range(4)]
  rows += [(u, i, 'view', 'train') for u in range(1, 301) for i in range(9)]
  rows += [(301, 1, 'buy', 'train'), (301, 2, 'buy', 'train')]
  rows += [(u, 8, 'buy', 'test') for u in range(1, 302)]
  return rows


def test_a_missing_validation_is_one_random_purchase_of_users_with_three():
  events = given(lending())
  held = hold_out(events, 'given', seed=3)
  moved = held.split == VALIDATION
  assert np.all(events.behavior[moved] == NAMES.index('buy'))
  per_user = np.bincount(events.user[moved], minlength=301)
  assert per_user.tolist() == [1] * 300 + [0]
  assert np.sum(held.split == TEST) == 301
  # Nothing else moves: its upstream events stay, and nothing is dropped.
  assert not any(np.any(rows) for rows in held.gone.values())
  # Every purchase is as likely: 4 cells of 75 expected, chi-square of 3.
  drawn = np.bincount(events.item[moved] - 1, minlength=4)
  assert np.sum((drawn - 75) ** 2 / 75) < 16.3
  off = hold_out(events, 'given', validation=False, seed=3)
  assert not np.any(off.split == VALIDATION)


def test_the_draw_depends_on_the_seed_and_not_on_the_order_of_rows():
  def drawn(rows, seed):
    events = given(rows)
    moved = hold_out(events, 'given', seed=seed).split
    moved = moved == VALIDATION
    return set(zip(events.user[moved], events.item[moved], strict=True))

  rows = lending()
  assert drawn(rows, 0) == drawn(rows[::-1], 0)
  assert drawn(rows, 0) != drawn(rows, 1)


def test_nobody_with_three_purchases_is_said():
  rows = [(1, i, 'buy', 'train') for i in range(2)]
  rows += [(1, i, 'view', 'train') for i in range(5)] + [(1, 7, 'buy', 'test')]
  with pytest.raises(types.UserError, match='no user has 3 training buy event'):
    hold_out(given(rows), 'given')
  held = hold_out(given(rows), 'given', validation=False)
  assert np.bincount(held.split).tolist() == [7, 0, 1]


def test_a_target_that_is_not_last_is_said_with_the_way_out():
  table = small_logs.table(
    [1, 1, 1],
    [1, 2, 2],
    behavior=np.array(['cart', 'buy', 'buy']),
    split=np.array(['train', 'train', 'test']),
  )._replace(item=np.array([1, 2, 3]))
  events = interactions.from_table(table, behaviors=('view', 'buy', 'cart'))
  message = "target behavior 'cart'.*--behaviors=view,cart,buy$"
  with pytest.raises(types.UserError, match=message):
    hold_out(events, 'given')


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('leave_last_out', 'no user has 3 buy events'),
    ('per_user_time', 'nothing is left for validation'),
    ('global_time', 'needs the time of every event'),
    ('date', 'needs the time of every event'),
    ('given', 'needs a split column'),
  ],
)
def test_what_a_rule_needs_is_told(name, message):
  events = events_of([(1, 1, 'buy'), (1, 2, 'buy'), (1, 3, 'view')])
  with pytest.raises(types.UserError, match=message):
    hold_out(events, name, test_from=1)


def test_per_user_time_cuts_target_events_and_drops_later_upstream_events():
  rows = []
  for n in range(10):
    rows += [(1, n, 'view'), (1, n, 'buy')]
  rows += [(2, 1, 'buy'), (2, 2, 'view')]  # nothing of user 2 is held out
  time = np.arange(len(rows))
  table = small_logs.table(
    [row[0] for row in rows],
    [row[1] for row in rows],
    behavior=np.array([row[2] for row in rows]),
    time=time,
  )
  events = interactions.from_table(table, behaviors=('view', 'buy'))
  held = hold_out(events, 'per_user_time')
  buys = np.flatnonzero((events.behavior == 1) & (events.user == 0))
  assert held.split[buys].tolist() == [0] * 7 + [1] + [2] * 2
  gone = held.gone[target_splits.AFTER_HELD]
  later = (events.behavior == 0) & (events.user == 0) & (events.time > 15)
  np.testing.assert_array_equal(gone, later)
  assert np.sum(gone) == 2
