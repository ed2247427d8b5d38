"""Losses bound to models: (params, context, batch, key) -> f32[B].

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
from twotsrec.ops import rows

Objective = Callable[..., jax.Array]


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


def sampled_bce(model: types.Model) -> Objective:
  """Cross-entropy over an observed item and sampled ones (PIN eq. 2)."""
  return _of_candidates('bce', model)


def sampled_bpr(model: types.Model) -> Objective:
  """Pairwise ranking of an observed item above each sampled one, averaged."""
  return _of_candidates('bpr', model)


def _of_candidates(name, model):
  """The history is encoded once and scored against candidates i32[B, C]."""

  def objective(params, context, batch, key=None):
    scores = _scores(model, model.encode, params, context, batch, key)
    return losses.OF_CANDIDATES[name](scores)

  return objective


def every_position_bce(model: types.Model) -> Objective:
  """Cross-entropy at every position of a sequence, averaged over it.

  Trains all prefixes of a history in one encoding (SASRec sec. 3.6). Batch
  candidates: i32[B, L, C].

  Raises:
    types.UserError: a model that cannot encode every prefix in one pass.
  """
  if model.encode_positions is None:
    raise types.UserError(
      "objective 'every_position' needs a causal encoder (gru4rec, sasrec with"
      ' model.causal=True, sasrec_original); use train.objective=bce'
    )

  def objective(params, context, batch, key=None):
    encode = model.encode_positions
    scores = _scores(model, encode, params, context, batch, key)
    mask = (batch.history > 0).astype(scores.dtype)
    return jax.vmap(losses.weighted_mean)(
      losses.candidate_bce_loss(scores), mask
    )

  return objective


OBJECTIVES = {
  'bce': sampled_bce,
  'bpr': sampled_bpr,
  'every_position': every_position_bce,
}


def make(name: str, model: types.Model) -> Objective:
  """The objective that `train.objective` or `behavior.loss` names."""
  if name in OBJECTIVES:
    return OBJECTIVES[name](model)
  return _of_candidates(name, model)


def _scores(model, encode, params, context, batch, key):
  """Scores of the candidates; the history is encoded once."""
  # Without a key, as in evaluation, nothing is dropped.
  keys = (None, None) if key is None else jax.random.split(key)
  items = params.tables['item']
  history = rows.gather(items, batch.history)
  encoded = encode(params.net, history, context, inputs_of(batch), key=keys[0])
  candidates = rows.gather(items, batch.candidates)
  return model.score(params.net, encoded, candidates, key=keys[1])


def inputs_of(batch: types.Batch) -> dict[str, Any]:
  """What a model encodes of a batch, as `types.Model.encode` takes it."""
  # A batch trains the plugin of each example's own group.
  own = batch.group[:, None]
  route = types.Route(own, jnp.ones(own.shape, jnp.float32))
  return {'history': batch.history, 'route': route, 'user': batch.user}


def check_stages(
  what: str, model: types.Model, options: config_lib.TrainConfig
) -> None:
  """Refuses to look at the features of a model that shows none.

  Args:
    what: setting that asks for them, for the message.
    model: scorer.
    options: its objective must score single targets.
  Raises:
    types.UserError: another objective than bce, or a model without stages.
  """
  if options.objective != 'bce':
    raise types.UserError(
      f'{what} needs train.objective=bce, not {options.objective!r}'
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

  Dropout is that of `sampled_bce` with the same key.

  Args:
    stages: of a sequence model.
    params: what it is trained to.
    batch: leaves [B, ...].
    key: of dropout; nothing is dropped without it.
  """
  history_key = None if key is None else jax.random.split(key)[0]
  items, net = params.tables['item'], params.net
  embedded = stages.embed(
    net['embed'],
    rows.gather(items, batch.history),
    {'history': batch.history},
  )
  summary = stages.summarize(
    net['extractor'], embedded, batch.history > 0, key=history_key
  )
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
