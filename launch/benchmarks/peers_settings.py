"""Models in the settings at which other libraries' speed is published.

Each has 50 items of history, vectors of 64 entries and an epoch that predicts
an item after every prefix it has room for; `sasrec` and `gru4rec` have a
softmax over all items, DIN four negatives an item.
"""

from typing import Any

from twotsrec import config as config_lib

_COMMON = {
  'data.history_length': 50,
  'data.negative_exclude': 'train',
  'model.width': 64,
  'train.batching': 'natural',
}
_ALL_ITEMS = {
  'model.dropout': 0.2,
  'train.objective': 'cross_entropy',
  'train.positions': 'every',
  'train.batch_size': 128,
}
SETTINGS: dict[str, dict[str, Any]] = {
  'sasrec': {
    'model.name': 'sasrec_original',
    'model.num_layers': 2,
    'model.num_heads': 2,
    **_ALL_ITEMS,
  },
  # The others have an embedding of 64 and a state of 128; both are 128 here.
  'gru4rec': {
    'model.name': 'gru4rec_product',
    **_ALL_ITEMS,
    'model.width': 128,
  },
  'din': {
    'model.name': 'din',
    'model.hidden': (256, 256, 256),
    'train.batch_size': 2048,
  },
}


def change(config: config_lib.Config, name: str) -> None:
  """Gives a configuration the settings of a name, in place."""
  config_lib.change(config, {**_COMMON, **SETTINGS[name]})
