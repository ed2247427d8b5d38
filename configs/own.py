r"""A model for the log of one's own: who did what with which item, and when.

    python launch/prepare.py --table=events.csv --user_column=user \
      --item_column=item --time_column=ts --out=data/mine
    python launch/train.py --config=configs/own.py \
      --config.data.prepared=data/mine --workdir=runs/mine

SASRec reads the history of a user once, whatever is to be ranked. The loss on
validation may stand at that of popularity for some epochs before it falls: so
patience ends nothing in the first 25. Another model is named after a colon,
`--config=configs/own.py:gru4rec`: gru4rec reads a history step by step, din
reads it once for every candidate and takes by far the longest to rank.

To the scores of the model is added what a history says of an item by itself:
whether the user had it, which items go with those of the user and which come
after the last one (`prior.terms`), by weights fitted on validation events.

On the log that launch/benchmarks/shop.py makes, HR@10 .5155, above popularity
(.0895), item-item neighbors (.2160) and showing again what a user had (.4796);
SASRec alone has .1597. launch/benchmarks/results/shop.md has all of it.
"""

from twotsrec import config as config_lib
from twotsrec import fields

_MODELS = ('sasrec', 'gru4rec', 'din')


def get_config(model: str = 'sasrec') -> config_lib.Config:
  """The settings of a model."""
  fields.refuse_unknown('model', model, _MODELS)
  config = config_lib.Config()
  config.model.name = model
  config.prior.terms = config_lib.PRIOR_TERMS
  config.train.epochs = 100
  config.train.min_epochs = 25
  config.train.patience = 5
  return config


def get_space() -> dict[str, str]:
  """What launch/sweep.py varies."""
  return {
    'train.learning_rate': '3e-4..1e-2:log',
    'model.width': '16,32,64,128',
    'data.history_length': '20,50,100',
  }
