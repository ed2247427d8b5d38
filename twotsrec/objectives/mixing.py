"""States between two users of the tail, trained on what both predict (TADA)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import types
from twotsrec.ops import rows


def check(beta: float, model: types.Model, sizes: types.Sizes) -> None:
  """Refuses to mix what a model has in place of a state.

  Args:
    beta: a of Beta(a, a), 0 for none.
    model: scorer.
    sizes: of the log.
  Raises:
    types.UserError: a model that reads a history for each candidate anew.
  """
  if not beta:
    return
  ids = jax.ShapeDtypeStruct((2, sizes.history_length), jnp.int32)

  def encode(history):
    context = {'item_counts': jnp.zeros(sizes.num_items + 1)}
    params = model.init(jax.random.key(0), context, sizes)
    given = rows.gather(params.tables['item'], history)
    user = history[:, 0]
    route = types.Route(user[:, None], jnp.ones((2, 1)))
    inputs = {'history': history, 'route': route, 'user': user}
    return model.encode(params.net, given, context, inputs)

  encoded = jax.eval_shape(encode, ids)
  if any(leaf.dtype != jnp.float32 for leaf in jax.tree.leaves(encoded)):
    raise types.UserError(
      f'augment.mix is {beta:g}, but this model reads a history for each'
      ' item anew and has no state to mix; use model.name=sasrec, gru4rec or'
      ' augment.mix=0'
    )


class Pair(NamedTuple):
  """States mixed with those of partners.

  Attributes:
    encoded: leaves [B, ...].
    batch: with what the partners predict.
    share: f32[B], of the example's own state; 1 where it is not mixed.
  """

  encoded: types.PyTree
  batch: types.Batch
  share: jax.Array


def pairs(
  beta: float,
  num_groups: int,
  encoded: types.PyTree,
  batch: types.Batch,
  mask: jax.Array,
  key: jax.Array,
) -> Pair:
  """Every user of the tail beside another one of it (TADA; Zhang et al. 2018).

      state = share state + (1 - share) state',   share ~ Beta(a, a)

  Its loss is share times that of its own item and 1 - share times that of the
  partner's. Positions that one of the two does not train stay as they are.

  Args:
    beta: a.
    num_groups: groups of the tail, the least active so many.
    encoded: leaves [B, ...], or [B, L, ...] of every position.
    batch: what they predict.
    mask: bool[B], or bool[B, L], what is trained.
    key: of the draws.
  """
  share_key, shift_key = jax.random.split(key)
  tail = (batch.group < num_groups) & (batch.weight > 0)
  number = jnp.sum(tail)
  # Users of the tail come first; the partner is some places further on.
  order = jnp.argsort(~tail, stable=True)
  rank = jnp.cumsum(tail) - 1
  shift = jax.random.randint(shift_key, (), 1, jnp.maximum(number, 2))
  partner = order[(rank + shift) % jnp.maximum(number, 1)]
  partner = jnp.where(tail, partner, jnp.arange(len(tail)))
  share = jax.random.beta(share_key, beta, beta, tail.shape)
  share = jnp.where(tail, share, 1.0)
  both = mask & mask[partner]

  def mixed(leaf):
    wide = lambda x: x.reshape(*x.shape, *(1,) * (leaf.ndim - x.ndim))
    return jnp.where(
      wide(both),
      wide(share) * leaf + (1.0 - wide(share)) * leaf[partner],
      leaf,
    )

  theirs = jnp.where(
    both.reshape(*both.shape, *(1,) * (batch.candidates.ndim - both.ndim)),
    batch.candidates[partner],
    batch.candidates,
  )
  other = batch._replace(candidates=theirs)
  return Pair(jax.tree.map(mixed, encoded), other, share)
