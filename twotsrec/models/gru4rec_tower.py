"""GRU4Rec as MIMN's authors have it: a state before the common tower.

2TS compares with this one (2TS app. B). `gru4rec` is that of PIN's authors,
with two towers and an inner product.

Departure: the authors pad on the left and run the network over padding too.
Here it starts at the first item, so that a score does not depend on how far
histories are padded.
"""

import jax
import jax.numpy as jnp

from twotsrec import config
from twotsrec import types
from twotsrec.models import ctr_tower
from twotsrec.models import din
from twotsrec.models import layers
from twotsrec.models import stages
from twotsrec.models import sum_pooling
from twotsrec.ops import sequence


def make(options: config.ModelConfig) -> types.Model:
  """score = tower([q, S, h]), h the state of a GRU after the last item.

  [S, h], f32[B, 2 D], is where a plugin acts; h is 0 for an empty history.
  """
  width = options.width
  dtype = jnp.dtype(options.compute_dtype)

  def init(key, context, sizes):
    del context
    item_key, gru_key, tower_key = jax.random.split(key, 3)
    net = {
      'embed': {},
      'extractor': {'gru': layers.init_gru(gru_key, width, width)},
      'classifier': ctr_tower.init(tower_key, 3 * width),
    }
    item = layers.init_item_table(item_key, sizes, width)
    return types.Params({'item': item}, net)

  def summarize(extractor, embedded, mask, *, key=None):
    del key  # no dropout
    last, _ = sequence.gru(extractor['gru'], embedded, mask, dtype)
    summed = ctr_tower.pooled(embedded, mask)
    return jnp.concatenate([summed, last], axis=-1)

  def summarize_positions(extractor, embedded, mask, *, key=None):
    del key  # no dropout
    _, states = sequence.gru(extractor['gru'], embedded, mask, dtype)
    summed = jnp.cumsum(jnp.where(mask[..., None], embedded, 0.0), axis=1)
    return jnp.concatenate([summed, states], axis=-1)

  return stages.from_stages(
    types.Stages(
      init=init,
      embed=din.embed,
      summarize=summarize,
      extract=sum_pooling.extract,
      classify=sum_pooling.classifier(dtype),
      summarize_positions=summarize_positions,
      any_length=dtype == jnp.float32,
    )
  )
