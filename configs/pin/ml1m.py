r"""PIN's base models on ml-1m.

    python launch/train.py --config=configs/pin/ml1m.py \
      --data_root=DIR --workdir=runs/ml1m

A model is named after a colon, `--config=configs/pin/ml1m.py:gru4rec`:
din (the default), gru4rec, sasrec, sasrec_original (SASRec with its published
schedule), sum_pooling, gru4rec_tower, dien or mimn.
`--config.aggregator.name=backdoor` is +GA.

Test, all items as candidates, user AUC and HR@10: DIN .9097 and .1195 after 20
epochs, GRU4Rec .9249 and .1712 after 8, SASRec .9265 and .1818 after 12. The
original SASRec, against 100 negatives, HR@10 .8313 and NDCG@10 .6024 after 200
epochs in 4,723 seconds beside other work on 2 cores; its paper has .8245 and
.5905.
"""

from twotsrec import config as config_lib
from twotsrec.presets import pin as pin_presets


def get_config(model: str = 'din') -> config_lib.Config:
  """The settings of a model."""
  return pin_presets.preset('ml-1m', model)
