"""A mean of item vectors that learns by pairs first, then by probabilities.

A recipe in one file, with two phases of its own.
"""

from typing import Any, NamedTuple

from tests import worlds
from twotsrec import contracts
from twotsrec import types
from twotsrec.evaluation import offline
from twotsrec.objectives import sampled as objectives
from twotsrec.recipes import pin
from twotsrec.training import phases
from twotsrec.training import settings
from twotsrec.training import sources
from twotsrec.training import summary
from twotsrec.training import updates


class System(NamedTuple):
  """The scorer, and what it is initialized for."""

  model: types.Model
  sizes: types.Sizes


def build(experiment: contracts.Experiment) -> contracts.Experiment:
  """A model of the configured width."""
  config, prepared = experiment.config, experiment.prepared
  sizes = types.Sizes(
    prepared.num_users, prepared.num_items, config.data.history_length
  )
  model = worlds.mean_model(config.model.width)
  return experiment._replace(system=System(model, sizes))


def train(
  experiment: contracts.Experiment, work: contracts.Work
) -> contracts.Served:
  """The second phase begins where the first ended."""
  pairs = work.fit('pairs', *_phase(experiment, 'bpr'))
  start = lambda: contracts.Start(
    pairs.params, {'of': pin.digest(pairs.params)}
  )
  last = work.fit('chances', *_phase(experiment, 'bce'), start=start)
  ended = summary.of_phases({'pairs': pairs, 'chances': last})
  return contracts.Served(experiment, last.params, ended)


def _phase(experiment, objective) -> phases.Parts:
  config, system = experiment.config, experiment.system
  learner = contracts.Learner(
    init=lambda key: system.model.init(key, None, system.sizes),
    loss=objectives.make(objectives.Loss(objective), system.model),
  )
  source = sources.of_histories(experiment)
  rate = config.train.learning_rate
  how = phases.How(
    train=config.train,
    update=updates.aggregated(
      config, learner, source, updates.adam(config)(rate)
    ),
    keys=sources.keys(config),
    judge=offline.make_metric(
      experiment, lambda params: ranker(experiment, params), config.train
    ),
  )
  return phases.Parts(learner, source, how)


def template(experiment: contracts.Experiment) -> types.Params:
  """Fresh parameters."""
  system = experiment.system
  return system.model.init(
    sources.keys(experiment.config).init, None, system.sizes
  )


def ranker(experiment: contracts.Experiment, params: Any) -> contracts.Ranker:
  """The model itself."""
  system = experiment.system
  return contracts.Ranker(
    system.model, params, None, history_length=system.sizes.history_length
  )


RECIPE = contracts.Recipe(
  check=settings.sequence,
  build=build,
  train=train,
  template=template,
  rank=offline.rank,
  ranker=ranker,
  rules=offline.rules,
  protocol=offline.protocol,
)
