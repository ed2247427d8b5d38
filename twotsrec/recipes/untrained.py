"""Recipes without a training phase: what is counted, or solved for at once.

A run ranks, reports, compares and recommends like any other.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import fields
from twotsrec import types
from twotsrec.data import dislikes
from twotsrec.data import impressions
from twotsrec.evaluation import discoveries
from twotsrec.evaluation import offline
from twotsrec.training import settings
from twotsrec.training import summary

# What a model of several behaviors reads.
OF_BEHAVIORS = (
  fields.Reads('data.*', but='data.num_negatives data.negative_*'),
  fields.Reads(
    'groups.* model.name evaluation.* discovery.*', but='evaluation.online'
  ),
)


class Kind(NamedTuple):
  """What such a model is made of.

  Attributes:
    reads: settings.
    ranker: (experiment, counted, parameters or None) -> the model alone; None
      fits them, and other parameters are not looked into.
    count: experiment -> what is counted once.
    check: (config) refuses what else cannot work.
  """

  reads: Sequence[fields.Reads]
  ranker: Callable[..., contracts.Ranker]
  count: Callable[[contracts.Experiment], Any] = lambda experiment: None
  check: Callable[[config_lib.Config], None] = lambda config: None


def refuse(experiment: contracts.Experiment) -> None:
  """Refuses data that a model of several behaviors cannot use.

  Raises:
    types.UserError: dislikes, or places to share out that nothing can take.
  """
  name = experiment.config.model.name
  dislikes.refuse(experiment.prepared, f'model.name={name}')
  impressions.refuse(experiment.prepared, f'model.name={name}')
  discoveries.require_both(experiment)


def recipe(kind: Kind) -> contracts.Recipe:
  """The recipe of a model of this kind."""

  def check(config):
    settings.check(config, kind.reads)
    kind.check(config)

  def build(experiment):
    return experiment._replace(system=kind.count(experiment))

  def alone(experiment, params=None):
    return kind.ranker(experiment, experiment.system, params)

  def train(experiment, work):
    del work  # no phase
    return contracts.Served(
      experiment=experiment,
      params=alone(experiment).params,
      training=summary.of_phases({}),
    )

  def template(experiment):
    # Nothing is fitted to know what parameters look like.
    made, prepared = alone(experiment, ()), experiment.prepared
    sizes = types.Sizes(prepared.num_users, prepared.num_items, 1)
    return made.model.init(jax.random.key(0), made.context, sizes)

  def ranker(experiment, params):
    return discoveries.around(experiment, alone(experiment, params))

  return contracts.Recipe(
    check=check,
    build=build,
    train=train,
    template=template,
    rank=offline.rank,
    ranker=ranker,
    rules=offline.rules,
    protocol=_protocol,
  )


def _protocol(experiment, split):
  described = offline.protocol(experiment, split)
  return described | {'selection': 'nothing: counted, or solved in one step'}
