"""COPF, its ablations and its relatives as settings (COPF sec. 5).

A variant is what it changes: three switches of the fusion, a transfer, a gate
and a gradient policy of the head, or another head.
"""

from twotsrec import config as config_lib
from twotsrec import types

# Per dataset: weights of the behaviors and temperature. Of Taobao the paper
# leaves the temperature open. A view column is missing in three datasets; where
# it had a weight, the others keep their ratio.
_SETTINGS = {
  'taobao-copf': {
    'behavior.weights': (2 / 6, 2 / 6, 2 / 6),
    'behavior.temperature': 0.2,
  },
  'beibei-copf-noview': {'behavior.weights': (2 / 6, 4 / 6)},
  'tmall-copf-noview': {'behavior.weights': (2 / 5, 0.0, 3 / 5)},
  'retailrocket-mb': {'behavior.temperature': 0.2},
  'tmall-mbgmn-noview': {},
  'synthetic-behaviors': {},
}

_NO_ALIGNMENT = {'behavior.contrastive': 0.0}
_UNGATED = {'head.gate': 'none', 'head.gradient_policy': 'none'}
_LIGHTGCN = {
  'fusion.pre_behavior': 'none',
  'fusion.in_behavior': 'own',
  'fusion.normalization': 'symmetric',
  'fusion.self_loop': False,
  'fusion.combine': 'mean',
}

# Table 3, the fusion.
_FUSIONS = {
  # LightGCN's own convention collapses under the scale of the scores; this
  # changes the constraints only.
  'wo_cogcn': {'fusion.pre_behavior': 'none', 'fusion.in_behavior': 'own'},
  'copf_p': {'fusion.pre_behavior': 'none'},
  'copf_a': {'fusion.in_behavior': 'all'},
  'copf_d': {
    'fusion.post_behavior': 'merged',
    'head.name': 'bilinear',
    **_NO_ALIGNMENT,
  },
  'copf_f': {'fusion.pre_behavior': 'none', 'fusion.in_behavior': 'all'},
  'copf_c': {'fusion.pre_behavior': 'nearest', 'fusion.in_behavior': 'own'},
  'copf_b': {'fusion.pre_behavior': 'nearest'},
  'copf_h': {'fusion.in_behavior': 'own'},
}
# Table 3, the head.
_HEADS = {
  'wo_dfme': {'head.name': 'bilinear', **_NO_ALIGNMENT},
  'wo_con': _NO_ALIGNMENT,
  'wo_for': {'head.transfer': 'identity'},
  'wo_back': {'head.gradient_policy': 'none'},
  'all_sg': {'head.gradient_policy': 'stop_all'},
  'wo_fit': {'head.transfer': 'identity', 'head.gradient_policy': 'none'},
}
# Table 4, all with the alignment and without stop-gradients.
_SCHEMES = {
  'no_aggregation': {'head.transfer': 'none', **_UNGATED},
  'summation': {'head.transfer': 'identity', **_UNGATED},
  'linear': {'head.transfer': 'linear', 'head.gradient_policy': 'none'},
  'attention': {'head.transfer': 'attention', **_UNGATED},
  'projection': {'head.transfer': 'projection', 'head.gradient_policy': 'none'},
}
# Table 5, without the alignment: what the paper says of Table 4 it does not
# say here.
_SHARED = {'fusion.post_behavior': 'merged', **_NO_ALIGNMENT}
_MTL = {
  'shared_bottom': {'head.name': 'shared_bottom', **_SHARED},
  'mmoe': {'head.name': 'mmoe', **_SHARED},
  'ple': {'head.name': 'ple', **_SHARED},
  'bilinear': {'head.name': 'bilinear', **_NO_ALIGNMENT},
  'mesi': {
    'head.transfer': 'identity',
    'head.gate_order': 'behavior',
    'head.gradient_policy': 'none',
    **_NO_ALIGNMENT,
  },
  'pme': {
    'head.transfer': 'projection',
    'head.transfer_scale': 0.01,
    'head.gradient_policy': 'none',
    'head.unique_weight': 1.0,
    **_NO_ALIGNMENT,
  },
}
VARIANTS = {
  'copf': {},
  # The authors' code: its stop-gradient is never active with one layer.
  'copf_released': {
    'head.transfer_scale': 0.1,
    'head.modulate_residual': False,
    'head.gradient_policy': 'none',
  },
  'copf_prior': {'behavior.prior': 'pattern'},
  **_FUSIONS,
  **_HEADS,
  **_SCHEMES,
  **_MTL,
  # Plain fusion: a LightGCN per behavior, scores of its own. Under COPF's scale
  # and regularization it collapses; LightGCN has none and next to none.
  'lightgcn': {
    **_LIGHTGCN,
    'head.transfer': 'none',
    **_UNGATED,
    **_NO_ALIGNMENT,
    'head.score_scale': (1.0,),
    'behavior.l2': 1e-6,
  },
}


def preset(dataset: str, variant: str = 'copf') -> config_lib.Config:
  """Settings of a variant on a named multi-behavior dataset.

  Args:
    dataset: a name in `datasets`, or 'synthetic-behaviors'.
    variant: a key of `VARIANTS`.
  Raises:
    types.UserError: an unknown name; the message lists the known ones.
  """
  for what, name, known in (
    ('dataset', dataset, _SETTINGS),
    ('variant', variant, VARIANTS),
  ):
    if name not in known:
      raise types.UserError(
        f'{what} {name!r} is unknown; known: {", ".join(known)}'
      )
  config = config_lib.Config()
  config.data.dataset = dataset
  config.model.name = 'multi_behavior'
  config.model.width = 64
  config.train.batch_size = 256  # users
  config.train.epochs = 200
  config.train.evaluate_every = 5
  config.train.patience = 20
  config.train.select_metric = 'hr@10'
  config.evaluation.candidates = 'unbought'
  config_lib.change(config, _SETTINGS[dataset] | VARIANTS[variant])
  return config
