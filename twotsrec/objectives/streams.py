"""Losses of recurrent networks over streams of events (2TS eq. 11-12).

Every event is scored with the state before it is consumed, against an offer
set: the item and p others (2TS sec. 3.2).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import losses
from twotsrec import trees
from twotsrec import types
from twotsrec.data import stream_feeds
from twotsrec.models import ccf
from twotsrec.models import two_rnn
from twotsrec.ops import rows


class Vectors(NamedTuple):
  """Frozen vectors that the networks read, `context['vectors']`.

  Attributes:
    item: f32[I + 1, D], row 0 is 0.
    user: f32[U, D], starts of active users; None where all start at psi.
    weight: f32[U], how much of a shrunk start is the user's vector, the rest is
      psi (`theory.shrunk`); None where no start is shrunk.
  """

  item: jax.Array
  user: jax.Array | None = None
  weight: jax.Array | None = None


def make(
  stages: types.Stages, own_start: bool = False
) -> Callable[..., jax.Array]:
  """(params, context, batch, key) -> f32[L B], a loss per event.

  Args:
    stages: from `two_rnn.make_stages`, with plugins or without.
    own_start: whether runs begin at their users' vectors, or else at psi.
  """
  carried = make_carried(stages, own_start)

  def objective(params, context, batch, key=None):
    del key  # no dropout
    return carried(params, context, batch, None)[0]

  return objective


def make_carried(
  stages: types.Stages, own_start: bool = False
) -> Callable[..., tuple[jax.Array, jax.Array]]:
  """(params, context, batch, states f32[B, S]) -> (f32[L B], states after)."""

  def objective(params, context, batch, states):
    vectors = context['vectors']
    summary = summarize(stages, params.net, vectors, batch, own_start, states)
    query = two_rnn.query_of(stages)(params.net, summary)
    last = trees.take(summary.after, -1)
    return _loss(vectors.item, query, batch).ravel(), last

  return objective


def summarize(
  stages: types.Stages,
  net: types.PyTree,
  vectors: Vectors,
  batch: stream_feeds.Batch,
  own_start: bool,
  states: jax.Array | None = None,
) -> two_rnn.Summary:
  """States before every event of a batch.

  Args:
    stages: of the network.
    net: its parameters.
    vectors: of items and users.
    batch: only items, users and where runs begin are read.
    own_start: whether runs begin at their users' vectors. Else they begin at
      psi, or between both where the vectors have weights.
    states: f32[B, S] that streams go on from; None where all begin anew.
  """
  look = lambda ids: rows.gather({'embedding': vectors.item}, ids)
  embed = lambda ids: stages.embed(net['embed'], look(ids), {'history': ids})
  previous = None
  if 'readout' in net['extractor']:
    previous = embed(batch.previous)
  fresh = None
  if own_start or vectors.weight is not None:
    if vectors.user is None:
      raise TypeError('runs begin at user vectors, and there are none')
    fresh = rows.gather({'embedding': vectors.user}, batch.user)['embedding']
  weight = None
  if vectors.weight is not None:
    # Nothing comes before a run with the first event of its user.
    weight = jnp.where(batch.previous > 0, vectors.weight[batch.user], 0.0)
  streams = two_rnn.Streams(batch.reset, fresh, states, previous, weight)
  return stages.summarize(net['extractor'], embed(batch.item), streams)


def _loss(item_vectors, query, batch):
  """Cross-entropy among the offer set, f32[L, B]."""
  look = lambda ids: rows.gather({'v': item_vectors}, ids)['v']
  positive = jnp.sum(query * look(batch.item), axis=-1)
  drawn = look(batch.negatives)
  if batch.negatives.ndim == 1:
    negatives = query @ drawn.T
  else:
    negatives = jnp.einsum('lbd,lbpd->lbp', query, drawn)
  hidden = batch.negatives == batch.item[..., None]
  return losses.offer_softmax_loss(positive, negatives, hidden)


def negatives(options: config_lib.TwoTimeConfig) -> tuple[int, bool]:
  """(how many negatives are drawn, whether all events of a step share them)."""
  shared = options.pool == 'shared'
  return options.pool_size if shared else options.negatives, shared


class Pair(NamedTuple):
  """Batches of two networks, and what the aggregators read of both."""

  parts: tuple[stream_feeds.Batch, stream_feeds.Batch]
  group: jax.Array
  weight: jax.Array


def pair(inactive: stream_feeds.Batch, active: stream_feeds.Batch) -> Pair:
  """Two batches as one."""
  join = lambda name: jnp.concatenate(
    [getattr(inactive, name), getattr(active, name)]
  )
  return Pair((inactive, active), join('group'), join('weight'))


# Networks that are trained at once, and whether their runs begin at vectors.
_BOTH = {'inactive': False, 'active': True}


def make_joint(stages: types.Stages) -> Callable[..., jax.Array]:
  """(params, context, Pair, key) -> f32[n], losses of both networks.

  The mean of the losses is (|D_in| L_in + |D_act| L_act) / |D| where a batch
  holds both in proportion. `params.net` has them by name, and under 'shared'
  what their extractors have in common.
  """
  losses = {name: make(stages, own_start) for name, own_start in _BOTH.items()}

  def objective(params, context, batch, key=None):
    nets, given = of_both(params), {'vectors': vectors_of(params, context)}
    values = [
      losses[name](types.Params({}, net), given, part, key)
      for (name, net), part in zip(nets.items(), batch.parts, strict=True)
    ]
    return jnp.concatenate(values)

  return objective


def of_both(params: types.Params) -> dict[str, types.PyTree]:
  """Both networks, by name, as if they had been trained alone."""
  nets, shared = params.net, params.net['shared']
  return {
    name: {**nets[name], 'extractor': {**nets[name]['extractor'], **shared}}
    for name in _BOTH
  }


def vectors_of(params: types.Params, context: dict[str, Any]) -> Vectors:
  """Item and user vectors: frozen, or trained along."""
  if 'vectors' in context:
    return context['vectors']
  users = params.tables['user']['embedding']
  return Vectors(ccf.item_vectors(params, context), users)
