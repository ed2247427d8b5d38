r"""PIN's base model DIN on ml-100k.

    python launch/train.py --config=configs/pin/ml100k_din.py \
      --data_root=DIR --workdir=runs/ml100k_din

`--config.aggregator.name=backdoor` is +GA.
"""

from twotsrec import config as config_lib


def get_config() -> config_lib.Config:
  """The model on the dataset."""
  config = config_lib.Config()
  config.data.dataset = 'ml-100k'
  config.model.name = 'din'
  return config
