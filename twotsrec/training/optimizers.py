"""Optimizers, all from optax."""

import jax
import optax

from twotsrec import config as config_lib
from twotsrec import types


def make(
  config: config_lib.TrainConfig, decay_rate: float = 1.0, every: int = 1
) -> optax.GradientTransformationExtraArgs:
  """Adam over all parameters, tables included (PIN sec. 4.1.4).

  Moments of rows a batch does not touch decay too: the dense semantics of the
  papers. An update may be told its `rate`, f32[], in place of the one of the
  settings: then one compiled program serves every rate.

  Args:
    config: rate and momentum.
    decay_rate: factor of the rate, every so many steps; 1 keeps it.
    every: steps.
  """

  def adam(rate):
    if decay_rate != 1.0:
      rate = optax.exponential_decay(rate, every, decay_rate, staircase=True)
    return optax.adam(rate, b1=0.9, b2=config.beta2, eps=1e-8)

  def update(
    updates: types.PyTree,
    state: types.PyTree,
    params: types.PyTree = None,
    *,
    rate: jax.Array | None = None,
    **extra,
  ):
    del extra
    own = adam(config.learning_rate if rate is None else rate)
    return own.update(updates, state, params)

  init = adam(config.learning_rate).init
  return optax.GradientTransformationExtraArgs(init, update)


def clipped(rate: float, norm: float) -> optax.GradientTransformation:
  """Adam on gradients of at most a norm; 0 leaves them as they are."""
  adam = optax.adam(rate)
  return optax.chain(optax.clip_by_global_norm(norm), adam) if norm else adam


def plugin_rate(options: config_lib.PluginConfig) -> float:
  """Learning rate of the plugins (PIN sec. 4.1.4).

  Eq. 8-11 want a "very low" one for the naive plugin, 1e-5 here.
  """
  if options.learning_rate:
    return options.learning_rate
  return 1e-5 if options.name == 'naive' else 1e-4
