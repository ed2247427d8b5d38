"""EASE and item-item nearest neighbors: a recipe without a training phase."""

from typing import Any

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import fields
from twotsrec import types
from twotsrec.evaluation import fitted
from twotsrec.evaluation import offline
from twotsrec.models import closed_form
from twotsrec.recipes import pin
from twotsrec.training import settings
from twotsrec.training import summary

READS = (
  fields.Reads('data.*', but='data.history_length data.num_negatives'),
  fields.Reads('groups.* model.name closed_form.* evaluation.*'),
)


def check(config: config_lib.Config) -> None:
  """Refuses settings that cannot work, or that nothing reads."""
  settings.check(config, READS)


def build(experiment: contracts.Experiment) -> contracts.Experiment:
  """The scorer; parameters are fitted when it is trained."""
  config, prepared = experiment.config, experiment.prepared
  model = closed_form.make_model(
    config.model.name, prepared.num_items, config.closed_form
  )
  sizes = types.Sizes(prepared.num_users, prepared.num_items, 1)
  return experiment._replace(system=pin.System(model, model, {}, sizes))


def train(
  experiment: contracts.Experiment, work: contracts.Work
) -> contracts.Served:
  """Solves for the weights of all pairs of items."""
  del work  # no phase
  return contracts.Served(
    experiment=experiment,
    params=ranker(experiment).params,
    training=summary.of_phases({}),
  )


def ranker(
  experiment: contracts.Experiment, params: types.Params | None = None
) -> contracts.Ranker:
  """The weights at work; they are solved for where none are given."""
  name = experiment.config.model.name
  return fitted.ranker(experiment, name, params)


def protocol(experiment: contracts.Experiment, split: str) -> dict[str, Any]:
  """The offline protocol; nothing is selected."""
  described = offline.protocol(experiment, split)
  return described | {'selection': 'nothing: solved in one step'}


RECIPE = contracts.Recipe(
  check=check,
  build=build,
  train=train,
  template=pin.template,
  rank=offline.rank,
  ranker=ranker,
  rules=offline.rules,
  protocol=protocol,
)
