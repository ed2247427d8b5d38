r"""DIN on ml-1m, as configs/pin/ml1m.py:din.

    python launch/train.py --config=configs/pin/ml1m_din.py \
      --data_root=DIR --workdir=runs/ml1m_din
"""

from twotsrec import config as config_lib
from twotsrec.presets import pin as pin_presets


def get_config() -> config_lib.Config:
  """The model on the dataset."""
  return pin_presets.preset('ml-1m', 'din')
