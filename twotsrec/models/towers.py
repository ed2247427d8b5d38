"""The two towers around a sequence encoder, after the code of PIN's authors.

GRU4Rec and SASRec share them: the candidate's vector v = MLP(e_t) and the
history's vector p = MLP(state) have D -> D tanh -> D, and a score is p . v.
"""

import jax
import jax.numpy as jnp

from twotsrec import types
from twotsrec.models import layers


def init_tower(key: jax.Array, width: int) -> dict:
  """Parameters of one tower, D -> D tanh -> D."""
  return layers.init_mlp(key, (width, width, width))


def make_extract(dtype: jnp.dtype):
  """Features of a state and its candidates: a plugin acts on the state."""

  def extract(extractor, state, candidate_rows):
    vectors = candidate_rows['embedding']
    target = layers.mlp(extractor['target'], vectors, jnp.tanh, dtype)
    return types.Features(plugged=state, fixed=target)

  return extract


def make_classify(dtype: jnp.dtype):
  """Scores p . v of the two towers, f32[B, C] or f32[B, L, C]."""

  def classify(classifier, features, candidate_rows):
    del candidate_rows
    user = layers.mlp(classifier, features.plugged, jnp.tanh, dtype)
    return inner_products(user, features.fixed)

  return classify


def inner_products(user: jax.Array, target: jax.Array) -> jax.Array:
  """Scores of candidates, in f32.

  Args:
    user: f32[..., D].
    target: f32[..., C, D], or f32[C, D] if all share the candidates.
  Returns:
    f32[..., C].
  """
  return jnp.einsum(
    '...d,...cd->...c', user, target, preferred_element_type=jnp.float32
  )
