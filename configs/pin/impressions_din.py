r"""DIN on impressions, as configs/pin/impressions.py:din.

    python launch/train.py --config=configs/pin/impressions_din.py \
      --workdir=runs/impressions_din
"""

from twotsrec import config as config_lib
from twotsrec.presets import pin as pin_presets


def get_config() -> config_lib.Config:
  """The model on the dataset."""
  return pin_presets.preset('synthetic-impressions', 'din')
