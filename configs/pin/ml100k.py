r"""PIN's base models on ml-100k.

    python launch/train.py --config=configs/pin/ml100k.py \
      --data_root=DIR --workdir=runs/ml100k

A model is named after a colon, `--config=configs/pin/ml100k.py:gru4rec`:
din (the default), gru4rec, sasrec, sasrec_original (SASRec with its published
schedule), sum_pooling, gru4rec_tower, dien or mimn.
`--config.aggregator.name=backdoor` is +GA.
"""

from twotsrec import config as config_lib
from twotsrec.presets import pin as pin_presets


def get_config(model: str = 'din') -> config_lib.Config:
  """The settings of a model."""
  return pin_presets.preset('ml-100k', model)
