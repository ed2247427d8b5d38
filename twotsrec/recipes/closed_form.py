"""EASE and item-item nearest neighbors: a recipe without a training phase."""

from typing import Any, NamedTuple

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import fields
from twotsrec import types
from twotsrec.evaluation import offline
from twotsrec.models import closed_form
from twotsrec.training import settings
from twotsrec.training import summary


class System(NamedTuple):
  """The scorer of an item-item model, without its parameters."""

  model: types.Model
  sizes: types.Sizes


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
  return experiment._replace(system=System(model=model, sizes=sizes))


def train(
  experiment: contracts.Experiment, work: contracts.Work
) -> contracts.Served:
  """Solves for the weights of all pairs of items."""
  del work  # no phase
  name = experiment.config.model.name
  return contracts.Served(
    experiment=experiment,
    params=offline.closed_form_ranker(experiment, name).params,
    training=summary.of_phases({}),
  )


def template(experiment: contracts.Experiment) -> types.Params:
  """Parameters of the shape that `train` fits."""
  system = experiment.system
  return system.model.init(None, {}, system.sizes)


def ranker(
  experiment: contracts.Experiment, params: types.Params
) -> contracts.Ranker:
  """The weights at work."""
  name = experiment.config.model.name
  return offline.closed_form_ranker(experiment, name, params)


def protocol(experiment: contracts.Experiment, split: str) -> dict[str, Any]:
  """The offline protocol; nothing is selected."""
  described = offline.protocol(experiment, split)
  return described | {'selection': 'nothing: solved in one step'}


RECIPE = contracts.Recipe(
  check=check,
  build=build,
  train=train,
  template=template,
  rank=offline.rank,
  ranker=ranker,
  rules=offline.rules,
  protocol=protocol,
)
