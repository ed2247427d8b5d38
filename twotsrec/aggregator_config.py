"""Settings of aggregators; `config.py` has them among its own.

A field says in its line what it may be and when it is read, as there; "authors"
means the public code of a method's authors, "ours" a default that its paper is
silent about.
"""

import dataclasses
import functools

from twotsrec.fields import above
from twotsrec.fields import all_of
from twotsrec.fields import any_of
from twotsrec.fields import at_least
from twotsrec.fields import below
from twotsrec.fields import between
from twotsrec.fields import free
from twotsrec.fields import one_of
from twotsrec.fields import read_if

GRAM_NORMS = ('none', 'l2', 'loss', 'loss+')

_by = functools.partial(read_if, 'aggregator.name')
_SCALARIZED = ('stch', 'cosmos', 'pbi')
_PRIOR = _by(
  'backdoor', 'aligned', 'upgrad', 'config', 'dualproj', 'sdmgrad', *_SCALARIZED
)  # fmt: skip
_TAU = all_of(_PRIOR, read_if('aggregator.prior', ()))
_AGR, _RAND = _by('agr_sum', 'agr_rand'), _by('agr_rand')
_NORM, _DRO = _by('gradnorm'), _by('group_dro')
# Whose update is the sum of the group gradients with weights that may change.
WEIGHED = (
  'pcgrad', 'gradvac', 'gradnorm', 'group_dro', 'famo', 'mgda', 'cagrad',
  'imtl_g', 'aligned', 'upgrad', 'fairgrad', 'config', 'dualproj', 'krum',
  'pcd', 'modo', 'sdmgrad', 'excess_mtl', 'rlw', 'uw', 'imtl_l', 'imtl', 'dwa',
  'gls', *_SCALARIZED,
)  # fmt: skip
_STCH_LOG = all_of(_by('stch'), read_if('aggregator.stch_values', 'log'))
_STCH_RAW = all_of(_by('stch'), read_if('aggregator.stch_values', 'raw'))
_CHANGING, _SCALES = _by(*WEIGHED), _by('uw', 'imtl_l', 'imtl')
_TRIM, _PCD = _by('trimmed_mean'), _by('pcd')
_MOCO, _SDM, _EXCESS = _by('moco'), _by('sdmgrad'), _by('excess_mtl')
_AGGREGATED = read_if('train.method', 'aggregator')


@dataclasses.dataclass
class AggregatorConfig:
  """How group gradients become one (sec. 3.2)."""

  name: str = free('joint', _AGGREGATED)  # of twotsrec/aggregators
  tau: float = free(0.0, _TAU)  # prior ~ n_j^tau: 0 eq. 6, 1 joint, -1 means
  prior: tuple[float, ...] = at_least(0, (), _PRIOR)  # any; instead of tau
  weighting: str = one_of('self_norm', 'importance', read=_by('backdoor'))
  form: str = one_of('auto', 'fused', 'explicit')  # auto: fused if it can be
  table_gradients: str = one_of('auto', 'dense', 'rows')  # ours; of a batch
  granularity: str = one_of('model', 'block', 'leaf')  # authors; GradVac: leaf
  class_beta: float = below(1, 0.9999, _by('class_balanced'))  # Cui et al. 2019
  gradvac_beta: float = between(0, 1, 0.01, _by('gradvac'))  # Wang et al. 2021
  agr_zero_policy: str = one_of('strict', 'ignore', read=_AGR)  # Mansilla 2021
  agr_noise_scale: str = one_of('agreeing', 'all', read=_RAND)  # code; authors
  gradnorm_alpha: float = at_least(0, 1.5, _NORM)  # Chen et al. 2018, NYUv2
  gradnorm_rate: float = at_least(0, 1e-3, _NORM)  # ours: Adam on the weights
  gradnorm_block: str = free('', _NORM)  # ours: all; paper: the last shared
  group_dro_eta: float = at_least(0, 0.01, _DRO)  # Sagawa et al. 2020, code
  group_dro_adjustment: float = free(0.0, _DRO)  # the same, C of sec. 3.3
  famo_rate: float = at_least(0, 0.025, _by('famo'))  # Liu et al. 2023, code
  famo_decay: float = at_least(0, 1e-3, _by('famo'))  # the same
  mgda_normalization: str = one_of(*GRAM_NORMS, read=_by('mgda'))  # Sener 2018
  cagrad_c: float = at_least(0, 0.5, _by('cagrad'))  # Liu et al. 2021
  nash_max_norm: float = at_least(0, 1.0, _by('nash'))  # Navon 2022; 0: none
  # ours: sqrt(sum |g|^2) long before it is cut; Navon 2022: sqrt(G), so then 1
  nash_scale: str = one_of('gradients', 'published', read=_by('nash'))
  fairgrad_alpha: float = above(0, 1.0, _by('fairgrad'))  # Ban, Ji 2024; 1 Nash
  db_mtl_beta: float = below(1, 0.9, _by('db_mtl'))  # Lin et al. 2023
  # Senushkin et al. 2023; rmse: their code
  aligned_scale: str = one_of('min', 'median', 'rmse', read=_by('aligned'))
  cr_mogm_alpha: float = below(1, 0.0, _CHANGING)  # Zhou et al. 2022; 0: off
  krum_byzantine: int = at_least(0, 1, _by('krum'))  # Blanchard et al. 2017, f
  krum_selected: int = at_least(1, 1, _by('krum'))  # m of Multi-Krum
  trim_number: int = at_least(0, 1, _TRIM)  # Yin et al. 2018; of each end
  trim_zero_policy: str = one_of('strict', 'ignore', read=_TRIM)  # ours: ignore
  graddrop_leak: float = between(0, 1, 0.0, _by('graddrop'))  # Chen et al. 2020
  pcd_primary: int = at_least(0, 0, _PCD)  # from 1; 0 is the last, the target
  pcd_tau: float = between(0, 1, 0.02, _PCD)  # TorchJD's
  pcd_beta: float = below(1, 0.999, _PCD)  # the same
  moco_beta: float = between(0, 1, 0.5, _MOCO)  # Fernando 2023, code, as below
  moco_beta_decay: float = at_least(0, 0.5, _MOCO)
  moco_gamma: float = at_least(0, 0.1, _MOCO)
  moco_gamma_decay: float = at_least(0, 0.5, _MOCO)
  moco_rho: float = at_least(0, 0.0, _MOCO)
  moco_form: str = one_of('published', 'code', read=_MOCO)  # LibMTL: code
  modo_gamma: float = at_least(0, 1e-3, _by('modo'))  # LibMTL; TorchJD: 0.1
  modo_rho: float = at_least(0, 0.1, _by('modo'))  # the same
  sdmgrad_lambda: float = at_least(0, 0.3, _SDM)  # Xiao et al. 2023, code
  sdmgrad_steps: int = at_least(1, 20, _SDM)  # the same
  sdmgrad_rate: float = above(0, 10.0, _SDM)  # the same; LibMTL: 5
  sdmgrad_momentum: float = below(1, 0.5, _SDM)  # the same
  excess_rate: float = above(0, 0.01, _EXCESS)  # He et al. 2024, code
  excess_warmup: int = at_least(1, 1, _EXCESS)  # code; paper: 3 epochs
  scale_rate: float = at_least(0, 1e-3, _SCALES)  # ours: Adam on log scales
  dwa_temperature: float = above(0, 2.0, _by('dwa'))  # Liu et al. 2019
  dwa_steps: int = at_least(1, 100, _by('dwa'))  # ours; paper: an epoch
  stch_mu: float = above(0, 1.0, _by('stch'))  # Lin et al. 2024, code
  stch_values: str = one_of('log', 'raw', read=_by('stch'))  # code; paper: raw
  stch_warmup: int = at_least(1, 100, _STCH_LOG)  # ours; code: 4 epochs
  ideal: tuple[float, ...] = free((), any_of(_STCH_RAW, _by('pbi')))  # losses z
  cosmos_lambda: float = at_least(0, 1.0, _by('cosmos'))  # ours; paper: .01-8
  pbi_theta: float = at_least(0, 5.0, _by('pbi'))  # Zhang, Li 2007
