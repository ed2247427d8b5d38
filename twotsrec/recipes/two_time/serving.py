"""What the trained networks of 2TS say of held-out events and of users."""

from collections.abc import Callable, Iterator
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import groups as groups_lib
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import stream_feeds
from twotsrec.data import streams
from twotsrec.evaluation import expected
from twotsrec.evaluation import online
from twotsrec.evaluation import online_states
from twotsrec.evaluation import rules
from twotsrec.models import two_rnn
from twotsrec.objectives import streams as stream_objectives
from twotsrec.ops import recurrence
from twotsrec.plugins import recurrent
from twotsrec.recipes.two_time import jobs as jobs_lib
from twotsrec.recipes.two_time import networks as networks_lib
from twotsrec.serving import online as online_serving

# Validation events that a choice rests on; a sample of them above that.
_JUDGED = 20_000


class Player(NamedTuple):
  """A job's network at work.

  Attributes:
    job: whom it serves.
    play: (net, vectors, until, wanted bool[N]) -> steps of a walk.
    read: (net, vectors, users, states, last items) -> queries f32[n, D].
  """

  job: jobs_lib.Job
  play: Callable[..., Iterator[online_states.Step]]
  read: Callable[..., np.ndarray]


def state_width(setting: networks_lib.Setting) -> int:
  """S, numbers of a user's full state."""
  cell = two_rnn.cell_of(setting.config.two_time)
  return cell.states * setting.config.model.width


def make_player(setting: networks_lib.Setting, job: jobs_lib.Job) -> Player:
  """Plays the events of a job's users, compiled once.

  With plugins the users of a group go through the network with its plugin on.
  """
  config, prepared = setting.config, setting.prepared
  feed = stream_feeds.make_feed(prepared, job.group)
  bind = recurrent.make_bind(
    two_rnn.make_stages(config.two_time, config.model.width), config.plugin
  )
  walk = online_states.make_walk(bind, job.part.own_start, state_width(setting))
  read_out = online_states.make_read(bind)

  def play(net, vectors, until, wanted):
    runs, users = _played(prepared, job, until, wanted)
    for mine, own_net in _by_plugin(job, net, users):
      some = streams.Runs(*(column[mine] for column in runs))
      yield from walk(own_net, vectors, feed, some, wanted)

  def read(net, vectors, users, states, items):
    queries = np.zeros((len(users), config.model.width), np.float32)
    for mine, own_net in _by_plugin(job, net, users):
      queries[mine] = read_out(own_net, vectors, states[mine], items[mine])
    return queries

  return Player(job, play, read)


def _by_plugin(job, net, users):
  """(which of the users, the network that serves them), for every plugin."""
  if 'plugins' not in net:
    yield np.ones(len(users), bool), net
    return
  for g in range(len(job.sizes)):
    mine = job.group[users] == g
    if mine.any():
      yield mine, recurrent.of_group(net, g)


def _played(prepared, job, until, wanted):
  """Runs of users with a wanted event, up to their last one; their users."""
  runs, users = jobs_lib.played(prepared, job, until)
  before = np.concatenate([[0], np.cumsum(wanted)])
  asked = before[runs.start + runs.length] > before[runs.start]
  return streams.Runs(*(column[asked] for column in runs)), users[asked]


def blocks(
  setting: networks_lib.Setting,
  players: dict[str, Player],
  nets: dict[str, types.PyTree],
  vectors: stream_objectives.Vectors,
  wanted: np.ndarray,
) -> Iterator[online.Block]:
  """Queries before all wanted events, bool[N], whoever serves their users."""
  for name, player in players.items():
    if player.job.part.reads == 'nothing':
      yield from _static(setting, player.job, vectors, wanted)
      continue
    until = int(np.asarray(setting.prepared.split)[wanted].max())
    steps = player.play(nets[name], vectors, until, wanted)
    yield from online_states.blocks(steps)


def _static(setting, job, vectors, wanted):
  """Embeddings of users that nothing moves."""
  prepared = setting.prepared
  chosen = wanted & job.serves[prepared_lib.event_users(prepared)]
  if not chosen.any():
    return
  splits = np.unique(np.asarray(prepared.split)[chosen])
  for block in online.static_blocks(prepared, splits, vectors.user):
    mine = chosen[block.event]
    yield online.Block(*(column[mine] for column in block))


def make_judge(
  setting: networks_lib.Setting, player: Player
) -> Callable[[types.PyTree], float] | None:
  """net -> MRR of its users' validation events; None if they have none."""
  name = player.job.part.name
  judge = make_judge_of_all(setting, {name: player})
  return judge and (lambda net: judge({name: net}, setting.vectors))


def make_judge_of_all(
  setting: networks_lib.Setting, players: dict[str, Player]
) -> Callable[..., float] | None:
  """(nets, vectors) -> MRR of the players' validation events, or None.

  The expectation over lists of 499 other items (2TS sec. 4), past items among
  them; on a fixed sample where there are many events.
  """
  prepared = setting.prepared
  users = prepared_lib.event_users(prepared)
  held = np.asarray(prepared.split) == prepared_lib.VALIDATION
  served = np.any([p.job.serves for p in players.values()], axis=0)
  events = np.flatnonzero(held & served[users])
  if not len(events):
    return None
  if len(events) > _JUDGED:
    generator = np.random.default_rng(setting.config.evaluation.seed)
    events = np.sort(generator.choice(events, _JUDGED, replace=False))
  wanted = np.zeros(prepared.num_events, bool)
  wanted[events] = True

  def judge(nets, vectors):
    queries = blocks(setting, players, nets, vectors, wanted)
    found = online.rank(
      online.Queries(queries, vectors.item),
      prepared,
      events,
      [rules.everything(prepared.num_items)],
    )
    return mrr(found, setting.config.two_time.evaluation_lists)

  return judge


def mrr(per_target: dict[str, np.ndarray], lists: int) -> float:
  """Mean over events of the expected reciprocal rank among `lists` + 1."""
  values = expected.reciprocal_rank(
    per_target['better'],
    per_target['tied'],
    per_target['num_negatives'],
    lists,
  )
  return float(np.mean(values))


def in_force(
  config: config_lib.Config, report: dict[str, Any]
) -> config_lib.Config:
  """The configuration with the threshold and window of a finished run."""
  chosen = {name: report['two_time'][name] for name in ('threshold', 'window')}
  options = dataclasses.replace(
    config.two_time, **chosen, threshold_rule='given'
  )
  return dataclasses.replace(config, two_time=options)


def make_players(
  setting: networks_lib.Setting, groups: groups_lib.Groups
) -> dict[str, Player]:
  """Players of a variant, by the name of their part."""
  jobs = jobs_lib.make(setting.prepared, groups, setting.config.two_time)
  return {job.part.name: make_player(setting, job) for job in jobs}


def template(experiment: contracts.Experiment) -> types.Params:
  """Parameters as `serve` makes them, of `two_time_ranker`, untrained."""
  config, prepared = experiment.config, experiment.prepared
  width, users = config.model.width, prepared.num_users
  item = jnp.zeros((prepared.num_items + 1, width))
  start = jnp.zeros((users, width))
  setting = networks_lib.Setting(
    config, prepared, stream_objectives.Vectors(item, start)
  )
  networks = {}
  plugged_part = jobs_lib.with_plugins(config)
  for job in jobs_lib.make(prepared, experiment.groups, config.two_time):
    if job.part.reads == 'nothing':
      continue
    net = networks_lib.init_net(setting, job.part, jax.random.key(0))
    if job.part.name == plugged_part:
      plugins = networks_lib.init_plugins(setting, job, net, jax.random.key(0))
      net = {'trunk': net, 'plugins': plugins}
    networks[job.part.name] = net
  return types.Params(
    {'item': {'embedding': item}},
    {
      'user': {
        'start': start,
        'state': jnp.zeros((users, state_width(setting))),
        'query': jnp.zeros((users, width)),
      },
      'new': jnp.zeros(width),
      'networks': networks,
    },
  )


def serve(
  setting: networks_lib.Setting,
  players: dict[str, Player],
  nets: dict[str, types.PyTree],
  vectors: stream_objectives.Vectors,
) -> types.Params:
  """Parameters of `serving.two_time_ranker`: states after all events."""
  states = _final_states(setting, players, nets, vectors)
  last = _last_items(setting.prepared)
  queries = np.array(vectors.user)
  for name, player in players.items():
    users = np.flatnonzero(player.job.serves)
    if player.job.part.reads != 'nothing':
      queries[users] = player.read(
        nets[name], vectors, users, states[users], last[users]
      )
  return types.Params(
    {'item': {'embedding': jnp.asarray(vectors.item)}},
    {
      'user': {
        'start': jnp.asarray(vectors.user),
        'state': jnp.asarray(states),
        'query': jnp.asarray(queries),
      },
      'new': _new_query(players, nets, vectors, states.shape[1]),
      'networks': nets,
    },
  )


def _new_query(players, nets, vectors, states):
  """The query of a user without any event, f32[D].

  The read-out of psi, with the plugin of the least active if there are any, or
  the mean embedding where there is no network for it.
  """
  for name, player in players.items():
    if name in nets and not player.job.part.own_start:
      trunk = nets[name].get('trunk', nets[name])
      psi = np.zeros((1, states), np.float32)
      start = trunk['extractor']['psi']
      psi[:, : len(start)] = start
      like = np.flatnonzero(player.job.group == 0)[:1]
      nothing = np.zeros(1, np.int64)
      query = player.read(nets[name], vectors, like, psi, nothing)
      return jnp.asarray(query[0])
  return jnp.mean(vectors.user, axis=0)


def _last_items(prepared):
  """Item of every user's last event, i64[U]; 0 for none."""
  offsets = np.asarray(prepared.user_offsets)
  last = np.zeros(prepared.num_users, np.int64)
  some = np.diff(offsets) > 0
  last[some] = np.asarray(prepared.items)[offsets[1:][some] - 1]
  return last


def _final_states(setting, players, nets, vectors):
  """State of every user after all events, f32[U, S]; psi for a new one."""
  prepared = setting.prepared
  users = prepared_lib.event_users(prepared)
  cell = two_rnn.cell_of(setting.config.two_time)
  states = np.zeros((prepared.num_users, state_width(setting)), np.float32)
  last = np.zeros(prepared.num_events, bool)
  offsets = np.asarray(prepared.user_offsets)
  last[offsets[1:][np.diff(offsets) > 0] - 1] = True
  for name, player in players.items():
    job = player.job
    if job.part.own_start:
      starts = np.asarray(vectors.user)[job.serves]
    else:
      trunk = nets[name].get('trunk', nets[name])
      starts = trunk['extractor']['psi'][None]
    states[job.serves] = recurrence.start(cell, jnp.asarray(starts))
    if job.part.reads != 'nothing':
      steps = player.play(nets[name], vectors, prepared_lib.TEST, last)
      states = online_states.final_states(steps, users, states)
  return states


def make_service(
  experiment: contracts.Experiment, params: types.Params
) -> online_serving.Service:
  """States of the users of an experiment, after all of its events.

  Args:
    experiment: of a 2TS run.
    params: of `serving.two_time_ranker`.
  """
  prepared = experiment.prepared
  options = experiment.config.two_time
  jobs = jobs_lib.make(prepared, experiment.groups, options)
  return online_serving.make(
    experiment.config,
    params,
    [job.part.name for job in jobs],
    _known(prepared, params, jobs),
    online_serving.Ids(
      np.asarray(prepared.user_ids), np.asarray(prepared.item_ids)
    ),
  )


def _known(prepared, params, jobs) -> online_serving.State:
  """The users of the run after all of its events."""
  network = np.zeros(prepared.num_users, np.int32)
  group = np.zeros(prepared.num_users, np.int32)
  for number, job in enumerate(jobs):
    network[job.serves] = number
    net = params.net['networks'].get(job.part.name)
    if net is not None and 'plugins' in net:
      group[job.serves] = job.group[job.serves]
  offsets = np.asarray(prepared.user_offsets)
  count = np.diff(offsets).astype(np.int32)
  last = np.zeros_like(count)
  last[count > 0] = np.asarray(prepared.items)[offsets[1:][count > 0] - 1]
  return online_serving.State(
    params.net['user']['state'],
    last,
    network,
    group,
    count,
    np.zeros_like(count),
  )
