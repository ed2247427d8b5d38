"""2TS: embeddings first, then two recurrent networks (2TS sec. 3).

Stage 1 trains a vector per user and item; stage 2 trains, on frozen vectors, a
network that starts at one common vector and serves inactive users, and another
that starts at the user's own vector and serves active ones. The ablations of
sec. 4.2 leave something out of this; `jobs.PARTS` says what.

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

import dataclasses
from typing import Any, NamedTuple

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import fields
from twotsrec import types
from twotsrec.evaluation import offline
from twotsrec.recipes import pin
from twotsrec.recipes.two_time import jobs as jobs_lib
from twotsrec.recipes.two_time import networks as networks_lib
from twotsrec.recipes.two_time import ranks
from twotsrec.recipes.two_time import serving
from twotsrec.recipes.two_time import shared
from twotsrec.recipes.two_time import stage1
from twotsrec.recipes.two_time import threshold
from twotsrec.serving import two_time_ranker
from twotsrec.training import settings
from twotsrec.training import summary


class System(NamedTuple):
  """What ranks.

  Attributes:
    model: of known users and raw histories.
    players: networks at work, by the name of their part; None makes them when
      they are needed.
  """

  model: types.Model
  players: dict[str, serving.Player] | None = None


def check(config: config_lib.Config) -> None:
  """Refuses settings that cannot work, or that nothing reads."""
  settings.two_time_scale(config, jobs_lib.parts(config.two_time.variant))


def build(experiment: contracts.Experiment) -> contracts.Experiment:
  """The ranker; networks are built from the threshold that is in force."""
  fields.refuse_options(experiment.config.model, 'model', ('width',))
  model = two_time_ranker.make(experiment.config)
  return experiment._replace(system=System(model=model))


def train(
  experiment: contracts.Experiment, work: contracts.Work
) -> contracts.Served:
  """Stage 1, the networks on it, and everybody's state after all events.

  Raises:
    types.UserError: what no phase can be made of.
  """
  _verify(experiment)
  trained, choice = threshold.train(experiment, work)
  experiment = trained.experiment
  options = experiment.config.two_time
  experiment = experiment._replace(
    system=experiment.system._replace(players=trained.players)
  )
  setting = networks_lib.Setting(
    experiment.config, experiment.prepared, trained.vectors
  )
  return contracts.Served(
    experiment=experiment,
    params=serving.serve(
      setting, trained.players, trained.nets, trained.vectors
    ),
    training={
      **summary.of_phases(trained.phases),
      'selected_epoch': trained.stage1_epochs or None,
    },
    sections={
      'two_time': {
        **choice,
        'variant': options.variant,
        'threshold': options.threshold,
        'window': options.window,
        'stage1_epochs': trained.stage1_epochs,
        'stage1_trials': {str(k): v for k, v in trained.trials.items()},
        'stage1_seconds': round(trained.stage1_seconds, 3),
        'stage1_taken': bool(options.stage1),
      }
    },
  )


def _verify(experiment):
  """Refuses before the first phase opens the run."""
  config = experiment.config
  threshold.check(config, experiment.prepared)
  stage1.load_features(config, experiment.prepared)
  tried = set(config.two_time.stage1_epochs)
  if jobs_lib.trained_together(config.two_time.variant):
    tried = set()
  if len(tried) > 1 and not offline.held_out(experiment, 'validation'):
    raise stage1.nothing_to_choose_by(tried)
  shared.find(config, experiment.prepared)


def ranker(
  experiment: contracts.Experiment, params: types.Params
) -> contracts.Ranker:
  """Known users by their state, others by the network of inactive users."""
  return contracts.Ranker(
    model=experiment.system.model,
    params=params,
    context={},
    history_length=experiment.config.data.history_length,
  )


def rules(experiment: contracts.Experiment) -> dict[str, contracts.Ranker]:
  """Popularity alone: states read one kind of event."""
  return {'popularity': offline.popularity(experiment)}


def protocol(experiment: contracts.Experiment, split: str) -> dict[str, Any]:
  """How events are ranked, for the report."""
  options = experiment.config.two_time
  return {
    **offline.protocol(experiment, split),
    'variant': options.variant,
    'candidates': 'all',
    'negatives': 'items that are not among the earlier events of the user',
    'order': 'online: an event is scored, then it moves the state',
    'candidate_lists': options.evaluation_lists,
    'lists_seed': experiment.config.evaluation.seed,
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
  template=serving.template,
  rank=ranks.rank,
  ranker=ranker,
  rules=rules,
  protocol=protocol,
  systems=systems,
  in_force=serving.in_force,
  service=serving.make_service,
)
