"""The tower that SumPooling, GRU4Rec, DIEN and MIMN share (Pi et al. 2019).

      score = Dense_1(PReLU(Dense_80(PReLU(Dense_200(s * [q, S, ...] + b)))))

q is the candidate's embedding, S the sum of those of the history, and each
model adds what it makes of the history. s and b are one number per entry: the
authors call batch normalization without saying that they train, so its moments
stay at 0 and 1.

Departure: the authors have two outputs under a softmax. One logit is here, the
difference of the two, because every loss and ranking here takes one score.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from twotsrec import losses
from twotsrec.models import layers

_HIDDEN = (200, 80)
_SLOPE = 0.1  # the authors' start, a slope per unit
_NEXT_HIDDEN = (100, 50)


def init(key: jax.Array, inputs: int) -> dict[str, Any]:
  """Parameters of `score` for parts that are `inputs` wide together."""
  slopes = {
    f'prelu_{i}': {'slope': jnp.full(width, _SLOPE)}
    for i, width in enumerate(_HIDDEN)
  }
  norm = layers.init_layer_norm(inputs)
  return layers.init_mlp(key, (inputs, *_HIDDEN, 1)) | slopes | {'norm': norm}


def score(
  params: dict[str, Any], parts: Sequence[jax.Array], dtype: DTypeLike
) -> jax.Array:
  """Scores of candidates, f32[..., C].

  The first layer is linear in the concatenation, so each part is multiplied
  by itself, and one that all candidates of a user share only once.

  Args:
    params: from `init`.
    parts: f32[..., C or 1, d_i]; or f32[C, d_i] of candidates that all share.
    dtype: of the matmuls.
  """
  first, norm, start = params['dense_0'], params['norm'], 0
  hidden = first['bias'].astype(dtype)
  for part in parts:
    rows = slice(start, start + part.shape[-1])
    start = rows.stop
    part = part * norm['scale'][rows] + norm['bias'][rows]
    by_part = {'kernel': first['kernel'][rows]}
    hidden = hidden + layers.dense(by_part, part, dtype)
  hidden = _prelu(params['prelu_0'], hidden)
  hidden = layers.dense(params['dense_1'], hidden, dtype)
  hidden = _prelu(params['prelu_1'], hidden)
  logits = layers.dense(params['dense_2'], hidden, dtype)
  return logits[..., 0].astype(jnp.float32)


def _prelu(params, x):
  """x, or its negative part times a slope per unit."""
  slope = params['slope'].astype(x.dtype)
  return jnp.maximum(x, 0) + slope * jnp.minimum(x, 0)


def pooled(embedded: jax.Array, mask: jax.Array) -> jax.Array:
  """S, the sum over the items of a history, f32[B, D]."""
  return jnp.sum(jnp.where(mask[..., None], embedded, 0.0), axis=-2)


def init_next_item(key: jax.Array, width: int) -> dict[str, Any]:
  """Parameters of `next_item_loss`; states and items are `width` wide."""
  norm = layers.init_layer_norm(2 * width)
  return layers.init_mlp(key, (2 * width, *_NEXT_HIDDEN, 1)) | {'norm': norm}


def next_item_loss(
  params: dict[str, Any],
  states: jax.Array,
  embedded: jax.Array,
  others: jax.Array,
  mask: jax.Array,
) -> jax.Array:
  """Cross-entropy of telling the next item from another, after every item.

  A network 100-50-1 with sigmoids reads [h_t, e_(t+1)], labeled 1, and
  [h_t, e'_(t+1)], labeled 0; both losses are added (DIEN eq. 6-7).

  Departure: the mean is over the real positions of a history, where the authors
  also count padding, because a short history would hardly count otherwise.

  Args:
    params: from `init_next_item`.
    states: f32[B, L, D], h_t, which have seen the items up to t.
    embedded: f32[B, L, D], e_t.
    others: f32[B, L, D], e'_t, items that did not come there.
    mask: bool[B, L], whether there is an item.
  Returns:
    f32[B]; 0 for a history of fewer than two items.
  """
  norm, network = params['norm'], {k: params[k] for k in params if k != 'norm'}

  def logits(items):
    joined = jnp.concatenate([states[:, :-1], items[:, 1:]], axis=-1)
    joined = joined * norm['scale'] + norm['bias']
    return layers.mlp(network, joined, jax.nn.sigmoid)[..., 0]

  values = jax.nn.softplus(-logits(embedded)) + jax.nn.softplus(logits(others))
  weights = mask[:, 1:].astype(values.dtype)
  return jax.vmap(losses.weighted_mean)(values, weights)
