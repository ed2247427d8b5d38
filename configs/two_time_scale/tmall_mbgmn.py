r"""2TS on tmall-mbgmn-noview: embeddings, then two recurrent networks.

    python launch/train.py --config=configs/two_time_scale/tmall_mbgmn.py \
      --data_root=DIR --workdir=runs/2ts_tmall_mbgmn

Variants and splits are named in configs/two_time_scale/ml1m.py.
"""

from twotsrec import config as config_lib
from twotsrec.presets import two_time as two_time_presets


def get_config(variant: str = '2ts') -> config_lib.Config:
  """The settings of a variant."""
  return two_time_presets.preset('tmall-mbgmn-noview', variant=variant)
