r"""Sequence models trained with losses over many items, on ml-1m-sas.

    python launch/train.py --config=configs/sequences/ml1m.py \
      --data_root=DIR --workdir=runs/ml1m

A system is named after a colon, `--config=configs/sequences/ml1m.py:gru4rec`.
sasrec (the default), gru4rec, hstu and ligr have a softmax over all items,
sasrec_sampled and esasrec one over 256 sampled ones, gsasrec has gBCE,
bert4rec fills in hidden items, and sasrec_bce is SASRec as published.
`--config.aggregator.name=backdoor` is +GA with any of them.
"""

from twotsrec import config as config_lib
from twotsrec.presets import sequences


def get_config(system: str = 'sasrec') -> config_lib.Config:
  """The settings of a system."""
  return sequences.preset('ml-1m-sas', system)
