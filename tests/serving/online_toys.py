"""2TS that nobody trained, with the users of a small log, for serving."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tests.data import small_logs
from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types
from twotsrec.evaluation import players as players_lib
from twotsrec.models import two_rnn
from twotsrec.objectives import streams as stream_objectives
from twotsrec.ops import recurrence
from twotsrec.recipes.two_time import networks
from twotsrec.runs import experiment as experiment_lib
from twotsrec.serving import online
from twotsrec.serving import two_time_states
from twotsrec.training import checkpoints
from twotsrec.training import files
from twotsrec.training import run_directory

ITEMS = 20
# Users of both kinds, of several groups, and without a train event.
COUNTS = [12, 3, 31, 1, 9, 14, 5, 25, 6, 4, 0, 8]


class World(NamedTuple):
  """A system and its service."""

  experiment: contracts.Experiment
  setting: networks.Setting
  players: tuple[players_lib.Player, ...]
  nets: dict[str, types.PyTree]
  params: types.Params
  service: online.Service


def config(**changes) -> config_lib.Config:
  """The small system; `two_time__cell='lstm'` changes two_time.cell."""
  made = config_lib.Config()
  made.model = config_lib.ModelConfig(name='two_time_scale', width=4)
  made.groups.num_groups = 3
  made.two_time = dataclasses.replace(made.two_time, threshold=7, window=3)
  for path, value in changes.items():
    section, name = path.split('__')
    setattr(getattr(made, section), name, value)
  return made


@functools.cache
def world(**changes) -> World:
  """Networks, vectors and plugins drawn at random; users of a small log."""
  prepared = small_logs.make(COUNTS, num_items=ITEMS)
  experiment = experiment_lib.make(config(**changes), prepared)
  width = experiment.config.model.width
  item = _noise(np.zeros((ITEMS + 1, width)), 1).at[0].set(0.0)
  user = _noise(np.zeros((prepared.num_users, width)), 2)
  vectors = stream_objectives.Vectors(item, user)
  setting = networks.Setting(experiment, vectors)
  players = players_lib.make(experiment)
  nets = {
    player.job.part.name: _net(setting, player.job, number)
    for number, player in enumerate(players)
    if player.job.part.reads != 'nothing'
  }
  params = two_time_states.serve(experiment, players, nets, vectors)
  service = two_time_states.make_service(experiment, params)
  return World(experiment, setting, players, nets, params, service)


def without_users(**changes) -> online.Service:
  """A service of two networks that nobody trained."""
  made = config(**changes)
  stages = two_rnn.make_stages(made.two_time, made.model.width)
  init = lambda key: stages.init(key, {}, types.Sizes(1, 3, 1))
  params = _noise(jax.eval_shape(init, jax.random.key(0)), 3)
  names, none = ('inactive', 'active'), np.zeros(0, np.int32)
  net = {
    'new': np.zeros(made.model.width, np.float32),
    'networks': dict.fromkeys(names, params.net),
  }
  return online.make(
    made,
    types.Params(params.tables, net),
    names,
    online.State(np.zeros((0, 1)), none, none, none, none, none),
    online.Ids(none, np.arange(3)),
  )


def at_first(made: World) -> online.State:
  """All users before the first event that is played for them."""
  prepared, options = made.experiment.prepared, made.experiment.config.two_time
  cell = two_rnn.cell_of(options)
  offsets = np.asarray(prepared.user_offsets)
  known = made.service.known
  states, last = np.array(known.state), np.zeros_like(known.last)
  for player in made.players:
    for u in np.flatnonzero(player.job.serves):
      begin = made.setting.vectors.user[u]
      if not player.job.part.own_start:
        net = made.nets[player.job.part.name]
        begin = net.get('trunk', net)['extractor']['psi']
      states[u] = recurrence.start(cell, begin)
      if player.job.replayed[u] > offsets[u]:
        last[u] = prepared.items[player.job.replayed[u] - 1]
  zero = np.zeros_like(known.consumed)
  state = known._replace(state=states, last=last, consumed=zero)
  return online.State(*map(jnp.array, state))


def replayed(made: World) -> tuple[np.ndarray, np.ndarray]:
  """First played event of every user, and one past the last, i64[U] each."""
  end = np.asarray(made.experiment.prepared.user_offsets)[1:]
  begin = np.zeros_like(end)
  for player in made.players:
    serves = player.job.serves
    begin[serves] = player.job.replayed[serves]
    if player.job.part.reads == 'nothing':
      begin[serves] = end[serves]
  return begin, end


def save_run(made: World, folder) -> str:
  """A run directory with what a finished training leaves."""
  experiment = made.experiment
  workdir = str(folder)
  options = experiment.config.two_time
  files_of = {
    run_directory.config_path(workdir): dataclasses.asdict(experiment.config),
    run_directory.report_path(workdir): {
      'protocol': {'candidates': 'never_interacted'},
      'training': {'selected_step': 0},
      'two_time': {'threshold': options.threshold, 'window': options.window},
    },
  }
  folder.mkdir()
  for path, values in files_of.items():
    files.write_json(path, values)
  experiment_lib.keep_data(workdir, experiment.prepared)
  best = run_directory.best_path(workdir)
  checkpoints.save(best, 0, {'params': made.params}, {}, keep=1)
  return workdir


def _net(setting, job, seed):
  shapes = lambda make: jax.eval_shape(make, jax.random.key(0))
  net = _noise(
    shapes(lambda key: networks.init_net(setting, job.part, key)), seed
  )
  if setting.config.plugin.name == 'none' or job.part.own_start:
    return net
  plugins = shapes(lambda key: networks.init_plugins(setting, job, net, key))
  return {'trunk': net, 'plugins': _noise(plugins, seed + 9)}


def _noise(tree, seed):
  """A tree of these shapes, drawn without a program to compile."""
  generator = np.random.default_rng(seed)
  draw = lambda leaf: jnp.asarray(
    0.5 * generator.standard_normal(leaf.shape), jnp.float32
  )
  return jax.tree.map(draw, tree)
