import errno
import json
import os
import pathlib
import time

import hypothesis
from hypothesis import strategies
import numpy as np
import pytest

from tests.data import small_logs
from twotsrec import types
from twotsrec.data import interactions
from twotsrec.data import prepared

TRAIN, VALIDATION, TEST = prepared.TRAIN, prepared.VALIDATION, prepared.TEST
settings = hypothesis.settings(max_examples=30, deadline=None, derandomize=True)
events_of_users = strategies.lists(
  strategies.integers(1, 7), min_size=1, max_size=12
).map(lambda counts: [4, *counts])


def contents(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def given_split(history_rule):
  """Two users; the second has two train, two validation, one test event."""
  return prepared.build(
    np.array([0, 0, 1, 1, 1, 1, 1]),
    np.array([3, 1, 2, 2, 1, 3, 2]),
    np.array([TRAIN, TEST, TRAIN, TRAIN, VALIDATION, VALIDATION, TEST]),
    user_ids=np.array(['ann', 'bob']),
    item_ids=np.array([10, 20, 30]),
    history_rule=history_rule,
  )


@settings
@hypothesis.given(events_of_users, strategies.booleans())
def test_targets_and_histories_equal_a_loop_over_events(counts, validation):
  data = small_logs.make(counts, validation=validation)
  expected = {TRAIN: [], VALIDATION: [], TEST: []}
  for user in range(data.num_users):
    start, end = data.user_offsets[user : user + 2]
    for event in range(start, end):
      split = data.split[event]
      if split != TRAIN or event > start:
        expected[split].append((event, user, data.items[event], event))
  for split, rows in expected.items():
    actual = prepared.targets(data, split)
    assert list(zip(*map(np.ndarray.tolist, actual), strict=True)) == rows


@settings
@hypothesis.given(events_of_users)
def test_no_held_out_event_stands_before_a_train_event(counts):
  data = small_logs.make(counts)
  for user in range(data.num_users):
    split = data.split[slice(*data.user_offsets[user : user + 2])]
    assert np.all(np.diff(split) >= 0)
    assert np.sum(split == VALIDATION) == np.sum(split == TEST) <= 1


def test_positions_two_to_c_minus_two_are_train_positives():
  data = small_logs.make([7, 3, 2, 1])
  train = prepared.targets(data, TRAIN)
  assert train.event.tolist() == [1, 2, 3, 4, 11]
  assert train.user.tolist() == [0, 0, 0, 0, 2]


def test_a_fixed_history_ends_where_its_split_begins():
  fixed = given_split(prepared.FIXED)
  ends = lambda split: prepared.targets(fixed, split).history_end.tolist()
  assert ends(TRAIN) == [3]
  assert ends(VALIDATION) == [4, 4]
  assert ends(TEST) == [1, 6]
  earlier = given_split(prepared.EARLIER)
  assert prepared.targets(earlier, VALIDATION).history_end.tolist() == [4, 5]


@settings
@hypothesis.given(events_of_users)
def test_seen_items_equal_sets_per_user(counts):
  data = small_logs.make(counts, num_items=6)
  for seen, kept in (
    (prepared.seen_items(data), (TRAIN, VALIDATION, TEST)),
    (prepared.seen_items(data, 'train'), (TRAIN,)),
  ):
    for user in range(data.num_users):
      events = slice(*data.user_offsets[user : user + 2])
      chosen = np.isin(data.split[events], kept)
      actual = seen.items[slice(*seen.offsets[user : user + 2])]
      assert actual.tolist() == sorted(set(data.items[events][chosen].tolist()))


def test_what_was_rated_low_is_seen_in_memory_and_on_disk(tmp_path):
  user, item = np.array([0, 0, 1]), np.array([1, 2, 2])
  # An event of the pair makes it no dislike; the order and repeats do not tell.
  low = interactions.Pairs(np.array([1, 0, 1, 1, 0]), np.array([3, 2, 1, 3, 3]))
  facts = {'user_ids': np.arange(2), 'item_ids': np.arange(3)}
  split = np.array([TRAIN, TEST, TRAIN])
  data = prepared.build(user, item, split, disliked=low, **facts)
  for one in (data, prepared.save(data, str(tmp_path / 'out'))):
    assert one.disliked_offsets.tolist() == [0, 1, 3]
    assert one.disliked_items.tolist() == [3, 1, 3]
    seen = prepared.seen_items(one)
    assert seen.offsets.tolist() == [0, 3, 6]
    assert seen.items.tolist() == [1, 2, 3, 1, 2, 3]
    assert prepared.seen_items(one, 'train').items.tolist() == [1, 3, 1, 2, 3]
  # Of a pair that was rated low twice the first time counts.
  timed = low._replace(time=np.array([9, 1, 5, 7, 3]))
  data = prepared.build(user, item, split, disliked=timed, **facts)
  for one in (data, prepared.save(data, str(tmp_path / 'timed'))):
    assert one.disliked_items.tolist() == [3, 1, 3]
    assert one.disliked_times.tolist() == [3, 5, 7]
  plain = prepared.build(user, item, split, **facts)
  assert plain.disliked_items is None
  none_left = interactions.Pairs(user, item)
  same = prepared.build(user, item, split, disliked=none_left, **facts)
  assert same.manifest['digest'] == plain.manifest['digest']
  assert same.manifest['digest'] != data.manifest['digest']


def test_an_unknown_exclude_lists_the_known_ones():
  with pytest.raises(types.UserError, match='allowed are all and train'):
    prepared.seen_items(small_logs.make([4]), 'test')


def test_what_is_loaded_equals_what_was_saved(tmp_path):
  data = given_split(prepared.FIXED)
  saved = prepared.save(data, str(tmp_path / 'out'))
  loaded = prepared.load(str(tmp_path / 'out'), verify=True)
  assert loaded.manifest == saved.manifest == data.manifest
  assert loaded.path == str(tmp_path / 'out')
  assert loaded.times is None and loaded.behaviors is None
  assert isinstance(loaded.items, np.memmap)
  for name in ('user_offsets', 'items', 'split', 'user_ids', 'item_ids'):
    np.testing.assert_array_equal(getattr(loaded, name), getattr(data, name))


def test_saving_twice_gives_identical_bytes_and_leaves_nothing_else(tmp_path):
  for name in ('one', 'two'):
    prepared.save(small_logs.make([5, 4]), str(tmp_path / name))
  assert contents(tmp_path / 'one') == contents(tmp_path / 'two')
  assert sorted(path.name for path in tmp_path.iterdir()) == ['one', 'two']


def test_a_digest_changes_with_the_data_and_not_with_the_options():
  digest = lambda data: data.manifest['digest']
  assert digest(small_logs.make([5, 4])) == digest(small_logs.make([5, 4]))
  assert digest(small_logs.make([5, 4])) != digest(small_logs.make([4, 5]))
  assert digest(given_split(prepared.FIXED)) != digest(
    given_split(prepared.EARLIER)
  )


def test_other_data_are_replaced_only_if_asked(tmp_path):
  out = str(tmp_path / 'out')
  prepared.save(small_logs.make([5, 4]), out)
  prepared.save(small_logs.make([5, 4]), out)  # the same: nothing to do
  with pytest.raises(types.UserError, match='--overwrite'):
    prepared.save(small_logs.make([6]), out)
  assert prepared.load(out).num_users == 2
  assert prepared.save(small_logs.make([6]), out, overwrite=True).num_users == 1
  assert [path.name for path in tmp_path.iterdir()] == ['out']


def left_behind(folder, name, hours):
  """A folder as a writer killed some hours ago leaves it."""
  path = folder / name
  path.mkdir()
  (path / 'items.npy').write_bytes(b'half')
  then = time.time() - 3600 * hours
  for entry in (path / 'items.npy', path):
    os.utime(entry, (then, then))
  return path


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path):
  unique = 'a1' * 16
  left_behind(tmp_path, f'.out.{unique}', 2)
  old = left_behind(tmp_path, f'.out.{unique}.old', 2)
  others = [
    left_behind(tmp_path, f'.out.{"b2" * 16}', 0.5),  # may still be written
    left_behind(tmp_path, f'.output.{unique}', 2),
    left_behind(tmp_path, f'out.{unique}', 2),
    left_behind(tmp_path, '.out.mine', 2),
  ]
  prepared.save(small_logs.make([5]), str(tmp_path / 'out'))
  # Without a target the data set aside may be the only copy.
  kept = {tmp_path / 'out', old, *others}
  assert set(tmp_path.iterdir()) == kept
  prepared.save(small_logs.make([6]), str(tmp_path / 'out'), overwrite=True)
  assert set(tmp_path.iterdir()) == kept - {old}


def test_a_folder_still_being_written_is_left(tmp_path):
  path = left_behind(tmp_path, f'.out.{"a1" * 16}', 2)
  (path / 'items.npy').write_bytes(b'more')
  prepared.save(small_logs.make([5]), str(tmp_path / 'out'))
  assert path.is_dir()


def test_a_folder_of_somebody_else_is_never_replaced(tmp_path):
  (tmp_path / 'thesis.txt').write_text('x')
  with pytest.raises(types.UserError, match='not a prepared directory'):
    prepared.save(small_logs.make([5]), str(tmp_path), overwrite=True)
  assert contents(tmp_path) == {'thesis.txt': b'x'}


def test_an_empty_folder_is_used(tmp_path):
  (tmp_path / 'out').mkdir()
  assert prepared.save(small_logs.make([5]), str(tmp_path / 'out')).num_users


@pytest.mark.parametrize('code', [errno.ENOSPC, errno.EROFS])
def test_a_failed_write_is_named_and_leaves_nothing(
  tmp_path, monkeypatch, code
):
  def refuse(*args, **kwargs):
    del args, kwargs
    raise OSError(code, 'No room')

  monkeypatch.setattr(np, 'save', refuse)
  with pytest.raises(types.UserError, match='cannot write .*out: No room'):
    prepared.save(small_logs.make([5]), str(tmp_path / 'out'))
  assert not list(tmp_path.iterdir())


def test_a_file_in_the_way_is_an_error(tmp_path):
  (tmp_path / 'file').write_text('x')
  with pytest.raises(types.UserError, match='file'):
    prepared.save(small_logs.make([5]), str(tmp_path / 'file' / 'out'))


def flip_last_byte(path):
  content = bytearray(path.read_bytes())
  content[-1] ^= 1
  path.write_bytes(content)


def other_rule(path):
  content = path.read_bytes()
  assert b'"earlier"' in content
  path.write_bytes(content.replace(b'"earlier"', b'"fixed"'))


def shorten(path):
  path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
  ('damage', 'file', 'message'),
  [
    (pathlib.Path.unlink, 'items.npy', 'items.npy is damaged: it is missing'),
    (shorten, 'items.npy', 'items.npy is damaged: its size'),
    (flip_last_byte, 'items.npy', 'items.npy is damaged: its content'),
    (pathlib.Path.unlink, 'manifest.json', 'not a prepared directory'),
    (shorten, 'manifest.json', None),
    (other_rule, 'manifest.json', 'manifest.json is damaged: its content'),
  ],
)
def test_damage_is_named(tmp_path, damage, file, message):
  out = tmp_path / 'out'
  prepared.save(small_logs.make([5, 4]), str(out))
  damage(out / file)
  if message is None:  # a lost line end harms nobody
    prepared.load(str(out), verify=True)
    return
  with pytest.raises(types.UserError, match=message):
    prepared.load(str(out), verify=True)


def test_an_array_of_another_shape_or_no_manifest_at_all_is_damage(tmp_path):
  out = tmp_path / 'out'
  prepared.save(small_logs.make([5, 4]), str(out))
  np.save(out / 'items.npy', np.zeros(3, np.int32))
  with pytest.raises(types.UserError, match='items.npy is damaged: it should'):
    prepared.load(str(out))
  (out / 'manifest.json').write_text('{"version": [')
  with pytest.raises(types.UserError, match='it is not a manifest'):
    prepared.load(str(out))


def test_another_format_version_is_an_error(tmp_path):
  out = tmp_path / 'out'
  prepared.save(small_logs.make([5]), str(out))
  manifest = json.loads((out / 'manifest.json').read_text())
  manifest['version'] = prepared.VERSION + 1
  (out / 'manifest.json').write_text(json.dumps(manifest))
  with pytest.raises(types.UserError, match='prepare the data again'):
    prepared.load(str(out))


def test_unsorted_events_are_refused():
  with pytest.raises(ValueError, match='sorted'):
    prepared.build(
      np.array([1, 0]),
      np.array([1, 1]),
      np.array([0, 0]),
      user_ids=np.arange(2),
      item_ids=np.arange(1),
    )


@settings
@hypothesis.given(
  strategies.lists(strategies.integers(1, 5), min_size=3, max_size=12),
  strategies.data(),
)
def test_known_events_equal_a_loop_over_histories(items, data):
  split = sorted(
    data.draw(strategies.sampled_from([TRAIN, VALIDATION, TEST])) for _ in items
  )
  behaviors = [data.draw(strategies.integers(0, 1)) for _ in items]
  cut = data.draw(strategies.integers(1, len(items) - 1))
  user = np.repeat([0, 1], [cut, len(items) - cut])
  order = np.lexsort((split, user))
  rule = data.draw(strategies.sampled_from([prepared.EARLIER, prepared.FIXED]))
  log = prepared.build(
    user,
    np.array(items),
    np.array(split)[order],
    user_ids=np.arange(2),
    item_ids=np.arange(5),
    behaviors=np.array(behaviors),
    behavior_names=('view', 'buy'),
    history_rule=rule,
  )
  known, again = np.zeros((2, len(items)), bool)
  for code in (VALIDATION, TEST):
    for event, owner, item, end in zip(*prepared.targets(log, code)):
      start = log.user_offsets[owner]
      same = log.items[start:end] == item
      known[event] = same.any()
      again[event] = (same & (log.behaviors[start:end] == 1)).any()
  np.testing.assert_array_equal(log.known, known)
  np.testing.assert_array_equal(log.again, again)
  np.testing.assert_array_equal(log._replace(behaviors=None).again, known)
