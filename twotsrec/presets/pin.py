"""PIN's base models as settings on every dataset of its tables."""

from typing import Any

from twotsrec import config as config_lib
from twotsrec import fields
from twotsrec import models

# Per dataset: candidates of the test, PIN sec. 4.1.1.
_SETTINGS: dict[str, dict[str, Any]] = {
  'ml-1m': {},
  'ml-100k': {},
  'amazon-beauty-5core': {
    'evaluation.candidates': 'sampled',
    'evaluation.num_candidates': 99,
  },
  # Impressions with labels, in the form of Alipay's.
  'synthetic-impressions': {},
}
DATASETS = tuple(_SETTINGS)
LABELED = ('synthetic-impressions',)
# Settings of drawn negatives, which labels are without.
_DRAWN = (
  'data.num_negatives',
  'data.negative_exclude',
  'train.objective',
  'train.positions',
  'train.select_metric',
  'evaluation.candidates',
  'evaluation.num_candidates',
)

# SASRec as published (sec. 4 and its program): last item against 100 negatives,
# training at every position with one negative outside of the user's training
# part.
_SASREC_ORIGINAL = {
  'data.history_length': 200,
  'data.num_negatives': 1,
  'data.negative_exclude': 'train',
  'model.width': 50,
  'model.num_layers': 2,
  'model.num_heads': 1,
  'model.dropout': 0.2,
  'train.positions': 'every',
  'train.batch_size': 128,
  'train.batching': 'natural',
  'train.beta2': 0.98,
  'train.epochs': 200,
  'train.evaluate_every': 20,
  'train.patience': 0,
  'train.select_metric': 'ndcg@10',
  'evaluation.candidates': 'sampled',
  'evaluation.num_candidates': 100,
}
MODELS: dict[str, dict[str, Any]] = {
  'din': {},
  'gru4rec': {},
  'sasrec': {},
  'sasrec_original': _SASREC_ORIGINAL,
  'sum_pooling': {},
  'gru4rec_tower': {},
  'dien': {},
  'mimn': {},
}


def preset(dataset: str, model: str = 'din') -> config_lib.Config:
  """Settings of a base model on a named dataset.

  Args:
    dataset: one of `DATASETS`.
    model: a key of `MODELS`.
  Raises:
    types.UserError: an unknown name; the message lists those there are.
  """
  fields.refuse_unknown('dataset', dataset, DATASETS)
  fields.refuse_unknown('model', model, MODELS)
  settings = _SETTINGS[dataset] | MODELS[model]
  if dataset in LABELED:
    settings = {k: v for k, v in settings.items() if k not in _DRAWN}
    if 'auxiliary_weight' in models.OPTIONS[model]:  # it needs drawn items
      settings['model.auxiliary_weight'] = 0.0
  named = {'data.dataset': dataset, 'model.name': model}
  return config_lib.changed(config_lib.Config(), named | settings)
