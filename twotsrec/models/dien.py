"""Deep Interest Evolution Network (Zhou et al. 2019) before the common tower.

A first GRU gives states h_t; each candidate attends to them, and a second one,
AUGRU, reads them with the attention a_t on its gate. The layers and their sizes
are those of MIMN's authors, whom 2TS follows (Pi et al. 2019); so is the choice
to attend with a softmax.

Departure: the GRUs have torch's form, in which the reset gate acts after the
matmul, as all of this package.
Departure: the item of the next-item loss that did not come is one of the
example's own negatives, in turn, where the authors draw one for every
position.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from twotsrec import config
from twotsrec import types
from twotsrec.models import ctr_tower
from twotsrec.models import din
from twotsrec.models import din_original
from twotsrec.models import layers
from twotsrec.models import stages
from twotsrec.ops import sequence


class Summary(NamedTuple):
  """A history, read once for all candidates.

  Attributes:
    states: of the attention; `items` are h_t, f32[B, L, D].
    pooled: f32[B, D], S.
  """

  states: din_original.Summary
  pooled: jax.Array


def augru(
  params: dict[str, dict[str, jax.Array]],
  states: jax.Array,
  mask: jax.Array,
  weights: jax.Array,
  gate: str = 'paper',
  dtype: DTypeLike = jnp.float32,
) -> jax.Array:
  """A GRU whose gate is scaled by attention, for every candidate.

  With u the write gate of the GRU, c its candidate state and a the attention,

      paper   h' = h + a u (c - h), and a = 0 keeps h    (DIEN eq. 14-16)
      code    h' = k h + (1 - k) c with k = (1 - a) (1 - u), and a = 1 gives c

  Args:
    params: as in `ops.sequence.gru`, D to D.
    states: f32[B, L, D], inputs.
    mask: bool[B, L]; nothing moves where it is False.
    weights: f32[B, C, L], a.
    gate: 'paper' or 'code', as the code of DIEN's and of MIMN's authors.
    dtype: of the matmuls.
  Returns:
    f32[B, C, D], the state after the last item, which starts at 0.
  """
  projected = layers.dense(params['input'], jnp.swapaxes(states, 0, 1), dtype)
  projected = projected.astype(jnp.float32)

  def step(hidden, now):
    projected_t, real, weight = now
    keep, fresh = sequence.gru_gates(
      params['recurrent'], projected_t[:, None], hidden, dtype
    )
    weight = jnp.where(real[:, None], weight, 0.0)[..., None]
    if gate == 'paper':
      return hidden + weight * (1.0 - keep) * (fresh - hidden), None
    keep = (1.0 - weight) * keep
    moved = keep * hidden + (1.0 - keep) * fresh
    return jnp.where(real[:, None, None], moved, hidden), None

  width = params['recurrent']['kernel'].shape[0]
  start = jnp.zeros((*weights.shape[:2], width), jnp.float32)
  by_time = projected, mask.T, jnp.moveaxis(weights, -1, 0)
  return jax.lax.scan(step, start, by_time)[0]


def make(options: config.ModelConfig) -> types.Model:
  """score = tower([q, AUGRU(q), S, q * S]).

  The state of the AUGRU, f32[B, C, D], is where a plugin acts. It attends to
  the candidate, so it has no `encode_positions`. With `auxiliary_weight` the
  first GRU also learns to tell the next item.
  """
  width, weight = options.width, options.auxiliary_weight
  dtype = jnp.dtype(options.compute_dtype)

  def init(key, context, sizes):
    del context
    keys = jax.random.split(key, 6)
    extractor = {
      'gru': layers.init_gru(keys[1], width, width),
      'attention': din_original.init_attention(keys[2], width),
      'augru': layers.init_gru(keys[3], width, width),
    }
    if weight:
      extractor['next'] = ctr_tower.init_next_item(keys[4], width)
    net = {
      'embed': {},
      'extractor': extractor,
      'classifier': ctr_tower.init(keys[5], 4 * width),
    }
    item = layers.init_item_table(keys[0], sizes, width)
    return types.Params({'item': item}, net)

  def summarize(extractor, embedded, mask, *, key=None):
    del key  # no dropout
    _, states = sequence.gru(extractor['gru'], embedded, mask, dtype)
    return Summary(
      din_original.read(extractor['attention'], states, mask, dtype),
      ctr_tower.pooled(embedded, mask),
    )

  def looked_at(extractor, summary, vectors):
    logits = din_original.attention_logits(
      extractor['attention'], summary.states, vectors, dtype
    )
    mask = summary.states.mask[:, None]
    floor = jnp.where(mask, 0.0, -(2.0**32) + 1.0)
    return jax.nn.softmax(logits.astype(jnp.float32) + floor, axis=-1)

  def attention(extractor, summary, candidate_rows):
    each = lambda some: looked_at(extractor, summary, some)
    found = din_original.of_candidates(each, candidate_rows['embedding'])
    return jnp.where(summary.states.mask[:, None], found, 0.0)

  def evolved(extractor, summary, vectors):
    states, mask = summary.states.items, summary.states.mask
    weights = looked_at(extractor, summary, vectors)
    return augru(
      extractor['augru'], states, mask, weights, options.augru, dtype
    )

  def extract(extractor, summary, candidate_rows):
    vectors = candidate_rows['embedding']
    one = lambda some: evolved(extractor, summary, some)
    plugged = din_original.of_candidates(one, vectors)
    fixed = jnp.broadcast_to(vectors, plugged.shape), summary.pooled
    return types.Features(plugged, fixed)

  def classify(classifier, features, candidate_rows):
    del candidate_rows
    vectors, pooled = features.fixed
    pooled = pooled[:, None]
    parts = [vectors, features.plugged, pooled, vectors * pooled]
    return ctr_tower.score(classifier, parts, dtype)

  def auxiliary(extractor, embedded, mask, others):
    _, states = sequence.gru(extractor['gru'], embedded, mask, dtype)
    return weight * ctr_tower.next_item_loss(
      extractor['next'], states, embedded, others, mask
    )

  return stages.from_stages(
    types.Stages(
      init=init,
      embed=din.embed,
      summarize=summarize,
      extract=extract,
      classify=classify,
      any_length=dtype == jnp.float32,
      auxiliary=auxiliary if weight else None,
      attention=attention,
    )
  )
