"""2TS, its ablations, controls and baselines as settings on every dataset.

The paper names neither sizes nor rates nor thresholds; all of them are ours,
chosen on validation events. Baselines have the width, the epochs and the
patience of 2TS, and stop by the MRR of validation events among all items.
The graph of GCMC and its relatives is that of the target, where a dataset has
several behaviors; nodes without a train event are where they were drawn.
"""

from typing import Any

from twotsrec import config as config_lib
from twotsrec import fields
from twotsrec.presets import baselines

SPLITS = ('global_time', 'per_user_time')

# Stage 1 without the windows, which are replayed before validation, where most
# active users have three windows or more of train events.
_OWN_WINDOWS = {'two_time.holdout': 'last_k', 'two_time.warmup': 'replay'}
# Where the window is most of what is known of a user, stage 1 needs it.
_WHOLE = {'two_time.holdout': 'none', 'two_time.warmup': 'none'}


def _divided(threshold: int, options: dict[str, str]) -> dict[str, Any]:
  """A threshold t* with the window K = t* / 2."""
  sizes = {'two_time.threshold': threshold, 'two_time.window': threshold // 2}
  return sizes | options


# Per dataset: threshold and window, and what stage 1 sees of the windows.
_SETTINGS = {
  'ml-1m': _divided(100, _OWN_WINDOWS),
  'ml-100k': _divided(100, _OWN_WINDOWS),
  'amazon-beauty-5core': _divided(10, _WHOLE),
  'retailrocket-mb': _divided(20, _OWN_WINDOWS),
  'tmall-mbgmn-noview': _divided(10, _WHOLE),
  'synthetic': _divided(100, _OWN_WINDOWS),
}
DATASETS = tuple(_SETTINGS)

VARIANTS = {
  **{name: {'two_time.variant': name} for name in config_lib.VARIANTS},
  # Whatever a dataset has, these replay the windows their starts have not seen.
  **{
    name: {'two_time.variant': name, **_OWN_WINDOWS}
    for name in ('shrunk', 'shrunk_plus')
  },
  # As sec. 3.1 reads: stage 1 on all train events, and no event played twice.
  '2ts_paper': {'two_time.variant': '2ts', **_WHOLE},
  '2ts_plus_paper': {'two_time.variant': '2ts_plus', **_WHOLE},
  # One W for both networks, as sec. 3.3 writes it.
  '2ts_shared_w': {
    'two_time.variant': '2ts_plus',
    'two_time.share_readout': True,
  },
}
# Sequence models under the protocol of 2TS (2TS sec. 4.1). SASRec trains as
# published, BERT4Rec on hidden items, the others on single events.
_PER_EVENT = {'train.batching': 'natural'}
SEQUENCES: dict[str, dict[str, Any]] = {
  'sasrec': {
    'model.name': 'sasrec_original',
    'model.num_layers': 2,  # 2TS app. B
    'model.num_heads': 1,
    'model.dropout': 0.2,
    'data.num_negatives': 1,
    'data.negative_exclude': 'train',
    'train.positions': 'every',
    'train.batching': 'natural',
    'train.batch_size': 128,
    'train.beta2': 0.98,
  },
  'gru4rec': {'model.name': 'gru4rec', **_PER_EVENT},
  'din': {'model.name': 'din', **_PER_EVENT},
  'sum_pooling': {'model.name': 'sum_pooling', **_PER_EVENT},
  'gru4rec_tower': {'model.name': 'gru4rec_tower', **_PER_EVENT},
  'dien': {'model.name': 'dien', **_PER_EVENT},
  'mimn': {'model.name': 'mimn', **_PER_EVENT},
  # Layers, heads, dropout and hidden share of its authors on MovieLens-20M (2TS
  # app. B); batches are small, for an epoch has every user once.
  'bert4rec': {
    'model.name': 'bert4rec',
    'model.num_layers': 2,
    'model.num_heads': 2,
    'model.dropout': 0.1,
    'train.positions': 'masked',
    'train.objective': 'cross_entropy',
    'train.batching': 'natural',
    'train.batch_size': 32,
  },
}
# Vectors of nodes that stand still after training.
_STILL: dict[str, dict[str, Any]] = {
  name: {
    **system,
    **baselines.TARGET_LOSS,
    'model.name': 'multi_behavior',
    'train.evaluate_every': 1,
    'evaluation.candidates': 'auto',
  }
  for name, system in baselines.GCMC.items()
}
# States of nodes that events move, which know no other protocol and stop by no
# other metric (2TS app. B: learned static vectors, a triplet loss).
_MOVING = {
  'jodie': {
    'model.name': 'jodie',
    'jodie.static': 'learned',
    'jodie.loss': 'triplet',
  },
}
_GROWN = {'dyn_aernn': {'model.name': 'dyn_aernn'}}
# Those that some data cannot serve: without times, or with too many nodes.
NEED_MORE = (*_MOVING, *_GROWN)
GRAPHS = _STILL | _MOVING | _GROWN
BASELINES = SEQUENCES | GRAPHS
# Datasets that tell behaviors apart, the target last.
_BEHAVIORS = {'retailrocket-mb': 3, 'tmall-mbgmn-noview': 3}
# Users who are ranked where all would take too long, on every dataset: by a
# network for each pair, and by one that reads the history for each.
_NETWORK = ('din', 'sum_pooling', 'gru4rec_tower', 'mimn')
_RANKED = {
  'ml-1m': (600, 100),
  'ml-100k': (0, 200),
  'amazon-beauty-5core': (3000, 600),
  'retailrocket-mb': (3000, 600),
  'tmall-mbgmn-noview': (3000, 600),
  'synthetic': (0, 200),
}


def _baseline(dataset: str, name: str) -> dict[str, Any]:
  by_pair, by_history = _RANKED[dataset]
  ranked = {name: by_pair for name in _NETWORK} | {'dien': by_history}
  number = _BEHAVIORS.get(dataset, 1)
  made = {
    **baselines.resolved(BASELINES[name], number),
    'train.epochs': 40,
    'train.patience': 3,
  }
  if name in _MOVING:
    return made
  return {
    **made,
    'evaluation.online': True,
    'evaluation.users': ranked.get(name, 0),
    'train.select_metric': 'mrr',
  }


def preset(
  dataset: str, split: str = 'global_time', variant: str = '2ts'
) -> config_lib.Config:
  """Settings of a variant.

  Args:
    dataset: of `DATASETS`.
    split: of `SPLITS`.
    variant: a key of `VARIANTS`, or of `BASELINES`.
  Raises:
    types.UserError: an unknown name; the message lists the known ones.
  """
  fields.refuse_unknown('dataset', dataset, _SETTINGS)
  fields.refuse_unknown('split', split, SPLITS)
  fields.refuse_unknown('variant', variant, {**VARIANTS, **BASELINES})
  config = config_lib.Config()
  config.data.dataset = dataset
  config.data.split = split
  if variant in BASELINES:
    config_lib.change(config, _baseline(dataset, variant))
  else:
    config.model.name = 'two_time_scale'
    config_lib.change(config, _SETTINGS[dataset] | VARIANTS[variant])
  config.model.width = 64
  return config
