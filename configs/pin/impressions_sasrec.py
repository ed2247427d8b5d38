r"""SASRec on impressions, as configs/pin/impressions.py:sasrec.

    python launch/train.py --config=configs/pin/impressions_sasrec.py \
      --workdir=runs/impressions_sasrec
"""

from twotsrec import config as config_lib
from twotsrec.presets import pin as pin_presets


def get_config() -> config_lib.Config:
  """The model on the dataset."""
  return pin_presets.preset('synthetic-impressions', 'sasrec')
