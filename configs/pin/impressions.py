r"""PIN's base models on the built-in log of impressions.

    python launch/train.py --config=configs/pin/impressions.py \
      --workdir=runs/impressions

A model is named after a colon, `--config=configs/pin/impressions.py:gru4rec`:
din (the default), gru4rec, sasrec, sasrec_original, sum_pooling, gru4rec_tower,
dien or mimn, which all learn the labels and nothing beside them.
`--config.aggregator.name=backdoor` is +GA. The log stands in for Alipay's,
which is private: impressions with labels, held out by time, of which
data/synthetic_impressions.py tells the law.

Test AUC of all impressions, one seed: popularity .6128, the click rate of an
item .6456, DIN .6523 after 4 epochs, which still improved; the chances that the
log was drawn with have .839 on the whole of it.
"""

from twotsrec import config as config_lib
from twotsrec.presets import pin as pin_presets


def get_config(model: str = 'din') -> config_lib.Config:
  """The settings of a model."""
  return pin_presets.preset('synthetic-impressions', model)
