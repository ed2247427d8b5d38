"""Tables of new events are read as the run has read its own."""

import numpy as np
import pytest

from tests.data import small_logs
from twotsrec import types
from twotsrec.data import pipeline
from twotsrec.data import tables
from twotsrec.runs import event_tables
from twotsrec.runs import new_events

_TIMED = tables.Columns(time='when')


def _run(folder, **forms):
  """Data of a log with a time, a kind and forms of its own."""
  path = folder / 'log.csv'
  rows = ''.join(
    f'{u},{i},{i + 1}.09.2020,a\n' for u in (1, 2) for i in (3, 4, 5)
  )
  path.write_text('user_id,item_id,when,kind\n' + rows + 'NA,3,1.9.2020,b\n')
  reading = pipeline.TableOptions(
    columns=_TIMED,
    forms=tables.Forms(
      time_format='%d.%m.%Y', keep_ids=('NA',), where=('kind=a,b',), **forms
    ),
  )
  return pipeline.prepare(pipeline.Options(table=str(path), reading=reading))


@pytest.mark.parametrize(
  ('given', 'when', 'seconds'),
  [
    (tables.Forms(), '2.9.2020', 1_599_004_800),
    (tables.Forms(decimal=','), '2.9.2020', 1_599_004_800),
    (tables.Forms(time_format='%Y/%m/%d'), '2020/9/2', 1_599_004_800),
    (tables.Forms(time_unit='ms'), '1599004800000', 1_599_004_800),
  ],
)
def test_every_form_that_is_not_given_is_as_in_training(
  tmp_path, given, when, seconds
):
  path = tmp_path / 'new.csv'
  path.write_text(f'user_id,item_id,when\nNA,3,{when}\n')
  options = pipeline.TableOptions(columns=_TIMED, forms=given)
  rows = new_events.read(_run(tmp_path), str(path), options).table
  assert rows.user.tolist() == ['NA'] and np.asarray(rows.time).tolist() == [
    seconds
  ]


def test_conditions_of_training_hold_where_the_column_is_there(tmp_path):
  path, run = tmp_path / 'new.csv', _run(tmp_path)
  path.write_text('user_id,item_id,when,kind\n1,3,2.9.2020,a\n2,3,2.9.2020,c\n')
  with path.open('a') as file:
    file.write('3,3,2.9.2020,b\n')
  options = pipeline.TableOptions(columns=_TIMED)
  options = options._replace(forms=tables.Forms(keep_ids=('x',)))
  rows = new_events.read(run, str(path), options).table
  assert rows.user.tolist() == ['1', '3']
  bare = tmp_path / 'bare.csv'
  bare.write_text('user_id,item_id,when\n2,3,2.9.2020\n')
  events = new_events.read(run, str(bare), options)
  assert events.table.user.tolist() == ['2']
  (said,) = new_events.notes(events.unrated, events.unasked)
  assert 'no column for --where=kind=a,b of the run' in said
  options = options._replace(forms=tables.Forms(where=('kind=c',)))
  rows = new_events.read(run, str(path), options).table
  assert rows.user.tolist() == ['2']


def test_a_condition_of_training_may_have_values_that_are_not_there(tmp_path):
  path, run = tmp_path / 'new.csv', _run(tmp_path)  # where kind=a,b
  path.write_text('user_id,item_id,when,kind\n1,3,2.9.2020,a\n2,3,2.9.2020,c\n')
  read = lambda *where: new_events.read(
    run,
    str(path),
    pipeline.TableOptions(columns=_TIMED, forms=tables.Forms(where=where)),
  )
  assert read().table.user.tolist() == ['1']
  with pytest.raises(types.UserError, match="no row has 'b'; the column has"):
    read('kind=a,b')  # who names a value means it
  path.write_text('user_id,item_id,when,kind\n1,3,2.9.2020,c\n')
  with pytest.raises(types.UserError, match='no row is left, .*change --where'):
    read()
  assert read('kind=c').table.user.tolist() == ['1']


def test_a_behavior_that_the_run_does_not_know_is_a_bad_row(tmp_path):
  log, new = tmp_path / 'log.csv', tmp_path / 'new.csv'
  rows = [f'{u},{i},{"buy" if i else "view"}' for u in 'ab' for i in range(5)]
  log.write_text('\n'.join(['user_id,item_id,kind', *rows, '']))
  columns = tables.Columns(behavior='kind')
  options = pipeline.Options(
    table=str(log),
    reading=pipeline.TableOptions(columns=columns),
    behaviors=('view', 'buy'),
  )
  run = pipeline.prepare(options)
  new.write_text('user_id,item_id,kind\na,1,view\na,2,gift\na,3,buy\n')
  reading = pipeline.TableOptions()
  with pytest.raises(types.UserError, match="'gift' is not one of the run, wh"):
    new_events.read(run, str(new), reading)
  dropping = reading._replace(bad_rows='drop')
  table = new_events.read(run, str(new), dropping).table
  assert np.asarray(table.item).tolist() == ['1', '3']
  assert table.dropped == {'behavior is not view or buy': (1, (3,))}
  assert new_events.is_target(run, table).tolist() == [False, True]


def test_somebody_new_may_have_a_name_where_the_run_has_numbers(tmp_path):
  run, path = small_logs.make([2, 3]), tmp_path / 'new.csv'
  items = run.item_ids[:2].tolist()
  path.write_text(f'user_id,item_id\nbob,{items[0]}\n101,{items[1]}\nbob,x\n')
  events = event_tables.read(run, str(path), pipeline.TableOptions())
  assert events.ids.tolist() == ['101', 'bob']
  assert events.user.tolist() == [1, -1]
  assert events.items.tolist() == [2, 1, 0]
  table = tables.make('t', user=np.array(['bob']), item=np.array(['x']))
  with pytest.raises(types.UserError, match='none of its 1 items'):
    event_tables.of_table(run, table)


@pytest.mark.parametrize(
  ('word', 'count'),
  [({}, 0), ({'dislikes': 'drop'}, 0), ({'dislikes': 'seen'}, 1)],
)
def test_rows_rated_low_are_forgotten_as_in_training(tmp_path, word, count):
  path, run = tmp_path / 'new.csv', small_logs.make([2, 3])
  path.write_text('user_id,item_id,stars\n100,1000,1\n100,1001,5\n')
  run.manifest['options'] = {
    'columns': {'rating': 'stars'},
    'filters': {'min_rating': 3, **word},
  }
  rows = new_events.read(run, str(path), pipeline.TableOptions())
  assert len(rows.table.user) == 1 and len(rows.disliked.user) == count
