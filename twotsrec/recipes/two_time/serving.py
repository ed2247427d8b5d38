"""States of all users after all events, which a run of 2TS saves and serves."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import contracts
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import online_states
from twotsrec.models import two_rnn
from twotsrec.objectives import streams as stream_objectives
from twotsrec.ops import recurrence
from twotsrec.recipes import pin
from twotsrec.recipes.two_time import jobs as jobs_lib
from twotsrec.recipes.two_time import networks as networks_lib
from twotsrec.recipes.two_time import ranks
from twotsrec.serving import online


def serve(
  experiment: contracts.Experiment,
  players: Sequence[ranks.Player],
  nets: dict[str, types.PyTree],
  vectors: stream_objectives.Vectors,
) -> types.Params:
  """Parameters of `serving.two_time_ranker`: states after all events.

  A user without any event has the read-out of psi, with the plugin of the least
  active if there are any, or the mean embedding where nothing starts at psi.
  """
  config, prepared = experiment.config, experiment.prepared
  users, (ends, items) = prepared_lib.event_users(prepared), _last(prepared)
  is_last = np.zeros(prepared.num_events, bool)
  is_last[ends[ends >= 0]] = True
  cell = two_rnn.cell_of(config.two_time)
  size = cell.states * config.model.width
  states = np.zeros((prepared.num_users, size), np.float32)
  queries, new = np.array(vectors.user), jnp.mean(vectors.user, axis=0)
  for player in reversed(players):
    job, net = player.job, nets.get(player.job.part.name, {})
    mine = np.flatnonzero(job.serves)
    if job.part.own_start:
      start = vectors.user[mine]
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
  user = {'start': vectors.user, 'state': states, 'query': queries}
  return _params(vectors.item, user, new, nets)


def _last(prepared):
  """Last event of every user, -1 for none, and its item, 0 for none."""
  offsets = np.asarray(prepared.user_offsets)
  some = np.diff(offsets) > 0
  event = np.where(some, offsets[1:] - 1, -1)
  return event, np.where(some, np.asarray(prepared.items)[event], 0)


def _params(item, user, new, nets) -> types.Params:
  net = {'user': jax.tree.map(jnp.asarray, user), 'new': jnp.asarray(new)}
  table = {'embedding': jnp.asarray(item)}
  return types.Params({'item': table}, {**net, 'networks': nets})


def template(experiment: contracts.Experiment) -> types.Params:
  """Parameters as `serve` makes them, untrained."""
  config, prepared = experiment.config, experiment.prepared
  width, key = config.model.width, jax.random.key(0)
  vectors = stream_objectives.Vectors(
    jnp.zeros((prepared.num_items + 1, width)),
    jnp.zeros((prepared.num_users, width)),
  )
  setting = networks_lib.Setting(config, prepared, vectors)
  jobs = jobs_lib.make(prepared, experiment.groups, config.two_time)
  nets = {
    job.part.name: networks_lib.init_net(setting, job.part, key)
    for job in jobs
    if job.part.reads != 'nothing'
  }
  if pin.has_plugins(config):
    name = jobs[0].part.name
    own = networks_lib.init_plugins(setting, jobs[0], nets[name], key)
    nets[name] = {'trunk': nets[name], 'plugins': own}
  size = two_rnn.cell_of(config.two_time).states * width
  user = {'start': vectors.user, 'query': vectors.user}
  user['state'] = jnp.zeros((prepared.num_users, size))
  return _params(vectors.item, user, jnp.zeros(width), nets)


def make_service(
  experiment: contracts.Experiment, params: types.Params
) -> online.Service:
  """States of the users of an experiment, after all of its events.

  Args:
    experiment: of a 2TS run.
    params: of `serving.two_time_ranker`.
  """
  prepared, config = experiment.prepared, experiment.config
  jobs = jobs_lib.make(prepared, experiment.groups, config.two_time)
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
