r"""COPF on tmall-mbgmn-noview: COGCN fusion and the DFME head.

The Tmall of MB-GMN, not that of COPF; the copy has no views.

    python launch/train.py --config=configs/copf/tmall_mbgmn.py \
      --data_root=DIR --workdir=runs/copf_tmall_mbgmn

`--config=configs/copf/tmall_mbgmn.py:wo_back` is a variant; they are named in
configs/copf/taobao.py.
"""

from twotsrec import config as config_lib
from twotsrec.presets import copf


def get_config(variant: str = 'copf') -> config_lib.Config:
  """The settings of a variant, by default the recommended ones."""
  return copf.preset('tmall-mbgmn-noview', variant)
