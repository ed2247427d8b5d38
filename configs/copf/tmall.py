r"""COPF on tmall-copf-noview: COGCN fusion and the DFME head.

No public copy of the data has the views.

    python launch/train.py --config=configs/copf/tmall.py \
      --data_root=DIR --workdir=runs/copf_tmall

`--config=configs/copf/tmall.py:wo_back` is a variant; they are named in
configs/copf/taobao.py.
"""

from twotsrec import config as config_lib
from twotsrec.presets import copf


def get_config(variant: str = 'copf') -> config_lib.Config:
  """The settings of a variant, by default the recommended ones."""
  return copf.preset('tmall-copf-noview', variant)
