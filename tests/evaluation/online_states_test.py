import functools

import numpy as np
import pytest

from tests import two_time_toys as toys
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import stream_feeds
from twotsrec.data import stream_jobs
from twotsrec.data import streams
from twotsrec.evaluation import online_states
from twotsrec.models import two_rnn
from twotsrec.ops import recurrence

CLOSE = {'rtol': 1e-5, 'atol': 1e-5}
VALIDATION, TEST = prepared_lib.VALIDATION, prepared_lib.TEST
CASES = (('gru', 'active'), ('lstm', 'inactive'))


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
  """So small that states go on from step to step, in streams of several."""
  monkeypatch.setattr(online_states, '_STREAMS', 5)
  monkeypatch.setattr(online_states, '_LENGTH', 4)


@functools.cache
def _system(cell, name):
  """(job, net, walk, read) of 2TS-Plus."""
  changes = {'two_time__cell': cell, 'two_time__variant': '2ts_plus'}
  job = toys.jobs(**changes)[name]
  options = toys.config(**changes).two_time
  stages = two_rnn.make_stages(options, toys.WIDTH)
  bind = lambda net: (stages, net)
  size = recurrence.CELLS[cell].states * toys.WIDTH
  walk = online_states.make_walk(bind, job.part.own_start, size)
  read = online_states.make_read(bind)
  return job, toys.net(job.part, **changes), walk, read


def _split():
  return np.asarray(toys.log()[0].split)


def _walk(cell, name, runs, wanted):
  job, net, walk, _ = _system(cell, name)
  feed = stream_feeds.make_feed(toys.log()[0], job.group)
  return list(walk(net, toys.vectors(), feed, runs, wanted))


def _rows(steps):
  """{event: (query, movement, norm)}."""
  return {
    int(event): rest
    for step in steps
    for event, *rest in zip(*step.block, strict=True)
  }


def _played(cell, name, until):
  return stream_jobs.played(toys.log()[0], _system(cell, name)[0], until)


@functools.cache
def _literal(cell, name):
  job, net, *_ = _system(cell, name)
  user = toys.vectors().user if job.part.own_start else None
  runs, _ = _played(cell, name, TEST)
  return runs, toys.play(net, cell, runs, user=user)


@pytest.mark.parametrize(('cell', 'name'), CASES)
def test_a_walk_says_what_a_loop_over_users_says(cell, name):
  runs, events = _literal(cell, name)
  wanted = _split() > 0
  steps = _walk(cell, name, runs, wanted)
  assert len(steps) > 2
  rows = _rows(steps)
  assert set(rows) == {event for event in events if wanted[event]}
  for event, (query, movement, norm) in rows.items():
    width = toys.WIDTH
    before = events[event].state[:width]
    moved = events[event].after[:width] - before
    np.testing.assert_allclose(query, events[event].query, **CLOSE)
    np.testing.assert_allclose(movement, np.linalg.norm(moved), **CLOSE)
    np.testing.assert_allclose(norm, np.linalg.norm(before), **CLOSE)


@pytest.mark.parametrize(('cell', 'name'), CASES)
def test_states_at_the_ends_of_runs_are_kept(cell, name):
  runs, events = _literal(cell, name)
  prepared, _ = toys.log()
  owner = prepared.event_users
  steps = _walk(cell, name, runs, np.zeros(prepared.num_events, bool))
  assert not list(online_states.blocks(iter(steps)))
  ended = np.concatenate([step.ended for step in steps])
  last = runs.start + runs.length - 1
  assert sorted(ended.tolist()) == sorted(last.tolist())
  size = recurrence.CELLS[cell].states * toys.WIDTH
  before = np.full((prepared.num_users, size), 9.0, np.float32)
  states = online_states.final_states(iter(steps), owner, before)
  for event in last:
    np.testing.assert_allclose(
      states[owner[event]], events[int(event)].after, **CLOSE
    )
  idle = np.setdiff1d(np.arange(prepared.num_users), owner[last])
  assert len(idle) and np.all(states[idle] == 9.0) and np.all(before == 9.0)


def test_a_state_and_a_last_item_are_read_as_before_the_next_event():
  runs, events = _literal('lstm', 'inactive')
  _, net, _, read = _system('lstm', 'inactive')
  prepared, _ = toys.log()
  longest = int(np.argmax(runs.length))
  own = np.arange(runs.start[longest], runs.start[longest] + 3)
  states = np.stack([events[int(e)].after for e in own]).astype(np.float32)
  queries = read(net, toys.vectors(), states, prepared.items[own])
  expected = [events[int(e) + 1].query for e in own]
  np.testing.assert_allclose(queries, expected, **CLOSE)


def test_nobody_takes_no_step():
  nothing = streams.Runs(np.zeros(0, np.int64), np.zeros(0, np.int64))
  assert not _walk('gru', 'active', nothing, _split() > 0)
