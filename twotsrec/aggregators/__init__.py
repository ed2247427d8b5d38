"""Turn one gradient per group into one gradient.

An aggregator is a `types.GradientAggregator`; the leading axis it sums over
may be activeness groups, behaviors or anything else. A group with no samples
in the batch takes no part. A gradient that is not finite makes the update not
finite, so that training stops at its step.
"""

from twotsrec import config as config_lib
from twotsrec import fields
from twotsrec import own
from twotsrec import types
from twotsrec.aggregators import agreement
from twotsrec.aggregators import blocks
from twotsrec.aggregators import gram
from twotsrec.aggregators import linear
from twotsrec.aggregators import loss_weighted
from twotsrec.aggregators import projection

_MAKERS = {
  'joint': lambda c: linear.joint(),
  'backdoor': lambda c: linear.backdoor(c.tau, c.prior, c.weighting),
  'class_balanced': lambda c: linear.class_balanced(c.class_beta),
  'pcgrad': lambda c: projection.pcgrad(),
  'gradvac': lambda c: projection.gradvac(c.gradvac_beta),
  'agr_sum': lambda c: agreement.agr_sum(c.agr_zero_policy),
  'agr_rand': lambda c: agreement.agr_rand(
    c.agr_zero_policy, c.agr_noise_scale
  ),
  'gradnorm': lambda c: loss_weighted.gradnorm(
    c.gradnorm_alpha, c.gradnorm_rate, c.gradnorm_block
  ),
  'group_dro': lambda c: loss_weighted.group_dro(
    c.group_dro_eta, c.group_dro_adjustment
  ),
  'famo': lambda c: loss_weighted.famo(c.famo_rate, c.famo_decay),
  'mgda': lambda c: gram.mgda(c.mgda_normalization),
  'cagrad': lambda c: gram.cagrad(c.cagrad_c),
  'imtl_g': lambda c: gram.imtl_g(),
  'nash': lambda c: gram.nash(c.nash_max_norm, c.nash_scale),
  'aligned': lambda c: gram.aligned(c.tau, c.prior),
  'upgrad': lambda c: gram.upgrad(c.tau, c.prior),
  'fairgrad': lambda c: gram.fairgrad(c.fairgrad_alpha),
  'db_mtl': lambda c: loss_weighted.db_mtl(c.db_mtl_beta),
}
NAMES = tuple(_MAKERS)


def make(config: config_lib.AggregatorConfig) -> types.GradientAggregator:
  """The aggregator a configuration names, at its granularity.

  Raises:
    types.UserError: an unknown name, or a value that a setting cannot have.
  """
  fields.refuse_section(config, 'aggregator')
  kind = types.GradientAggregator
  made = own.part(config.name, 'aggregator.name', kind, _MAKERS, config)
  return blocks.refine(made, config.granularity)
