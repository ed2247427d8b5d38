r"""The original SASRec on ml-1m with its published schedule.

    python launch/train.py --config=configs/pin/ml1m_sasrec_original.py \
      --data_root=DIR --workdir=runs/ml1m_sasrec_original

Every setting is that of SASRec sec. 4 (and its program): last item against 100
negatives, training at every position with one negative that is not in the
user's training part.

Test: HR@10 .8313, NDCG@10 .6024, in 4,723 seconds of training beside other work
on the same 2 cores. The paper has .8245 and .5905.
"""

from twotsrec import config as config_lib


def get_config() -> config_lib.Config:
  """SASRec as published."""
  config = config_lib.Config()
  config.data.dataset = 'ml-1m'
  config.data.history_length = 200
  config.data.num_negatives = 1
  config.data.negative_exclude = 'train'
  config.model.name = 'sasrec_original'
  config.model.width = 50
  config.model.num_layers = 2
  config.model.num_heads = 1
  config.model.dropout = 0.2
  config.train.objective = 'every_position'
  config.train.batch_size = 128
  config.train.batching = 'natural'
  config.train.beta2 = 0.98
  config.train.epochs = 200
  config.train.evaluate_every = 20
  config.train.patience = 0
  config.train.select_metric = 'ndcg@10'
  config.evaluation.candidates = 'sampled'
  config.evaluation.num_candidates = 100
  return config
