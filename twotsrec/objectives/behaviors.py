"""COPF's objective: ranking of every behavior, alignment, regularization.

    L = scale * sum_k lambda_k BPR_k + gamma L_cl + mu ||theta||^2

(COPF eq. 8, 16, 17). BPR is a mean over pairs; what a sum over behaviors means
can be left to a gradient aggregator, as with activeness groups.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import losses
from twotsrec import types
from twotsrec.models import multi_behavior
from twotsrec.ops import pairs as pairs_lib

# Neither relations nor biases are regularized in the authors' code.
_FREE = ('relation', 'bias')


class Batch(NamedTuple):
  """Users and their pairs.

  Attributes:
    users: i32[B], -1 for filling.
    group: i32[B], activeness group of each, 0..G-1.
    pairs: of each behavior.
    unique: pairs of one of two behaviors without the other.
  """

  users: jax.Array
  group: jax.Array
  pairs: tuple[pairs_lib.Pairs, ...]
  unique: tuple[pairs_lib.Pairs, ...] = ()


def check(options: config_lib.BehaviorConfig, num_behaviors: int) -> None:
  """Refuses weights that do not fit the behaviors.

  Raises:
    types.UserError: not one for each, or none above 0.
  """
  weights = options.weights
  if weights and len(weights) != num_behaviors:
    raise types.UserError(
      f'behavior.weights has {len(weights)} numbers, but there are'
      f' {num_behaviors} behaviors; give one for each, or none for equal ones'
      " (--config.behavior.weights='()')"
    )
  if weights and not sum(weights) > 0:
    raise types.UserError(
      f'behavior.weights is {weights}; allowed are numbers from 0, not all 0'
    )


def task_weights(
  options: config_lib.BehaviorConfig, num_behaviors: int
) -> tuple[float, ...]:
  """lambda_k of eq. 16."""
  return options.weights or (1.0 / num_behaviors,) * num_behaviors


def pair_losses(
  model: multi_behavior.MultiBehavior,
  params: types.Params,
  encoded: multi_behavior.Encoded,
  batch: Batch,
  task: int,
) -> jax.Array:
  """BPR loss of every pair of a task, f32[P]; 0 for filling."""
  pairs = batch.pairs[task]
  users = jnp.maximum(batch.users[pairs.slot], 0)
  items = jnp.stack([pairs.positive, pairs.negative], axis=1)
  scores = model.score(params, encoded, task, users, items)
  margin = scores[:, 0] - scores[:, 1]
  return pairs.weight * losses.bpr_loss(margin)


def l2_penalty(params: types.Params, scope: str) -> jax.Array:
  """Squared sum of what is regularized, f32[]; the padding row is not.

  Args:
    params: of the model.
    scope: 'authors' leaves out relations and biases, 'all' nothing.
  """
  users = params.tables['user']['embedding']
  items = params.tables['item']['embedding'][1:]
  total = jnp.sum(jnp.square(users)) + jnp.sum(jnp.square(items))
  for path, leaf in jax.tree_util.tree_flatten_with_path(params.net)[0]:
    names = [getattr(part, 'key', None) for part in path]
    if scope == 'all' or not any(name in _FREE for name in names):
      total += jnp.sum(jnp.square(leaf))
  return total
