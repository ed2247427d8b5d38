"""Strong sequence models: encoders with a loss over many items.

Systems are named by encoder and loss. Datasets and the protocol are those on
which the literature states numbers: the last item of a user, ranked among all
items the user has not touched.
"""

from typing import Any

from twotsrec import config as config_lib
from twotsrec import fields

# Klenitskiy and Vasilev 2023 (RecSys): width, blocks, dropout and batch; SASRec
# with 200 items of history on MovieLens-1M and 50 elsewhere.
_COMMON = {
  'data.negative_exclude': 'train',
  'model.width': 64,
  'train.positions': 'every',
  'train.batch_size': 128,
  'train.batching': 'natural',
  'train.beta2': 0.98,
  'train.patience': 5,
  'train.select_metric': 'ndcg@10',
}
_LONG = {
  'data.history_length': 200,
  'model.dropout': 0.2,
  'train.epochs': 200,
  'train.evaluate_every': 10,
}
_SHORT = {
  'data.history_length': 50,
  'model.dropout': 0.5,
  'train.epochs': 100,
  'train.evaluate_every': 5,
}
_DATASETS: dict[str, dict[str, Any]] = {
  'ml-1m-sas': _LONG,
  'ml-1m': _LONG,
  'ml-100k': _LONG,
  'amazon-beauty-5core': _SHORT,
  'amazon-games': _SHORT,
}
DATASETS = tuple(_DATASETS)

_BLOCKS = {'model.num_layers': 2, 'model.num_heads': 2}
_SASREC = {'model.name': 'sasrec_original', **_BLOCKS}
_ALL = {'train.objective': 'cross_entropy'}
_SAMPLED = {
  'train.objective': 'softmax',
  'data.num_negatives': 256,
  'data.negative_sharing': 'sequence',
}
# Petrov and Macdonald 2023 (gSASRec): 256 negatives, t = 0.75.
_GBCE = {**_SAMPLED, 'train.objective': 'gbce'}

SYSTEMS: dict[str, dict[str, Any]] = {
  'sasrec': {**_SASREC, **_ALL},
  'sasrec_sampled': {**_SASREC, **_SAMPLED},
  'gsasrec': {**_SASREC, **_GBCE},
  # As published: one negative for each position.
  'sasrec_bce': {**_SASREC, 'data.num_negatives': 1},
  'gru4rec': {'model.name': 'gru4rec_product', **_ALL},
  'hstu': {'model.name': 'hstu', **_BLOCKS, **_ALL},
  # LiGR blocks and a sampled softmax are eSASRec (RecSys 2025).
  'esasrec': {'model.name': 'ligr', **_BLOCKS, **_SAMPLED},
  'ligr': {'model.name': 'ligr', **_BLOCKS, **_ALL},
  'bert4rec': {
    'model.name': 'bert4rec',
    **_BLOCKS,
    **_ALL,
    'train.positions': 'masked',
  },
}


def preset(dataset: str, system: str = 'sasrec') -> config_lib.Config:
  """Settings of a system on a named dataset.

  Args:
    dataset: one of `DATASETS`.
    system: a key of `SYSTEMS`.
  Raises:
    types.UserError: an unknown name; the message lists those there are.
  """
  fields.refuse_unknown('dataset', dataset, DATASETS)
  fields.refuse_unknown('system', system, SYSTEMS)
  settings = {**_COMMON, **_DATASETS[dataset], **SYSTEMS[system]}
  return config_lib.changed(
    config_lib.Config(), {'data.dataset': dataset, **settings}
  )
