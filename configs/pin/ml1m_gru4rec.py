r"""PIN's base model GRU4Rec on ml-1m.

    python launch/train.py --config=configs/pin/ml1m_gru4rec.py \
      --data_root=DIR --workdir=runs/ml1m_gru4rec

`--config.aggregator.name=backdoor` is +GA.

Test, all items as candidates: user AUC .9249, HR@10 .1712 with
--config.train.epochs=8.
"""

from twotsrec import config as config_lib


def get_config() -> config_lib.Config:
  """The model on the dataset."""
  config = config_lib.Config()
  config.data.dataset = 'ml-1m'
  config.model.name = 'gru4rec'
  return config
