"""Typed configuration; every default names its source.

Paper references are to PIN unless said otherwise; "authors" means the later
public code of PIN's first author, "ours" a default the paper is silent about.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any


@dataclasses.dataclass
class DataConfig:
  """Which interactions to train on, and how examples are made of them."""

  dataset: str = 'synthetic'  # built in; or a named dataset (data/datasets.py)
  data_root: str = ''  # folder that holds the named datasets
  prepared: str = ''  # a prepared directory; overrides dataset
  cache_dir: str = 'data'  # where a named dataset is prepared on first use
  split: str = 'leave_last_out'  # sec. 4.1.1: last interaction is the test
  validation: bool = True  # ours: the one before it; the paper has none
  min_user: int = 1  # ours; Amazon in sec. 4.1.1 uses 15
  min_item: int = 1
  core: str = 'fixed_point'  # or 'single_pass'; the paper does not say
  users: int = 3000  # built-in log only
  gamma: float = 1.0  # built-in log only: group-specific share of taste
  seed: int = 0  # built-in log and fixed negatives
  history_length: int = 50  # ours (authors use 30, SASRec 200)
  num_negatives: int = 4  # sec. 4.1.1
  negative_mode: str = 'per_epoch'  # or 'static', as in the authors' files
  negative_exclude: str = 'all'  # sec. 4.1.1 "not appeared"; or 'train'
  behaviors: tuple[str, ...] = ()  # order, target last; () is the dataset's
  strip_heldout: bool = False  # COPF's files keep a held-out pair's views


@dataclasses.dataclass
class GroupConfig:
  """Activeness groups (sec. 3.2, 4.1.1)."""

  num_groups: int = 5  # sec. 4.1.1
  key: str = 'user_train_count'  # or user_seq_len, sample_history_len
  balance: str = 'users'  # "equally-numbered groups"; or 'samples'


@dataclasses.dataclass
class ModelConfig:
  """Base model. Widths are the authors'; the paper reports none."""

  name: str = 'din'  # or multi_behavior, two_time_scale, ... (models)
  width: int = 32  # authors
  hidden: tuple[int, ...] = (128, 64)  # authors: DIN classifier
  num_layers: int = 1  # authors: SASRec; 2 in the original SASRec
  num_heads: int = 4  # authors: SASRec; 1 in the original SASRec
  dropout: float = 0.0  # authors; 0.2 in the original SASRec on ML-1M
  causal: bool = False  # SASRec attention; the original is always causal
  authors_quirk: bool = False  # authors: attention without a padding mask
  attention_norm: bool = False  # original DIN: softmax over the history
  compute_dtype: str = 'float32'  # or 'bfloat16'; parameters stay float32


@dataclasses.dataclass
class AggregatorConfig:
  """How group gradients become one (sec. 3.2)."""

  name: str = 'joint'  # see twotsrec/aggregators/__init__.py
  tau: float = 0.0  # prior ~ n_j^tau: 0 uniform (eq. 6), 1 joint, -1: of means
  prior: tuple[float, ...] = ()  # any prior over groups; overrides tau
  weighting: str = 'self_norm'  # or 'importance' (differs if b_j varies)
  form: str = 'auto'  # 'fused' (one weighted pass) if it can; or 'explicit'
  table_gradients: str = 'auto'  # ours: 'dense', or 'rows' of the batch only
  granularity: str = 'model'  # authors: PCGrad; or 'block', 'leaf' (GradVac)
  class_beta: float = 0.9999  # class_balanced: Cui et al. 2019, largest tried
  gradvac_beta: float = 0.01  # Wang et al. 2021; LibMTL has .5
  agr_zero_policy: str = 'strict'  # Mansilla et al. 2021 code; or 'ignore'
  agr_noise_scale: str = 'agreeing'  # the same; 'all' entries: authors
  gradnorm_alpha: float = 1.5  # Chen et al. 2018, NYUv2
  gradnorm_rate: float = 1e-3  # ours: Adam on the weights
  gradnorm_block: str = ''  # ours: whole model; paper: last shared layer
  group_dro_eta: float = 0.01  # Sagawa et al. 2020, authors' code
  group_dro_adjustment: float = 0.0  # Sagawa et al. 2020, C of sec. 3.3
  famo_rate: float = 0.025  # Liu et al. 2023, authors' code
  famo_decay: float = 1e-3  # the same
  mgda_normalization: str = 'none'  # Sener and Koltun 2018: l2, loss, loss+
  cagrad_c: float = 0.5  # Liu et al. 2021
  nash_max_norm: float = 1.0  # Navon et al. 2022, authors' code; 0 for none
  fairgrad_alpha: float = 1.0  # Ban and Ji 2024; 1 is Nash
  db_mtl_beta: float = 0.9  # Lin et al. 2023


@dataclasses.dataclass
class TrainConfig:
  """Optimization (sec. 4.1.4) and when to stop."""

  method: str = 'aggregator'  # or 'fish', 'grad_transfer', 'separate'
  objective: str = 'bce'  # eq. 2; bpr, or every_position (SASRec sec. 3.6)
  batch_size: int = 512  # sec. 4.1.4
  batching: str = 'proportional'  # authors; or natural, balanced
  learning_rate: float = 1e-3  # sec. 4.1.4, Adam
  beta2: float = 0.999  # Adam; 0.98 in the original SASRec
  epochs: int = 20  # ours: "until convergence"
  patience: int = 3  # ours, in evaluations; 0 turns early stopping off
  evaluate_every: int = 1  # epochs between evaluations
  select_metric: str = 'loss'  # sec. 4.1.4; or user_auc, hr@10, ndcg@10, ...
  select_on: str = 'validation'  # 'test' marks the report
  checkpoint_every: float = 60.0  # seconds
  keep: int = 2  # checkpoints kept for resuming
  penalty: str = 'none'  # or 'vrex', 'irm', 'fishr' over the groups
  penalty_weight: float = 1.0  # IRMv1, V-REx; 1000 in Fishr's paper
  penalty_warmup: int = 0  # steps without it
  fishr_decay: float = 0.95  # Rame et al. 2022, of the running variances
  inner_rate: float = 1e-2  # sequential methods: step inside an update
  adversary_weight: float = 0.1  # Grad-Transfer, lambda; 0 without adversary
  log_groups: bool = False  # per-group loss, gradient norms and cosines
  seed: int = 0


@dataclasses.dataclass
class PluginConfig:
  """Plugin networks and the stage that trains them (sec. 3.3)."""

  name: str = 'none'  # 'light' (eq. 12-13), 'naive' (eq. 8-11), 'film'
  trunk: str = ''  # run directory of stage 1
  points: str = 'AZ'  # A before the extractor, Z before the classifier
  history_only: bool = False  # ours: A acts on the candidates too
  ratio: float = 0.5  # authors: bottleneck over input width
  activation: str = 'tanh'  # authors; or 'relu'
  init: str = 'identity'  # ours; 'small' Xavier with gain 1e-3: authors
  post_activation: bool = False  # authors: True, so no identity at the start
  learning_rate: float = 0.0  # sec. 4.1.4: 1e-4; 0 is that, or 1e-5 if naive
  trunk_learning_rate: float = 1e-4  # ours: "a lower one"; 0 freezes the trunk
  trunk_gradient: str = 'through'  # sec. 3.3: with plugins on; or 'bare'
  epochs: int = 20  # ours: "until convergence"
  patience: int = 3  # ours, in evaluations; 0 turns early stopping off
  select: str = 'global'  # one epoch for all; 'per_group': authors, later code
  select_metric: str = 'group_auc'  # ours: mean of the groups' AUC


@dataclasses.dataclass
class FusionConfig:
  """Graph fusion of `multi_behavior`, COGCN by default (COPF sec. 4.2)."""

  name: str = 'cogcn'  # see twotsrec/models/fusion.py
  num_layers: tuple[int, ...] = ()  # per behavior; () is 1 each: authors
  pre_behavior: str = 'all'  # eq. 6; or 'nearest', 'none'
  keep_initial: bool = False  # ours: 'nearest' adds the embeddings again
  in_behavior: str = 'upstream'  # eq. 5; or 'own', 'all' graphs
  operator: str = 'merged'  # authors; 'summed' is eq. 5; or 'union'
  post_behavior: str = 'decoupled'  # eq. 7; or 'merged', one for all tasks
  normalization: str = 'left'  # authors; or 'symmetric', 'right', 'none'
  self_loop: bool = True  # eq. 5, "+ I"; False in LightGCN
  combine: str = 'sum'  # eq. 7; 'mean' of the layers in LightGCN
  product_dtype: str = 'float32'  # or 'bfloat16' neighbors; sums stay float32


@dataclasses.dataclass
class HeadConfig:
  """Scores of K behaviors; the defaults are DFME (COPF sec. 4.3)."""

  name: str = 'experts'  # or bilinear, shared_bottom, mmoe, ple
  transfer: str = 'fit'  # eq. 10-12; none, or as in sec. 5.3.3 (experts.py)
  transfer_layers: int = 1  # authors, L_m
  transfer_output: str = 'sum'  # authors: of all layers; or 'last'
  transfer_scale: float = 1.0  # eq. 12; 0.1 in the authors' code
  modulate_residual: bool = True  # eq. 11; False in the authors' code
  alpha: float = 0.1  # eq. 10, weight of the source; sec. 5.5.3
  beta: float = 0.001  # eq. 10, weight of the task's own representation
  gate: str = 'softmax'  # eq. 13; or 'none'
  gate_order: str = 'self_first'  # authors; 'behavior' is the paper's index
  gradient_policy: str = 'stop_target'  # eq. 14; or 'stop_all', 'none'
  stop_gate: bool = True  # eq. 14: the gate too; False cuts the expert alone
  tower: str = 'sum'  # authors; 'mean' is eq. 15
  score_scale: tuple[float, ...] = (300.0,)  # authors; one, or per behavior
  relation_init: str = 'xavier'  # or 'ones', plus noise: bilinear head
  linear_tower: bool = False  # shared_bottom without its hidden layer: authors
  num_experts: int = 3  # mmoe
  unique_weight: float = 0.0  # PKEF's loss on what experts do not share
  unique_label: str = 'source_only'  # or 'task_only': authors of PKEF


@dataclasses.dataclass
class BehaviorConfig:
  """Objective and batches of `multi_behavior` (COPF sec. 4.4, 5.1)."""

  samples: int = 40  # authors: pairs of a user and behavior in a batch
  weights: tuple[float, ...] = ()  # eq. 16, lambda_k; () is 1/K each
  aggregate: str = 'loss'  # eq. 16; or 'behaviors', 'groups': aggregator
  bpr_scale: float = 3.0  # authors
  bpr_reduction: str = 'mean'  # authors; 'sum' is eq. 16
  contrastive: float = 1.0  # eq. 17, gamma
  temperature: float = 0.1  # sec. 5.5.2
  anchors: str = 'batch'  # authors: positives of the batch; 'all' is eq. 8
  normalizer: str = 'users'  # authors: both sides by U; or 'sides'
  similarity: str = 'cosine'  # authors; 'inner' is the paper's example
  l2: float = 0.01  # eq. 17, mu
  l2_scope: str = 'authors'  # tables, gate and transfers; or 'all'
  decay_rate: float = 0.96  # authors: of the learning rate, each epoch
  prior: str = 'none'  # ours: 'pattern' of upstream behaviors, learned
  prior_smoothing: float = 5.0  # ours: of an item's conversion rate
  prior_scale: float = 100.0  # ours: of a logit, in units of the score


@dataclasses.dataclass
class TwoTimeConfig:
  """Two-time-scale recommender (2TS sec. 2-3); model.width is d.

  The paper states none of the sizes and rates; they are ours.
  """

  variant: str = '2ts'  # sec. 3; or an ablation (two_time_presets.py)
  threshold: int = 100  # t*, App. C: active users have more train events
  threshold_rule: str = 'given'  # or 'validation', 'theory' (theorem 2.1)
  thresholds: tuple[int, ...] = ()  # tried by the rule 'validation'
  window: int = 50  # K <= t*, sec. 3.2: last events of an active user
  cell: str = 'gru'  # eq. 8-9; or lstm, residual, scaled_gru
  update_bias: float = 0.0  # of the update gate; 2 writes slowly
  share_readout: bool = False  # 2TS-Plus: one W, sec. 3.3 to the letter
  item_features: str = ''  # sec. 3.3: file of f_i, read by data/features.py
  # 'name:kind', data/features.py; several as a flag: ="'a:dense','b:dense'"
  feature_columns: tuple[str, ...] = ()
  feature_width: int = 0  # d_f of g(f_i); the item table has the rest of d
  negatives: int = 10  # p, sec. 3.1: offer set is the item and p others
  pool: str = 'event'  # or 'shared': one draw of pool_size for a step
  pool_size: int = 512
  stage1: str = ''  # finished run whose stage 1 is taken over, and its length
  stage1_epochs: tuple[int, ...] = (5, 10, 20, 40)  # by stage 2's validation
  stage1_batch: int = 0  # events; 0 for 60 steps an epoch, at most 8192
  stage1_optimizer: str = 'adam'  # or row_adagrad, lazy_adam: rows in use
  stage1_rate: float = 5e-3  # 0.1 with row_adagrad
  stage1_l2: float = 0.0  # on the rows in use
  holdout: str = 'last_k'  # stage 1 without the windows; 'none': paper
  warmup: str = 'replay'  # windows replayed before validation; or 'none'
  loader: str = 'packed'  # streams with resets; or 'padded'
  tokens: int = 0  # events of a stage-2 step; 0 for 40-70 steps an epoch
  rate: float = 2e-3  # stage 2, Adam
  clip: float = 1.0  # stage 2, norm of the gradient
  epochs: int = 40  # stage 2
  patience: int = 3  # stage 2, in epochs
  single_stage_epochs: int = 80  # trains everything from the start
  single_stage_window: str = 'random'  # or 'last_k'
  evaluation_lists: int = 499  # sec. 4: sampled candidates besides the item


@dataclasses.dataclass
class RoutingConfig:
  """Which plugin serves whom; the paper has training users only."""

  mode: str = 'frozen'  # training group; or 'dynamic' by activity, 'soft'
  cold: str = 'group1'  # users without any history; or 'trunk', no plugin
  hysteresis: float = 0.1  # dynamic: a border is passed by this share of it


@dataclasses.dataclass
class ClosedFormConfig:
  """Item-item models `ease` and `item_knn` (models/closed_form.py)."""

  l2: float = 500.0  # Steck 2019, sec. 4: 200 to 1000 by the data
  neighbors: int = 100  # ours
  shrinkage: float = 10.0  # ours, added to the norms' product of a cosine


@dataclasses.dataclass
class EvaluationConfig:
  """Protocol of the report (sec. 4.1.2-4.1.3)."""

  candidates: str = 'all'  # sec. 4.1.1 for ML; others in evaluate.py
  num_candidates: int = 100  # negatives per held-out item if sampled
  ks: tuple[int, ...] = (1, 5, 10, 20)
  auc_ties: float = 0.5  # 0 is the strict inequality of eq. 14
  rank_ties: float = 0.5  # 0 optimistic, 1 pessimistic
  user_tile: int = 256  # memory bound; results do not depend on it
  item_tile: int = 4096
  bootstrap: int = 1000  # resamples of users for the 95 % intervals
  rules: tuple[str, ...] = ()  # also beside the model: 'ease', 'item_knn'
  seed: int = 0


@dataclasses.dataclass
class Config:
  """One experiment."""

  data: DataConfig = dataclasses.field(default_factory=DataConfig)
  groups: GroupConfig = dataclasses.field(default_factory=GroupConfig)
  model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
  aggregator: AggregatorConfig = dataclasses.field(
    default_factory=AggregatorConfig
  )
  train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
  plugin: PluginConfig = dataclasses.field(default_factory=PluginConfig)
  fusion: FusionConfig = dataclasses.field(default_factory=FusionConfig)
  head: HeadConfig = dataclasses.field(default_factory=HeadConfig)
  behavior: BehaviorConfig = dataclasses.field(default_factory=BehaviorConfig)
  two_time: TwoTimeConfig = dataclasses.field(default_factory=TwoTimeConfig)
  routing: RoutingConfig = dataclasses.field(default_factory=RoutingConfig)
  closed_form: ClosedFormConfig = dataclasses.field(
    default_factory=ClosedFormConfig
  )
  evaluation: EvaluationConfig = dataclasses.field(
    default_factory=EvaluationConfig
  )


def change(config: Config, settings: Mapping[str, Any]) -> None:
  """Sets fields of a configuration, {'section.field': value}.

  Raises:
    AttributeError: a field that does not exist.
  """
  for path, value in settings.items():
    section, field = path.split('.')
    getattr(getattr(config, section), field)  # setattr would make a new one
    setattr(getattr(config, section), field, value)
