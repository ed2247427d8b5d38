r"""COPF on retailrocket-mb: COGCN fusion and the DFME head.

    python launch/train.py --config=configs/copf/retailrocket.py \
      --data_root=DIR --workdir=runs/copf_retailrocket

`--config=configs/copf/retailrocket.py:wo_back` is a variant; they are named in
configs/copf/taobao.py.
"""

from twotsrec import config as config_lib
from twotsrec.presets import copf


def get_config(variant: str = 'copf') -> config_lib.Config:
  """The settings of a variant, by default the recommended ones."""
  return copf.preset('retailrocket-mb', variant)
