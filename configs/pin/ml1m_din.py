"""PIN's base model din on ml-1m.

    python launch/train.py --config=configs/pin/ml1m_din.py \\
        --data_root=DIR --workdir=runs/ml1m_din

`--config.aggregator.name=backdoor` is +GA.
"""

from twotsrec import config as config_lib


def get_config() -> config_lib.Config:
  """The model on the dataset."""
  config = config_lib.Config()
  config.data.dataset = 'ml-1m'
  config.model.name = 'din'
  return config
