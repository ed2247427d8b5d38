import hypothesis
from hypothesis import strategies
import numpy as np
import pytest

from tests.data import small_logs
from twotsrec import types
from twotsrec.data import interactions
from twotsrec.data import tables

Filters = interactions.Filters
settings = hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
# (user, item, time) rows with many repeats and ties.
row_lists = strategies.lists(
  strategies.tuples(
    strategies.integers(0, 5),
    strategies.integers(0, 5),
    strategies.integers(0, 3),
  ),
  min_size=1,
  max_size=40,
)


def load(rows, **columns):
  user, item, time = np.array(rows).T
  return small_logs.table(user, item, time=time, **columns)


def external(events):
  """Kept rows as (user id, item id, time)."""
  return list(
    zip(
      events.user_ids[events.user].tolist(),
      events.item_ids[events.item - 1].tolist(),
      events.time.tolist(),
      strict=True,
    )
  )


@settings
@hypothesis.given(row_lists)
def test_rows_are_sorted_by_user_and_time_and_ties_keep_their_order(rows):
  events = interactions.from_table(load(rows))
  # Python's sort is stable.
  assert external(events) == sorted(rows, key=lambda row: (row[0], row[2]))


@settings
@hypothesis.given(row_lists, strategies.sampled_from(['first', 'last']))
def test_deduplication_equals_a_dictionary(rows, keep):
  events = interactions.from_table(load(rows), Filters(dedup=keep))
  kept = {}
  for row in sorted(rows, key=lambda row: row[2]):
    if keep == 'last' or row[:2] not in kept:
      kept[row[:2]] = row
  assert sorted(external(events)) == sorted(kept.values())
  assert events.duplicates == len(rows) - len(kept)


@settings
@hypothesis.given(
  row_lists,
  strategies.sampled_from(interactions.DEDUP),
  strategies.integers(1, 3),
  strategies.integers(1, 3),
  strategies.sampled_from(interactions.CORES),
)
def test_kept_and_dropped_rows_add_up_to_the_rows_read(
  rows, dedup, min_user, min_item, core
):
  filters = Filters(None, dedup, min_user, min_item, core)
  try:
    events = interactions.from_table(load(rows), filters)
  except types.UserError as error:
    assert 'leave none' in str(error)
    return
  dropped = sum(cause.rows for cause in events.dropped.values())
  assert len(events.user) + dropped == events.rows_read == len(rows)


@settings
@hypothesis.given(
  row_lists, strategies.integers(1, 4), strategies.integers(1, 4)
)
def test_a_core_equals_dropping_one_rare_user_or_item_at_a_time(
  rows, min_user, min_item
):
  user, item, _ = np.array(rows).T
  rare_user, rare_item = interactions.core_mask(user, item, min_user, min_item)
  assert not np.any(rare_user & rare_item)
  kept = list(rows)
  while True:
    users, items = [row[0] for row in kept], [row[1] for row in kept]
    smaller = [
      row
      for row in kept
      if users.count(row[0]) >= min_user and items.count(row[1]) >= min_item
    ]
    if smaller == kept:
      break
    kept = smaller
  chosen = np.flatnonzero(~(rare_user | rare_item))
  assert [rows[index] for index in chosen] == kept


def test_a_single_pass_counts_what_comes_in():
  # Item 9 has one row; without it user 1 has one row, which stays.
  table = small_logs.table([1, 1, 2, 2], [9, 5, 5, 5])
  once = Filters(min_user=2, min_item=2, core='single_pass')
  events = interactions.from_table(table, once)
  assert events.user_ids[events.user].tolist() == [1, 2, 2]
  fixed = once._replace(core='fixed_point')
  assert interactions.from_table(table, fixed).user_ids.tolist() == [2]


def test_position_goes_before_time():
  table = small_logs.table(
    [1, 1, 1], [7, 8, 9], time=np.array([1, 1, 1]), order=np.array([2, 1, 0])
  )
  events = interactions.from_table(table)
  assert events.item_ids[events.item - 1].tolist() == [9, 8, 7]


def test_times_that_contradict_positions_are_told_with_the_line():
  table = small_logs.table(
    [5, 6, 5, 6],
    [7, 7, 8, 8],
    time=np.array([3, 20, 9, 10]),
    order=np.array([0, 0, 1, 1]),
    lines=np.array([2, 3, 4, 5]),
  )
  with pytest.raises(types.UserError) as caught:
    interactions.from_table(table)
  assert str(caught.value) == (
    'log, line 5: user 6 goes back in time, from time 20 to 10 by the order '
    'column (1 such rows); correct them, or leave out --order_column'
  )
  named = table._replace(user=np.array(['5', 'a\nb', '5', 'a\nb']))
  with pytest.raises(
    types.UserError, match=r"user 'a\\nb' goes back"
  ) as caught:
    interactions.from_table(named)
  assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize('column', ['time', 'order'])
def test_rows_said_to_be_in_order_are_checked(column):
  rows = {column: np.array([1, 5, 4, 5])}
  table = small_logs.table([1, 2, 2, 1], [7, 7, 8, 8], **rows)
  assert len(interactions.from_table(table).user) == 4
  with pytest.raises(types.UserError, match='user 2 goes back .* rows above'):
    interactions.from_table(table, in_order=True)
  rows[column][2] = 5  # a tie is no step back
  interactions.from_table(table, in_order=True)


def test_rows_without_any_time_cannot_be_said_to_be_in_order():
  table = small_logs.table([1, 1], [7, 8])
  with pytest.raises(types.UserError, match='give --time_column, or leave out'):
    interactions.from_table(table, in_order=True)


@settings
@hypothesis.given(row_lists, strategies.sampled_from(['first', 'last']))
def test_first_lines_of_dropped_rows_are_those_of_the_file(rows, keep):
  # Every third line of the file is blank.
  lines = np.array([2 + n + n // 2 for n in range(len(rows))])
  rating = np.array([item for _, item, _ in rows], float)
  table = load(rows, rating=rating, lines=lines)
  filters = Filters(min_rating=1, dedup=keep, min_user=2, min_item=2)
  try:
    dropped = interactions.from_table(table, filters).dropped
  except types.UserError:
    return  # nothing is left, which is said
  at = dict(zip(range(len(rows)), lines.tolist(), strict=True))
  low = [at[n] for n, row in enumerate(rows) if row[1] < 1]
  rated = [(*row, n) for n, row in enumerate(rows) if row[1] >= 1]
  chosen = {}
  for row in sorted(rated, key=lambda row: row[2]):
    if keep == 'last' or row[:2] not in chosen:
      chosen[row[:2]] = row
  repeated = [at[row[3]] for row in rated if row not in chosen.values()]
  kept = sorted(chosen.values(), key=lambda row: row[3])
  user, item = np.array(kept)[:, :2].T
  by_user, by_item = interactions.core_mask(user, item, 2, 2)
  number = np.array(kept)[:, 3]
  for cause, expected in (
    ('rating below 1', low),
    (f'duplicate, {keep} one kept', repeated),
    ('user with fewer than 2 interactions', lines[number[by_user]].tolist()),
    ('item with fewer than 2 interactions', lines[number[by_item]].tolist()),
  ):
    if expected:
      assert dropped[cause] == tables.Dropped(
        len(expected), tuple(expected[:5])
      )
    else:
      assert cause not in dropped


def test_rows_that_come_from_no_file_have_no_lines():
  table = small_logs.table([1, 1], [5, 5])
  dropped = interactions.from_table(table, Filters(dedup='first')).dropped
  assert dropped == {'duplicate, first one kept': tables.Dropped(1, ())}


def test_low_ratings_are_dropped_and_counted():
  table = small_logs.table([1, 1, 2], [5, 6, 5], rating=np.array([4.0, 3.5, 5]))
  events = interactions.from_table(table, Filters(min_rating=4))
  assert events.item_ids.tolist() == [5]
  assert events.dropped['rating below 4'].rows == 1


def disliked_ids(events):
  """{(user id, item id)} of what stays seen."""
  pairs = events.disliked
  users = events.user_ids[pairs.user].tolist()
  return set(zip(users, events.item_ids[pairs.item - 1].tolist(), strict=True))


def test_what_was_rated_low_stays_seen_where_user_and_item_are_left():
  rng = np.random.default_rng(0)
  user, item = rng.integers(0, 12, 90), rng.integers(100, 112, 90)
  table = small_logs.table(user, item, rating=rng.integers(1, 6, 90) / 1.0)
  filters = Filters(min_rating=3, min_user=4, min_item=4)
  events = interactions.from_table(table, filters)
  left_users, left_items = set(events.user_ids), set(events.item_ids)
  low = {
    (u, i)
    for u, i, rating in zip(user, item, table.rating, strict=True)
    if rating < 3 and u in left_users and i in left_items
  }
  assert low and disliked_ids(events) == low
  forgotten = interactions.from_table(table, filters._replace(dislikes='drop'))
  assert forgotten.disliked is None
  # When, where that decides what is trained against it.
  timed = table._replace(time=np.arange(90))
  assert interactions.from_table(timed, filters).disliked.time is None
  taught = filters._replace(dislikes='negatives')
  events = interactions.from_table(timed, taught)
  pairs = [(u, i) for u, i in zip(user, item)]
  for u, i, time in zip(*events.disliked, strict=True):
    assert pairs[time] == (events.user_ids[u], events.item_ids[i - 1])
    assert table.rating[time] < 3
  np.testing.assert_array_equal(forgotten.item, events.item)


def test_a_behavior_that_is_not_named_is_an_error_or_a_counted_row():
  table = small_logs.table(
    [1, 1, 2], [5, 6, 5], behavior=np.array(['view', 'veiw', 'buy'])
  )
  table = table._replace(lines=np.array([2, 3, 4]), path='log.csv')
  with pytest.raises(types.UserError, match=r"log.csv, line 3: .*'veiw'"):
    interactions.from_table(table, behaviors=('view', 'buy'))
  events = interactions.from_table(
    table, behaviors=('view', 'buy'), drop_unknown=True
  )
  assert events.behavior.tolist() == [0, 1]
  assert events.dropped == {
    'behavior is not view or buy': tables.Dropped(1, (3,))
  }


def test_behaviors_are_numbered_in_the_order_given_and_kept_apart():
  table = small_logs.table(
    [1, 1, 1], [5, 5, 5], behavior=np.array(['view', 'buy', 'view'])
  )
  events = interactions.from_table(
    table, Filters(dedup='first'), ('view', 'cart', 'buy')
  )
  assert events.behavior.tolist() == [0, 2]
  assert events.behavior_names == ('view', 'cart', 'buy')
  assert interactions.from_table(table).behavior_names == ('buy', 'view')


@pytest.mark.parametrize(
  ('filters', 'message'),
  [
    (
      Filters(min_user=9),
      'min_user=9 and min_item=1 .*none of 3 .*2 users and 2 items',
    ),
    (Filters(min_item=9), 'min_item=9'),
    (Filters(min_user=0), 'min_user is 0; allowed are 1 and more'),
    (Filters(dedup='any'), "dedup is 'any'; allowed are none, first, last"),
    (Filters(core='once'), "core is 'once'"),
    (Filters(min_rating=3), 'min_rating needs ratings'),
  ],
)
def test_a_filter_that_leaves_nothing_or_is_wrong_says_so(filters, message):
  with pytest.raises(types.UserError, match=message):
    interactions.from_table(small_logs.table([1, 1, 2], [5, 6, 5]), filters)


def test_a_rating_no_row_reaches_is_an_error():
  table = small_logs.table([1], [5], rating=np.array([2.0]))
  with pytest.raises(types.UserError, match='no rating is 4 or more'):
    interactions.from_table(table, Filters(min_rating=4))


def test_of_equal_rows_with_behaviors_the_earliest_is_kept_if_asked_for():
  table = small_logs.table(
    [1, 1, 1],
    [5, 5, 5],
    behavior=np.array(['buy', 'view', 'buy']),
    time=np.array([9, 1, 2]),
  )
  names = ('view', 'buy')
  events = interactions.from_table(table, Filters(dedup='first'), names)
  assert events.time.tolist() == [1, 2]
  assert events.dropped['duplicate, first one kept'].rows == 1
  every = interactions.from_table(table, behaviors=names)
  assert every.duplicates == 1
  assert every.time.tolist() == [1, 2, 9]
  plain = interactions.from_table(table._replace(behavior=None))
  assert plain.time.tolist() == [1, 2, 9]


@settings
@hypothesis.given(
  strategies.lists(strategies.sampled_from('abcd'), min_size=1, max_size=30)
)
def test_behaviors_have_the_codes_of_their_names(names):
  table = small_logs.table(
    np.arange(len(names)), np.ones(len(names), int), behavior=np.array(names)
  )
  events = interactions.from_table(table)
  assert events.behavior_names == tuple(sorted(set(names)))
  assert [events.behavior_names[code] for code in events.behavior] == names


def test_more_behaviors_than_fit_are_an_error():
  names = np.array([f'b{n}' for n in range(128)])
  table = small_logs.table(np.arange(128), np.arange(128), behavior=names)
  message = r'128 behaviors \(b0, b1, .*\.\.\.\); at most 127 are allowed'
  with pytest.raises(types.UserError, match=message):
    interactions.from_table(table)
  fits = small_logs.table(np.arange(127), np.arange(127), behavior=names[:127])
  assert len(interactions.from_table(fits).behavior_names) == 127


@settings
@hypothesis.given(row_lists, strategies.integers(0, 10))
def test_events_without_some_are_those_of_a_table_without_them(rows, seed):
  events = interactions.from_table(load(rows))
  draws = np.random.default_rng(seed).integers(0, 3, len(rows))
  gone = {'one': draws == 1, 'two': draws == 2}
  rest, kept = interactions.without(events, gone)
  np.testing.assert_array_equal(kept, np.flatnonzero(draws == 0))
  left = [row for row, draw in zip(external(events), draws) if draw == 0]
  assert external(rest) == left
  assert rest.user_ids.tolist() == sorted({user for user, _, _ in left})
  assert rest.item_ids.tolist() == sorted({item for _, item, _ in left})
  told = sum(cause.rows for cause in rest.dropped.values())
  assert len(rest.user) + told == rest.rows_read


def test_wrong_behaviors_are_errors():
  plain = small_logs.table([1], [5])
  with pytest.raises(types.UserError, match='no behavior column'):
    interactions.from_table(plain, behaviors=('view',))
  viewed = plain._replace(behavior=np.array(['view']))
  with pytest.raises(types.UserError, match="has 'view', which is not among"):
    interactions.from_table(viewed, behaviors=('buy',))
  message = "no row is of the target behavior 'buy'.* has view: name one"
  with pytest.raises(types.UserError, match=message):
    interactions.from_table(viewed, behaviors=('view', 'buy'))
  with pytest.raises(types.UserError, match="name 'view' once"):
    interactions.from_table(viewed, behaviors=('view', 'view'))
