"""SumPooling: a history as the sum of its items, before the common tower.

The "DNN" of MIMN's authors (Pi et al. 2019): the order of the items plays no
part. It is the simplest baseline of 2TS that reads histories.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from twotsrec import config
from twotsrec import types
from twotsrec.models import ctr_tower
from twotsrec.models import din
from twotsrec.models import layers
from twotsrec.models import stages


def make(options: config.ModelConfig) -> types.Model:
  """score = tower([q, S]); the sum S, f32[B, D], is where a plugin acts."""
  width = options.width
  dtype = jnp.dtype(options.compute_dtype)

  def init(key, context, sizes):
    del context
    item_key, tower_key = jax.random.split(key)
    net = {
      'embed': {},
      'extractor': {},
      'classifier': ctr_tower.init(tower_key, 2 * width),
    }
    item = layers.init_item_table(item_key, sizes, width)
    return types.Params({'item': item}, net)

  def summarize(extractor, embedded, mask, *, key=None):
    del extractor, key
    return ctr_tower.pooled(embedded, mask)

  def summarize_positions(extractor, embedded, mask, *, key=None):
    del extractor, key
    return jnp.cumsum(jnp.where(mask[..., None], embedded, 0.0), axis=1)

  return stages.from_stages(
    types.Stages(
      init=init,
      embed=din.embed,
      summarize=summarize,
      extract=extract,
      classify=classifier(dtype),
      summarize_positions=summarize_positions,
      any_length=dtype == jnp.float32,
    )
  )


def extract(extractor, summary, candidate_rows) -> types.Features:
  """What is known of a user, whatever the candidates, and these."""
  del extractor
  return types.Features(plugged=summary, fixed=candidate_rows['embedding'])


def classifier(dtype: jnp.dtype) -> Callable[..., jax.Array]:
  """`types.Stages.classify` of models that read a history once for all."""

  def classify(classifier, features, candidate_rows):
    del candidate_rows
    user = features.plugged[..., None, :]
    return ctr_tower.score(classifier, [features.fixed, user], dtype)

  return classify
