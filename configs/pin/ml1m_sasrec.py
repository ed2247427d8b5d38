r"""PIN's base model SASRec on ml-1m.

    python launch/train.py --config=configs/pin/ml1m_sasrec.py \
      --data_root=DIR --workdir=runs/ml1m_sasrec

`--config.aggregator.name=backdoor` is +GA.

Test, all items as candidates: user AUC .9265, HR@10 .1818 with
--config.train.epochs=12.
"""

from twotsrec import config as config_lib


def get_config() -> config_lib.Config:
  """The model on the dataset."""
  config = config_lib.Config()
  config.data.dataset = 'ml-1m'
  config.model.name = 'sasrec'
  return config
