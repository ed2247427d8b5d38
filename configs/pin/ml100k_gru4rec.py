r"""PIN's base model GRU4Rec on ml-100k.

    python launch/train.py --config=configs/pin/ml100k_gru4rec.py \
      --data_root=DIR --workdir=runs/ml100k_gru4rec

`--config.aggregator.name=backdoor` is +GA.
"""

from twotsrec import config as config_lib


def get_config() -> config_lib.Config:
  """The model on the dataset."""
  config = config_lib.Config()
  config.data.dataset = 'ml-100k'
  config.model.name = 'gru4rec'
  return config
