"""Ranking forms of trained nodes; graphs are not needed any more.

They rank for users of the training log only. `make` multiplies the two sides
that a head serves. `make_trunk` stops one step earlier, at the vectors the head
reads, so that the plugin of an activeness group can stand between a user's
vectors and the head.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from twotsrec import types
from twotsrec.models import pair_prior
from twotsrec.models import stages as stages_lib
from twotsrec.ops import rows as rows_ops


def make(head: types.Head, num_items: int) -> types.Model:
  """Scores from what `Head.serve` makes of both sides.

  Its parameters have tables {'item': rows of the items and their 'id'} and net
  {'user': rows of the users, 'head': ..., 'prior': pair_prior.Prior, if any}.
  """

  def init(key, context, sizes):
    raise types.UserError(
      'a multi-behavior model is trained as a whole; see launch/train.py with'
      ' model.name=multi_behavior'
    )

  def encode(net, history_rows, context, inputs, *, key=None):
    del history_rows, context, key
    return _known(net, inputs, num_items)

  def score(net, encoded, candidates, *, key=None):
    del key
    scores = head.rank(net['head'], encoded['user'], candidates)
    return _with_bonus(scores, encoded.get('bonus'), candidates)

  return types.Model(init, encode, score)


def ranker_params(
  head: types.Head,
  net: Any,
  sides: tuple,
  prior: pair_prior.Prior | None = None,
) -> types.Params:
  """Parameters of `make` after a last walk of the graphs.

  Args:
    head: the head.
    net: its parameters.
    sides: rows of its table for the target, leaves [U, ...] and [I, ...].
    prior: whose gains are added, if any.
  """
  user, item = head.serve(net, *sides)
  items = jax.tree.map(_pad_items, item)
  items['id'] = _item_ids(items)
  ranking = {'head': net, 'user': user}
  if prior is not None:
    ranking['prior'] = prior
  return types.Params({'item': items}, ranking)


def make_trunk(
  head: types.Head,
  width: int,
  num_items: int,
  init: Callable[..., types.Params],
) -> types.Model:
  """The same scores by PIN's stages, with a plugin's place at the user.

  The extractor is what the graphs gave a user: S vectors f32[B, S, D], where
  a plugin at Z acts on each of them; the classifier is the head. There is no
  history, so nothing to act on at A.

  Args:
    head: has a `scorer`.
    width: D.
    num_items: I.
    init: (key, context, sizes) -> parameters as `trunk_params` makes them.
  """

  def embed(net, history_rows, inputs):
    del history_rows
    return _known(net, inputs, num_items)

  def summarize(extractor, embedded, mask, *, key=None):
    del extractor, mask, key
    return embedded

  def extract(extractor, summary, candidates):
    del extractor, candidates
    flat = summary['user']
    vectors = flat.reshape(*flat.shape[:-1], -1, width)
    return types.Features(vectors, summary.get('bonus'))

  def classify(net, features, candidates):
    vectors = features.plugged
    user = vectors.reshape(*vectors.shape[:-2], -1)
    scores = head.rank(net, *head.serve(net, user, candidates['embedding']))
    return _with_bonus(scores, features.fixed, candidates)

  return stages_lib.from_stages(
    types.Stages(init, embed, summarize, extract, classify)
  )


def trunk_params(head: types.Head, net: Any, sides: tuple) -> types.Params:
  """Parameters of `make_trunk`, from the same as `ranker_params`."""
  user, item = sides
  trunk = {
    'embed': {'user': user},
    'extractor': {},
    'classifier': {n: net[n] for n in head.scorer or () if n in net},
  }
  return types.Params({'item': {'embedding': _pad_items(item)}}, trunk)


def with_prior(params: types.Params, prior: pair_prior.Prior) -> types.Params:
  """Parameters of `make_trunk` whose scores gain the prior."""
  embed = {**params.net['embed'], 'prior': prior}
  items = params.tables['item']
  items = {**items, 'id': _item_ids(items)}
  return types.Params({'item': items}, {**params.net, 'embed': embed})


def _pad_items(leaf):
  # The row of padding is never ranked, but scored: zeros would be 0 / 0.
  return jnp.concatenate([leaf[:1], leaf])


def _item_ids(items):
  """Ids by which gains of the prior are looked up, i32[I + 1]."""
  return jnp.arange(len(jax.tree.leaves(items)[0]), dtype=jnp.int32)


def _known(net, inputs, num_items):
  """Rows of known users, and what the prior adds to their items."""
  users = jnp.maximum(inputs['user'], 0)  # -1 is filling
  rows: dict[str, Any] = {'user': rows_ops.gather(net['user'], users)}
  if 'prior' in net:
    rows['bonus'] = pair_prior.bonus(net['prior'], users, num_items)
  return rows


def _with_bonus(scores, bonus, candidates):
  """f32[B, C] with the gains f32[B, I + 1] of the candidates, if any."""
  if bonus is None:
    return scores
  return scores + rows_ops.of_candidates(bonus, candidates['id'])
