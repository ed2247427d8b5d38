"""The other systems of COPF's Tables 2 and 6, each as what it changes.

They run under COPF's protocol on the datasets of `presets.copf`, which takes
these variants among its own. A value that depends on how many behaviors a
dataset has is a function of that number.

Departure: NMTR's authors train by Adagrad at a rate of .01, in batches of
another size for each behavior. Here it is Adam and COPF's batches of users, as
for all systems.
"""

from collections.abc import Mapping
from typing import Any

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
# Log loss of a pair and four that are none, on vectors as they are.
LOG_LOSS = {
  'fusion.pre_behavior': 'none',
  'fusion.num_layers': lambda number: (0,) * number,
  'behavior.loss': 'bce',
  'behavior.negatives': 4,
  'behavior.contrastive': 0.0,
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
  'lightgcn_m_dfme': {**UNION},
  # 64 for the product and 64 for the network (He et al. 2017).
  'neumf': {
    'head.name': 'neumf',
    'model.width': 128,
    **LOG_LOSS,
    **UNSCALED,
    **TARGET_LOSS,
  },
  # The losses of all behaviors count alike (Gao et al. 2019).
  'nmtr': {
    'head.name': 'cascade_logits',
    'behavior.weights': (),
    **LOG_LOSS,
    **UNSCALED,
  },
}


def resolved(changes: Mapping[str, Any], number: int) -> dict[str, Any]:
  """Settings of a variant for a dataset with so many behaviors."""
  value = lambda v: v(number) if callable(v) else v
  return {path: value(given) for path, given in changes.items()}
