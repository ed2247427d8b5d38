"""Losses of sequence models: (params, context, batch, key) -> f32[B].

One mean loss per example; how examples, groups and batches are weighted is
the aggregator's business.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import losses
from twotsrec import types
from twotsrec.models import stages as stages_lib
from twotsrec.objectives import catalog
from twotsrec.objectives import mixing
from twotsrec.ops import rows
from twotsrec.plugins import plugged

Objective = Callable[..., jax.Array]

_HIDDEN = -1e30  # score of an item that does not count, finite for gradients


class Loss(NamedTuple):
  """What a sequence model is trained for; see `config.TrainConfig`.

  Attributes:
    name: of `config.OBJECTIVES`.
    positions: 'last', the item after the whole history; 'every', the item
      after each prefix of it; 'masked', hidden items anywhere in it.
    calibration: t of gBCE.
    num_items: I, of gBCE.
    log_frequency: whether scores of drawn items are less the logarithm of how
      often they are drawn, so that the softmax estimates that over all items.
    hidden: whether a negative may be 0, which does not count: draws by
      popularity that fell on an item of the user.
    temperatures: what scores are divided by, of each group; () for 1.
    worst: share of a batch's examples, by loss, that is trained on.
    smoothing: as in `losses.worst_weights`.
    mix: a of Beta(a, a), by which states of two users are mixed; 0: never.
    tail: groups whose users' states are mixed, the least active so many.
  """

  name: str = 'bce'
  positions: str = 'last'
  calibration: float = 0.75
  num_items: int = 0
  log_frequency: bool = False
  hidden: bool = False
  temperatures: tuple[float, ...] = ()
  worst: float = 1.0
  smoothing: float = 0.1
  mix: float = 0.0
  tail: int = 1


class Scored(NamedTuple):
  """A batch on its way through the stages of a model.

  Attributes:
    features: types.Features, what the classifier reads.
    candidate_rows: leaves [B, C, ...].
    scores: f32[B, C], the observed item first.
  """

  features: types.Features
  candidate_rows: dict[str, jax.Array]
  scores: jax.Array


def of_config(config: config_lib.Config, num_items: int) -> Loss:
  """The loss that the settings name, of I items."""
  train = config.train
  return Loss(
    name=train.objective,
    positions=train.positions,
    calibration=train.gbce_calibration,
    num_items=num_items,
    log_frequency=train.log_frequency,
    hidden=config.data.negative_power > 0,
    temperatures=_of_groups(train.temperatures, config.groups.num_groups),
    worst=train.worst_share,
    smoothing=train.worst_smoothing,
    mix=config.augment.mix,
    tail=config.augment.groups,
  )


def _of_groups(temperatures, num_groups):
  return temperatures * num_groups if len(temperatures) == 1 else temperatures


def of_judge(loss: Loss) -> Loss:
  """The same loss of one target a history, and of all examples alike."""
  return loss._replace(positions='last', temperatures=(), worst=1.0, mix=0.0)


def make(loss: Loss, model: types.Model) -> Objective:
  """The losses of a batch's examples.

  The history is encoded once. Of a sequence that trains several positions, the
  loss is the mean over them (SASRec sec. 3.6).

  Args:
    loss: which, and of what positions.
    model: scorer.
  Raises:
    types.UserError: positions that the model cannot be trained at.
  """
  encode = _encoder(loss, model)
  values = _among_all if loss.name == 'cross_entropy' else _among_candidates

  def objective(params, context, batch, key=None):
    # Without a key, as in evaluation, nothing is dropped.
    keys = (None, None) if key is None else jax.random.split(key)
    history = rows.gather(params.tables['item'], batch.history)
    inputs = inputs_of(batch)
    encoded = encode(params.net, history, context, inputs, key=keys[0])
    score = lambda encoded, items: model.score(
      params.net, encoded, items, key=keys[1]
    )
    mask = _trained(loss, batch)
    if loss.temperatures:
      score, encoded = _cooled(loss, score, encoded, batch, mask)
    if loss.mix and key is not None:
      of_mix = loss.mix, loss.tail, encoded, batch, mask
      pair = mixing.pairs(*of_mix, jax.random.fold_in(key, 2))
      first, second = (
        values(loss, score, pair.encoded, params, own, mask)
        for own in (batch, pair.batch)
      )
      share = pair.share.reshape(-1, *(1,) * (first.ndim - 1))
      each = share * first + (1.0 - share) * second
    else:
      each = values(loss, score, encoded, params, batch, mask)
    if loss.positions != 'last':
      each = jax.vmap(losses.weighted_mean)(each, mask.astype(each.dtype))
    if loss.worst == 1.0:
      return each
    real = batch.weight > 0
    return each * losses.worst_weights(each, real, loss.worst, loss.smoothing)

  return objective


def bce(scores: jax.Array, batch: types.Batch) -> jax.Array:
  """Cross-entropy of every example, f32[B] (PIN eq. 2).

  Of impressions with their labels; else the first of the candidates was
  observed, and the others were not.

  Args:
    scores: f32[B, C].
    batch: leaves [B, ...].
  """
  if batch.label is None:
    return losses.candidate_bce_loss(scores)
  return losses.bce_loss(scores[..., 0], batch.label)


def _encoder(loss, model):
  """The encoding of the positions that are trained."""
  if loss.positions == 'last':
    return model.encode
  if loss.positions == 'masked':
    if not model.cloze:
      raise types.UserError(
        "train.positions 'masked' needs a model that fills in hidden items"
        ' (bert4rec); use train.positions=last'
      )
  if model.encode_positions is None or (
    loss.positions == 'every' and model.cloze
  ):
    raise types.UserError(
      "train.positions 'every' needs a causal encoder (gru4rec,"
      ' gru4rec_product, hstu, ligr, sasrec with model.causal=True,'
      ' sasrec_original); use train.positions=last'
    )
  return model.encode_positions


def _cooled(loss, score, encoded, batch, mask):
  """A score divided by the temperature of a group, which an encoding brings."""
  inverse = 1.0 / jnp.asarray(loss.temperatures, jnp.float32)[batch.group]
  inverse = jnp.broadcast_to(
    inverse.reshape(-1, *(1,) * (mask.ndim - 1)), mask.shape
  )

  def cooled(encoded, items):
    encoded, inverse = encoded
    return score(encoded, items) * inverse[..., None]

  return cooled, (encoded, inverse)


def inputs_of(batch: types.Batch) -> dict[str, Any]:
  """What a model encodes of a batch, as `types.Model.encode` takes it."""
  # A batch trains the plugin of each example's own group.
  own = batch.group[:, None]
  route = types.Route(own, jnp.ones(own.shape, jnp.float32))
  inputs = {'history': batch.history, 'route': route, 'user': batch.user}
  return inputs if batch.masked is None else inputs | {'masked': batch.masked}


def _trained(loss, batch):
  """The examples or positions that have an item to predict."""
  if loss.positions == 'last':
    return jnp.ones(batch.weight.shape, bool)
  return batch.history > 0 if batch.masked is None else batch.masked


def _among_all(loss, score, encoded, params, batch, mask):
  """Cross-entropy over all items, f32[B] or f32[B, L]."""
  del loss
  first, items = batch.candidates[..., 0], params.tables['item']
  if first.ndim > 1 and _routed(encoded):
    # The positions of an example share its route, which is not theirs.
    def of_example(encoded, first, mask):
      replaced = lambda x, inner: (
        x._replace(inner=inner) if _is_routed(x) else inner
      )
      whole = lambda inner: jax.tree.map(
        replaced, encoded, inner, is_leaf=_is_routed
      )
      return catalog.cross_entropy(
        lambda inner, rows: score(whole(inner), rows),
        _inner(encoded),
        items,
        first,
        mask,
      )

    return jax.vmap(of_example)(encoded, first, mask)
  flat = jax.tree.map(
    lambda leaf: leaf.reshape(first.size, *leaf.shape[first.ndim :]), encoded
  )
  values = catalog.cross_entropy(
    score, flat, items, jnp.ravel(first), jnp.ravel(mask)
  )
  return values.reshape(first.shape)


def _inner(encoded):
  """An encoding without routes."""
  return jax.tree.map(
    lambda x: x.inner if _is_routed(x) else x, encoded, is_leaf=_is_routed
  )


def _is_routed(encoded):
  return isinstance(encoded, plugged.Encoded)


def _routed(encoded):
  """Whether examples are routed, each to plugins of its own."""
  leaves = jax.tree.leaves(encoded, is_leaf=_is_routed)
  return any(map(_is_routed, leaves))


def _position_axes(encoded):
  """Axes of positions, which a route does not have."""
  none: Any = None
  axis = lambda x: plugged.Encoded(none, 1) if _is_routed(x) else 1
  return jax.tree.map(axis, encoded, is_leaf=_is_routed)


def _among_candidates(loss, score, encoded, params, batch, mask):
  """A loss of observed and drawn items, f32[B] or f32[B, L]."""
  del mask
  items, ids = params.tables['item'], batch.candidates
  scores = score(encoded, rows.gather(items, ids))
  if batch.label is not None:
    return bce(scores, batch)
  if batch.shared is not None:
    if loss.positions != 'last':  # one encoding after the other, same items
      axes = _position_axes(encoded)
      score = jax.vmap(score, in_axes=(axes, None), out_axes=1)
    others = score(encoded, rows.gather(items, batch.shared))
    scores = jnp.concatenate([scores, others], axis=-1)
    drawn = jnp.broadcast_to(_beside(batch.shared, ids), others.shape)
    ids = jnp.concatenate([ids, drawn], axis=-1)
  num_drawn = scores.shape[-1] - 1
  if loss.hidden:
    kept = jnp.where(ids[..., 1:] > 0, scores[..., 1:], _HIDDEN)
    scores = scores.at[..., 1:].set(kept)
  if loss.log_frequency:
    chance = _beside(batch.log_chance, ids)
    scores = scores.at[..., 1:].add(-chance - jnp.log(num_drawn))
  if loss.name == 'gbce':
    power = losses.gbce_power(num_drawn, loss.num_items, loss.calibration)
    return losses.candidate_gbce_loss(scores, power)
  return losses.OF_CANDIDATES[loss.name](scores)


def _beside(drawn, candidates):
  """[B, S] as [B, 1, S] beside candidates [B, L, C]; else as it is."""
  return drawn[:, None] if drawn.ndim < candidates.ndim else drawn


def check_stages(
  what: str, model: types.Model, options: config_lib.TrainConfig
) -> None:
  """Refuses to look at the features of a model that shows none.

  Args:
    what: setting that asks for them, for the message.
    model: scorer.
    options: its objective must score single targets.
  Raises:
    types.UserError: another objective than bce of the last position, or a model
      without stages.
  """
  for name, needed in (('objective', 'bce'), ('positions', 'last')):
    if getattr(options, name) != needed:
      raise types.UserError(
        f'{what} needs train.{name}={needed}, not {getattr(options, name)!r}'
      )
  if model.stages is None:
    raise types.UserError(
      f'{what} needs a sequence model with stages: din, din_original, gru4rec,'
      ' sasrec, sasrec_original'
    )


def score_stages(
  stages: types.Stages,
  params: types.Params,
  batch: types.Batch,
  key: jax.Array | None = None,
) -> Scored:
  """Scores of a batch's candidates, and the features they are made of.

  Dropout is that of `make` with the same key.

  Args:
    stages: of a sequence model.
    params: what it is trained to.
    batch: leaves [B, ...].
    key: of dropout; nothing is dropped without it.
  """
  history_key = None if key is None else jax.random.split(key)[0]
  items, net = params.tables['item'], params.net
  embedded, mask = stages_lib.embed(
    stages,
    net['embed'],
    rows.gather(items, batch.history),
    {'history': batch.history},
  )
  summary = stages.summarize(net['extractor'], embedded, mask, key=history_key)
  candidates = rows.gather(items, batch.candidates)
  features = stages.extract(net['extractor'], summary, candidates)
  scores = stages.classify(net['classifier'], features, candidates)
  return Scored(features, candidates, scores)


def group_totals(
  values: jax.Array, batch: types.Batch, num_groups: int
) -> tuple[jax.Array, jax.Array]:
  """Weighted sums of `values` and of the weights by group, f32[G] each."""
  member = jax.nn.one_hot(batch.group, num_groups, dtype=values.dtype)
  member = member * batch.weight[:, None]
  # `where` keeps a non-finite loss of a filling example out of the sum.
  finite = jnp.where(batch.weight > 0, values, 0.0)
  return finite @ member, jnp.sum(member, axis=0)
