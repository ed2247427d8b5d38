"""The two towers around a sequence encoder, after the code of PIN's authors.

GRU4Rec and SASRec share them: the candidate's vector v = MLP(e_t) and the
history's vector p = MLP(state) have D -> D tanh -> D, and a score is p . v.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from twotsrec import types
from twotsrec.models import layers
from twotsrec.models import stages


def init_tower(key: jax.Array, width: int) -> dict:
  """Parameters of one tower, D -> D tanh -> D."""
  return layers.init_mlp(key, (width, width, width))


def around(
  init: Callable[..., types.Params],
  embed: Callable[..., jax.Array],
  encode: Callable[..., jax.Array],
  dtype: jnp.dtype,
  by_position: bool = True,
) -> types.Model:
  """The model of an encoder between the towers; a plugin acts on its state.

  Args:
    init: as in `types.Stages`; one tower is the extractor's 'target', the other
      the classifier.
    embed: as in `types.Stages`.
    encode: (extractor, embedded, mask, only_last) -> states f32[B, L, D], or
      the last one, f32[B, D].
    dtype: of the matmuls.
    by_position: whether a state sees nothing later.
  """

  def summarizer(only_last):
    def summarize(extractor, embedded, mask, *, key=None):
      del key  # no dropout
      return encode(extractor, embedded, mask, only_last)

    return summarize

  def extract(extractor, state, candidate_rows):
    vectors = candidate_rows['embedding']
    target = layers.mlp(extractor['target'], vectors, jnp.tanh, dtype)
    return types.Features(plugged=state, fixed=target)

  def factors(classifier, features, candidate_rows):
    del candidate_rows
    user = layers.mlp(classifier, features.plugged, jnp.tanh, dtype)
    return user, features.fixed

  def classify(classifier, features, candidate_rows):
    return inner_products(*factors(classifier, features, candidate_rows))

  return stages.from_stages(
    types.Stages(
      init=init,
      embed=embed,
      summarize=summarizer(True),
      extract=extract,
      classify=classify,
      summarize_positions=summarizer(False) if by_position else None,
      factors=factors,
    )
  )


def inner_products(user: jax.Array, target: jax.Array) -> jax.Array:
  """Scores of candidates, f32[..., C].

  Args:
    user: f32[..., D].
    target: f32[..., C, D], or f32[C, D] if all share the candidates.
  """
  return jnp.einsum(
    '...d,...cd->...c', user, target, preferred_element_type=jnp.float32
  )
