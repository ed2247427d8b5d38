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
it; `theory.model_threshold` goes between them.
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
from twotsrec import models
from twotsrec import types
from twotsrec.evaluation import offline
from twotsrec.recipes import pin
from twotsrec.recipes.two_time import jobs as jobs_lib
from twotsrec.recipes.two_time import ranks
from twotsrec.recipes.two_time import serving
from twotsrec.recipes.two_time import threshold
from twotsrec.serving import two_time_ranker
from twotsrec.training import settings
from twotsrec.training import summary


class System(NamedTuple):
  """What ranks.

  Attributes:
    model: of known users and raw histories.
    players: networks at work; () makes them when they are needed.
  """

  model: types.Model
  players: tuple[ranks.Player, ...] = ()


def check(config: config_lib.Config) -> None:
  """Refuses settings that cannot work, or that nothing reads."""
  fields.refuse_values(config)  # such as a variant that there is not
  settings.two_time_scale(config, jobs_lib.PARTS[config.two_time.variant])


def build(experiment: contracts.Experiment) -> contracts.Experiment:
  """The ranker; networks are built from the threshold that is in force."""
  models.check_options(experiment.config.model, ('width',))
  model = two_time_ranker.make(experiment.config)
  return experiment._replace(system=System(model))


def train(
  experiment: contracts.Experiment, work: contracts.Work
) -> contracts.Served:
  """Stage 1, the networks on it, and everybody's state after all events.

  Raises:
    types.UserError: what no phase can be made of.
  """
  outcome, how = threshold.train(experiment, work)
  experiment, players, nets, vectors, phases, choice = outcome
  system = experiment.system._replace(players=players)
  options = experiment.config.two_time
  return contracts.Served(
    experiment=experiment._replace(system=system),
    params=serving.serve(experiment, players, nets, vectors),
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
      }
    },
  )


def in_force(
  config: config_lib.Config, report: dict[str, Any]
) -> config_lib.Config:
  """The configuration with the threshold and window of a finished run."""
  chosen = {name: report['two_time'][name] for name in ('threshold', 'window')}
  return jobs_lib.changed(config, threshold_rule='given', **chosen)


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
  in_force=in_force,
  service=serving.make_service,
)
