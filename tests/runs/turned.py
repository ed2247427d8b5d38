"""A finished run as if it had plugins that are told apart at a glance."""

import dataclasses

import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types


def by_group(
  experiment: contracts.Experiment, **routing
) -> contracts.Experiment:
  """The experiment where every second group is ranked from the worst on.

  Groups 1 and 3 keep the scores of the model, group 2 has them negated.
  """
  config = dataclasses.replace(
    experiment.config,
    plugin=config_lib.PluginConfig(name='light'),
    routing=config_lib.RoutingConfig(**routing),
  )
  system = experiment.system
  system = system._replace(model=_turned(system.model))
  return experiment._replace(config=config, system=system)


def sign(groups):
  """What the scores of a group are multiplied by."""
  return 1 - 2 * (groups % 2)


def _turned(model: types.Model) -> types.Model:
  def encode(net, rows, context, inputs, *, key=None):
    groups, weights = inputs['route']
    signs = jnp.sum(weights * sign(groups), axis=-1)
    encoded = model.encode(net, rows, context, inputs, key=key)
    return encoded, jnp.broadcast_to(signs, len(inputs['history']))

  def score(net, encoded, candidate_rows, *, key=None):
    inner, signs = encoded
    scores = model.score(net, inner, candidate_rows, key=key)
    return scores * signs[:, None]

  return model._replace(encode=encode, score=score)
