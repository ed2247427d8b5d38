"""2TS: embeddings first, then two recurrent networks (2TS sec. 3).

Stage 1 trains a vector per user and item; stage 2 trains, on frozen vectors, a
network that starts at one common vector and serves inactive users, and another
that starts at the user's own vector and serves active ones. The ablations of
sec. 4.2 leave something out of this; `stream_jobs.PARTS` says what.

Departure: in sec. 3.1 and 3.2 stage 1 trains on all train events, so that
states of active users start at embeddings that have seen the answers of their
window. Here windows of active users are left out of stage 1 and replayed before
validation; `two_time.holdout=none` and `two_time.warmup=none` are the paper's.
Departure: App. C calls users with T > t* active, sec. 2 those with T >= t*. The
model takes the first and `twotsrec.theory` the second, each as its section has
it; `theory.bounds.model_threshold` goes between them.
Departure: eq. 8-9 pair a state with the item of the same index, counting items
from 1. Here an item is scored and then moves the state, which is what the text
on eq. 3 says.
Departure: sec. 3.3 has one W. Here each network has its own, because the losses
are separate; `two_time.share_readout=True` shares one.
"""

from collections.abc import Callable
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import fields
from twotsrec import types
from twotsrec.data import impressions
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import stream_jobs
from twotsrec.evaluation import movement
from twotsrec.evaluation import offline
from twotsrec.evaluation import online
from twotsrec.evaluation import online_models
from twotsrec.evaluation import players as players_lib
from twotsrec.models import two_rnn
from twotsrec.objectives import streams as stream_objectives
from twotsrec.recipes import pin
from twotsrec.recipes.two_time import networks
from twotsrec.recipes.two_time import threshold
from twotsrec.serving import two_time_ranker
from twotsrec.serving import two_time_states
from twotsrec.training import settings
from twotsrec.training import summary


class System(NamedTuple):
  """The ranker, and the networks that rank held-out events.

  Attributes:
    model: of users of the log and of raw histories.
    players: networks at work; () makes them when they are needed.
  """

  model: types.Model
  players: tuple[players_lib.Player, ...] = ()


def check(config: config_lib.Config) -> None:
  """Refuses settings that cannot work, or that nothing reads."""
  fields.refuse_values(config)  # such as a variant that there is not
  settings.two_time_scale(config, stream_jobs.PARTS[config.two_time.variant])


def build(experiment: contracts.Experiment) -> contracts.Experiment:
  """The ranker; networks are built from the threshold that is in force."""
  fields.refuse_options(experiment.config.model, 'model', ('width',))
  impressions.refuse(experiment.prepared, 'a model of 2TS')
  model = two_time_ranker.make(experiment.config)
  return experiment._replace(system=System(model))


def train(
  experiment: contracts.Experiment, work: contracts.Work
) -> contracts.Served:
  """Stage 1, the networks on it, and everybody's state after all events."""
  outcome, how = threshold.train(experiment, work)
  experiment, players, nets, vectors, phases, choice, start = outcome
  system = experiment.system._replace(players=players)
  options = experiment.config.two_time
  return contracts.Served(
    experiment=experiment._replace(system=system),
    params=two_time_states.serve(experiment, players, nets, vectors),
    training={
      **summary.of_phases(phases),
      'selected_epoch': choice.epochs or None,
    },
    sections={
      'two_time': {
        **how,
        'variant': options.variant,
        'threshold': options.threshold,
        'window': options.window,
        'stage1_epochs': choice.epochs,
        'stage1_trials': {str(k): v for k, v in choice.trials.items()},
        'stage1_seconds': round(choice.seconds, 3),
        'stage1_taken': bool(options.stage1),
        **({'start': start} if start else {}),
      }
    },
  )


def template(experiment: contracts.Experiment) -> types.Params:
  """Parameters as a finished run has them."""
  config, prepared = experiment.config, experiment.prepared
  width, key = config.model.width, jax.random.key(0)
  vectors = stream_objectives.Vectors(
    jnp.zeros((prepared.num_items + 1, width)),
    jnp.zeros((prepared.num_users, width)),
  )
  setting = networks.Setting(experiment, vectors)
  jobs = stream_jobs.make(prepared, experiment.groups, config.two_time)
  nets = {
    job.part.name: networks.init_net(setting, job.part, key)
    for job in jobs
    if job.part.reads != 'nothing'
  }
  if pin.has_plugins(config):
    name = jobs[0].part.name
    own = networks.init_plugins(setting, jobs[0], nets[name], key)
    nets[name] = {'trunk': nets[name], 'plugins': own}
  size = two_rnn.cell_of(config.two_time).states * width
  user = {'start': vectors.user, 'query': vectors.user}
  if stream_jobs.is_shrunk(config.two_time):
    user['weight'] = jnp.zeros(prepared.num_users)
  user['state'] = jnp.zeros((prepared.num_users, size))
  return two_time_states.as_params(vectors.item, user, jnp.zeros(width), nets)


def in_force(
  config: config_lib.Config, report: dict[str, Any]
) -> config_lib.Config:
  """The configuration with the threshold and window of a finished run."""
  chosen = {name: report['two_time'][name] for name in ('threshold', 'window')}
  return stream_jobs.changed(config, threshold_rule='given', **chosen)


def ranker(
  experiment: contracts.Experiment, params: types.Params
) -> contracts.Ranker:
  """Users of the log by their state, others by the network of inactive ones."""
  return contracts.Ranker(
    model=experiment.system.model,
    params=params,
    context={},
    history_length=experiment.config.data.history_length,
  )


def rank(
  experiment: contracts.Experiment,
  ranker: contracts.Ranker,
  split: str,
  show: Callable[[int, int], None] | None = None,
) -> contracts.Ranked:
  """Ranks a split's events as they come, as `contracts.Recipe.rank`.

  Rules are ranked the same way, by histories as they are before each event. The
  part of the report ranks among all items without the user's past, or with it
  where users come back to items; the protocol `online` has the paper's rules.
  """
  prepared, config = experiment.prepared, experiment.config
  index = prepared_lib.SPLITS.index(split)
  lists, seed = config.two_time.evaluation_lists, config.evaluation.seed
  held_out = online.held_out(prepared, index)
  among = online.usual_rules(prepared, lists, seed)
  if ranker.model is experiment.system.model:
    queries = _queries(experiment, ranker, index)
    ranks = online.rank(queries, prepared, held_out, among, progress=show)
  else:
    ranks = online.rank_rule(
      ranker, prepared, held_out, among, config.evaluation, progress=show
    )
  return online_models.ranked(experiment, ranks, _section(experiment, ranks))


def _queries(experiment, ranker, split) -> online.Queries:
  """Queries before all events of a split, and the vectors of items."""
  prepared, system = experiment.prepared, experiment.system
  item, net = ranker.params.tables['item']['embedding'], ranker.params.net
  vectors = stream_objectives.Vectors(
    item, net['user']['start'], net['user'].get('weight')
  )
  players = system.players or players_lib.make(experiment)
  wanted = np.asarray(prepared.split) == split
  blocks = players_lib.blocks(
    prepared, players, net['networks'], vectors, wanted
  )
  return online.Queries(blocks, item)


def _section(experiment, ranks):
  """The paper's metrics by bucket, and how far states move.

  `share_left_out` of the events have an item that training has in windows left
  out of stage 1 alone: seen in training, hence `warm`, but its x_i is 0.
  """
  options, prepared = experiment.config.two_time, experiment.prepared
  divided = any(p.name == 'active' for p in stream_jobs.PARTS[options.variant])
  threshold = options.threshold if divided else None
  left_out = stream_jobs.left_out_items(prepared, options)[ranks['item']]
  return online_models.section(experiment, ranks, threshold) | {
    'movement': movement.curves(ranks, options.threshold),
    'share_left_out': float(np.mean(left_out)),
  }


def protocol(experiment: contracts.Experiment, split: str) -> dict[str, Any]:
  """Protocol of the ranking of events, for the report."""
  options = experiment.config.two_time
  return {
    **offline.protocol(experiment, split),
    **online_models.protocol(experiment),
    'variant': options.variant,
    'order': 'online: an event is scored, then it moves the state',
    'selection': 'validation mrr of each network',
  }


def systems(
  config: config_lib.Config, workdir: str
) -> dict[str, config_lib.Config]:
  """As `pin.systems`; stage 2 is a phase of the same run.

  Plugins are put in the network of inactive users. One that is not configured
  acts on the history alone, since item vectors are frozen.
  """
  made = pin.systems(config, workdir, settings.TWO_TIME_SCALE)
  plugin = dataclasses.replace(made['ga_pn'].plugin, trunk='')
  if not pin.has_plugins(config):
    plugin = dataclasses.replace(plugin, history_only=True)
  return {**made, 'ga_pn': dataclasses.replace(made['ga_pn'], plugin=plugin)}


RECIPE = contracts.Recipe(
  check=check,
  build=build,
  train=train,
  template=template,
  rank=rank,
  ranker=ranker,
  # Both splits are ranked under three rules for the candidates.
  rules=lambda experiment: offline.rules_of_histories(experiment, passes=6),
  protocol=protocol,
  systems=systems,
  in_force=in_force,
  service=two_time_states.make_service,
  section=lambda config: 'two_time',
)
