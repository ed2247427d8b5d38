r"""DIN on amazon-beauty-5core, as configs/pin/beauty.py:din.

    python launch/train.py --config=configs/pin/beauty_din.py \
      --data_root=DIR --workdir=runs/beauty_din
"""

from twotsrec import config as config_lib
from twotsrec.presets import pin as pin_presets


def get_config() -> config_lib.Config:
  """The model on the dataset."""
  return pin_presets.preset('amazon-beauty-5core', 'din')
