"""COPF's objective: ranking of every behavior, alignment, regularization.

    L = scale * sum_k lambda_k BPR_k + gamma L_cl + mu ||theta||^2

(COPF eq. 8, 16, 17). BPR, or another loss of a pair (`behavior.loss`), is a
mean over pairs; what a sum over behaviors means can be left to a gradient
aggregator, as with activeness groups.
"""

from collections.abc import Sequence
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
  loss: str = 'bpr',
) -> jax.Array:
  """Loss of every pair of a task and its negatives, f32[P]; 0 for filling.

  `encoded` has rows for the users of the batch, in its order; `loss` is a name
  in `losses.OF_CANDIDATES`.
  """
  pairs = batch.pairs[task]
  items = pairs_lib.candidates(pairs)
  scores = model.score(params, encoded, task, pairs.slot, items)
  return pairs.weight * losses.OF_CANDIDATES[loss](scores)


def penalty(
  params: types.Params, batch: Batch, options: config_lib.BehaviorConfig
) -> jax.Array:
  """What `behavior.l2` weighs, as `behavior.l2_scope` says, f32[]."""
  if options.l2_scope == 'batch':
    weights = task_weights(options, len(batch.pairs))
    trained = [p for p, w in zip(batch.pairs, weights, strict=True) if w]
    return batch_penalty(params, batch.users, trained)
  if options.l2_scope == 'norm':
    return norm_penalty(params)
  return l2_penalty(params, options.l2_scope)


def batch_penalty(
  params: types.Params, users: jax.Array, sets: Sequence[pairs_lib.Pairs]
) -> jax.Array:
  """Half the squared norm of the embeddings of all pairs, over the pairs.

  A row counts as often as it occurs among users, positives and negatives; the
  embeddings are those that the graphs start from.

  Args:
    params: of the model.
    users: i32[B], of the batch.
    sets: pairs of the behaviors that are trained.
  Reference: LightGCN's code (He et al. 2020).
  """
  square = lambda table: jnp.sum(jnp.square(table['embedding']), axis=1)
  user, item = square(params.tables['user']), square(params.tables['item'])
  total = count = jnp.zeros(())
  for pairs in sets:
    own = user[jnp.maximum(users[pairs.slot], 0)]
    rows = own + jnp.sum(item[pairs_lib.candidates(pairs)], axis=1)
    total += jnp.dot(pairs.weight, rows)
    count += jnp.sum(pairs.weight)
  return 0.5 * total / jnp.maximum(count, 1.0)


def norm_penalty(params: types.Params) -> jax.Array:
  """Norms, not squared, of both tables of embeddings over the items, f32[].

  Reference: the code of CRGCN and BCIPM.
  """
  users, items = _embeddings(params)
  return (jnp.linalg.norm(users) + jnp.linalg.norm(items)) / len(items)


def l2_penalty(params: types.Params, scope: str) -> jax.Array:
  """Squared sum of what is regularized, f32[]; the padding row is not.

  Args:
    params: of the model.
    scope: 'authors' leaves out relations and biases, 'all' nothing.
  Reference: COPF eq. 17 and the authors' code.
  """
  users, items = _embeddings(params)
  total = jnp.sum(jnp.square(users)) + jnp.sum(jnp.square(items))
  for path, leaf in jax.tree_util.tree_flatten_with_path(params.net)[0]:
    names = [getattr(part, 'key', None) for part in path]
    if scope == 'all' or not any(name in _FREE for name in names):
      total += jnp.sum(jnp.square(leaf))
  return total


def _embeddings(params):
  """Rows of users and items without the padding row."""
  tables = params.tables
  return tables['user']['embedding'], tables['item']['embedding'][1:]
