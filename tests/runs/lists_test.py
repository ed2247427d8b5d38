"""Lists as they are asked for: of new events, of some items, of strangers."""

import csv

import numpy as np
import pytest

from tests import finished
from tests.runs import recommended
from tests.serving import literal
from twotsrec import types
from twotsrec.data import features
from twotsrec.data import pipeline
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import tables
from twotsrec.evaluation import offline
from twotsrec.runs import recommend


def _unlike(user, count):
  """Items that a user of the run does not have, 1..I."""
  every = np.arange(1, recommended.loaded()[0].prepared.num_items + 1)
  return np.setdiff1d(every, recommended.own(user))[:count].tolist()


def test_new_events_are_added_to_what_the_run_knows(tmp_path):
  prepared = recommended.loaded()[0].prepared
  new, other = _unlike(0, 2)
  user = prepared.user_ids[0]
  table = tmp_path / 'today.csv'
  lines = [
    f'{user},{recommended.names([new])[0]}',
    f'zoe,{recommended.names([other])[0]}',
  ]
  table.write_text('user_id,item_id\n' + '\n'.join(lines), encoding='utf-8')
  found, message = recommended.run(tmp_path / 'top.csv', history=str(table))
  assert found == {
    str(user): recommended.names(
      recommended.expected([*recommended.own(0), new])
    ),
    'zoe': recommended.names(recommended.expected([other])),
  }
  assert message.startswith(f'{2 * recommended.K} rows for 2 users in ')
  found, _ = recommended.run(
    tmp_path / 'top.csv', history=str(table), alone=True
  )
  assert found[str(user)] == recommended.names(recommended.expected([new]))


def test_a_row_that_the_run_has_counts_once_and_times_order_both(tmp_path):
  prepared = recommended.loaded()[0].prepared
  events = slice(*prepared.user_offsets[:2])
  times, own = prepared.times[events], recommended.own(0)
  (new,) = _unlike(0, 1)
  # Just after the third event of the run, and that event itself.
  rows_ = [(own[2], times[2]), (new, times[2])]
  user, table = prepared.user_ids[0], tmp_path / 'today.csv'
  lines = [
    f'{user},{recommended.names([item])[0]},{time}' for item, time in rows_
  ]
  table.write_text(
    'user_id,item_id,timestamp\n' + '\n'.join(lines), encoding='utf-8'
  )
  found, message = recommended.run(tmp_path / 'top.csv', history=str(table))
  assert '1 history rows that the run has already count once' in message
  after = np.searchsorted(times, times[2], side='right')
  expected = [*own[:after], new, *own[after:]]
  assert found == {
    str(user): recommended.names(recommended.expected(np.array(expected)))
  }


def test_a_column_that_nothing_reads_is_refused(tmp_path):
  table = tmp_path / 'new.csv'
  table.write_text('user_id,item_id,stars\n1,1,5\n', encoding='utf-8')
  for role, message in (
    ('rating', 'the run has no --min_rating'),
    ('behavior', 'the run has no behaviors'),
    ('split', 'new events have no part'),
  ):
    columns = tables.Columns(**{role: 'stars'})
    with pytest.raises(types.UserError, match=message):
      recommended.run(
        tmp_path / 'top.csv',
        history=str(table),
        columns=pipeline.TableOptions(columns=columns),
      )


def test_lists_are_of_the_items_that_are_named(tmp_path):
  listed, gone = tmp_path / 'items.txt', tmp_path / 'gone.txt'
  some = _unlike(0, 6)
  listed.write_text(
    '\n'.join([*recommended.names(some), 'nothing']), encoding='utf-8'
  )
  gone.write_text(recommended.names(some)[2], encoding='utf-8')
  chosen = {'items': str(listed), 'exclude_items': str(gone)}
  found, _ = recommended.run(tmp_path / 'top.csv', k=10**12, **chosen)
  left = set(some) - {some[2]}
  order = recommended.expected(recommended.own(0), 10**6)
  assert found['1'] == recommended.names(
    [item for item in order if item in left]
  )
  # Whoever has all of them has no list, and is named.
  listed.write_text(
    '\n'.join(recommended.names(recommended.own(3))), encoding='utf-8'
  )
  found, message = recommended.run(tmp_path / 'top.csv', items=str(listed))
  user = str(recommended.loaded()[0].prepared.user_ids[3])
  assert user not in found
  assert 'have no list, as no item is left for them: ' in message
  assert user in message.rpartition(': ')[2].split(', ')


def test_lists_are_of_items_with_a_value_of_a_feature(tmp_path):
  workdir = finished.copy(tmp_path)
  prepared = prepared_lib.load(str(workdir / 'ids'))
  genre = np.arange(prepared.num_items + 1) % 4
  tags = np.stack([genre, np.where(genre == 3, 1, 0)], axis=1)
  none = np.zeros((prepared.num_items + 1, 0), np.float32)
  with pytest.raises(types.UserError, match='the run has no item features'):
    recommended.run(tmp_path / 'top.csv', workdir, where=('genre=a',))
  made = features.ItemFeatures(
    categorical={'genre': genre.astype(np.int32)},
    multivalued={'tags': tags.astype(np.int32)},
    dense=none,
    vocabularies={
      'genre': np.array(['a', 'b', 'c']), 'tags': np.array([10, 20, 30])
    },
    dense_names=(),
    mean=np.zeros(0),
    deviation=np.zeros(0),
  )  # fmt: skip
  features.save(made, prepared)
  order = np.array(recommended.expected(recommended.own(0), 10**6))
  for where, chosen in (
    (('genre=a,c',), (genre == 1) | (genre == 3)),
    (('tags=10',), (genre == 1) | (genre == 3)),
    (('genre=a', 'tags=10,20'), genre == 1),
  ):
    found, _ = recommended.run(
      tmp_path / 'top.csv', workdir, where=where, k=10**6
    )
    assert found['1'] == recommended.names(order[chosen[order]])
  for where, message in (
    ('genre=d', "no item has 'd' in genre; values are a, b, c"),
    ('color=red', 'features are genre, tags'),
  ):
    with pytest.raises(types.UserError, match=message):
      recommended.run(tmp_path / 'top.csv', workdir, where=(where,))


def test_similar_items_are_near_by_the_vectors_of_the_model(tmp_path):
  experiment, params = recommended.loaded()
  vectors = np.asarray(params.tables['item']['embedding'])
  unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1), 1e-9)[:, None]
  cosines = unit[1:] @ unit[1:].T
  np.fill_diagonal(cosines, -np.inf)
  asked, out = tmp_path / 'items.txt', tmp_path / 'near.csv'
  asked.write_text('\n'.join(recommended.names([3, 1])), encoding='utf-8')
  for given in (str(asked), ','.join(recommended.names([3, 1]))):
    options = recommend.Options(k=recommended.K, similar_to=given)
    message = recommend.run(str(finished.run()), str(out), options, quiet=True)
    assert message == f'{2 * recommended.K} rows for 2 items in {out}'
    with open(out, encoding='utf-8') as file:
      lines = list(csv.DictReader(file))
    assert list(lines[0]) == ['similar_to', 'item_id', 'rank', 'score']
    assert [line['similar_to'] for line in lines] == [
      name for name in recommended.names([3, 1]) for _ in range(recommended.K)
    ]
    for line in lines:
      names = np.asarray(experiment.prepared.item_ids).astype(str).tolist()
      row = cosines[names.index(line['similar_to'])]
      place = int(line['rank']) - 1
      score = float(line['score'])
      np.testing.assert_allclose(score, np.sort(row)[::-1][place], atol=1e-5)
      np.testing.assert_allclose(
        score, row[names.index(line['item_id'])], atol=1e-5
      )
  # Nothing is near to itself alone.
  asked.write_text(recommended.names([3])[0], encoding='utf-8')
  options = options._replace(items=str(asked))
  message = recommend.run(str(finished.run()), str(out), options, quiet=True)
  assert message.endswith(f'left for them: {recommended.names([3])[0]}')
  with pytest.raises(types.UserError, match="'nothing' is neither a file nor"):
    options = recommend.Options(similar_to='nothing')
    recommend.run(str(finished.run()), str(out), options, quiet=True)


def test_items_that_leave_nothing_are_refused(tmp_path):
  listed, every = tmp_path / 'items.txt', tmp_path / 'every.txt'
  listed.write_text('nothing\n', encoding='utf-8')
  prepared = recommended.loaded()[0].prepared
  every.write_text('\n'.join(map(str, prepared.item_ids)), encoding='utf-8')
  for options, message in (
    ({'items': str(listed)}, 'none of the 1 ids'),
    ({'exclude_items': str(every)}, 'no item is left'),
    ({'items': 'none.txt'}, '--items: cannot read none.txt'),
    ({'exclude_items': 'none.txt'}, '--exclude_items: cannot read none.txt'),
  ):
    with pytest.raises(types.UserError, match=message):
      recommended.run(tmp_path / 'top.csv', **options)
    assert not (tmp_path / 'top.csv').exists()


def test_users_whom_the_run_does_not_know_are_skipped_or_get_what_is_popular(
  tmp_path,
):
  users = tmp_path / 'users.txt'
  users.write_text('ann\n400\n7\nbob\n3\neve\n', encoding='utf-8')
  found, message = recommended.run(
    tmp_path / 'top.csv', users=str(users), unknown_users='skip'
  )
  assert list(found) == ['7', '3']
  assert '4 users that the run does not know were skipped' in message
  served, message = recommended.run(
    tmp_path / 'top.csv', users=str(users), unknown_users='popular'
  )
  assert list(served) == ['ann', '400', '7', 'bob', '3', 'eve']
  counts = offline.item_counts(recommended.loaded()[0].prepared)
  popular = recommended.names(
    np.argsort(-counts, kind='stable')[: recommended.K]
  )
  for name, items in served.items():
    assert items == found.get(name, popular)
  assert '4 users that the run does not know get what is popular' in message
  users.write_text('ann\neve\n', encoding='utf-8')
  served, _ = recommended.run(
    tmp_path / 'top.csv', users=str(users), unknown_users='popular'
  )
  assert served == {'ann': popular, 'eve': popular}


def _shop(tmp_path, **options):
  """Lists of EASE where people come back, by user: items of the table."""
  out = tmp_path / 'top.csv'
  options = recommend.Options(**{'k': 5, **options})
  recommend.run(str(finished.coming_back()), str(out), options, quiet=True)
  with open(out, encoding='utf-8') as file:
    lists = {}
    for line in csv.DictReader(file):
      lists.setdefault(line['user_id'], []).append(int(line['item_id']))
  return lists


def _touched():
  prepared = prepared_lib.load(str(finished.coming_back() / 'ids'))
  users = prepared.event_users
  return {
    str(prepared.user_ids[user]): set(
      prepared.item_ids[np.asarray(prepared.items)[users == user] - 1].tolist()
    )
    for user in range(prepared.num_users)
  }


@pytest.mark.parametrize('header', ['', 'item_id,category\n'])
def test_lists_keep_to_the_rules_of_a_shop(tmp_path, header):
  kinds = {item: f'kind {item % 3}' for item in range(14)}  # 14 has none
  table = tmp_path / 'kinds.csv'
  lines = ''.join(f'{item},"{kind}"\n' for item, kind in kinds.items())
  table.write_text(header + lines, encoding='utf-8')
  sold_out = tmp_path / 'sold_out.txt'
  sold_out.write_text('3\n8\n', encoding='utf-8')
  options = {'exclude_items': str(sold_out)}
  every, touched = _shop(tmp_path, k=99, **options), _touched()
  found = _shop(
    tmp_path, categories=str(table), at_most=1, new_share=0.4, **options
  )
  assert list(found) == list(every)
  numbers = {item: int(kind[-1]) for item, kind in kinds.items()} | {14: -1}
  for user, own in found.items():
    expected = literal.filled(every[user], touched[user], 5, numbers, 1, (2, 5))
    assert own == expected and not {3, 8} & set(own)
  # A table of new people: nothing that they bring is new to them.
  new = tmp_path / 'new.csv'
  text = 'user_id,item_id\n' + ''.join(f'zoe,{i}\n' for i in (1, 2, 4, 5))
  new.write_text(text, encoding='utf-8')
  (every,) = _shop(tmp_path, k=99, history=str(new)).values()
  (own,) = _shop(tmp_path, history=str(new), new_share=1.0).values()
  assert own == [item for item in every if item not in (1, 2, 4, 5)][:5]


def test_a_feature_of_the_data_may_be_the_category(tmp_path):
  prepared = prepared_lib.load(str(finished.copy(tmp_path) / 'ids'))
  count = prepared.num_items + 1
  made = features.ItemFeatures(
    categorical={'genre': (np.arange(count) % 4).astype(np.int32)},
    multivalued={},
    dense=np.zeros((count, 0), np.float32),
    vocabularies={'genre': np.array(['a', 'b', 'c'])},
    dense_names=(),
    mean=np.zeros(0),
    deviation=np.ones(0),
  )
  features.save(made, prepared)
  options = {'categories': 'genre', 'at_most': 1, 'k': 5}
  found, _ = recommended.run(tmp_path / 'top.csv', tmp_path / 'run', **options)
  for user in range(5):
    ranking = recommended.expected(recommended.own(user), 999)
    genre = [-1 if item % 4 == 0 else item % 4 for item in range(999)]
    expected = literal.filled(ranking, (), 5, genre, 1, (0, 1))
    name = str(prepared.user_ids[user])
    assert found[name] == recommended.names(expected)
