"""Weights of losses by a network that is trained a step ahead (CML, WSDM 2022).

    theta' = theta - a grad_theta sum_i w_i(phi) l_i(theta)
    phi moves by Adam along grad_phi sum_j l_j(theta')
    theta has the gradient of sum_i w_i(phi) l_i(theta), w as given

l are the losses of pairs, and of users whose views of behaviors are contrasted
('view' of `objectives.auxiliaries`). A weight is g(A) + g(B), from the loss,
the user's vector of the behavior x_uk and that of all behaviors x_u:

    A = sqrt(3 D) v prelu([l ... l || x_uk || x_u] W),    B = l x_u c

for a pair; for a contrast B has [x_uk || x_u]. g is the sigmoid of what is
standardized over the batch. All inputs are taken as given.

Departure: the authors step ahead and judge in batches of their own; in their
program what is judged does not depend on the step, and takes all pairs from one
behavior. Here users at even places of a batch step ahead, those at odd places
judge by the pairs of all behaviors, and the gradient goes through the step.
Departure: the authors drop entries inside the network, and take the mean of A
and B for a contrast. Here nothing is dropped, and a contrast has their sum, so
that weights of 1 are the plain loss.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from twotsrec import config as config_lib
from twotsrec.models import layers
from twotsrec.models import multi_behavior
from twotsrec.objectives import behaviors as behavior_objectives
from twotsrec.objectives import contrasts
from twotsrec.training import behavior_steps
from twotsrec.training import steps

_TINY = 1e-5  # of a variance, as in batch normalization


class State(NamedTuple):
  """What the gradient keeps: the network, and the moments of its Adam."""

  net: Any
  moments: Any


class _Terms(NamedTuple):
  """Losses or their weights: {task: f32[P]} of pairs, f32[K, B] of views."""

  pairs: dict[int, jax.Array]
  views: jax.Array


def init(
  key: jax.Array, width: int, options: config_lib.BehaviorConfig
) -> State:
  """State before the first update.

  Args:
    key: of the network's start.
    width: D, of the vectors of users.
    options: rate of the network.
  """
  pairs, views = jax.random.split(key)
  net = {
    'pairs': _init_kind(pairs, width, width),
    'views': _init_kind(views, width, 2 * width),
  }
  return State(net, optax.adam(options.meta_rate).init(net))


def make_gradient(
  model: multi_behavior.MultiBehavior,
  config: config_lib.Config,
  num_users: int,
  unique: Sequence[tuple[int, int]] = (),
) -> steps.Gradient:
  """A gradient as in `steps`, with a `State`; see the module.

  Args:
    model: whose fusion gives views.
    config: objective, rate and step ahead.
    num_users: U.
    unique: (task, source) of the batch's `unique` pairs.
  """
  options = config.behavior
  forward = behavior_steps.make_forward(model, options)
  others = tuple(name for name in options.auxiliary if name != 'view')
  plain = dataclasses.replace(options, auxiliary=others)
  rest = behavior_steps.make_rest(
    dataclasses.replace(config, behavior=plain), num_users, unique
  )
  optimizer, ahead = optax.adam(options.meta_rate), options.look_ahead

  def look(params, context, batch, key):
    encoded, values = forward(params, context, batch, key)
    views, _ = contrasts.view_losses(encoded.extra['views'], batch.users)
    return encoded, _Terms(values, views)

  def gradient(params, context, batch, state, key):
    given = jax.lax.stop_gradient(look(params, context, batch, key))
    weigh = lambda net: _weigh(net, *given, batch)

    def total(params, weights, chosen):
      _, terms = look(params, context, batch, key)
      return _sum(terms, weights, chosen, batch, options)

    slope = jax.grad(total)
    step = lambda tree: jax.tree.map(lambda leaf: -ahead * leaf, tree)
    even = (jnp.arange(len(batch.users)) % 2 == 0).astype(jnp.float32)
    found, pull = jax.vjp(
      lambda net: slope(params, weigh(net), even), state.net
    )
    moved = jax.tree.map(jnp.add, params, step(found))
    ones = jax.tree.map(jnp.ones_like, given[1])
    (by_net,) = pull(step(slope(moved, ones, 1.0 - even)))
    updates, moments = optimizer.update(by_net, state.moments)
    net = optax.apply_updates(state.net, updates)
    weights, everyone = weigh(net), jnp.ones_like(even)

    def loss(params):
      encoded, terms = look(params, context, batch, key)
      value = _sum(terms, weights, everyone, batch, options)
      value += rest(params, encoded, batch)
      return value, behavior_steps.by_behavior(terms.pairs, batch)

    grads, totals = jax.grad(loss, has_aux=True)(params)
    return grads, State(net, moments), *totals

  return gradient


def _init_kind(key, width, product):
  hidden, out, linear = jax.random.split(key, 3)
  inner = 3 * width // 2
  return {
    'hidden': layers.init_dense(hidden, 3 * width, inner),
    'slope': jnp.full((), 0.25, jnp.float32),
    'out': layers.init_dense(out, inner, 1),
    'product': layers.init_dense(linear, product, 1),
    'scale': jnp.ones(()),
    'bias': jnp.zeros(()),
  }


def _weigh(net, encoded, terms, batch):
  """Weights of all losses, `_Terms`."""
  users, table = jnp.maximum(batch.users, 0), encoded.behaviors[-1]
  views = encoded.extra['views']
  pairs = {}
  for task, losses in terms.pairs.items():
    own = batch.pairs[task]
    rows = users[own.slot]
    both = views[task][rows], table[rows]
    pairs[task] = _of_kind(net['pairs'], losses, own.weight, *both, both[1])
  there = (batch.users >= 0).astype(jnp.float32)
  of_views = []
  for view, losses in zip(views, terms.views, strict=True):
    both = view[users], table[users]
    together = jnp.concatenate(both, axis=1)
    of_views.append(_of_kind(net['views'], losses, there, *both, together))
  return _Terms(pairs, jnp.stack(of_views))


def _of_kind(net, losses, there, own, whole, product):
  """g(A) + g(B), f32[P]."""
  width = own.shape[1]
  repeated = jnp.broadcast_to(losses[:, None], own.shape)
  inputs = jnp.concatenate([repeated, own, whole], axis=1)
  hidden = layers.dense(net['hidden'], inputs)
  hidden = jnp.where(hidden > 0, hidden, net['slope'] * hidden)
  far = jnp.sqrt(3.0 * width) * layers.dense(net['out'], hidden)[:, 0]
  near = layers.dense(net['product'], losses[:, None] * product)[:, 0]
  squash = lambda x: jax.nn.sigmoid(
    net['scale'] * _standardize(x, there) + net['bias']
  )
  return squash(far) + squash(near)


def _standardize(x, there):
  count = jnp.maximum(jnp.sum(there), 1.0)
  centered = x - jnp.dot(x, there) / count
  variance = jnp.dot(jnp.square(centered), there) / count
  return centered * jax.lax.rsqrt(variance + _TINY)


def _sum(terms, weights, chosen, batch, options):
  """Weighted losses of the users that are chosen, f32[B] of 1 and 0."""
  lambdas = behavior_objectives.task_weights(options, len(batch.pairs))
  total = jnp.zeros(())
  for task, losses in terms.pairs.items():
    pairs = batch.pairs[task]
    part = chosen[pairs.slot]
    count = jnp.maximum(jnp.dot(part, pairs.weight), 1.0)
    mean = jnp.sum(part * weights.pairs[task] * losses) / count
    total += options.bpr_scale * lambdas[task] * mean
  part = chosen * (batch.users >= 0)
  count = jnp.maximum(jnp.sum(part), 1.0) * len(terms.views)
  mean = jnp.sum(part * weights.views * terms.views) / count
  return total + options.view_weight * mean
