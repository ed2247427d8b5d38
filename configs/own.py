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

On the log that launch/benchmarks/shop.py makes, 25 epochs, the best the 15th:
HR@10 .1597; popularity .0895, item-item neighbors .2160, and .4796 for showing
again what a user had, since half of the held-out items are such. Of the other
half it has .0782, neighbors .1257 and popularity .0679.
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
