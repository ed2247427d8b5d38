r"""PIN's base model GRU4Rec on amazon-beauty-5core.

    python launch/train.py --config=configs/pin/beauty_gru4rec.py \
      --data_root=DIR --workdir=runs/beauty_gru4rec

`--config.aggregator.name=backdoor` is +GA.
"""

from twotsrec import config as config_lib


def get_config() -> config_lib.Config:
  """The model on the dataset."""
  config = config_lib.Config()
  config.data.dataset = 'amazon-beauty-5core'
  config.model.name = 'gru4rec'
  config.evaluation.candidates = 'sampled'  # PIN sec. 4.1.1
  config.evaluation.num_candidates = 99
  return config
