"""Losses of JODIE on the events of a span (Kumar et al. 2019, sec. 3.4)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec.models import jodie


def make(
  config: config_lib.Config,
) -> Callable[..., tuple[jax.Array, jodie.States]]:
  """(net, context, span, states) -> (losses f32[E], states after the span).

  The context is {'first_item': i32[I + 1]}, the span of an item's first event.

      mse       mean (j~ - sg [i, s_i])^2 + what states move
      triplet   max(0, m + ||j~ - [i, s_i]||^2 - ||j~ - [n, s_n]||^2) + the same
      moves     mean (u' - sg u)^2 + mean (i' - sg i)^2

  n is an item drawn for each event; the triplet is 2TS's (App. B), whose margin
  m the paper does not state.

  Departure: the authors add means over t-batches up, so that an event alone in
  its t-batch counts as much as a hundred in another; here events count alike.
  Departure: n is where it was when the span began.
  """
  options = config.jodie
  width = config.model.width
  stop = jax.lax.stop_gradient

  def objective(net, context, span, states):
    before = states
    states, moves = jodie.replay(net, span, states)
    predicted = jodie.predict(
      net,
      moves.user,
      moves.previous,
      span.gaps[:, 0],
      (span.user, span.previous),
    )
    if options.loss == 'mse':
      target, fixed = stop(moves.item), net
      if 'static' in net:
        fixed = {**net, 'static': stop(net['static'])}
      values = jodie.distance(fixed, predicted, target, span.item)
      values /= width + predicted.static.shape[1]
    else:
      near = jodie.distance(net, predicted, moves.item, span.item)
      drawn = span.negative
      new = context['first_item'][drawn] >= span.number
      start = jodie.starts(net)[1]
      state = jnp.where(new[:, None], start, before.item[drawn])
      far = jodie.distance(net, predicted, state, drawn)
      values = jnp.maximum(options.margin + near - far, 0.0)
    for new, old in (
      (moves.new_user, moves.user), (moves.new_item, moves.item),
    ):  # fmt: skip
      values += jnp.mean((new - stop(old)) ** 2, axis=1)
    return values, states

  return objective
