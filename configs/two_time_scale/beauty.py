r"""2TS on amazon-beauty-5core: embeddings, then two recurrent networks.

    python launch/train.py --config=configs/two_time_scale/beauty.py \
      --data_root=DIR --workdir=runs/2ts_beauty

Variants and splits are named in configs/two_time_scale/ml1m.py.
"""

from twotsrec import config as config_lib
from twotsrec.presets import two_time as two_time_presets


def get_config(variant: str = '2ts') -> config_lib.Config:
  """The settings of a variant."""
  return two_time_presets.preset('amazon-beauty-5core', variant=variant)
