"""COPF's objective: ranking of every behavior, alignment, regularization.

    L = scale * sum_k lambda_k BPR_k + gamma L_cl + mu ||theta||^2

(COPF eq. 8, 16, 17). BPR is a mean over pairs; what a sum over behaviors means
can be left to a gradient aggregator, as with activeness groups.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import losses
from twotsrec import types
from twotsrec.models import experts
from twotsrec.models import multi_behavior
from twotsrec.ops import contrastive
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
  """BPR loss of every pair of a task, f32[P]; 0 for filling.

  `encoded` has rows for the users of the batch, in its order.
  """
  pairs = batch.pairs[task]
  items = jnp.stack([pairs.positive, pairs.negative], axis=1)
  scores = model.score(params, encoded, task, pairs.slot, items)
  margin = scores[:, 0] - scores[:, 1]
  return pairs.weight * losses.bpr_loss(margin)


def unique_losses(
  encoded: multi_behavior.Encoded,
  batch: Batch,
  pairs_of: Sequence[tuple[int, int]],
  num_users: int,
  options: config_lib.HeadConfig,
) -> list[jax.Array]:
  """Mean BPR losses of what two behaviors do not share, f32[] each.

  Args:
    encoded: representations of all nodes.
    batch: its `unique` pairs.
    pairs_of: (task, source) of each set of pairs.
    num_users: U.
    options: scales of the scores and the vectors.
  Reference: PKEF's PME head (COPF Table 5): the part of the source that is
    orthogonal to the task's representation ranks pairs of one of them only.
  """
  values = []
  for (task, source), pairs in zip(pairs_of, batch.unique, strict=True):
    own, other = encoded.behaviors[task], encoded.behaviors[source]
    rest = options.transfer_scale * (other - experts.project(other, own))
    users = jnp.maximum(batch.users[pairs.slot], 0)
    items = num_users + jnp.stack([pairs.positive, pairs.negative], 1) - 1
    products = rest[users][:, None] * rest[items]
    scale = experts.task_scale(task, len(encoded.behaviors), options)
    scores = scale * jnp.sum(products, axis=-1)
    margin = scores[:, 0] - scores[:, 1]
    values.append(losses.weighted_mean(losses.bpr_loss(margin), pairs.weight))
  return values


def alignment(
  encoded: multi_behavior.Encoded,
  batch: Batch,
  num_users: int,
  options: config_lib.BehaviorConfig,
) -> jax.Array:
  """Contrastive loss of the target against every other behavior, f32[].

  Args:
    encoded: representations of all nodes.
    batch: its positives of the target are the anchors, counted as often as
      they occur, unless options.anchors is 'all'.
    num_users: U.
    options: temperature, similarity and divisors.
  Reference: COPF eq. 8; both sides over the number of users is the authors'
    code.
  """
  *upstream, target = encoded.behaviors
  num_items = target.shape[0] - num_users
  users, user_weight, items, item_weight = _anchors(
    batch, num_users, num_items, options.anchors
  )
  divisors = (
    num_users,
    num_items if options.normalizer == 'sides' else num_users,
  )
  total = jnp.zeros(())
  for table in upstream:
    for side, ids, weight, divisor in (
      (slice(None, num_users), users, user_weight, divisors[0]),
      (slice(num_users, None), items, item_weight, divisors[1]),
    ):
      loss = contrastive.info_nce(
        target[side][ids],
        weight / divisor,
        ids,
        table[side],
        options.temperature,
        options.similarity,
      )
      total += jnp.asarray(loss)
  return total


def _anchors(batch, num_users, num_items, which):
  """Distinct users and items, 0-based, with their weights; filling last."""
  if which == 'all':
    ones = lambda count: jnp.ones(count, jnp.float32)
    everyone = (jnp.arange(num_users), ones(num_users))
    return *everyone, jnp.arange(num_items), ones(num_items)
  pairs = batch.pairs[-1]
  size = batch.users.shape[0]
  of_user = jnp.zeros(size).at[pairs.slot].add(pairs.weight)
  of_item = jnp.zeros(num_items).at[pairs.positive - 1].add(pairs.weight)
  places = min(pairs.positive.shape[0], num_items)
  (items,) = jnp.nonzero(of_item > 0, size=places, fill_value=-1)
  weight = jnp.where(items >= 0, of_item[items], 0.0)
  # Filling users stand at the end of a batch; a user without pairs weighs 0.
  return jnp.maximum(batch.users, 0), of_user, jnp.maximum(items, 0), weight


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
