"""The other systems of COPF's Tables 2 and 6, each as what it changes.

They run under COPF's protocol on the datasets of `presets.copf`, which takes
these variants among its own. A value that depends on how many behaviors a
dataset has is a function of that number.

Departure: all train on COPF's batches of users. The programs of MB-CGCN and
LightGCN draw pairs; those of CIGF and PKEF take 10,000 users an epoch; CRGCN's
draws negatives that are in no behavior of the user, where ours are not in the
one that is trained, and its penalty, 1e-3 times norms over the number of items,
is as good as none.
Departure: COPF does not say how the backbones of Table 6 stand under DFME. Here
they have its head and objective, and keep their own normalization; MB-CGCN and
CRGCN have next to no penalty, and scores scaled to the sizes of their vectors.
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
# The losses of all behaviors count alike.
EQUAL_LOSSES = {'behavior.weights': ()}
# Of view, cart and buy (authors' README); the last ones of fewer.
MB_DEPTHS = lambda number: (2, 4, 3)[-number:]
MB_CGCN = {
  'fusion.name': 'mb_cgcn',
  'fusion.num_layers': MB_DEPTHS,
  **PLAIN,
  **UNSCALED,
}
CIGF = {'fusion.name': 'cigf', 'fusion.num_layers': (2,)}
# The first behavior is walked far (authors).
PKEF = {
  'fusion.name': 'pkef',
  'fusion.num_layers': lambda number: (4,) + (1,) * (number - 1),
}
# Of the last two behaviors (authors), here and where views are missing.
PKEF_LOSSES = {
  'behavior.weights': lambda number: (0.0,) * (number - 2) + (4 / 6, 2 / 6),
}
# Heads of CIGF and PKEF (COPF Table 5 has them on COGCN).
MESI = {
  'head.transfer': 'identity',
  'head.gate_order': 'behavior',
  'head.gradient_policy': 'none',
  'behavior.contrastive': 0.0,
}
PME = {
  'head.transfer': 'projection',
  'head.transfer_scale': 0.01,
  'head.gradient_policy': 'none',
  'head.unique_weight': 1.0,
  'behavior.contrastive': 0.0,
}
# Carts of Tmall are few, and the authors of PKEF weigh collects instead.
BY_DATASET = {
  'tmall-copf-noview': {'pkef': {'behavior.weights': (4 / 6, 0.0, 2 / 6)}},
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
  'rgcn': {
    'fusion.name': 'rgcn',
    'fusion.num_layers': (2,),
    **PLAIN,
    **UNSCALED,
    **TARGET_LOSS,
  },
  'mb_cgcn': {**MB_CGCN, 'fusion.post_behavior': 'merged', **TARGET_LOSS},
  'crgcn': {
    'fusion.name': 'crgcn',
    **PLAIN,
    **UNSCALED,
    **EQUAL_LOSSES,
    'behavior.samples': 1,
    'behavior.decay_rate': 1.0,
    'train.batch_size': 1024,
    'train.learning_rate': 1e-2,
  },
  'cigf': {**CIGF, **MESI, **EQUAL_LOSSES},
  'pkef': {
    **PKEF,
    **PKEF_LOSSES,
    **PME,
    'head.unique_label': 'task_only',  # authors' program
    'behavior.auxiliary': ('unique', 'parallel'),
  },
  # Under COPF's penalty the means of many layers never leave the start, and
  # under its scale scores of directions are large before anything is learned.
  'mb_cgcn_dfme': {
    'fusion.name': 'mb_cgcn',
    'fusion.num_layers': MB_DEPTHS,
    # The mean of some layers is a tenth of what a behavior starts with.
    'head.score_scale': lambda number: (3e3, 3e4, 3e5)[-number:],
    'behavior.l2': 1e-6,
  },
  'crgcn_dfme': {
    'fusion.name': 'crgcn',
    'head.score_scale': (10.0,),
    'behavior.l2': 1e-6,
  },
  'cigf_dfme': {**CIGF},
  'pkef_dfme': {**PKEF, 'behavior.auxiliary': ('alignment', 'parallel')},
}


def resolved(changes: Mapping[str, Any], number: int) -> dict[str, Any]:
  """Settings of a variant for a dataset with so many behaviors."""
  value = lambda v: v(number) if callable(v) else v
  return {path: value(given) for path, given in changes.items()}
