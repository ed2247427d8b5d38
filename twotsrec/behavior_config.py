"""Settings of models of several behaviors; `config.py` has them among its own.

A field says in its line what it may be and when it is read, as there; "authors"
means the public code of COPF's authors, "ours" a default the paper is silent
about.
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
from twotsrec.fields import read_unless
from twotsrec.fields import read_with

TRANSFERS = ('fit', 'identity', 'linear', 'attention', 'projection', 'none')
POLICIES = ('stop_target', 'stop_all', 'none')

_NEAREST = read_if('fusion.pre_behavior', 'nearest')
_WALKED = read_unless('fusion.num_layers', 0)
_MERGED = all_of(_WALKED, read_unless('fusion.in_behavior', 'own'))
_EXPERTS = read_if('head.name', 'experts')
_BILINEAR = read_if('head.name', 'bilinear', 'bilinear_matrix')
_BOTTOM = read_if('head.name', 'shared_bottom')
_FIT = all_of(_EXPERTS, read_if('head.transfer', 'fit'))
_MIXED = all_of(_EXPERTS, read_unless('head.transfer', 'none'))
_GATED = read_unless('head.gate', 'none')
_STOP = all_of(_MIXED, _GATED, read_unless('head.gradient_policy', 'none'))
_OTHERS = all_of(_EXPERTS, read_unless('head.transfer', 'none', 'attention'))
_ORDER = all_of(_OTHERS, _GATED)
_BESIDE = functools.partial(read_with, 'behavior.auxiliary')
_UNIQUE = read_unless('head.unique_weight', 0)
_SCALED = any_of(_OTHERS, _UNIQUE)
# What is unique to one behavior of a shared representation is nothing.
_OWN = all_of(
  read_unless('head.name', 'shared_bottom', 'mmoe', 'ple'),
  read_unless('fusion.post_behavior', 'merged'),
)
_APART = all_of(_OWN, _BESIDE('unique'))
_ALIGN = _BESIDE('alignment')
_ALIGNED = all_of(_ALIGN, read_unless('behavior.contrastive', 0))
_COMPARED = any_of(_ALIGNED, _BESIDE('star', 'augmented'))
_META = all_of(
  _BESIDE('view'),
  read_if('behavior.aggregate', 'loss'),
  read_if('behavior.bpr_reduction', 'mean'),
)
_AHEAD = read_unless('behavior.meta_rate', 0)
_L2 = read_unless('behavior.l2', 0)
_PAIRS = read_unless('behavior.prior', 'none')
_SHARED_OUT = read_unless('discovery.by', 'scores')


@dataclasses.dataclass
class FusionConfig:
  """Graph fusion of `multi_behavior`, COGCN by default (COPF sec. 4.2)."""

  name: str = free('cogcn')  # see twotsrec/models/fusion.py
  num_layers: tuple[int, ...] = at_least(0, ())  # one, or K; () is 1: authors
  pre_behavior: str = one_of('all', 'nearest', 'none')  # eq. 6
  keep_initial: bool = free(False, _NEAREST)  # ours: adds embeddings again
  in_behavior: str = one_of('upstream', 'own', 'all', read=_WALKED)  # eq. 5
  operator: str = one_of('merged', 'summed', 'union', read=_MERGED)  # authors
  post_behavior: str = one_of('decoupled', 'merged')  # eq. 7; one for all tasks
  normalization: str = one_of('left', 'right', 'symmetric', 'none')  # authors
  self_loop: bool = free(True)  # eq. 5, "+ I"; False in LightGCN
  combine: str = one_of('sum', 'mean')  # eq. 7; mean of the layers in LightGCN
  product_dtype: str = one_of('float32', 'bfloat16')  # sums stay float32
  dropout: float = below(1, 0.0)  # mbgcn: .2, gcmc: .3; before a product
  item_weight: float = at_least(0, 1.0)  # mbgcn, lambda of what items share
  sample: int = at_least(0, 0)  # gcmc_sage: neighbors of a step; 0: all
  num_heads: int = at_least(1, 4)  # gcmc_gat
  branch_weight: float = between(0, 1, 0.1)  # kmclr_no_kg, of LightGCN


@dataclasses.dataclass
class HeadConfig:
  """Scores of K behaviors; the defaults are DFME (COPF sec. 4.3)."""

  # Or bilinear, bilinear_matrix, shared_bottom, mmoe, ple, neumf,
  # cascade_logits, mlp_product.
  name: str = free('experts')
  transfer: str = one_of(*TRANSFERS, read=_EXPERTS)  # eq. 10-12; sec. 5.3.3
  transfer_layers: int = at_least(1, 1, _FIT)  # authors, L_m
  transfer_output: str = one_of('sum', 'last', read=_FIT)  # authors: all layers
  transfer_scale: float = free(1.0, _SCALED)  # eq. 12; 0.1: authors' code
  modulate_residual: bool = free(True, _FIT)  # eq. 11; False: authors' code
  alpha: float = free(0.1, _FIT)  # eq. 10, weight of the source; sec. 5.5.3
  beta: float = free(0.001, _FIT)  # eq. 10, of the task's own representation
  gate: str = one_of('softmax', 'none')  # eq. 13
  gate_order: str = one_of('self_first', 'behavior', read=_ORDER)  # authors
  gradient_policy: str = one_of(*POLICIES, read=_MIXED, idle='none')  # eq. 14
  stop_gate: bool = free(True, _STOP)  # eq. 14; False: the expert alone
  tower: str = one_of('sum', 'mean', read=_EXPERTS)  # authors; mean is eq. 15
  score_scale: tuple[float, ...] = above(0, (300.0,))  # authors; one, or K
  relation_init: str = one_of('xavier', 'ones', read=_BILINEAR)  # plus noise
  linear_tower: bool = free(False, _BOTTOM)  # authors: no hidden layer
  num_experts: int = at_least(1, 3, read_if('head.name', 'mmoe'))
  unique_weight: float = at_least(0, 0.0, _APART)  # PKEF: what is not shared
  unique_label: str = one_of('source_only', 'task_only', read=_UNIQUE)  # PKEF


@dataclasses.dataclass
class BehaviorConfig:
  """Objective and batches of `multi_behavior` (COPF sec. 4.4, 5.1)."""

  samples: int = at_least(1, 40)  # authors: pairs of a user and behavior
  # Every user once; or users drawn until the target has its number of pairs.
  epoch: str = one_of('users', 'pairs')  # authors; pairs: LightGCN's code
  weights: tuple[float, ...] = at_least(0, ())  # eq. 16, lambda_k; () is 1/K
  aggregate: str = one_of('loss', 'behaviors', 'groups')  # eq. 16: the loss
  loss: str = one_of('bpr', 'bce', 'hinge', 'softmax')  # of a pair; eq. 16
  negatives: int = at_least(1, 1)  # of a pair; NeuMF and NMTR have 4
  bpr_scale: float = above(0, 3.0)  # authors; of any `loss`
  bpr_reduction: str = one_of('mean', 'sum')  # authors; sum is eq. 16; of any
  # Losses beside the ranking; see twotsrec/objectives/auxiliaries.py.
  auxiliary: tuple[str, ...] = free(('alignment', 'unique'))
  contrastive: float = at_least(0, 1.0, _ALIGN, idle=0.0)  # eq. 17, gamma
  parallel: float = at_least(0, 1.0, _BESIDE('parallel'))  # PKEF: its weight
  # Weights of the other losses beside the ranking.
  star_weight: float = at_least(0, 0.0, _BESIDE('star'))  # s_mbrec: .1
  view_weight: float = at_least(0, 0.0, _BESIDE('view'))  # cml: .0005
  augmented_weight: float = at_least(0, 0.0, _BESIDE('augmented'))  # kmclr: .1
  preference_weight: float = at_least(0, 0.0, _BESIDE('preference'))  # bcipm
  meta_rate: float = at_least(0, 0.0, _META)  # cml: of a network; 0: weights 1
  look_ahead: float = at_least(0, 0.1, _AHEAD)  # cml: rate of a judged step
  temperature: float = above(0, 0.1)  # sec. 5.5.2
  anchors: str = one_of('batch', 'all', read=_COMPARED)  # authors; all is eq. 8
  normalizer: str = one_of('users', 'sides', read=_ALIGNED)  # authors: by U
  similarity: str = one_of('cosine', 'inner', read=_COMPARED)  # authors
  l2: float = at_least(0, 0.01)  # eq. 17, mu
  # authors: tables, gate, transfers; all; batch: LightGCN; norm: CRGCN, BCIPM.
  l2_scope: str = one_of('authors', 'all', 'batch', 'norm', read=_L2)
  init: str = one_of('xavier', 'normal')  # authors; normal: LightGCN's
  init_std: float = above(0, 0.1, read_if('behavior.init', 'normal'))  # its
  decay_rate: float = above(0, 0.96)  # authors: of learning rate, each epoch
  prior: str = one_of('none', 'pattern')  # ours: of upstream behaviors, learned
  prior_smoothing: float = above(0, 5.0, _PAIRS)  # ours: of conversion rates
  prior_scale: float = at_least(0, 100.0, _PAIRS)  # ours: of a logit, in scores


@dataclasses.dataclass
class CascadeConfig:
  """`cascading_rank` (Ko et al. 2025); neighbors weigh 1 - alpha - beta."""

  alpha: float = between(0, 1, 0.0)  # authors: Taobao; Tmall .7, Tenrec .3
  beta: float = between(0, 1, 0.9)  # authors: Taobao; Tmall .2, Tenrec .6
  tolerance: float = above(0, 1e-4)  # authors: of the change of all nodes
  max_steps: int = at_least(1, 100)  # authors


@dataclasses.dataclass
class DiscoveryConfig:
  """Places of a list for what its user has not touched (models/discovery.py).

  Ours; of data with behaviors.
  """

  # Who shares them out: scores as they are; a share of the places of all lists
  # together, where scores promise most; or the same share of each list.
  by: str = one_of('scores', 'average', 'each')
  share: float = between(0, 1, 0.1, _SHARED_OUT)  # of the places, what is new
  places: int = at_least(1, 10, read_if('discovery.by', 'average'))  # of a list
