r"""PIN's base models on a log of one's own, with or without labels.

    python launch/prepare.py --table=shown.csv --user_column=user \
      --item_column=item --time_column=ts --label_column=clicked --out=data/mine
    python launch/train.py --config=configs/pin/own.py \
      --config.data.prepared=data/mine --workdir=runs/mine

A model is named after a colon, `--config=configs/pin/own.py:gru4rec`: din (the
default), gru4rec or sasrec. `--config.aggregator.name=backdoor` is +GA. With a
label column, 1 for a click and 0 for what was shown and not clicked, a model
learns the labels and is judged by AUC, by group and by user, and by log loss;
without one it learns events against drawn items and ranks all items.
"""

from twotsrec import config as config_lib
from twotsrec import fields

_MODELS = ('din', 'gru4rec', 'sasrec')


def get_config(model: str = 'din') -> config_lib.Config:
  """The settings of a model."""
  fields.refuse_unknown('model', model, _MODELS)
  config = config_lib.Config()
  config.model.name = model
  return config
