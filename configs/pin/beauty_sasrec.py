r"""SASRec on amazon-beauty-5core, as configs/pin/beauty.py:sasrec.

    python launch/train.py --config=configs/pin/beauty_sasrec.py \
      --data_root=DIR --workdir=runs/beauty_sasrec
"""

from twotsrec import config as config_lib
from twotsrec.presets import pin as pin_presets


def get_config() -> config_lib.Config:
  """The model on the dataset."""
  return pin_presets.preset('amazon-beauty-5core', 'sasrec')
