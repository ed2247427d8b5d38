"""Deep Interest Network after Zhou et al. 2018 and their code.

      a_l = MLP[80, 40, 1](concat[e_t, e_l, e_t - e_l, e_t * e_l])
      u = Dense(sum_l w_l e_l)
      score = b_t + MLP[80, 40, 1](concat[u, e_t, u * e_t])

with sigmoid between layers. The paper pools with w_l = a_l ("without
normalization"), its code with w = softmax(a / sqrt(D)): `attention_norm`.

Departure: no batch normalization and no Dice, which normalizes by the batch
too. A loss that depends on the batch's statistics is no mean over examples,
so that group gradients would no longer add up to the joint one (PIN eq. 7).
Departure: u is D wide, since it is multiplied with e_t; in the code both are
128, a 64 wide item joined by a 64 wide category.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from twotsrec import config
from twotsrec import types
from twotsrec.models import din
from twotsrec.models import layers
from twotsrec.models import stages

_HIDDEN = (80, 40)
# Shared candidates are taken in groups of this many: the attention network
# has 80 activations for every user, candidate and history item.
_CANDIDATES_AT_ONCE = 16


class Summary(NamedTuple):
  """A history, read once for all candidates.

  Attributes:
    items: f32[B, L, D], e_l; 0 where there is no item.
    hidden: f32[B, L, 80], the part of the attention network's first layer
      that depends on e_l alone.
    mask: bool[B, L].
  """

  items: jax.Array
  hidden: jax.Array
  mask: jax.Array


def init_attention(key: jax.Array, width: int) -> dict[str, Any]:
  """Parameters of the attention network."""
  return layers.init_mlp(key, (4 * width, *_HIDDEN, 1))


def read(
  params: dict[str, Any], items: jax.Array, mask: jax.Array, dtype: DTypeLike
) -> Summary:
  """What candidates attend to, of items f32[B, L, D]."""
  kernel = params['dense_0']['kernel'].astype(dtype)
  _, item, difference, _ = jnp.split(kernel, 4, axis=0)
  items = items.astype(dtype)
  return Summary(items, items @ (item - difference), mask)


def of_candidates(
  interests: Callable[[jax.Array], jax.Array], vectors: jax.Array
) -> jax.Array:
  """Interests f32[B, C, D] in candidates, shared ones in groups.

  Args:
    interests: f32[B, C, D] or f32[C, D] -> f32[B, C, D].
    vectors: candidates, either of the two.
  """
  if vectors.ndim == 3:
    return interests(vectors)
  one = lambda vector: interests(vector[None])[:, 0]
  made = jax.lax.map(one, vectors, batch_size=_CANDIDATES_AT_ONCE)
  return jnp.swapaxes(made, 0, 1)


def attention_logits(
  params: dict[str, Any],
  summary: Summary,
  vectors: jax.Array,
  dtype: DTypeLike,
) -> jax.Array:
  """a_l of every candidate, f32[B, C, L], for e_t f32[B, C, D] or f32[C, D].

  The first layer is linear in concat[e_t, e_l, e_t - e_l, e_t * e_l], so only
  its last block needs every pair of candidate and item.
  """
  first = params['dense_0']
  target, _, difference, product = jnp.split(
    first['kernel'].astype(dtype), 4, axis=0
  )
  vectors = vectors.astype(dtype)
  by_target = vectors @ (target + difference) + first['bias'].astype(dtype)
  # (e_t * e_l) W = e_l (diag(e_t) W): no [B, C, L, D] array.
  scaled = vectors[..., None] * product
  by_pair = jnp.einsum('...ld,...cdh->...clh', summary.items, scaled)
  hidden = by_pair + by_target[..., None, :] + summary.hidden[..., None, :, :]
  hidden = jax.nn.sigmoid(hidden)
  rest = {f'dense_{i}': params[f'dense_{i + 1}'] for i in range(len(_HIDDEN))}
  return layers.mlp(rest, hidden, jax.nn.sigmoid, dtype)[..., 0]


def make(options: config.ModelConfig) -> types.Model:
  """The original DIN; its table has a bias per item besides the embedding.

  The pooled interest u, f32[B, C, D], is where a plugin acts. It attends to
  the candidate, so it has no `encode_positions`.
  """
  width = options.width
  dtype = jnp.dtype(options.compute_dtype)

  def init(key, context, sizes):
    del context
    keys = jax.random.split(key, 4)
    extractor = {
      'attention': init_attention(keys[1], width),
      'interest': layers.init_dense(keys[2], width, width),
    }
    classifier = layers.init_mlp(keys[3], (3 * width, *_HIDDEN, 1))
    net = {'embed': {}, 'extractor': extractor, 'classifier': classifier}
    item = layers.init_item_table(keys[0], sizes, width)
    item['bias'] = jnp.zeros((sizes.num_items + 1, 1))
    return types.Params({'item': item}, net)

  def summarize(extractor, embedded, mask, *, key=None):
    del key  # no dropout
    return read(extractor['attention'], embedded, mask, dtype)

  def looked_at(extractor, summary, vectors):
    logits = attention_logits(extractor['attention'], summary, vectors, dtype)
    logits = logits.astype(jnp.float32)
    mask = summary.mask[:, None, :]
    weights = logits
    if options.attention_norm:
      floor = jnp.where(mask, 0.0, -(2.0**32) + 1.0)
      weights = jax.nn.softmax(logits * width**-0.5 + floor, axis=-1)
    # Also what makes the pooled vector of an empty history 0.
    return jnp.where(mask, weights, 0.0)

  def interests(extractor, summary, vectors):
    weights = looked_at(extractor, summary, vectors).astype(dtype)
    pooled = jnp.einsum('bcl,bld->bcd', weights, summary.items)
    return layers.dense(extractor['interest'], pooled, dtype)

  def extract(extractor, summary, candidate_rows):
    vectors = candidate_rows['embedding']
    each = lambda some: interests(extractor, summary, some)
    return types.Features(of_candidates(each, vectors), vectors)

  def attention(extractor, summary, candidate_rows):
    each = lambda some: looked_at(extractor, summary, some)
    return of_candidates(each, candidate_rows['embedding'])

  def classify(classifier, features, candidate_rows):
    interest = features.plugged
    vectors = jnp.broadcast_to(features.fixed, interest.shape)
    vectors = vectors.astype(dtype)
    joined = jnp.concatenate([interest, vectors, interest * vectors], axis=-1)
    logits = layers.mlp(classifier, joined, jax.nn.sigmoid, dtype)[..., 0]
    return candidate_rows['bias'][..., 0] + logits.astype(jnp.float32)

  return stages.from_stages(
    types.Stages(
      init=init,
      embed=din.embed,
      summarize=summarize,
      extract=extract,
      classify=classify,
      # In half precision padding would move more than last bits.
      any_length=dtype == jnp.float32,
      attention=attention,
    )
  )
