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
from twotsrec.aggregators import elementwise
from twotsrec.aggregators import gram
from twotsrec.aggregators import linear
from twotsrec.aggregators import loss_weighted
from twotsrec.aggregators import priority
from twotsrec.aggregators import projection
from twotsrec.aggregators import remembered
from twotsrec.aggregators import scalarized
from twotsrec.aggregators import smoothing

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
  'aligned': lambda c: gram.aligned(c.tau, c.prior, c.aligned_scale),
  'upgrad': lambda c: gram.upgrad(c.tau, c.prior),
  'fairgrad': lambda c: gram.fairgrad(c.fairgrad_alpha),
  'db_mtl': lambda c: loss_weighted.db_mtl(c.db_mtl_beta),
  'config': lambda c: gram.config(c.tau, c.prior),
  'dualproj': lambda c: gram.dualproj(c.tau, c.prior),
  'krum': lambda c: gram.krum(c.krum_byzantine, c.krum_selected),
  'trimmed_mean': lambda c: elementwise.trimmed_mean(
    c.trim_number, c.trim_zero_policy
  ),
  'graddrop': lambda c: elementwise.graddrop(c.graddrop_leak),
  'pcd': lambda c: priority.pcd(c.pcd_primary, c.pcd_tau, c.pcd_beta),
  'moco': lambda c: remembered.moco(
    c.moco_beta,
    c.moco_beta_decay,
    c.moco_gamma,
    c.moco_gamma_decay,
    c.moco_rho,
    c.moco_form,
  ),
  'modo': lambda c: remembered.modo(c.modo_gamma, c.modo_rho),
  'sdmgrad': lambda c: remembered.sdmgrad(
    c.sdmgrad_lambda,
    c.sdmgrad_steps,
    c.sdmgrad_rate,
    c.sdmgrad_momentum,
    c.tau,
    c.prior,
  ),
  'excess_mtl': lambda c: remembered.excess_mtl(c.excess_rate, c.excess_warmup),
  'rlw': lambda c: scalarized.rlw(),
  'uw': lambda c: scalarized.uw(c.scale_rate),
  'imtl_l': lambda c: scalarized.imtl_l(c.scale_rate),
  'imtl': lambda c: scalarized.imtl(c.scale_rate),
  'dwa': lambda c: scalarized.dwa(c.dwa_temperature, c.dwa_steps),
  'gls': lambda c: scalarized.gls(),
  'stch': lambda c: scalarized.stch(
    c.stch_mu, c.stch_values, c.stch_warmup, c.ideal, c.tau, c.prior
  ),
  'cosmos': lambda c: scalarized.cosmos(c.cosmos_lambda, c.tau, c.prior),
  'pbi': lambda c: scalarized.pbi(c.pbi_theta, c.ideal, c.tau, c.prior),
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
  if config.cr_mogm_alpha:
    made = smoothing.smoothed(made, config.cr_mogm_alpha)
  return blocks.refine(made, config.granularity)


def check_number(
  config: config_lib.AggregatorConfig, number: int, parts: str
) -> None:
  """Refuses settings that do not fit the number of what is aggregated over.

  Args:
    config: the settings.
    number: G of groups or K of behaviors.
    parts: what they are called in a message.
  Raises:
    types.UserError: the setting, what it may be and the way out.
  """
  for name in ('prior', 'ideal'):
    given = len(getattr(config, name))
    if given and given != number:
      raise types.UserError(
        f'aggregator.{name} has {given} values for {number} {parts}; give one'
        ' for each'
      )
  name, needed = config.name, config.krum_byzantine + 3
  if name == 'trimmed_mean' and 2 * config.trim_number >= number:
    raise types.UserError(
      f'aggregator.trim_number {config.trim_number} at both ends leaves none of'
      f' {number} {parts}; use {(number - 1) // 2} at most'
    )
  if name == 'krum' and needed > number:
    raise types.UserError(
      f'aggregator.krum_byzantine {config.krum_byzantine} needs {needed}'
      f' {parts}, and there are {number}; use {max(number - 3, 0)}, or'
      ' aggregator.name=trimmed_mean'
    )
  if name == 'krum' and config.krum_selected > number:
    raise types.UserError(
      f'aggregator.krum_selected {config.krum_selected} is more than {number}'
      f' {parts}; use {number} at most'
    )
  if name == 'pcd' and config.pcd_primary > number:
    raise types.UserError(
      f'aggregator.pcd_primary {config.pcd_primary} is none of {number}'
      f' {parts}; use 1 to {number}, or 0 for the last'
    )
