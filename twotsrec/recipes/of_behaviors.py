"""Recipes without a training phase, for data with behaviors.

What is counted or solved for stands with the models; a run ranks, reports,
compares and recommends like any other.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import fields
from twotsrec import types
from twotsrec.data import dislikes
from twotsrec.evaluation import discoveries
from twotsrec.evaluation import offline
from twotsrec.training import settings
from twotsrec.training import summary

READS = (
  fields.Reads('data.*', but='data.num_negatives data.negative_*'),
  fields.Reads('groups.* model.name evaluation.* discovery.*'),
)


class Kind(NamedTuple):
  """What such a model is made of.

  Attributes:
    reads: settings, beside `READS`.
    check: (config) refuses what else cannot work.
    count: (experiment) -> what is counted once, for
    ranker: (experiment, counted, parameters or None) -> the model alone; None
      fits them.
  """

  reads: Sequence[fields.Reads]
  check: Callable[[config_lib.Config], None]
  count: Callable[[contracts.Experiment], Any]
  ranker: Callable[..., contracts.Ranker]


def recipe(kind: Kind) -> contracts.Recipe:
  """The recipe of a model of this kind."""

  def check(config):
    settings.check(config, (*READS, *kind.reads))
    kind.check(config)

  def build(experiment):
    name = experiment.config.model.name
    dislikes.refuse(experiment.prepared, f'model.name={name}')
    discoveries.require_both(experiment)
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
    made, prepared = alone(experiment), experiment.prepared
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
