"""PIN's base model gru4rec on ml-1m.

    python launch/train.py --config=configs/pin/ml1m_gru4rec.py \\
        --data_root=DIR --workdir=runs/ml1m_gru4rec

`--config.aggregator.name=backdoor` is +GA.
"""

from twotsrec import config as config_lib


def get_config() -> config_lib.Config:
  """The model on the dataset."""
  config = config_lib.Config()
  config.data.dataset = 'ml-1m'
  config.model.name = 'gru4rec'
  return config
