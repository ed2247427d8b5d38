"""Settings of small runs on the built-in log with behaviors."""

from twotsrec import config as config_lib
from twotsrec.data import settings

# A sequence model, which the reminder rules stand beside.
SETTINGS = {
  'data__dataset': settings.SYNTHETIC_BEHAVIORS,
  'data__users': 40,
  'aggregator__name': 'joint',
  'train__epochs': 1,
  'train__log_groups': False,
  'evaluation__candidates': 'unbought',
}
# Fusion and head on the graphs of all behaviors.
GRAPHS = {
  **SETTINGS,
  'model__name': 'multi_behavior',
  'model__hidden': config_lib.ModelConfig().hidden,
  'behavior__samples': 3,
  'behavior__contrastive': 0.0,
  'train__select_metric': 'none',
}
