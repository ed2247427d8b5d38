"""The loss of the ranking and what a model has beside it, as one objective.

A model with a loss of its own (`types.Model.auxiliary`), such as DIEN's of the
next item, trains on the sum. Validation, by loss or metric, judges the ranking
alone.
"""

import jax
import jax.numpy as jnp

from twotsrec import types
from twotsrec.objectives import sampled
from twotsrec.ops import rows


def make(loss: sampled.Loss, model: types.Model) -> sampled.Objective:
  """The loss of the ranking, and the model's own beside it.

  The items that did not come are the example's negatives, in turn: they are in
  the batch, and items that the user does not have.

  Raises:
    types.UserError: a loss without such negatives.
  """
  ranking, own = sampled.make(loss, model), model.auxiliary
  if own is None:
    return ranking
  for name, value, drawn in (
    ('objective', loss.name, loss.name != 'cross_entropy'),
    ('positions', loss.positions, loss.positions == 'last'),
  ):
    if not drawn:
      raise types.UserError(
        f'train.{name} {value!r} draws no negatives for a history, which the'
        ' loss of the next item reads; use train.objective=bce and'
        ' train.positions=last, or model.auxiliary_weight=0'
      )

  def objective(params, context, batch, key=None):
    items, history = params.tables['item'], batch.history
    inputs = sampled.inputs_of(batch)
    given = rows.gather(items, history), inputs
    others = rows.gather(items, in_turn(batch.candidates, history.shape[1]))
    beside = own(params.net, *given, others)
    return ranking(params, context, batch, key) + beside

  return objective


def in_turn(candidates: jax.Array, length: int) -> jax.Array:
  """The negatives of i32[B, C], one after the other, i32[B, length]."""
  place = jnp.arange(length) % (candidates.shape[1] - 1)
  return candidates[:, 1 + place]


def refuse(what: str, model: types.Model) -> None:
  """Refuses a model with a loss beside the ranking.

  Args:
    what: trains the ranking alone, for the message.
    model: of `models.make`.
  Raises:
    types.UserError: a model with such a loss.
  """
  if model.auxiliary is not None:
    raise types.UserError(
      f'{what} trains the loss of the ranking alone, and the model has one of'
      ' the next item beside it; use model.auxiliary_weight=0'
    )
