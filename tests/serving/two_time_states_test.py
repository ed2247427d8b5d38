import jax
import numpy as np
import pytest

from tests import two_time_toys as toys
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import stream_jobs
from twotsrec.evaluation import players as players_lib
from twotsrec.serving import two_time_states

CLOSE = {'rtol': 1e-5, 'atol': 1e-5}
TEST = prepared_lib.TEST


@pytest.mark.parametrize('warmup', ['replay', 'none'])
def test_states_and_queries_are_those_after_all_events(warmup):
  changes = {'two_time__variant': '2ts_plus', 'two_time__warmup': warmup}
  experiment = toys.experiment(**changes)
  players = players_lib.make(experiment)
  nets = {
    job.part.name: toys.net(job.part, seed=3, two_time__variant='2ts_plus')
    for job, *_ in players
  }
  params = two_time_states.serve(experiment, players, nets, toys.vectors())
  prepared, _ = toys.log()
  user = jax.tree.map(np.asarray, params.net['user'])
  vector = np.asarray(toys.vectors().item)
  for job, *_ in players:
    name = job.part.name
    runs, users = stream_jobs.played(prepared, job, TEST)
    own = toys.vectors().user if job.part.own_start else None
    events = toys.play(nets[name], 'gru', runs, user=own)
    readout = np.asarray(nets[name]['extractor']['readout'])
    states = dict(zip(users.tolist(), (runs.start + runs.length - 1).tolist()))
    for u in np.flatnonzero(job.serves).tolist():
      state = user['start'][u]  # of a user whom nothing has moved yet
      if u in states:
        state = events[states[u]].after
      else:
        assert warmup == 'none' and name == 'active'
      last = prepared.items[prepared.user_offsets[u + 1] - 1]
      query = np.concatenate([state, vector[last]]) @ readout
      np.testing.assert_allclose(user['state'][u], state, **CLOSE)
      np.testing.assert_allclose(user['query'][u], query, **CLOSE)
  psi = np.asarray(nets['inactive']['extractor']['psi'])
  readout = np.asarray(nets['inactive']['extractor']['readout'])
  np.testing.assert_allclose(
    params.net['new'], psi @ readout[: toys.WIDTH], **CLOSE
  )
