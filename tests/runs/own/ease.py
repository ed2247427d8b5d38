"""EASE: items as a ridge regression on each other, in closed form.

Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data", eq. 8. A
recipe in one file, without a phase of training.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import offline

RIDGE = 20.0


def check(config: config_lib.Config) -> None:
  """Refuses plugins, which it has no place for."""
  if config.plugin.name != 'none':
    raise types.UserError(
      f'plugin.name {config.plugin.name}: ease has no network to put plugins'
      ' in; leave it out'
    )


def build(experiment: contracts.Experiment) -> contracts.Experiment:
  """The scorer is all there is."""
  return experiment._replace(system=types.Model(_init, _encode, _score))


def _init(key, context, sizes) -> types.Params:
  del key, context
  size = sizes.num_items + 1
  return types.Params({'item': {'weights': jnp.zeros((size, size))}}, {})


def _encode(net, rows, context, inputs, *, key=None):
  """Which items are in a history, f32[B, I + 1]."""
  del net, context, key
  history, size = inputs['history'], rows['weights'].shape[-1]
  real = (history > 0)[..., None]
  return jnp.max(real * jax.nn.one_hot(history, size), axis=-2)


def _score(net, encoded, candidate_rows, *, key=None):
  del net, key
  return jnp.einsum('...i,...ci->...c', encoded, candidate_rows['weights'])


def train(
  experiment: contracts.Experiment, work: contracts.Work
) -> contracts.Served:
  """Solves for the weights, a row for each item that is scored."""
  del work  # nothing to resume
  begin, prepared = time.perf_counter(), experiment.prepared
  train = np.asarray(prepared.split) == prepared_lib.TRAIN
  clicks = np.zeros((prepared.num_users, prepared.num_items + 1))
  users = prepared.event_users[train]
  clicks[users, np.asarray(prepared.items)[train]] = 1.0
  params = template(experiment)
  params.tables['item']['weights'] = jnp.asarray(weights(clicks).T, jnp.float32)
  seconds = round(time.perf_counter() - begin, 3)
  return contracts.Served(experiment, params, {'seconds': seconds})


def weights(clicks: np.ndarray) -> np.ndarray:
  """B of the least |X - X B|^2 + ridge |B|^2, its diagonal 0, f64[I, I]."""
  inverse = np.linalg.inv(clicks.T @ clicks + RIDGE * np.eye(clicks.shape[1]))
  solved = -inverse / np.diag(inverse)
  np.fill_diagonal(solved, 0.0)
  return solved


def template(experiment: contracts.Experiment) -> types.Params:
  """Parameters of 0."""
  prepared = experiment.prepared
  sizes = types.Sizes(prepared.num_users, prepared.num_items, 1)
  return experiment.system.init(None, None, sizes)


def ranker(
  experiment: contracts.Experiment, params: types.Params
) -> contracts.Ranker:
  """Scores anybody by a history."""
  length = experiment.config.data.history_length
  return contracts.Ranker(
    experiment.system, params, None, history_length=length
  )


RECIPE = contracts.Recipe(
  check=check,
  build=build,
  train=train,
  template=template,
  rank=offline.rank,
  ranker=ranker,
  rules=offline.rules,
  protocol=offline.protocol,
)
