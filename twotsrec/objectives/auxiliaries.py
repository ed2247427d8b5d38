"""Losses beside the ranking of the behaviors, by name (`behavior.auxiliary`).

A name is an entry of `_ALL`: its loss, the setting that is its weight, and what
of `Fused.extra` it reads. Among them are COPF's alignment (eq.
8), what PKEF's head does not share (COPF Table 5), and PKEF's parallel stream.
"""

from collections.abc import Callable, Sequence
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import fields
from twotsrec import losses
from twotsrec import types
from twotsrec.models import experts
from twotsrec.models import multi_behavior
from twotsrec.objectives import behaviors as behavior_objectives
from twotsrec.objectives import contrasts
from twotsrec.ops import contrastive
from twotsrec.ops import pairs as pairs_lib

# (Encoded, Batch) -> f32[], times its weight.
Loss = Callable[..., jax.Array]


class Given(NamedTuple):
  """What a loss reads besides representations and batch.

  Attributes:
    config: its weight, and whatever else it reads.
    num_users: U.
    unique: (task, source) of the batch's `unique` pairs.
  """

  config: config_lib.Config
  num_users: int
  unique: Sequence[tuple[int, int]] = ()


class Auxiliary(NamedTuple):
  """A loss of a name.

  Attributes:
    loss: (Given, Encoded, Batch) -> f32[], times its weight.
    weight: path of the setting that it is multiplied with; 0 leaves it out.
    extra: names in `Fused.extra` that it reads.
  """

  loss: Callable[..., jax.Array]
  weight: str
  extra: tuple[str, ...] = ()


def check(config: config_lib.Config) -> None:
  """Refuses names that are unknown, given twice, or without a weight.

  The default names may have none: a weight of 0 leaves them out.

  Raises:
    types.UserError: the name, and the way out.
  """
  names = tuple(config.behavior.auxiliary)
  for name in names:
    fields.refuse_unknown('behavior.auxiliary', name, NAMES)
    if names.count(name) > 1:
      raise types.UserError(
        f'behavior.auxiliary has {name!r} {names.count(name)} times; name it'
        ' once'
      )
    if names != config_lib.BehaviorConfig().auxiliary and not _weight(
      config, name
    ):
      raise types.UserError(
        f'behavior.auxiliary has {name!r}, but its weight'
        f' {_ALL[name].weight} is 0; raise the weight, or leave the name out'
      )


def check_extra(config: config_lib.Config, extra: Sequence[str]) -> None:
  """Refuses a loss that reads what the fusion does not give.

  Args:
    config: names and their weights.
    extra: of the fusion, `types.Fusion`.
  Raises:
    types.UserError: the loss and the fusion.
  """
  for name in _wanted(config):
    missing = [what for what in _ALL[name].extra if what not in extra]
    if missing:
      raise types.UserError(
        f'behavior.auxiliary has {name!r}, which reads'
        f' {" and ".join(missing)} of a fusion, and'
        f' fusion.name={config.fusion.name} gives {", ".join(extra) or "none"};'
        ' leave the name out, or use another fusion'
      )


def make(
  config: config_lib.Config,
  num_users: int,
  unique: Sequence[tuple[int, int]] = (),
) -> dict[str, Loss]:
  """The losses of `behavior.auxiliary` that have a weight, in that order."""
  given = Given(config, num_users, unique)
  return {
    name: functools.partial(_ALL[name].loss, given) for name in _wanted(config)
  }


def _wanted(config):
  return [n for n in config.behavior.auxiliary if _weight(config, n)]


def _weight(config, name):
  section, setting = _ALL[name].weight.split('.')
  return getattr(getattr(config, section), setting)


def _alignment(given, encoded, batch):
  options = given.config.behavior
  return options.contrastive * alignment(
    encoded, batch, given.num_users, options
  )


def _unique(given, encoded, batch):
  options, head = given.config.behavior, given.config.head
  if not given.unique:  # no two behaviors that differ
    return jnp.zeros(())
  weights = behavior_objectives.task_weights(options, len(batch.pairs))
  values = unique_losses(encoded, batch, given.unique, given.num_users, head)
  total = jnp.zeros(())
  for (task, _), value in zip(given.unique, values, strict=True):
    total += head.unique_weight * options.bpr_scale * weights[task] * value
  return total


def _parallel(given, encoded, batch):
  """PKEF's parallel stream, which ranks by inner products of its own."""
  options, number = given.config.behavior, len(encoded.behaviors)
  total = jnp.zeros(())
  weights = behavior_objectives.task_weights(options, len(batch.pairs))
  for task, weight in enumerate(weights):
    if weight:
      table = encoded.extra['parallel'][task]
      scale = experts.task_scale(task, number, given.config.head)
      value = _by_products(
        table, batch.pairs[task], batch, given.num_users, scale
      )
      total += options.parallel * options.bpr_scale * weight * value
  return total


def unique_losses(
  encoded: multi_behavior.Encoded,
  batch: behavior_objectives.Batch,
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
    scale = experts.task_scale(task, len(encoded.behaviors), options)
    values.append(_by_products(rest, pairs, batch, num_users, scale))
  return values


def _by_products(table, pairs, batch, num_users, scale):
  """Mean BPR loss of pairs by products of a table's rows, f32[]."""
  users = jnp.maximum(batch.users[pairs.slot], 0)
  items = num_users + pairs_lib.candidates(pairs) - 1
  products = table[users][:, None] * table[items]
  scores = scale * jnp.sum(products, axis=-1)
  return losses.weighted_mean(losses.candidate_bpr_loss(scores), pairs.weight)


def alignment(
  encoded: multi_behavior.Encoded,
  batch: behavior_objectives.Batch,
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


def _by_side(batch, num_users, table, options):
  """Yields rows and anchors of the users, then of the items.

  Weights are over the users or items of the batch, counted as they occur.
  """
  num_items = table.shape[0] - num_users
  users, user_weight, items, item_weight = _anchors(
    batch, num_users, num_items, options.anchors
  )
  mean = lambda weight: weight / jnp.maximum(jnp.sum(weight), 1.0)
  yield slice(num_users), contrasts.Anchors(users, mean(user_weight))
  yield slice(num_users, None), contrasts.Anchors(items, mean(item_weight))


def _star(given, encoded, batch):
  options = given.config.behavior
  *upstream, target = encoded.extra['views']
  total = jnp.zeros(())
  for rows, anchors in _by_side(batch, given.num_users, target, options):
    # Rows of a side, as nodes are numbered.
    alike = encoded.extra['alike'][rows]
    first = rows.start or 0
    alike = jnp.where(alike >= 0, alike - first, -1)
    for table in upstream:
      total += contrasts.star(
        anchors, alike, target[rows], table[rows], options
      )
  return options.star_weight * total


def _view(given, encoded, batch):
  views = encoded.extra['views']
  values, weights = contrasts.view_losses(views, batch.users)
  mean = jnp.sum(values) / jnp.maximum(jnp.sum(weights), 1.0) / len(views)
  return given.config.behavior.view_weight * mean


def _augmented(given, encoded, batch):
  options = given.config.behavior
  one, other = encoded.extra['augmented']
  total = jnp.zeros(())
  for rows, anchors in _by_side(batch, given.num_users, one, options):
    total += contrasts.between(anchors, one[rows], other[rows], options)
  return options.augmented_weight * total


def _preference(given, encoded, batch):
  contextual = encoded.extra['contextual']
  mean = contrasts.preferences(contextual, batch, given.num_users)
  return given.config.behavior.preference_weight * mean


_ALL = {
  'alignment': Auxiliary(_alignment, weight='behavior.contrastive'),
  'unique': Auxiliary(_unique, weight='head.unique_weight'),
  'parallel': Auxiliary(
    _parallel, weight='behavior.parallel', extra=('parallel',)
  ),
  'star': Auxiliary(_star, 'behavior.star_weight', ('views', 'alike')),
  'view': Auxiliary(_view, 'behavior.view_weight', ('views',)),
  'augmented': Auxiliary(
    _augmented, 'behavior.augmented_weight', ('augmented',)
  ),
  'preference': Auxiliary(
    _preference, 'behavior.preference_weight', ('contextual',)
  ),
}
NAMES = tuple(_ALL)
