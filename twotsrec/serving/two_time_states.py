"""States of all users of a 2TS run after all events, saved and served."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import contracts
from twotsrec import types
from twotsrec.data import stream_jobs
from twotsrec.evaluation import online_states
from twotsrec.evaluation import players as players_lib
from twotsrec.models import two_rnn
from twotsrec.objectives import streams as stream_objectives
from twotsrec.ops import recurrence
from twotsrec.serving import online


def serve(
  experiment: contracts.Experiment,
  players: Sequence[players_lib.Player],
  nets: dict[str, types.PyTree],
  vectors: stream_objectives.Vectors,
) -> types.Params:
  """Parameters of `two_time_ranker`: states after all events.

  A user without any event has the read-out of psi, with the plugin of the least
  active if there are any, or the mean embedding where nothing starts at psi.
  """
  config, prepared = experiment.config, experiment.prepared
  users, (ends, items) = prepared.event_users, _last(prepared)
  is_last = np.zeros(prepared.num_events, bool)
  is_last[ends[ends >= 0]] = True
  cell = two_rnn.cell_of(config.two_time)
  size = cell.states * config.model.width
  states = np.zeros((prepared.num_users, size), np.float32)
  own = jnp.asarray(vectors.user)  # stage 1 has one for every user
  queries, new = np.array(own), jnp.mean(own, axis=0)
  for player in reversed(players):
    job, net = player.job, nets.get(player.job.part.name, {})
    mine = np.flatnonzero(job.serves)
    if job.part.own_start:
      start = own[mine]
    else:
      start = net.get('trunk', net)['extractor']['psi'][None]
    start = recurrence.start(cell, start)
    states[mine] = start
    if not net:
      continue  # nothing moves them
    steps = player.play(net, vectors, is_last)
    states = online_states.final_states(steps, users, states)
    queries[mine] = player.read(net, vectors, mine, states[mine], items[mine])
    if not job.part.own_start:
      least = np.flatnonzero(job.group == 0)[:1]
      nothing = np.zeros(1, np.int64)
      new = player.read(net, vectors, least, np.asarray(start), nothing)[0]
  user = {'start': own, 'state': states, 'query': queries}
  if vectors.weight is not None:
    user['weight'] = vectors.weight
  return as_params(vectors.item, user, new, nets)


def _last(prepared):
  """Last event of every user, -1 for none, and its item, 0 for none."""
  offsets = np.asarray(prepared.user_offsets)
  some = np.diff(offsets) > 0
  event = np.where(some, offsets[1:] - 1, -1)
  return event, np.where(some, np.asarray(prepared.items)[event], 0)


def as_params(
  item: Any, user: dict[str, Any], new: Any, nets: dict[str, types.PyTree]
) -> types.Params:
  """Parameters of `two_time_ranker` of their parts."""
  net = {'user': jax.tree.map(jnp.asarray, user), 'new': jnp.asarray(new)}
  table = {'embedding': jnp.asarray(item)}
  return types.Params({'item': table}, {**net, 'networks': nets})


def make_service(
  experiment: contracts.Experiment, params: types.Params
) -> online.Service:
  """States of the users of an experiment, after all of its events.

  Args:
    experiment: of a 2TS run.
    params: of `two_time_ranker`.
  """
  prepared, config = experiment.prepared, experiment.config
  jobs = stream_jobs.make(prepared, experiment.groups, config.two_time)
  network = np.zeros(prepared.num_users, np.int32)
  group = np.zeros(prepared.num_users, np.int32)
  for number, job in enumerate(jobs):
    network[job.serves] = number
    if 'plugins' in params.net['networks'].get(job.part.name, ()):
      group[job.serves] = job.group[job.serves]
  count = np.diff(np.asarray(prepared.user_offsets)).astype(np.int32)
  columns = (_last(prepared)[1], network, group, count, np.zeros_like(count))
  state = params.net['user']['state']
  return online.make(
    config,
    params,
    [job.part.name for job in jobs],
    online.State(state, *(jnp.asarray(c, jnp.int32) for c in columns)),
    online.Ids(np.asarray(prepared.user_ids), np.asarray(prepared.item_ids)),
  )
