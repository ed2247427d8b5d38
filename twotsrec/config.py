"""Typed configuration; every default names its source.

A field says in its line what it may be and, where that depends, when it is read
(`fields.py`); `runs/settings.py` refuses the rest. Paper references are to PIN
unless said otherwise; "authors" means the later public code of PIN's first
author, "ours" a default the paper is silent about.
"""

from collections.abc import Mapping
import copy
import dataclasses
from typing import Any

from twotsrec.aggregator_config import AggregatorConfig
from twotsrec.behavior_config import BehaviorConfig
from twotsrec.behavior_config import CascadeConfig
from twotsrec.behavior_config import DiscoveryConfig
from twotsrec.behavior_config import FusionConfig
from twotsrec.behavior_config import HeadConfig
from twotsrec.fields import above
from twotsrec.fields import all_of
from twotsrec.fields import any_of
from twotsrec.fields import at_least
from twotsrec.fields import below
from twotsrec.fields import between
from twotsrec.fields import free
from twotsrec.fields import inside
from twotsrec.fields import one_of
from twotsrec.fields import read_if
from twotsrec.fields import read_unless
from twotsrec.fields import section
from twotsrec.fields import some_of
from twotsrec.fields import within

SPLITS = ('leave_last_out', 'per_user_time', 'global_time', 'date', 'given')
GROUP_KEYS = ('user_train_count', 'user_seq_len', 'sample_history_len')
ONE_STAGE = ('single_stage', 'single_stage_plus')
VARIANTS = (
  '2ts', '2ts_plus', *ONE_STAGE, 'two_gru', 'one_gru', 'window_gru',
  'frozen_user', 'ccf',
  'shrunk', 'shrunk_plus',
)  # fmt: skip
TABLE_OPTIMIZERS = ('adam', 'row_adagrad', 'lazy_adam', 'row_sgd')
CANDIDATES = (
  'auto', 'all', 'sampled', 'unbought', 'never_interacted', 'catalog', 'shown',
)  # fmt: skip
OBJECTIVES = ('bce', 'bpr', 'hinge', 'softmax', 'gbce', 'cross_entropy')
PRIOR_TERMS = ('repeats', 'neighbors', 'successors')
FITTED = ('ease', 'item_knn', 'cascading_rank', 'pair_experts')

# When settings are read, and what reads a section.
_RAW = read_if('data.prepared', '', way_out='give it to launch/prepare.py')
_SHARES = all_of(_RAW, read_if('data.split', 'global_time', 'per_user_time'))
_AGGREGATED = read_if('train.method', 'aggregator')
_ONE_MODEL = read_unless('train.method', 'separate')
_SEQUENTIAL = read_if('train.method', 'fish', 'grad_transfer')
_TRANSFER = read_if('train.method', 'grad_transfer')
_PENALIZED = read_unless('train.penalty', 'none')
_FISHR = read_if('train.penalty', 'fishr')
_PLUGGED = read_unless('plugin.name', 'none')
_TAUGHT = all_of(_PLUGGED, read_unless('plugin.transfer', 0.0))
_NEGATIVES = read_unless('train.objective', 'cross_entropy')
_MASKED = read_if('train.positions', 'masked')
_SOFTMAX = read_if('train.objective', 'softmax')
_SOFTMAXES = read_if('train.objective', 'softmax', 'cross_entropy')
_WORST = read_unless('train.worst_share', 1.0)
_BY_ROWS = read_unless('train.table_optimizer', 'adam')
_GBCE = read_if('train.objective', 'gbce')
_TRIED = read_if('two_time.threshold_rule', 'validation')
_UPDATED = read_unless('two_time.cell', 'lstm')
_DRAWN = read_if('two_time.pool', 'event')
_STAGE1 = read_unless('two_time.variant', *ONE_STAGE)
_SHRUNK = read_if('routing.mode', 'shrunk')
_AT_ONCE = read_if('two_time.variant', *ONE_STAGE)
_TAKEN = all_of(_STAGE1, read_if('two_time.threshold_rule', 'given'))
_LEARNED = read_if('jodie.static', 'learned')
_SAMPLED = read_if('evaluation.candidates', 'sampled')
_ADDED = read_unless('prior.terms', ())
_COPIED = any_of(
  read_unless('augment.substitute', 0.0), read_unless('augment.insert', 0.0)
)
_CHANGED = any_of(_COPIED, read_unless('augment.mix', 0.0))
_CLOSED_FORM = 'use model.name=ease or item_knn'
_CASCADE = 'use model.name=cascading_rank'
_OF_BEHAVIORS = (
  'use model.name=multi_behavior, cascading_rank or pair_experts, for data with'
  ' behaviors'
)
_GRAPHS = 'use model.name=multi_behavior'
_HISTORIES = 'use a sequence model such as model.name=sasrec'
_STREAMS = 'use model.name=two_time_scale'
_MOVED = 'use model.name=jodie'
_GROWN = 'use model.name=dyn_aernn'


@dataclasses.dataclass
class DataConfig:
  """Which interactions to train on, and how examples are made of them."""

  dataset: str = free('synthetic')  # built in, or of data/datasets.py
  data_root: str = free('')  # folder that holds the named datasets
  prepared: str = free('')  # a prepared directory; overrides dataset
  cache_dir: str = free('data')  # where a named dataset is prepared once
  split: str = one_of(*SPLITS)  # sec. 4.1.1: last interaction is the test
  shares: tuple[float, ...] = between(0, 1, (0.7, 0.1, 0.2), _SHARES)  # 2TS
  validation: bool = free(True, _RAW)  # ours: the one before; paper: none
  min_user: int = at_least(1, 1, _RAW)  # ours; Amazon in sec. 4.1.1 uses 15
  min_item: int = at_least(1, 1, _RAW)
  core: str = one_of('fixed_point', 'single_pass', read=_RAW)  # paper: silent
  users: int = at_least(1, 3000)  # built-in log only
  gamma: float = free(1.0)  # built-in log only: group's own share of taste
  seed: int = at_least(0, 0)  # built-in log and fixed negatives
  history_length: int = at_least(1, 50)  # ours (authors use 30, SASRec 200)
  num_negatives: int = at_least(1, 4, _NEGATIVES)  # sec. 4.1.1
  negative_mode: str = one_of('per_epoch', 'static')  # static: authors' files
  negative_exclude: str = one_of('all', 'train')  # sec. 4.1.1 "not appeared"
  # Whether every observed item has negatives of its own, or all positions of a
  # sequence share theirs.
  negative_sharing: str = one_of('none', 'sequence', read=_NEGATIVES)
  negative_power: float = at_least(0, 0.0, _NEGATIVES)  # drawn ~ count^power
  behaviors: tuple[str, ...] = free(())  # target last; () is the dataset's
  strip_heldout: bool = free(False)  # COPF's files keep a pair's views


@dataclasses.dataclass
class GroupConfig:
  """Activeness groups (sec. 3.2, 4.1.1)."""

  num_groups: int = at_least(1, 5)  # sec. 4.1.1
  key: str = one_of(*GROUP_KEYS)  # what activeness is
  balance: str = one_of('users', 'samples')  # "equally-numbered groups"


@dataclasses.dataclass
class ModelConfig:
  """Base model. Widths are the authors'; the paper reports none."""

  name: str = free('din')  # or multi_behavior, two_time_scale, ... (models)
  width: int = at_least(1, 32)  # authors
  hidden: tuple[int, ...] = at_least(1, (128, 64))  # authors: DIN classifier
  num_layers: int = at_least(1, 1)  # authors: SASRec; 2 in the original
  num_heads: int = at_least(1, 4)  # authors: SASRec; 1 in the original
  dropout: float = below(1, 0.0)  # authors; 0.2 in the original SASRec on ML-1M
  causal: bool = free(False)  # SASRec attention; the original always is
  authors_quirk: bool = free(False)  # authors: attention to padding too
  attention_norm: bool = free(False)  # original DIN: softmax over history
  augru: str = one_of('paper', 'code')  # DIEN: what attention 0 or 1 does
  memory_slots: int = at_least(1, 4)  # MIMN, authors
  auxiliary_weight: float = at_least(0, 1.0)  # next-item loss: DIEN sec. 4.2
  compute_dtype: str = one_of('float32', 'bfloat16')  # not of parameters


@dataclasses.dataclass
class TrainConfig:
  """Optimization (sec. 4.1.4) and when to stop."""

  method: str = one_of('aggregator', 'fish', 'grad_transfer', 'separate')
  objective: str = one_of(*OBJECTIVES)  # eq. 2; cross_entropy: over all items
  positions: str = one_of('last', 'every', 'masked')  # every: SASRec sec. 3.6
  gbce_calibration: float = between(0, 1, 0.75, _GBCE)  # t; Petrov 2023
  log_frequency: bool = free(False, _SOFTMAX)  # scores less log of the draws
  mask_share: float = inside(0, 1, 0.2, _MASKED)  # BERT4Rec sec. 3.6, ML-1M
  # Scores are divided by it: one number, or one for each group.
  temperatures: tuple[float, ...] = above(0, (), _SOFTMAXES)
  worst_share: float = within(0, 1, 1.0)  # CVaR: of a batch, by loss; 1: all
  worst_smoothing: float = at_least(
    0, 0.1, _WORST
  )  # of its edge, in deviations
  batch_size: int = at_least(1, 512)  # sec. 4.1.4
  batching: str = one_of('proportional', 'natural', 'balanced')  # authors
  learning_rate: float = above(0, 1e-3)  # sec. 4.1.4, Adam
  beta2: float = below(1, 0.999)  # Adam; 0.98 in the original SASRec
  # Of id tables; all but adam move the rows of a batch alone, for millions.
  table_optimizer: str = one_of(*TABLE_OPTIMIZERS)
  table_rate: float = at_least(0, 0.0, _BY_ROWS)  # 0: learning_rate
  epochs: int = at_least(1, 20)  # ours: "until convergence"
  patience: int = at_least(0, 3)  # ours, in evaluations; 0: no early stopping
  min_epochs: int = at_least(0, 0)  # patience ends nothing before them
  evaluate_every: int = at_least(1, 1)  # epochs between evaluations
  select_metric: str = free('loss')  # sec. 4.1.4; or user_auc, ndcg@10, ...
  select_on: str = one_of('validation', 'test')  # 'test' marks the report
  checkpoint_every: float = at_least(0, 60.0)  # seconds
  keep: int = at_least(1, 2)  # checkpoints kept for resuming
  penalty: str = one_of('none', 'vrex', 'irm', 'fishr', read=_AGGREGATED)
  penalty_weight: float = at_least(0, 1.0, _PENALIZED)  # 1000: Fishr's paper
  penalty_warmup: int = at_least(0, 0, _PENALIZED)  # steps without it
  fishr_decay: float = below(1, 0.95, _FISHR)  # Rame et al. 2022, of variances
  inner_rate: float = above(0, 1e-2, _SEQUENTIAL)  # step inside an update
  adversary_weight: float = at_least(0, 0.1, _TRANSFER)  # lambda; 0: none
  log_groups: bool = free(False, _ONE_MODEL)  # losses, norms and cosines
  seed: int = at_least(0, 0)


@dataclasses.dataclass
class PluginConfig:
  """Plugin networks and the stage that trains them (sec. 3.3)."""

  name: str = free('none')  # light (eq. 12-13), naive (eq. 8-11) or film
  trunk: str = free('', _PLUGGED)  # run directory of stage 1
  points: str = one_of('AZ', 'A', 'Z')  # A before extractor, Z classifier
  history_only: bool = free(False)  # ours: A acts on the candidates too
  ratio: float = above(0, 0.5)  # authors: bottleneck over input width
  activation: str = one_of('tanh', 'relu')  # authors
  init: str = one_of('identity', 'small')  # ours; authors: Xavier, gain 1e-3
  post_activation: bool = free(False)  # authors: True, no identity at first
  learning_rate: float = at_least(0, 0.0)  # 0: 1e-4 (sec. 4.1.4), naive 1e-5
  trunk_learning_rate: float = at_least(0, 1e-4)  # ours; 0 freezes the trunk
  trunk_gradient: str = one_of('through', 'bare')  # sec. 3.3: with plugins on
  epochs: int = at_least(1, 20)  # ours: "until convergence"
  patience: int = at_least(0, 3)  # ours, in evaluations; 0: no early stopping
  select: str = one_of('global', 'per_group')  # per_group: authors, later code
  select_metric: str = free('group_auc')  # ours: mean of the groups' AUC
  # Weight of what teaches a plugin to see more in a short history than there
  # is, from active users (ours, after MELT; training/transfer.py).
  transfer: float = at_least(0, 0.0, _PLUGGED)
  # Active users of a batch whose mean state is a second target; 0: none.
  near: int = at_least(0, 0, _TAUGHT)


@dataclasses.dataclass
class AugmentConfig:
  """Changed copies of the histories of users with little history, to train on
  (TADA, Dang et al. 2026; ops/augmentation.py)."""

  groups: int = at_least(1, 1, _CHANGED)  # the least active so many
  share: float = within(0, 1, 0.5, _COPIED)  # of their examples, drawn anew
  substitute: float = below(1, 0.0)  # of items; one that goes with it instead
  insert: float = below(1, 0.0)  # of items; one that goes with it after it
  neighbors: int = at_least(1, 20, _COPIED)  # of an item, by cosine of users
  mix: float = at_least(0, 0.0)  # a of Beta(a, a), mixes states of two users


@dataclasses.dataclass
class PriorConfig:
  """What the history of a user says of an item by itself, added to the scores
  of a sequence model (ours, models/history_prior.py)."""

  # Whether, when and how often the user had the item; items that go with those
  # of the user; items that come after the last one.
  terms: tuple[str, ...] = some_of(*PRIOR_TERMS)
  history_length: int = at_least(1, 200, _ADDED)  # events that they look at
  weights: tuple[float, ...] = free((), _ADDED)  # () fits them to validation


@dataclasses.dataclass
class TwoTimeConfig:
  """Two-time-scale recommender (2TS sec. 2-3); model.width is d.

  The paper states none of the sizes and rates; they are ours.
  """

  variant: str = one_of(*VARIANTS)  # sec. 3; ablations: presets/two_time.py
  threshold: int = at_least(0, 100)  # t*, App. C: active users have more events
  threshold_rule: str = one_of('given', 'validation', 'theory')  # theorem 2.1
  thresholds: tuple[int, ...] = at_least(0, (), _TRIED)  # to choose from
  window: int = at_least(1, 50)  # K <= t*, sec. 3.2: last of an active user
  cell: str = one_of('gru', 'lstm', 'residual', 'scaled_gru')  # eq. 8-9
  update_bias: float = free(0.0, _UPDATED)  # of its gate; 2 writes slowly
  share_readout: bool = free(False)  # 2TS-Plus: one W, sec. 3.3 as written
  item_features: str = free('')  # sec. 3.3: file of f_i, data/features.py
  feature_columns: tuple[str, ...] = free(())  # ="'a:dense','b:dense'"
  feature_width: int = at_least(0, 0)  # d_f of g(f_i); table: the rest of d
  negatives: int = at_least(1, 10, _DRAWN)  # p, sec. 3.1: offered beside it
  pool: str = one_of('event', 'shared')  # shared: pool_size draws for a step
  pool_size: int = at_least(1, 512, read_if('two_time.pool', 'shared'))
  stage1: str = free('', _TAKEN)  # finished run whose stage 1 is taken over
  stage1_epochs: tuple[int, ...] = at_least(1, (5, 10, 20, 40), _STAGE1)
  stage1_batch: int = at_least(0, 0, _STAGE1)  # 0: 60 steps an epoch, to 8192
  stage1_rate: float = above(0, 5e-3, _STAGE1)  # 0.1: row_adagrad
  stage1_l2: float = at_least(0, 0.0, _STAGE1)  # on the rows in use
  holdout: str = one_of('last_k', 'none', 'refit')  # of stage 1; none: paper
  warmup: str = one_of('replay', 'none')  # of windows, before validation
  loader: str = one_of('packed', 'padded')  # streams with resets
  tokens: int = at_least(0, 0)  # of a stage-2 step; 0: 40-70 steps an epoch
  rate: float = above(0, 2e-3)  # stage 2, Adam
  clip: float = at_least(0, 1.0)  # stage 2, norm of the gradient
  epochs: int = at_least(1, 40, _STAGE1)  # stage 2
  patience: int = at_least(0, 3)  # stage 2, in epochs
  single_stage_epochs: int = at_least(1, 80, _AT_ONCE)  # all from the start
  single_stage_window: str = one_of('random', 'last_k', read=_AT_ONCE)
  evaluation_lists: int = at_least(1, 499)  # sec. 4: sampled beside the item


@dataclasses.dataclass
class JodieConfig:
  """JODIE (Kumar et al. 2019); model.width is that of the moving states."""

  static: str = one_of('one_hot', 'learned')  # published; 2TS App. B: learned
  static_width: int = at_least(1, 64, _LEARNED)  # 2TS App. B
  loss: str = one_of('mse', 'triplet')  # published; 2TS App. B: triplet
  margin: float = above(0, 1.0, read_if('jodie.loss', 'triplet'))  # ours
  spans: int = at_least(1, 500)  # authors: of the time; gradients end with one
  l2: float = at_least(0, 1e-5)  # authors: of all parameters


@dataclasses.dataclass
class DynAernnConfig:
  """dynAERNN (Goyal et al. 2020); model.width is that of an embedding."""

  snapshots: int = between(2, 100, 10)  # ours; each has as many new edges
  lookback: int = at_least(1, 2)  # authors: snapshots before the one to come
  # Authors: of the encoders, of the decoder in reverse, the first of the LSTM.
  hidden: tuple[int, ...] = at_least(1, (500, 300))
  beta: float = at_least(1, 5.0)  # authors: weight of edges, squared
  penalty: float = at_least(0, 1e-6)  # authors: of sizes and squares of weights


@dataclasses.dataclass
class RoutingConfig:
  """Which plugin serves whom; the paper has training users only."""

  # Training group; activity; both neighbors; less of it where data are few.
  mode: str = one_of('frozen', 'dynamic', 'soft', 'shrunk')  # data/routing.py
  cold: str = one_of('group1', 'trunk')  # users without any history
  hysteresis: float = at_least(0, 0.1)  # dynamic: share beyond a border
  groups: int = at_least(0, 0)  # have plugins, the least active; 0: all
  shrinkage: float = at_least(0, 0.0, _SHRUNK)  # Q / V, samples; 0: estimated


@dataclasses.dataclass
class ClosedFormConfig:
  """Item-item models `ease` and `item_knn` (models/closed_form.py)."""

  l2: float = above(0, 500.0)  # Steck 2019, sec. 4: 200 to 1000 by the data
  neighbors: int = at_least(1, 100)  # ours
  shrinkage: float = at_least(0, 10.0)  # ours, beside the norms of a cosine


@dataclasses.dataclass
class EvaluationConfig:
  """Protocol of the report (sec. 4.1.2-4.1.3)."""

  # The rivals of a held-out item: 'all' its user never had (sec. 4.1.1 for ML),
  # as 'never_interacted'; 'sampled' some of them; 'unbought' all not bought in
  # the splits before, which of one behavior is all that is not in train;
  # 'catalog' every other item. A held-out item that could not be such a
  # rival is not ranked. 'auto' is all, unbought where behaviors come before the
  # target, or catalog where a twentieth of the items would not be ranked; with
  # labels it is 'shown': a click's rivals are what else its user was shown.
  candidates: str = one_of(*CANDIDATES)
  num_candidates: int = at_least(1, 100, _SAMPLED)  # of a held-out item
  users: int = at_least(0, 0)  # a fixed sample of so many is ranked; 0: all
  online: bool = free(False)  # the protocol of 2TS, of histories and graphs
  ks: tuple[int, ...] = at_least(1, (1, 5, 10, 20))
  auc_ties: float = between(0, 1, 0.5)  # 0 is the strict inequality of eq. 14
  # Mean over the places of a tie; 0 its first (optimistic), 1 its last.
  rank_ties: float = between(0, 1, 0.5)
  user_tile: int = at_least(1, 256)  # memory; results do not depend on it
  item_tile: int = at_least(1, 4096)  # the same
  bootstrap: int = at_least(0, 1000)  # resamples of users, 95 % intervals
  rules: tuple[str, ...] = some_of(*FITTED)  # shown beside it
  seed: int = at_least(0, 0)


@dataclasses.dataclass
class Config:
  """One experiment."""

  data: DataConfig = section(DataConfig)
  groups: GroupConfig = section(GroupConfig)
  model: ModelConfig = section(ModelConfig)
  aggregator: AggregatorConfig = section(AggregatorConfig)
  train: TrainConfig = section(TrainConfig)
  plugin: PluginConfig = section(PluginConfig)
  augment: AugmentConfig = section(AugmentConfig, _HISTORIES)
  prior: PriorConfig = section(PriorConfig, _HISTORIES)
  fusion: FusionConfig = section(FusionConfig, _GRAPHS)
  head: HeadConfig = section(HeadConfig, _GRAPHS)
  behavior: BehaviorConfig = section(BehaviorConfig, _GRAPHS)
  two_time: TwoTimeConfig = section(TwoTimeConfig, _STREAMS)
  jodie: JodieConfig = section(JodieConfig, _MOVED)
  dyn_aernn: DynAernnConfig = section(DynAernnConfig, _GROWN)
  routing: RoutingConfig = section(RoutingConfig)
  closed_form: ClosedFormConfig = section(ClosedFormConfig, _CLOSED_FORM)
  cascade: CascadeConfig = section(CascadeConfig, _CASCADE)
  discovery: DiscoveryConfig = section(DiscoveryConfig, _OF_BEHAVIORS)
  evaluation: EvaluationConfig = section(EvaluationConfig)


def change(config: Config, settings: Mapping[str, Any]) -> None:
  """Sets fields of a configuration, {'section.field': value}.

  Raises:
    AttributeError: a field that does not exist.
  """
  for path, value in settings.items():
    section, field = path.split('.')
    getattr(getattr(config, section), field)  # setattr would make a new one
    setattr(getattr(config, section), field, value)


def changed(config: Config, settings: Mapping[str, Any]) -> Config:
  """A copy with other values, as `change` sets them."""
  made = copy.deepcopy(config)
  change(made, settings)
  return made
