import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import two_time_toys as toys
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import stream_jobs
from twotsrec.evaluation import expected
from twotsrec.evaluation import online
from twotsrec.evaluation import players as players_lib
from twotsrec.serving import two_time_states

CLOSE = {'rtol': 1e-5, 'atol': 1e-5}
VALIDATION, TEST = prepared_lib.VALIDATION, prepared_lib.TEST


pytestmark = pytest.mark.usefixtures('small_programs')


def _nets(variant='2ts_plus'):
  return {
    name: toys.net(job.part, seed=3, two_time__variant=variant)
    for name, job in toys.jobs(two_time__variant=variant).items()
    if job.part.reads != 'nothing'
  }


@functools.cache
def _players(variant='2ts_plus', plugin=False):
  return players_lib.make(_experiment(variant, plugin))


def _experiment(variant='2ts_plus', plugin=False):
  changes = {'two_time__variant': variant}
  if plugin:
    changes |= {'plugin__name': 'film', 'plugin__points': 'Z'}
  return toys.experiment(**changes)


def _plugged(net, groups):
  """A trunk with a shift and a scale of every group."""
  plugins = {'Z': {'scale': None, 'shift': None}}
  shapes = jax.ShapeDtypeStruct((groups, toys.WIDTH), jnp.float32)
  plugins['Z'] = dict.fromkeys(plugins['Z'], shapes)
  return {'trunk': net, 'plugins': toys.random_like(plugins, seed=8)}


def _rows(players, nets, wanted):
  found, (prepared, _) = {}, toys.log()
  vectors = toys.vectors()
  for block in players_lib.blocks(prepared, players, nets, vectors, wanted):
    found |= dict(zip(block.event.tolist(), block.query))
  return found


@pytest.mark.parametrize('variant', ['2ts_plus', 'frozen_user'])
def test_every_held_out_event_has_a_query_of_its_users_network(variant):
  players, nets = _players(variant), _nets(variant)
  wanted = np.asarray(toys.log()[0].split) == TEST
  rows = _rows(players, nets, wanted)
  assert sorted(rows) == np.flatnonzero(wanted).tolist()
  owner = toys.log()[0].event_users
  for job, *_ in players:
    name = job.part.name
    served = [e for e in rows if job.serves[owner[e]]]
    assert served
    if name not in nets:  # nothing moves them
      for event in served:
        kept = toys.vectors().user[owner[event]]
        np.testing.assert_array_equal(rows[event], kept)
      continue
    runs, _ = stream_jobs.played(toys.log()[0], job, TEST)
    own = toys.vectors().user if job.part.own_start else None
    events = toys.play(nets[name], 'gru', runs, user=own)
    for event in served:
      np.testing.assert_allclose(rows[event], events[event].query, **CLOSE)


def test_a_user_is_served_by_the_plugin_of_its_group():
  bare = _nets()
  players = _players(plugin=True)
  job = players[0].job
  net = _plugged(bare['inactive'], len(job.sizes))
  wanted = np.asarray(toys.log()[0].split) > 0
  owner = toys.log()[0].event_users
  plain = _rows(_players(), bare, wanted)
  nets = {**bare, 'inactive': net}
  rows = _rows(players, nets, wanted)
  film = jax.tree.map(np.asarray, net['plugins']['Z'])
  for event, query in plain.items():
    user = owner[event]
    if job.serves[user]:
      g = job.group[user]
      query = query * (1 + film['scale'][g]) + film['shift'][g]
    np.testing.assert_allclose(rows[event], query, **CLOSE)
  params = two_time_states.serve(
    _experiment(plugin=True), players, nets, toys.vectors()
  )
  kept = two_time_states.serve(_experiment(), _players(), bare, toys.vectors())
  user = np.flatnonzero(job.serves)
  g = job.group[user]
  expected_query = np.asarray(kept.net['user']['query'])[user]
  expected_query = expected_query * (1 + film['scale'][g]) + film['shift'][g]
  np.testing.assert_allclose(
    np.asarray(params.net['user']['query'])[user], expected_query, **CLOSE
  )
  # A user without any event is one of the least active.
  np.testing.assert_allclose(
    params.net['new'],
    np.asarray(kept.net['new']) * (1 + film['scale'][0]) + film['shift'][0],
    **CLOSE,
  )


def test_a_network_is_judged_on_the_validation_events_of_its_users():
  experiment, players, nets = _experiment(), _players(), _nets()
  prepared, _ = toys.log()
  owner = prepared.event_users
  held = np.asarray(prepared.split) == VALIDATION
  scores = {}
  for event, query in _rows(players, nets, held).items():
    each = np.asarray(toys.vectors().item)[1:] @ query
    own = each[prepared.items[event] - 1]
    better, tied = np.sum(each > own), np.sum(each == own) - 1
    scores[event] = float(
      expected.reciprocal_rank(better, tied, len(each) - 1, 10)
    )
  for player in players:
    of_part = [v for e, v in scores.items() if player.job.serves[owner[e]]]
    judge = players_lib.make_judge(experiment, [player])
    np.testing.assert_allclose(
      judge(nets, toys.vectors()), np.mean(of_part), rtol=1e-6
    )
  judge = players_lib.make_judge(experiment, players)
  np.testing.assert_allclose(
    judge(nets, toys.vectors()), np.mean(list(scores.values())), rtol=1e-6
  )


def test_a_large_validation_is_judged_by_a_fixed_sample(monkeypatch):
  players, nets = _players(), _nets()
  monkeypatch.setattr(players_lib, '_JUDGED', 9)
  ranked = []
  rank = online.rank

  def recorded(queries, prepared, events, among):
    ranked.append(events)
    return rank(queries, prepared, events, among)

  monkeypatch.setattr(online, 'rank', recorded)
  values = [
    players_lib.make_judge(_experiment(), players)(nets, toys.vectors())
    for _ in range(2)
  ]
  assert values[0] == values[1] and len(ranked[0]) == 9
  np.testing.assert_array_equal(*ranked)


def test_without_validation_events_nobody_judges():
  experiment = _experiment()
  split = np.array(experiment.prepared.split)
  split[split == VALIDATION] = TEST
  prepared = experiment.prepared._replace(split=split)
  experiment = experiment._replace(prepared=prepared)
  assert players_lib.make_judge(experiment, _players()) is None
