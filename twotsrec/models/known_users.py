"""Ranks for users of the log by one vector each, whatever came since.

Parameters have net {'query': f32[U, Q], ...} and a table {'item': {'embedding':
f32[I + 1, Q]}}; a score is their product. Nobody is at 0.
"""

import jax
import jax.numpy as jnp

from twotsrec import types


def make() -> types.Model:
  """The model; its parameters are put together by whoever has trained."""

  def encode(net, history_rows, context, inputs, *, key=None):
    del history_rows, context, key
    user = inputs['user']
    query = net['query'].at[jnp.maximum(user, 0)].get(mode='clip')
    return jnp.where((user >= 0)[:, None], query, 0.0)

  def score(net, encoded, candidate_rows, *, key=None):
    del net, key
    rows = candidate_rows['embedding']
    if rows.ndim == 2:
      return encoded @ rows.T
    return jnp.einsum('bd,bcd->bc', encoded, rows)

  def factors(net, encoded, candidate_rows):
    del net
    return encoded, candidate_rows['embedding']

  def init(key, context, sizes):
    raise ValueError('it is put together from what was trained, not drawn')

  return types.Model(init, encode, score, factors=factors)


def params(query: jax.Array, items: jax.Array, **more: object) -> types.Params:
  """Its parameters, with more in the net for whoever looks for it."""
  return types.Params({'item': {'embedding': items}}, {'query': query, **more})
