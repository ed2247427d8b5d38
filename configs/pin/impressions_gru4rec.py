r"""GRU4Rec on impressions, as configs/pin/impressions.py:gru4rec.

    python launch/train.py --config=configs/pin/impressions_gru4rec.py \
      --workdir=runs/impressions_gru4rec
"""

from twotsrec import config as config_lib
from twotsrec.presets import pin as pin_presets


def get_config() -> config_lib.Config:
  """The model on the dataset."""
  return pin_presets.preset('synthetic-impressions', 'gru4rec')
