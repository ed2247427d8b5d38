"""Deep Interest Network: attention of a candidate over the history.

The variant of PIN's authors; `din_original` is the one of Zhou et al. 2018.

Departure: the authors' softmax runs over padding when the history is empty.
Here the interest vector is 0 then, because padding is not a history.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import config
from twotsrec import types
from twotsrec.models import layers
from twotsrec.models import stages
from twotsrec.ops import rows as rows_ops


class Summary(NamedTuple):
  """A history, read once for all candidates.

  Attributes:
    keys: f32[B, L, D], k_l W_k.
    values: f32[B, L, D], k_l W_v; 0 where there is no item.
    mask: bool[B, L].
  """

  keys: jax.Array
  values: jax.Array
  mask: jax.Array


def embed(net, rows, inputs) -> jax.Array:
  """Item vectors of the history, f32[B, L, D]; 0 where there is no item."""
  del net
  return rows_ops.mask_padding(rows['embedding'], inputs['history'])


def attention(query: jax.Array, summary: Summary) -> jax.Array:
  """What a candidate looks at, softmax_l(q . k_l / sqrt(D)), f32[B, C, L].

  Args:
    query: f32[B, C, D], or f32[C, D] if all examples share the candidates.
    summary: of B histories.
  Returns:
    0 at padding; of an empty history, whose values are all 0, it is even.
  """
  scale = query.shape[-1] ** -0.5
  logits = jnp.einsum('...cd,...ld->...cl', query * scale, summary.keys)
  floor = jnp.where(summary.mask, 0.0, -1e8)[..., None, :]
  return jax.nn.softmax(logits.astype(jnp.float32) + floor, axis=-1)


def attend(query: jax.Array, summary: Summary) -> jax.Array:
  """Each candidate's weighted sum of the history's values.

      r = sum_l softmax_l(q . k_l / sqrt(D)) v_l

  Args:
    query: f32[B, C, D], or f32[C, D] if all examples share the candidates.
    summary: of B histories.
  Returns:
    f32[B, C, D]; 0 for an empty history, whose values are all 0.
  """
  weights = attention(query, summary)
  weights = weights.astype(summary.values.dtype)
  return jnp.einsum('...cl,...ld->...cd', weights, summary.values)


def share(net, summary: Summary) -> Summary:
  """The summary with values that went through the classifier's first layer.

  The layer is linear in concat[q, r], and r in the values:

      W [q, r] + b = (W_q q + b) + sum_l softmax_l(...) W_r v_l

  so that a pair of user and candidate costs no product with W any more.

  Args:
    net: of `make`.
    summary: of B histories.
  Returns:
    values f32[B, L, H], of the H units of the layer.
  """
  kernel = net['classifier']['dense_0']['kernel']
  by_interest = kernel[kernel.shape[0] // 2 :]
  return summary._replace(values=summary.values @ by_interest)


def score_shared(net, summary: Summary, candidate_rows) -> jax.Array:
  """Scores of candidates f32[C, D] by summaries of `share`, f32[B, C]."""
  extractor, classifier = net['extractor'], net['classifier']
  first = classifier['dense_0']
  by_target = first['kernel'][: first['kernel'].shape[0] // 2]
  vectors = candidate_rows['embedding']
  target = jnp.tanh(layers.dense(extractor['target'], vectors))
  query = layers.dense(extractor['query'], target)
  by_target = target @ by_target + first['bias']
  # As `attend`, with candidates last: a softmax over a middle axis is faster.
  logits = jnp.einsum(
    'bld,cd->blc', summary.keys, query * query.shape[-1] ** -0.5
  )
  floor = jnp.where(summary.mask, 0.0, -1e8)[..., None]
  weights = jax.nn.softmax(logits + floor, axis=1)
  hidden = jnp.einsum('blc,blh->bch', weights, summary.values) + by_target
  if len(classifier) == 1:  # no hidden layer
    return hidden[..., 0]
  after = range(1, len(classifier))
  rest = {f'dense_{i - 1}': classifier[f'dense_{i}'] for i in after}
  return layers.mlp(rest, jnp.tanh(hidden), jnp.tanh)[..., 0]


def make(options: config.ModelConfig) -> types.Model:
  """DIN as in the code of PIN's authors.

      q = tanh(Dense_t(e_t)),   k_l = tanh(Dense_s(e_l))
      r = sum_l softmax_l(q W_q . k_l W_k / sqrt(D)) k_l W_v
      score = MLP(concat[q, r]), tanh between its layers

  The classifier's input concat[q, r], f32[B, C, 2D], is where a plugin acts.
  It attends to the candidate, so it has no `encode_positions`.
  """
  width = options.width
  dtype = jnp.dtype(options.compute_dtype)
  # In half precision another order of sums would move more than last bits.
  is_exact = dtype == jnp.float32

  def init(key, context, sizes):
    del context
    keys = jax.random.split(key, 7)
    extractor = {
      'target': layers.init_dense(keys[1], width, width),
      'history': layers.init_dense(keys[2], width, width),
      'query': layers.init_dense(keys[3], width, width, bias=False),
      'key': layers.init_dense(keys[4], width, width, bias=False),
      'value': layers.init_dense(keys[5], width, width, bias=False),
    }
    classifier = layers.init_mlp(keys[6], (2 * width, *options.hidden, 1))
    net = {'embed': {}, 'extractor': extractor, 'classifier': classifier}
    item = layers.init_item_table(keys[0], sizes, width)
    return types.Params({'item': item}, net)

  def summarize(extractor, embedded, mask, *, key=None):
    del key  # no dropout
    hidden = jnp.tanh(layers.dense(extractor['history'], embedded, dtype))
    values = layers.dense(extractor['value'], hidden, dtype)
    return Summary(
      keys=layers.dense(extractor['key'], hidden, dtype),
      values=jnp.where(mask[..., None], values, 0.0),
      mask=mask,
    )

  def asked(extractor, candidate_rows):
    vectors = candidate_rows['embedding']
    target = jnp.tanh(layers.dense(extractor['target'], vectors, dtype))
    return target, layers.dense(extractor['query'], target, dtype)

  def looked_at(extractor, summary, candidate_rows):
    _, query = asked(extractor, candidate_rows)
    weights = attention(query, summary)
    return jnp.where(summary.mask[:, None], weights, 0.0)

  def extract(extractor, summary, candidate_rows):
    target, query = asked(extractor, candidate_rows)
    interest = attend(query, summary)
    target = jnp.broadcast_to(target, interest.shape)
    return types.Features(jnp.concatenate([target, interest], axis=-1))

  def classify(classifier, features, candidate_rows):
    del candidate_rows
    logits = layers.mlp(classifier, features.plugged, jnp.tanh, dtype)
    return logits[..., 0].astype(jnp.float32)

  model = stages.from_stages(
    types.Stages(
      init=init,
      embed=embed,
      summarize=summarize,
      extract=extract,
      classify=classify,
      any_length=is_exact,
      attention=looked_at,
    )
  )
  if not is_exact:
    return model

  def encode(net, rows, context, inputs, *, key=None):
    return share(net, model.encode(net, rows, context, inputs, key=key))

  def score(net, encoded, candidate_rows, *, key=None):
    del key  # no dropout
    return score_shared(net, encoded, candidate_rows)

  shared = types.Model(init, encode, score, any_length=True)
  return model._replace(shared=shared)
