r"""GRU4Rec on amazon-beauty-5core, as configs/pin/beauty.py:gru4rec.

    python launch/train.py --config=configs/pin/beauty_gru4rec.py \
      --data_root=DIR --workdir=runs/beauty_gru4rec
"""

from twotsrec import config as config_lib
from twotsrec.presets import pin as pin_presets


def get_config() -> config_lib.Config:
  """The model on the dataset."""
  return pin_presets.preset('amazon-beauty-5core', 'gru4rec')
