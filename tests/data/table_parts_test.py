import numpy as np
import pytest

from tests.data import small_logs
from twotsrec.data import tables


def test_parts_are_laid_one_after_another_with_their_labels():
  train = small_logs.table([1, 2], [5, 6], behavior=np.array(['view', 'buy']))
  test = small_logs.table([1], [7], behavior=np.array(['buy']))
  bad = {'user_id is empty': tables.Dropped(2, (4, 5))}
  joined = tables.join(
    {'train': train, 'test': test._replace(dropped=bad, rows_read=3)}
  )
  assert joined.user.tolist() == [1, 2, 1]
  assert joined.item.tolist() == [5, 6, 7]
  assert joined.behavior.tolist() == ['view', 'buy', 'buy']
  assert joined.split.tolist() == ['train', 'train', 'test']
  assert joined.rows_read == 5
  assert list(joined.dropped) == ['user_id is empty (test table)']
  assert joined.time is None and joined.order is None


def test_times_of_all_parts_stay_times():
  one, two = (small_logs.table([1], [5], time=np.array([t])) for t in (9, 3))
  joined = tables.join({'train': one, 'test': two})
  assert joined.time.tolist() == [9, 3]
  assert joined.order is None and joined.ordered_by == ''


@pytest.mark.parametrize('kind', [np.int64, np.float64])
def test_times_of_the_first_part_alone_order_it_and_the_rest_follows(kind):
  time = np.array([50, 20, 50, 30], kind)
  train = small_logs.table([1, 1, 2, 2], [5, 6, 7, 8], time=time)
  rest = small_logs.table([2, 1], [1, 2])
  joined = tables.join({'train': train, 'validation': rest, 'test': rest})
  assert joined.time is None
  assert joined.ordered_by == 'time'
  ranks = [sorted(set(time.tolist())).index(moment) for moment in time]
  assert joined.order[:4].tolist() == ranks
  validation, test = joined.order[4:6], joined.order[6:]
  assert max(ranks) < np.min(validation) == np.max(validation) < np.min(test)
  assert joined.order.dtype == np.int64


def test_ids_that_are_text_in_one_table_are_text_in_all():
  one, two = small_logs.table([1], [5]), small_logs.table([1], ['x'])
  for parts in ({'train': one, 'test': two}, {'train': two, 'test': one}):
    joined = tables.join(parts)
    assert joined.user.tolist() == [1, 1]
    assert sorted(joined.item.tolist()) == ['5', 'x']
