"""Turn one gradient per group into one gradient.

An aggregator is a `types.GradientAggregator`; the leading axis it sums over
may be activeness groups, behaviors or anything else.
"""

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.aggregators import linear

_MAKERS = {
  'joint': lambda c: linear.joint(),
  'backdoor': lambda c: linear.backdoor(c.tau, c.prior, c.weighting),
}


def make(config: config_lib.AggregatorConfig) -> types.GradientAggregator:
  """The aggregator a configuration names.

  Raises:
    types.UserError: an unknown name; the message lists the known ones.
  """
  if config.name not in _MAKERS:
    raise types.UserError(
      f'unknown aggregator {config.name!r}; known: {", ".join(_MAKERS)}'
    )
  return _MAKERS[config.name](config)
