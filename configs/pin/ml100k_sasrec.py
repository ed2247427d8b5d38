r"""SASRec on ml-100k, as configs/pin/ml100k.py:sasrec.

    python launch/train.py --config=configs/pin/ml100k_sasrec.py \
      --data_root=DIR --workdir=runs/ml100k_sasrec
"""

from twotsrec import config as config_lib
from twotsrec.presets import pin as pin_presets


def get_config() -> config_lib.Config:
  """The model on the dataset."""
  return pin_presets.preset('ml-100k', 'sasrec')
