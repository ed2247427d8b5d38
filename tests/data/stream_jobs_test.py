import functools

import numpy as np
import pytest

from tests import two_time_toys as toys
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import stream_jobs
from twotsrec.data import streams

THRESHOLD, WINDOW = toys.THRESHOLD, toys.WINDOW
TRAIN, VALIDATION, TEST = range(3)


@functools.cache
def _events():
  """Events of every user by split: {split: [range of each user]}."""
  prepared, _ = toys.log()
  split = np.asarray(prepared.split)
  found = {s: [] for s in (TRAIN, VALIDATION, TEST)}
  for first, end in zip(prepared.user_offsets, prepared.user_offsets[1:]):
    for s, own in found.items():
      own.append([e for e in range(first, end) if split[e] == s])
  return found


def _counts():
  return np.array([len(own) for own in _events()[TRAIN]])


def _runs(runs):
  return list(zip(runs.start.tolist(), runs.length.tolist(), strict=True))


def test_the_log_has_every_kind_of_user():
  counts = _counts()
  actual = prepared_lib.train_counts(toys.log()[0])
  np.testing.assert_array_equal(actual, counts)
  for kind in (counts == 0, counts == THRESHOLD, counts > THRESHOLD):
    assert kind.any()


def test_a_user_at_the_threshold_or_without_events_is_inactive():
  active = stream_jobs.is_active(np.array([0, 5, 6, 7]), 6)
  np.testing.assert_array_equal(active, [False, False, False, True])
  jobs = toys.jobs()
  np.testing.assert_array_equal(jobs['active'].serves, _counts() > THRESHOLD)
  np.testing.assert_array_equal(jobs['inactive'].serves, _counts() <= THRESHOLD)


def test_active_users_train_on_their_last_window_and_others_on_everything():
  jobs, own = toys.jobs(), _events()[TRAIN]
  active = [
    (own[u][-WINDOW], WINDOW) for u, n in enumerate(_counts()) if n > THRESHOLD
  ]
  assert active and _runs(jobs['active'].runs) == active
  inactive = [
    (own[u][0], n) for u, n in enumerate(_counts()) if 0 < n <= THRESHOLD
  ]
  assert _runs(jobs['inactive'].runs) == inactive


@pytest.mark.parametrize('variant', ['one_gru', 'two_gru'])
def test_carried_parts_read_whole_histories(variant):
  own = _events()[TRAIN]
  for job in toys.jobs(two_time__variant=variant).values():
    whole = [
      (own[u][0], n) for u, n in enumerate(_counts()) if n and job.serves[u]
    ]
    assert _runs(job.runs) == whole
    np.testing.assert_array_equal(
      job.users, [u for u in range(48) if _counts()[u] and job.serves[u]]
    )


def test_a_shrunk_start_stands_before_the_last_window_of_everybody():
  own, counts = _events()[TRAIN], _counts()
  job = toys.jobs(two_time__variant='shrunk')['everyone']
  last = [(e[-WINDOW:][0], min(n, WINDOW)) for e, n in zip(own, counts) if n]
  first = [
    (e[0], min(n - WINDOW, WINDOW)) for e, n in zip(own, counts) if n > WINDOW
  ]
  assert first and _runs(job.runs) == last + first
  owner = toys.log()[0].event_users
  np.testing.assert_array_equal(job.users, owner[job.runs.start])
  # No event is read twice, and those of users with two windows are all read.
  read = np.zeros(len(owner), int)
  for start, length in _runs(job.runs):
    read[start : start + length] += 1
  assert read.max() == 1
  for events, count in zip(own, counts):
    assert read[events].sum() == min(count, 2 * WINDOW)
  assert job.sizes.sum() == job.runs.length.sum()


def test_the_start_knows_what_is_before_the_window():
  prepared, _ = toys.log()
  options = toys.config(two_time__variant='shrunk').two_time
  before = stream_jobs.known_before(_counts(), options)
  late = stream_jobs.last_windows(prepared, options)
  for events, count, number in zip(_events()[TRAIN], _counts(), before):
    assert number == max(count - WINDOW, 0)
    np.testing.assert_array_equal(late[events], np.arange(count) >= number)
  assert late.sum() == np.minimum(_counts(), WINDOW).sum()
  # Items are those of all train events.
  assert not stream_jobs.window_events(prepared, options).any()


def test_a_window_that_leaves_nobody_a_start_is_refused():
  with pytest.raises(types.UserError) as error:
    toys.jobs(two_time__variant='shrunk', two_time__window=18)
  assert str(error.value).startswith(
    'two_time.window 18: no user has more train events'
  )
  assert 'choose 1 to 17' in str(error.value)
  assert toys.jobs(two_time__variant='shrunk', two_time__window=17)


@pytest.mark.parametrize('variant', list(stream_jobs.PARTS))
def test_every_user_is_served_by_one_part(variant):
  jobs = toys.jobs(two_time__variant=variant)
  assert [part.name for part in stream_jobs.PARTS[variant]] == list(jobs)
  served = sum(job.serves.astype(int) for job in jobs.values())
  np.testing.assert_array_equal(served, 1)


@pytest.mark.parametrize('name', ['inactive', 'active'])
def test_groups_of_a_job_are_those_of_its_users_numbered_anew(name):
  job, (_, groups) = toys.jobs()[name], toys.log()
  of_user = groups.user_group[job.users]
  present = sorted(set(of_user.tolist()))
  for user, group in zip(job.users, of_user, strict=True):
    assert job.group[user] == present.index(group)
  sizes = [int(job.runs.length[of_user == g].sum()) for g in present]
  np.testing.assert_array_equal(job.sizes, sizes)
  assert 0 <= job.group.min() and job.group.max() < len(present)


# Variant, warm-up and part; what is played of the train events.
@pytest.mark.parametrize(
  ('variant', 'warmup', 'name', 'kept'),
  [
    ('2ts', 'replay', 'active', WINDOW),
    ('2ts', 'none', 'active', 0),
    ('2ts', 'none', 'inactive', None),
    ('window_gru', 'none', 'active', WINDOW),
    ('two_gru', 'none', 'active', None),
    ('frozen_user', 'replay', 'active', 0),
    ('ccf', 'replay', 'everyone', 0),
    ('one_gru', 'none', 'everyone', None),
    ('shrunk', 'replay', 'everyone', WINDOW),
  ],
)
@pytest.mark.parametrize('until', [VALIDATION, TEST])
def test_what_is_played_before_and_while_events_are_scored(
  variant, warmup, name, kept, until
):
  changes = {'two_time__variant': variant, 'two_time__warmup': warmup}
  job = toys.jobs(**changes)[name]
  runs, users = stream_jobs.played(toys.log()[0], job, until)
  expected = {}
  for user in np.flatnonzero(job.serves).tolist():
    train, *later = (_events()[s][user] for s in range(until + 1))
    train = (
      train if kept is None else train[len(train) - min(kept, len(train)) :]
    )
    events = train + [event for own in later for event in own]
    if events:
      expected[user] = (events[0], len(events))
      assert events == list(range(events[0], events[-1] + 1))
  assert dict(zip(users.tolist(), _runs(runs), strict=True)) == expected


@pytest.mark.parametrize(
  ('variant', 'holdout', 'some'),
  [
    ('2ts', 'last_k', True),
    ('2ts_plus', 'refit', True),
    ('2ts', 'none', False),
    ('ccf', 'last_k', False),
    ('window_gru', 'last_k', True),
    ('one_gru', 'refit', False),
    ('single_stage', 'last_k', False),
  ],
)
def test_stage_1_leaves_out_the_windows_that_a_network_is_trained_on(
  variant, holdout, some
):
  options = toys.config(
    two_time__variant=variant, two_time__holdout=holdout
  ).two_time
  left = stream_jobs.window_events(toys.log()[0], options)
  expected = {
    event
    for own, count in zip(_events()[TRAIN], _counts(), strict=True)
    for event in (own[-WINDOW:] if some and count > THRESHOLD else [])
  }
  assert set(np.flatnonzero(left).tolist()) == expected


def test_items_of_windows_alone_are_left_out_of_stage_1():
  prepared, _ = toys.log()
  of = lambda **named: stream_jobs.left_out_items(
    prepared, toys.config(**named).two_time
  )
  left = stream_jobs.window_events(prepared, toys.config().two_time)
  seen = np.asarray(prepared.split) == TRAIN
  items = np.asarray(prepared.items)
  expected = set(items[left]) - set(items[seen & ~left])
  assert set(np.flatnonzero(of())) == expected
  assert not of(two_time__holdout='none').any()


def test_a_step_has_a_sixtieth_of_an_epoch_within_bounds():
  options = toys.config(two_time__tokens=0).two_time
  runs = lambda *lengths: streams.Runs(
    np.zeros(len(lengths)), np.array(lengths)
  )
  assert stream_jobs.tokens(runs(*[100] * 120), options) == 200
  assert stream_jobs.tokens(runs(3, 9), options) == 9
  assert stream_jobs.tokens(runs(60 * 10**6), options) == 32_768
  options.tokens = 77
  assert stream_jobs.tokens(runs(3, 9), options) == 77


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (
      {'threshold': 18},
      'two_time.threshold 18: users have 1 to 18 train events, so nobody would'
      ' be active; choose 1 to 17',
    ),
    (
      {'threshold': 0},
      'two_time.threshold 0: users have 1 to 18 train events, so nobody would'
      ' be inactive; choose 1 to 17',
    ),
    (
      {'window': 7},
      'two_time.window 7 must lie in 1..6, the threshold: an active user has'
      ' that many events; choose 1 to 6, or raise two_time.threshold to 7',
    ),
    ({'window': 0}, 'two_time.window 0 must lie in 1..6'),
  ],
)
def test_a_division_that_leaves_nobody_is_refused_in_a_line(changes, message):
  named = {f'two_time__{name}': value for name, value in changes.items()}
  with pytest.raises(types.UserError) as error:
    toys.jobs(**named)
  assert str(error.value).startswith(message)
  assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize('variant', ['one_gru', 'ccf'])
def test_a_variant_of_one_network_needs_no_threshold(variant):
  changes = {'two_time__threshold': 10_000, 'two_time__window': 10_000}
  (job,) = toys.jobs(two_time__variant=variant, **changes).values()
  assert job.serves.all()


def test_thresholds_count_users_with_train_events():
  counts = np.array([0, 0, 3, 9])
  options = toys.config(two_time__threshold=2, two_time__window=1).two_time
  with pytest.raises(types.UserError, match='users have 3 to 9 train events'):
    stream_jobs.check_threshold(counts, options)


def test_the_events_of_a_split_stand_behind_those_of_the_one_before():
  prepared, _ = toys.log()
  user = prepared.event_users
  same = np.diff(user) == 0
  assert np.all(np.diff(np.asarray(prepared.split))[same] >= 0)
