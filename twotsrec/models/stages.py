"""From PIN's three parts of a sequence model to a scorer of candidates."""

from typing import Any

import jax
import jax.numpy as jnp

from twotsrec import types


def embed(
  stages: types.Stages,
  net: types.PyTree,
  rows: dict[str, jax.Array],
  inputs: dict[str, jax.Array],
) -> tuple[types.PyTree, jax.Array]:
  """The embedded history, and which of its positions are real, bool[B, L].

  Where a model fills in hidden items and none is hidden, a hidden one is
  appended, the one that comes next; then there are L + 1 positions.
  """
  if stages.cloze and 'masked' not in inputs:
    rows, inputs = _with_hidden(rows, inputs)
  return stages.embed(net, rows, inputs), inputs['history'] > 0


def _with_hidden(rows, inputs):
  """History and rows of L + 1 positions, a hidden one after the last item."""
  history = inputs['history']
  length = jnp.sum(history > 0, axis=1, keepdims=True)
  hidden = jnp.arange(history.shape[1] + 1) == length
  longer = lambda leaf: jnp.pad(
    leaf, ((0, 0), (0, 1)) + ((0, 0),) * (leaf.ndim - 2)
  )
  history = jnp.where(hidden, 1, longer(history))  # some item: it is not seen
  rows = jax.tree.map(longer, rows)
  return rows, {**inputs, 'history': history, 'masked': hidden}


def from_stages(stages: types.Stages) -> types.Model:
  """Composes embedding, extractor and classifier (PIN sec. 3.3).

  A history is embedded and summarized once; candidates are extracted and
  classified against that summary. A plugin wraps `stages` and comes through
  here again.

  The model's inputs are {'history': i32[B, L]}, right-padded with 0, and its
  rows {'embedding': f32[B, L, D]}. Candidate rows are f32[B, C, D], or
  f32[C, D] if shared; after `encode_positions`, f32[B, L, C, D] or f32[C, D].
  """

  def encoder(summarize):
    def encode(net, rows, context, inputs, *, key=None):
      del context
      embedded, mask = embed(stages, net['embed'], rows, inputs)
      return summarize(net['extractor'], embedded, mask, key=key)

    return encode

  def score(net, encoded, candidate_rows, *, key=None) -> jax.Array:
    del key  # dropout, where there is any, is in the history's part
    features = stages.extract(net['extractor'], encoded, candidate_rows)
    return stages.classify(net['classifier'], features, candidate_rows)

  def beside(loss):
    def auxiliary(net, rows, inputs, others) -> jax.Array:
      embed = lambda of: stages.embed(net['embed'], of, inputs)
      mask = inputs['history'] > 0
      return loss(net['extractor'], embed(rows), mask, embed(others))

    return auxiliary

  def factors(net, encoded, candidate_rows):
    features = stages.extract(net['extractor'], encoded, candidate_rows)
    split: Any = stages.factors
    return split(net['classifier'], features, candidate_rows)

  def reasons(net, encoded, history, candidate_rows):
    del history  # the summary knows where there is an item
    attention: Any = stages.attention
    return attention(net['extractor'], encoded, candidate_rows)

  positions, loss = stages.summarize_positions, stages.auxiliary
  return types.Model(
    init=stages.init,
    encode=encoder(stages.summarize),
    score=score,
    encode_positions=positions and encoder(positions),
    stages=stages,
    any_length=stages.any_length,
    cloze=stages.cloze,
    auxiliary=loss and beside(loss),
    factors=factors if stages.factors else None,
    reasons=reasons if stages.attention else None,
  )
