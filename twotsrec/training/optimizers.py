"""Optimizers, all from optax."""

import optax

from twotsrec import config as config_lib


def make(config: config_lib.TrainConfig) -> optax.GradientTransformation:
  """Adam over all parameters, tables included (PIN sec. 4.1.4).

  Moments of rows a batch does not touch decay too: the dense semantics of the
  papers.
  """
  return optax.adam(config.learning_rate, b1=0.9, b2=config.beta2, eps=1e-8)
