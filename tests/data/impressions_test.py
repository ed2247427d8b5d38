"""Labels of impressions: clicks become events, the rest stands beside them."""

import numpy as np
import polars
import pytest

from tests import worlds
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import groups as groups_lib
from twotsrec.data import impressions
from twotsrec.data import pipeline
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import report
from twotsrec.data import routing
from twotsrec.data import tables

LOG = 'user_id,item_id,t,clicked\n'


def _write(folder, rows, name='log.csv'):
  text = LOG + ''.join(f'{",".join(map(str, row))}\n' for row in rows)
  (folder / name).write_text(text)
  return str(folder / name)


def _prepare(path, split='', **named):
  columns = {'time': 't', 'label': 'clicked', **named}
  reading = pipeline.TableOptions(columns=tables.Columns(**columns))
  return pipeline.prepare(
    pipeline.Options(
      table=path, reading=reading, split=pipeline.SplitOptions(split)
    )
  )


@pytest.mark.parametrize('fixed', [False, True])
def test_impressions_and_histories_equal_a_loop_over_rows(fixed):
  rows, data, _ = worlds.shown(fixed=fixed)
  for split in range(3):
    expected = []
    for user, item, label, part, time in zip(*rows, strict=True):
      if part != split:
        continue
      mine = rows.user == user
      before = mine & (rows.time < time)
      if fixed and split:
        before = mine & (rows.split < split)
      history = rows.item[before & (rows.label == 1)].tolist()
      expected.append((int(user), int(item), bool(label), history))
    shown = impressions.of_split(data, split)
    first = data.user_offsets[shown.user]
    actual = [
      (int(u), int(i), bool(clicked), data.items[a:b].tolist())
      for u, i, clicked, a, b in zip(
        shown.user, shown.item, shown.label, first, shown.history_end
      )
    ]
    key = lambda row: (row[0], row[2], row[1], row[3])
    assert sorted(actual, key=key) == sorted(expected, key=key)
    clicks = shown.number[shown.label]
    assert np.array_equal(data.items[clicks], shown.item[shown.label])
    both = impressions.counts(data)[split].tolist()
    assert both == [np.sum(~shown.label), np.sum(shown.label)]


def test_rows_without_times_have_moments_of_their_own():
  label, split = np.array([1, 0, 1, 0], np.int8), np.zeros(4, np.int8)
  user, item = np.zeros(4, np.int32), np.arange(1, 5)
  _, made = impressions.divided(user, item, label, split, None, 1, False)
  assert made['clicked_before'].tolist() == [0, 1]
  assert made['shown_before'].tolist() == [1, 2]


def test_a_user_is_as_active_as_impressions_say():
  """PIN sec. 4.1.4: Alipay is grouped by the number of samples."""
  rows, data, groups = worlds.shown()
  train = np.bincount(rows.user[rows.split == 0])
  assert impressions.train_counts(data).tolist() == train.tolist()
  assert impressions.totals(data).tolist() == np.bincount(rows.user).tolist()
  order = np.argsort(train, kind='stable')
  assert np.all(np.diff(groups.user_group[order]) >= 0)
  assert groups.sizes.tolist() == [
    train[groups.user_group == group].sum() for group in range(3)
  ]
  clicks = np.sum(rows.label[rows.split == 0])
  assert groups.per_click == pytest.approx(train.sum() / clicks)
  options = config_lib.GroupConfig(num_groups=3, key='user_seq_len')
  by_clicks = groups_lib.assign(data, options)
  assert by_clicks.per_click == 1.0 and by_clicks.user_group[0] == 0


def test_samples_may_be_grouped_by_their_own_history():
  _, data, _ = worlds.shown()
  options = config_lib.GroupConfig(num_groups=3, key='sample_history_len')
  groups = groups_lib.assign(data, options)
  for split in range(3):
    shown = impressions.of_split(data, split)
    length = shown.history_end - data.user_offsets[shown.user]
    group = groups_lib.of_events(groups, shown.user, shown.number)
    order = np.lexsort((group, length))
    assert np.all(np.diff(group[order]) >= 0)
    if split:
      assert (
        group.tolist() == groups_lib.route(length, groups.thresholds).tolist()
      )


def test_who_never_clicked_in_training_still_has_a_plugin():
  _, data, groups = worlds.shown()
  options = config_lib.RoutingConfig(cold='trunk')
  route = routing.of_users(
    data, groups, np.arange(12), 'user_train_count', options
  )
  assert np.all(route.weights == 1)
  assert route.groups[:, 0].tolist() == groups.user_group.tolist()
  # Somebody new is as active as so many clicks say, and cold without any.
  clicks = np.array([0, 7])
  route = routing.of_histories(clicks, groups, 'user_train_count', options)
  assert route.weights[:, 0].tolist() == [0, 1]
  activity = round(7 * groups.per_click)
  assert route.groups[1, 0] == groups_lib.route(activity, groups.thresholds)


# ---- Tables


def _rows(users=4, events=10):
  return [
    (user, event % 3, 100 * event, (event + user) % 2)
    for user in range(users)
    for event in range(events)
  ]


def test_a_table_with_labels_is_prepared_and_saved(tmp_path):
  path = _write(tmp_path, _rows())
  data = _prepare(path)
  assert data.manifest['options']['split'][0] == 'global_time'
  saved = prepared_lib.save(data, str(tmp_path / 'out'))
  again = prepared_lib.load(str(tmp_path / 'out'), verify=True)
  for split in range(3):
    for one, other in zip(
      *map(impressions.of_split, (saved, data), [split] * 2)
    ):
      assert np.array_equal(one, other)
  assert again.manifest['digest'] == data.manifest['digest']
  text = report.text(data, config_lib.GroupConfig(num_groups=2))
  assert 'impressions      28 of train, 50.00% clicked' in text
  assert 'kept           40' in text and 'train samples' in text


def test_labels_decide_the_digest(tmp_path):
  other = [(u, i, t, 1 - c) for u, i, t, c in _rows()]
  digests = {
    _prepare(_write(tmp_path, rows)).manifest['digest']
    for rows in (_rows(), other)
  }
  assert len(digests) == 2


def test_a_log_without_times_is_split_by_user(tmp_path):
  data = _prepare(_write(tmp_path, _rows()), time=None)
  assert data.manifest['options']['split'][0] == 'per_user_time'
  assert impressions.counts(data).sum(axis=1).tolist() == [28, 4, 8]


@pytest.mark.parametrize(
  ('change', 'says'),
  [
    (lambda c, t: 2, 'line 2: clicked .2. is neither 0 nor 1; allowed: 1 for'),
    (lambda c, t: 'yes', "line 2: clicked 'yes' is not a finite number"),
    (lambda c, t: 1, 'the label column has no 0, so there is nothing that'),
    (lambda c, t: 0, 'the label column has no 1, so there is no click'),
    (lambda c, t: c or t >= 800, 'labels of the test split have no 0'),
    (lambda c, t: c and t < 800, 'labels of the test split have no 1'),
    (lambda c, t: c or t < 700, 'labels of the train split have no 0'),
  ],
)
def test_labels_that_teach_nothing_are_one_line(tmp_path, change, says):
  rows = [(u, i, t, change(c, t)) for u, i, t, c in _rows()]
  rows = [(*row[:3], int(c) if (c := row[3]) in (0, 1) else c) for row in rows]
  with pytest.raises(types.UserError, match=says) as refused:
    _prepare(_write(tmp_path, rows))
  assert '\n' not in str(refused.value)


def test_typed_labels_may_be_truths(tmp_path):
  user, item, time, label = zip(*_rows())
  frame = polars.DataFrame(
    {
      'user_id': user,
      'item_id': item,
      't': time,
      'clicked': [bool(c) for c in label],
    }
  )
  frame.write_parquet(tmp_path / 'log.parquet')
  typed = _prepare(str(tmp_path / 'log.parquet'))
  text = _prepare(_write(tmp_path, _rows()))
  assert typed.manifest['digest'] == text.manifest['digest']
