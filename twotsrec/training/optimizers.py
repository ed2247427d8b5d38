"""Optimizers, all from optax."""

import optax

from twotsrec import config as config_lib


def make(config: config_lib.TrainConfig) -> optax.GradientTransformation:
  """Adam over all parameters, tables included (PIN sec. 4.1.4).

  Moments of rows a batch does not touch decay too: the dense semantics of the
  papers.
  """
  return optax.adam(config.learning_rate, b1=0.9, b2=config.beta2, eps=1e-8)


def plugin_rate(options: config_lib.PluginConfig) -> float:
  """Learning rate of the plugins (PIN sec. 4.1.4).

  Eq. 8-11 want a "very low" one for the naive plugin, 1e-5 here.
  """
  if options.learning_rate:
    return options.learning_rate
  return 1e-5 if options.name == 'naive' else 1e-4
