r"""2TS on ml-1m: embeddings, then two recurrent networks.

    python launch/train.py --config=configs/two_time_scale/ml1m.py \
      --data_root=DIR --workdir=runs/2ts_ml1m

A variant is named after a colon,
`--config=configs/two_time_scale/ml1m.py:2ts_plus`:
  the paper's  2ts, 2ts_plus, ccf, single_stage, two_gru
  of ours      one_gru, window_gru, frozen_user, single_stage_plus, shrunk,
               shrunk_plus (one network, starts weighed by what is known)
  its wording  2ts_paper, 2ts_plus_paper (stage 1 on all train events, nothing
               replayed), 2ts_shared_w (one W)
  baselines    sasrec, gru4rec, din, sum_pooling, gru4rec_tower, dien, mimn,
               bert4rec, gcmc, gcmc_sage, gcmc_gat, dyn_aernn, ranked as 2TS
               is (evaluation.online); jodie, which always is; dyn_aernn and
               jodie need times, which ml-1m lacks
`--config.data.split=per_user_time` cuts each user's own events.
"""

from twotsrec import config as config_lib
from twotsrec.presets import two_time as two_time_presets


def get_config(variant: str = '2ts') -> config_lib.Config:
  """The settings of a variant."""
  return two_time_presets.preset('ml-1m', variant=variant)
