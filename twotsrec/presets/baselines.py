"""The other systems of COPF's Tables 2 and 6, each as what it changes.

They run under COPF's protocol on the datasets of `presets.copf`, which takes
these variants among its own. A value that depends on how many behaviors a
dataset has is a function of that number. `preset` has those that know one
behavior as they are published, on a log of one behavior.

Departure: COPF states no settings of its competitors and not how a backbone and
DFME are put together. Here they have the batches, rates and epochs of COPF, no
scale of scores and next to no penalty; LightGCN-M under DFME keeps COPF's
penalty, and its scale gives vectors that shrink with every layer scores of the
size of COGCN's.
"""

from collections.abc import Mapping
from typing import Any

from twotsrec import config as config_lib
from twotsrec import fields

# One score for each behavior, the product of a user and an item, and nothing
# beside the ranking losses.
PLAIN = {
  'head.transfer': 'none',
  'head.gate': 'none',
  'head.gradient_policy': 'none',
  'behavior.contrastive': 0.0,
}
# Under COPF's scale of scores and its penalty LightGCN collapses; it has no
# scale and next to no penalty.
UNSCALED = {'head.score_scale': (1.0,), 'behavior.l2': 1e-6}
# The loss of the target alone, as in a system that knows no other behavior.
TARGET_LOSS = {
  'behavior.weights': lambda number: (0.0,) * (number - 1) + (1.0,),
}
LIGHTGCN = {
  'fusion.pre_behavior': 'none',
  'fusion.in_behavior': 'own',
  'fusion.normalization': 'symmetric',
  'fusion.self_loop': False,
  'fusion.combine': 'mean',
}
# Three layers (He et al. 2020) on one graph: a pair is in it by any behavior.
UNION = {
  **LIGHTGCN,
  'fusion.in_behavior': 'all',
  'fusion.operator': 'union',
  'fusion.num_layers': lambda number: (3,) * number,
}
SYSTEMS = {
  # Vectors of users and items as they are; no graph is walked.
  'mf_bpr': {
    'fusion.pre_behavior': 'none',
    'fusion.num_layers': lambda number: (0,) * number,
    **PLAIN,
    **UNSCALED,
    **TARGET_LOSS,
  },
  # The target's graph and the target's loss.
  'lightgcn': {
    **LIGHTGCN,
    'fusion.num_layers': lambda number: (0,) * (number - 1) + (3,),
    **PLAIN,
    **UNSCALED,
    **TARGET_LOSS,
  },
  # Ours: a LightGCN per behavior on one table of embeddings, which the losses
  # of all behaviors train.
  'lightgcn_multi': {**LIGHTGCN, **PLAIN, **UNSCALED},
  # Table 6: one graph of all behaviors, and the target's loss.
  'lightgcn_m': {**UNION, **PLAIN, **UNSCALED, **TARGET_LOSS},
  # The same graph under COPF's head and objective.
  'lightgcn_m_dfme': {**UNION, 'head.score_scale': (3e5,)},
}
# How LightGCN's program trains (He et al. 2020): as many pairs an epoch as the
# log has, each of a random user, in batches of 2,048 with one negative; normal
# embeddings, a penalty on the rows of a batch, one rate. Published Recall@20
# ranks all that is not in train.
PUBLISHED = {
  'behavior.epoch': 'pairs',
  'behavior.samples': 1,
  'behavior.bpr_scale': 1.0,
  'behavior.l2': 1e-4,
  'behavior.l2_scope': 'batch',
  'behavior.init': 'normal',
  'behavior.decay_rate': 1.0,
  'model.width': 64,
  'train.batch_size': 2048,
  'train.epochs': 1000,
  'train.evaluate_every': 10,
  'train.patience': 10,
  'train.select_metric': 'recall@20',
  'evaluation.candidates': 'unbought',
}
OF_ONE_BEHAVIOR = ('lightgcn', 'mf_bpr')


def preset(dataset: str, system: str = 'lightgcn') -> config_lib.Config:
  """Settings of a system as published, for a log of one behavior.

  Args:
    dataset: a named dataset without behaviors.
    system: of `OF_ONE_BEHAVIOR`.
  Raises:
    types.UserError: an unknown system; the message lists the known ones.
  """
  fields.refuse_unknown('system', system, OF_ONE_BEHAVIOR)
  config = config_lib.Config()
  config.data.dataset = dataset
  config.model.name = 'multi_behavior'
  config_lib.change(config, resolved({**SYSTEMS[system], **PUBLISHED}, 1))
  return config


def resolved(changes: Mapping[str, Any], number: int) -> dict[str, Any]:
  """Settings of a variant for a dataset with so many behaviors."""
  value = lambda v: v(number) if callable(v) else v
  return {path: value(given) for path, given in changes.items()}
