import functools

import jax
import jax.numpy as jnp
import numpy as np

from tests import behavior_toys as toys
from twotsrec.objectives import contrasts
from twotsrec.training import behavior_steps
from twotsrec.training import meta_weights


def config(**changes):
  layers = {'fusion__num_layers': (1,)}
  return toys.config('cml', behavior__meta_rate=0.1, **layers, **changes)


@functools.cache
def _system(look_ahead):
  made = config(behavior__look_ahead=look_ahead, behavior__view_weight=0.7)
  model, context, params = toys.system(made)
  state = meta_weights.init(jax.random.key(1), model.width, made.behavior)
  gradient = meta_weights.make_gradient(model, made, toys.USERS)
  plain = behavior_steps.make_gradient(model, made, toys.USERS, jnp.ones(3))
  run = lambda function: jax.jit(
    lambda params, state: function(params, context, toys.batch(), state, None)
  )
  return params, state, run(gradient), run(plain)


def _close(ours, theirs):
  for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs)):
    size = max(np.abs(other).max(), 1e-6)
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5 * size)


def test_weights_of_one_are_the_plain_loss():
  params, state, gradient, plain = _system(0.0)
  # A network of zeros has g(0) twice.
  zeros = state._replace(net=jax.tree.map(jnp.zeros_like, state.net))
  grads, after, losses, counts = gradient(params, zeros)
  expected, _, *totals = plain(params, ())
  _close(grads, expected)
  _close((losses, counts), totals)
  _close(after.net, zeros.net)


def test_without_a_step_ahead_the_network_stands_still():
  params, state, gradient, _ = _system(0.0)
  grads, after, *_ = gradient(params, state)
  jax.tree.map(np.testing.assert_array_equal, after.net, state.net)
  assert any(np.any(leaf) for leaf in jax.tree.leaves(grads))


def test_the_network_moves_against_the_slope_of_what_comes_a_step_later():
  """Compared with differentiating through the step as a whole."""
  look_ahead = 0.5
  params, state, gradient, _ = _system(look_ahead)
  made = config(behavior__look_ahead=look_ahead, behavior__view_weight=0.7)
  model, context, _ = toys.system(made)
  batch, options = toys.batch(), made.behavior
  forward = behavior_steps.make_forward(model, options)
  even = (jnp.arange(len(batch.users)) % 2 == 0).astype(jnp.float32)

  def terms(params):
    encoded, values = forward(params, context, batch, None)
    views, _ = contrasts.view_losses(encoded.extra['views'], batch.users)
    return encoded, meta_weights._Terms(values, views)

  given = terms(params)

  @jax.jit
  def later(net):
    weights = meta_weights._weigh(net, *given, batch)
    loss = lambda p, w, chosen: meta_weights._sum(
      terms(p)[1], w, chosen, batch, options
    )
    slope = jax.grad(loss)(params, weights, even)
    moved = jax.tree.map(lambda p, g: p - look_ahead * g, params, slope)
    ones = jax.tree.map(jnp.ones_like, given[1])
    return loss(moved, ones, 1.0 - even)

  expected = jax.grad(later)(state.net)
  _, after, *_ = gradient(params, state)
  moments = after.moments[0].mu  # a tenth of the first gradient
  sizes = [np.abs(leaf).max() for leaf in jax.tree.leaves(expected)]
  assert max(sizes) > 1e-5
  for ours, theirs in zip(
    jax.tree.leaves(moments), jax.tree.leaves(expected), strict=True
  ):
    np.testing.assert_allclose(
      10 * np.asarray(ours), theirs, rtol=1e-3, atol=1e-4 * max(sizes)
    )
