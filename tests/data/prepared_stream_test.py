import hashlib

import hypothesis
from hypothesis import strategies
import numpy as np
import pytest

from twotsrec import types
from twotsrec.data import prepared
from twotsrec.data import prepared_stream
from twotsrec.data import splits

settings = hypothesis.settings(max_examples=40, deadline=None, derandomize=True)


@settings
@hypothesis.given(
  strategies.lists(
    strategies.integers(0, 3) | strategies.integers(0, 20_000),
    min_size=10,
    max_size=60,
  ),
  strategies.integers(1, 9),
)
def test_cuts_are_those_of_sorted_times(times, piece):
  times = np.array(times)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(prepared_stream, '_PIECE', piece)
    found = prepared_stream.global_cuts(times, splits.FRACTIONS)
  ordered = np.sort(times)
  ranks = [7 * len(times) // 10, 8 * len(times) // 10]
  assert found == tuple(ordered[ranks].tolist())


@settings
@hypothesis.given(
  strategies.lists(strategies.integers(1, 5), min_size=1, max_size=9),
  strategies.data(),
)
def test_users_of_a_part_are_those_of_the_whole(counts, data):
  offsets = np.cumsum([0, *counts])
  start = data.draw(strategies.integers(0, offsets[-1] - 1))
  stop = data.draw(strategies.integers(start + 1, offsets[-1]))
  whole = np.repeat(np.arange(len(counts)), counts)
  found = prepared_stream.users_of(offsets, start, stop)
  np.testing.assert_array_equal(found, whole[start:stop])


def log_of(counts, piece, seed=0):
  """A log of the counts in pieces, and its columns."""
  rng = np.random.default_rng(seed)
  user = np.repeat(np.arange(len(counts)), counts)
  items = rng.integers(1, 6, len(user)).astype(np.int32) * 2  # odd: unused
  times = rng.integers(0, 9999, len(user))
  times = times[np.lexsort((times, user))]
  log = prepared_stream.Log(
    user_offsets=np.cumsum([0, *counts]),
    pieces=lambda: (
      (items[start : start + piece], times[start : start + piece])
      for start in range(0, len(user), piece)
    ),
    user_ids=np.arange(len(counts)) + 50,
    item_ids=np.arange(1, 11) + 70,
  )
  return log, user, items, times


def literal_split(name, user, times, validation):
  if name == 'global_time':
    return splits.global_time(times, validation)
  return getattr(splits, name)(user, validation=validation)


@pytest.mark.parametrize('name', prepared_stream.SPLITS)
@pytest.mark.parametrize('validation', [True, False])
@pytest.mark.parametrize('piece', [3, 100])
def test_the_directory_is_the_one_that_memory_gives(
  tmp_path, monkeypatch, name, validation, piece
):
  monkeypatch.setattr(prepared_stream, '_PIECE', 2 * piece)
  log, user, items, times = log_of([12, 1, 2, 30, 5, 9], piece)
  data = prepared_stream.write(
    log, splits.Rule(name, validation), str(tmp_path / 'out')
  )
  used, number = np.unique(items, return_inverse=True)
  expected = prepared.build(
    user,
    number + 1,
    literal_split(name, user, times, validation),
    user_ids=log.user_ids,
    item_ids=log.item_ids[used - 1],
    times=times,
  )
  assert data.manifest['digest'] == expected.manifest['digest']
  assert data.manifest['counts'] == expected.manifest['counts']
  loaded = prepared.load(data.path, verify=True)
  assert (
    hashlib.sha256(loaded.items.tobytes()).hexdigest()
    == (data.manifest['arrays']['items']['sha256'])
  )


def test_the_same_log_stays_and_another_needs_leave(tmp_path):
  log, *_ = log_of([20, 10], 7)
  split, out = splits.Rule('global_time'), str(tmp_path / 'out')
  options = {'seed': 1}
  prepared_stream.write(log, split, out, options=options)
  written = (tmp_path / 'out' / 'items.npy').stat().st_mtime_ns
  prepared_stream.write(log, split, out, options=options)
  assert (tmp_path / 'out' / 'items.npy').stat().st_mtime_ns == written
  with pytest.raises(types.UserError, match='holds other prepared data'):
    prepared_stream.write(log, split, out, options={'seed': 2})
  data = prepared_stream.write(
    log, split, out, options={'seed': 2}, overwrite=True
  )
  assert data.manifest['options'] == {'seed': 2}


def test_what_cannot_be_split_leaves_nothing_behind(tmp_path):
  log, *_ = log_of([1, 1], 7)
  out = str(tmp_path / 'out')
  with pytest.raises(types.UserError, match='nothing is left for validation'):
    prepared_stream.write(log, splits.Rule('per_user_time'), out)
  with pytest.raises(
    types.UserError, match='allowed are global_time, per_user'
  ):
    prepared_stream.write(log, splits.Rule('given'), out)
  assert not list(tmp_path.iterdir())
