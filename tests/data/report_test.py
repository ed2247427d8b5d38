import numpy as np
import pytest

from tests.data import small_logs
from twotsrec import config
from twotsrec.data import interactions
from twotsrec.data import pipeline
from twotsrec.data import prepared
from twotsrec.data import report
from twotsrec.data import tables


def test_figures_of_a_log_that_can_be_counted_by_hand():
  # Item 3 and user 'c' never occur in train.
  data = prepared.build(
    np.array([0, 0, 0, 1, 1, 2]),
    np.array([1, 2, 3, 1, 2, 1]),
    np.array([0, 0, 2, 0, 0, 2]),
    user_ids=np.array(['a', 'b', 'c']),
    item_ids=np.array([7, 8, 9]),
    times=np.array([5, 5, 6, 6, 7, 7]),
  )
  facts = report.describe(data, config.GroupConfig(num_groups=1))
  assert facts['kept'] == 6
  assert facts['counts']['test'] == 2
  assert facts['cold_users'] == facts['cold_items'] == 1
  assert facts['density'] == 6 / 9
  assert facts['tied_times'] == 2 / 6
  assert facts['train_positives'] == 2
  assert facts['untrained_users'] == 1
  assert facts['mean_activity'] == 2
  assert facts['activity']['0%'] == 1 and facts['activity']['100%'] == 3
  assert facts['groups'] == [
    {
      'group': 1,
      'users': 3,
      'min_activity': 1,
      'max_activity': 3,
      'train_positives': 2,
      'share': 1.0,
    }
  ]


def test_new_users_and_cold_items_of_held_out_events_are_counted():
  # Users 1 and 2 have no train event, item 3 is never in train.
  data = prepared.build(
    np.array([0, 0, 0, 0, 1, 1, 1, 2]),
    np.array([1, 2, 1, 3, 1, 3, 3, 2]),
    np.array([0, 0, 2, 2, 2, 2, 2, 1]),
    user_ids=np.arange(3),
    item_ids=np.arange(3),
  )
  held = report.describe_held_out(data)
  assert held['test'] == {
    'events': 5,
    'users': 2,
    'new_users': 1,
    'new_user_share': 3 / 5,
    'cold_item_share': 3 / 5,
    'in_train': 1,
    'in_train_share': 1 / 5,
    'same': 0,
  }
  assert held['validation']['new_user_share'] == 1.0
  assert held['validation']['cold_item_share'] == 0.0
  text = report.text(data)
  assert '60.00% by 1 of 2 users without train events' in text
  assert '60.00% of cold items' in text


def test_held_out_events_that_stand_in_train_are_told():
  # Of user 0's test events one is a train row, one has its pair at another
  # time, one has another behavior; user 1 has its pair nowhere else.
  columns = {
    'times': np.array([1, 2, 3, 1, 9, 3, 1, 2]),
    'behaviors': np.array([1, 1, 0, 1, 1, 1, 1, 1]),
  }
  make = lambda **given: prepared.build(
    np.array([0, 0, 0, 0, 0, 0, 1, 1]),
    np.array([1, 2, 3, 1, 2, 3, 1, 2]),
    np.array([0, 0, 0, 2, 2, 2, 0, 2]),
    user_ids=np.arange(2),
    item_ids=np.arange(3),
    behavior_names=('view', 'buy'),
    **given,
  )
  held = report.describe_held_out(make(**columns))['test']
  assert held['in_train'] == 3 and held['in_train_share'] == 3 / 4
  assert held['same'] == 1
  text = report.text(make(**columns), config.GroupConfig(num_groups=1))
  assert '3 of 4 test events (75.0%) are of items that their user has' in text
  assert '1 of them the very same rows' in text
  assert 'warning: 1 of 4 test events stand in train with the same' in text
  # Without times nothing tells two events of a pair apart.
  untimed = report.describe_held_out(make(behaviors=columns['behaviors']))
  assert (untimed['test']['in_train'], untimed['test']['same']) == (3, 0)


def test_a_split_without_events_is_not_described():
  data = small_logs.make([4, 5], validation=False)
  assert list(report.describe_held_out(data)) == ['test']


def test_groups_show_activity_from_least_to_most():
  data = small_logs.make([4, 9, 6, 5])
  rows = report.describe(data, config.GroupConfig(num_groups=2))['groups']
  assert [row['users'] for row in rows] == [2, 2]
  ranges = [(row['min_activity'], row['max_activity']) for row in rows]
  assert ranges == [(4, 5), (6, 9)]
  # Less the first event, validation and test of every user.
  assert [row['train_positives'] for row in rows] == [1 + 2, 3 + 6]


def test_impossible_groups_are_said_and_the_rest_is_reported():
  text = report.text(small_logs.make([4]))
  assert 'no groups: num_groups is 5, but there are 1 users' in text


def test_the_text_names_causes_and_first_lines(tmp_path):
  path = tmp_path / 'log.csv'
  path.write_text(
    'user_id,item_id,t\n' + 'a,1,1\na,2,2\na,3,3\nb,,4\na,1,9\na,4,x\n'
  )
  options = pipeline.Options(
    table=str(path),
    reading=pipeline.TableOptions(
      columns=tables.Columns(time='t'), bad_rows='drop'
    ),
    filters=interactions.Filters(dedup='first'),
  )
  text = report.text(pipeline.prepare(options))
  assert 'rows read        6' in text
  assert '  kept           3' in text
  assert '1  item_id is empty, line 5' in text
  assert '1  t is not a time, line 7' in text
  assert '1  duplicate, first one kept, line 6' in text
  assert '1 repeated pairs' in text


def test_the_legend_says_what_activity_counts():
  # One user of 4 events, of which two are held out.
  text = report.text(small_logs.make([4]), config.GroupConfig(num_groups=1))
  assert 'activity: all events of a user, held-out ones too.' in text
  assert '4-4' in text.splitlines()[-1]


def test_behaviors_are_counted_and_what_they_lack_is_noted(tmp_path):
  path = tmp_path / 'log.csv'
  rows = [f'a,{item},buy\n' for item in range(4)] + ['b,1,view\n']
  path.write_text('user_id,item_id,behavior\n' + ''.join(rows))
  options = pipeline.Options(
    table=str(path),
    reading=pipeline.TableOptions(columns=tables.Columns(behavior='behavior')),
    behaviors=('view', 'cart', 'buy'),
  )
  data = pipeline.prepare(options)
  facts = report.describe(data)
  assert [row['behavior'] for row in facts['behaviors']] == [
    'view',
    'cart',
    'buy',
  ]
  assert facts['behaviors'][2]['train'] == 2
  assert len(facts['notes']) == 3
  lines = report.text(data).splitlines()
  (header,) = [line for line in lines if line.startswith('behavior')]
  table = lines[lines.index(header) :]
  assert table[3].split() == ['buy', '2', '1', '1', '1', '4']
  assert "note: behavior 'cart' has no training row" in table
  plain = report.describe(small_logs.make([4, 5]))
  assert plain['behaviors'] == plain['notes'] == []


@pytest.mark.parametrize(
  ('header', 'columns', 'hint'),
  [
    ('user_id,item_id,timestamp', {}, ('timestamp', 'time')),
    ('user_id,item_id,Date', {}, ('Date', 'time')),
    ('user_id,item_id,position', {}, ('position', 'order')),
    ('user_id,item_id,times', {}, None),
    ('user_id,item_id,ts', {'time': 'ts'}, None),
    ('user_id,item_id,ts', {'order': 'ts'}, None),
    ('user_id,item_id,ts', {'rating': 'ts'}, None),
  ],
)
def test_a_column_that_could_order_is_told_unless_it_is_used(
  tmp_path, header, columns, hint
):
  path = tmp_path / 'log.csv'
  path.write_text(header + '\n1,1,1\n1,2,2\n1,3,3\n')
  options = pipeline.Options(
    table=str(path),
    reading=pipeline.TableOptions(columns=tables.Columns(**columns)),
  )
  lines = report.text(pipeline.prepare(options)).splitlines()
  told = [line for line in lines if 'is not used' in line]
  expected = []
  if hint is not None:
    name, role = hint
    flag = f'--{role}_column={name}'
    expected = [f'column {name!r} is not used; {flag} orders by it']
  assert told == expected


def test_a_named_column_of_a_file_without_a_header_is_told(tmp_path):
  path = tmp_path / 'log.csv'
  path.write_text('1,1,1\n1,2,2\n1,3,3\n')
  reading = pipeline.TableOptions(column_names=('user_id', 'item_id', 'ts'))
  options = pipeline.Options(table=str(path), reading=reading)
  assert "column 'ts' is not used" in report.text(pipeline.prepare(options))
