"""The other systems of COPF's Tables 2 and 6, each as what it changes.

They run under COPF's protocol on the datasets of `presets.copf`, which takes
these variants among its own. A value that depends on how many behaviors a
dataset has is a function of that number. `preset` has those that know one
behavior as they are published, on a log of one behavior.

Departure: all train on COPF's batches of users. The programs of MB-CGCN and
LightGCN draw pairs; those of CIGF and PKEF take 10,000 users an epoch; CRGCN's
draws negatives that are in no behavior of the user, where ours are not in the
one that is trained, and its penalty, 1e-3 times norms over the number of items,
is as good as none; NMTR's trains by Adagrad at a rate of .01, in batches of
another size for each behavior, where ours has Adam. Where nothing is stated
they have the rates and epochs of COPF, no scale of scores and next to no
penalty.
Departure: COPF does not say how the backbones of Table 6 stand under DFME. Here
they have its head and objective, and keep their own normalization. MB-CGCN and
CRGCN have next to no penalty, and scores scaled to the sizes of their vectors.
LightGCN-M keeps COPF's penalty, and its scale gives vectors that shrink with
every layer scores of the size of COGCN's.
Departure: a table has COPF's width of 64, where the programs of GNMR and CML
have 16 and that of KMCLR 32. CML and KMCLR keep a rate of 2e-3 in place of one
that goes from 1e-3 to 5e-3 and back; they, MBGCN and S-MBRec have next to no
penalty. MBGCN starts small, not from another model.
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
# The losses of all behaviors count alike.
EQUAL_LOSSES = {'behavior.weights': ()}
# Of view, cart and buy (authors' README); the last ones of fewer, and that of
# views for what comes before.
MB_DEPTHS = lambda number: ((2,) * number + (2, 4, 3))[-number:]
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
# A product of rows under one mean of BPR, at a rate that stays.
MULTIPLIED = {
  **PLAIN,
  **UNSCALED,
  'behavior.bpr_scale': 1.0,
  'behavior.decay_rate': 1.0,
}
# All behaviors train one table. The authors' contrast weighs .005 on a tenth of
# the users, over as many terms as the ranking; their rate goes from 1e-3 to
# 5e-3 and back.
CML = {
  'fusion.name': 'cml',
  'fusion.num_layers': (3,),
  'fusion.normalization': 'symmetric',
  **EQUAL_LOSSES,
  'behavior.auxiliary': ('view',),
  'behavior.view_weight': 5e-4,
  **MULTIPLIED,
  'train.learning_rate': 2e-3,
}
# Log loss of a pair and four that are none, on vectors as they are.
LOG_LOSS = {
  'fusion.pre_behavior': 'none',
  'fusion.num_layers': lambda number: (0,) * number,
  'behavior.loss': 'bce',
  'behavior.negatives': 4,
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
  'lightgcn_m_dfme': {**UNION, 'head.score_scale': (3e5,)},
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
    'head.score_scale': lambda number: tuple(
      3e5 / 10**later for later in reversed(range(number))
    ),
    'behavior.l2': 1e-6,
  },
  'crgcn_dfme': {
    'fusion.name': 'crgcn',
    'head.score_scale': (10.0,),
    'behavior.l2': 1e-6,
  },
  'cigf_dfme': {**CIGF},
  'pkef_dfme': {**PKEF, 'behavior.auxiliary': ('alignment', 'parallel')},
  # The other fusions with a score of their own; widths as COPF's, of each of
  # the two tables where a fusion makes two of the columns.
  # The authors' batches have 32 users, and their loss sums 40 pairs of each.
  'gnmr': {
    'fusion.name': 'gnmr',
    'fusion.num_layers': (2,),
    'head.name': 'mlp_product',
    'head.score_scale': (1.0,),
    'model.width': 128,
    'behavior.loss': 'hinge',
    'behavior.contrastive': 0.0,
    'behavior.bpr_scale': 40.0,
    'behavior.l2': 0.05,
    'behavior.decay_rate': 0.99,
    **TARGET_LOSS,
    'train.learning_rate': 2e-4,
  },
  'mbgcn': {
    'fusion.name': 'mbgcn',
    'fusion.dropout': 0.2,
    **MULTIPLIED,
    **TARGET_LOSS,
    'train.learning_rate': 3e-4,
  },
  's_mbrec': {
    'fusion.name': 's_mbrec',
    'fusion.num_layers': (2,),
    'behavior.auxiliary': ('star',),
    'behavior.star_weight': 0.1,
    'behavior.temperature': 0.2,
    **MULTIPLIED,
    **TARGET_LOSS,
  },
  # The authors weigh preferences by .4 on their Taobao, .3 on their Tmall.
  'bcipm': {
    'fusion.name': 'bcipm',
    'fusion.num_layers': (2,),
    'behavior.auxiliary': ('preference',),
    'behavior.preference_weight': 0.4,
    **MULTIPLIED,
    **TARGET_LOSS,
    'behavior.bpr_scale': 0.6,
    'behavior.negatives': 4,
    'behavior.l2': 1e-4,
    'behavior.l2_scope': 'norm',
    'train.learning_rate': 1e-4,
  },
  'cml': {**CML, 'behavior.meta_rate': 1e-3},
  'kmclr_no_kg': {
    **CML,
    'fusion.name': 'kmclr_no_kg',
    'model.width': 128,
    'behavior.auxiliary': ('view', 'augmented'),
    'behavior.augmented_weight': 0.1,
    'behavior.temperature': 0.2,
  },
  # Ours beside Table 2: later than most of it.
  'mule': {
    'fusion.name': 'mule',
    'fusion.num_layers': (1, 4),
    **MULTIPLIED,
    **TARGET_LOSS,
    'behavior.l2': 0.0,
    'train.learning_rate': 1e-4,
  },
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
# GCMC and its relatives of 2TS (App. B): a matrix between the two sides, a
# softmax of an item and ten others, widths of 128.
_GCMC = {
  **PUBLISHED,
  'model.width': 128,
  'head.name': 'bilinear_matrix',
  'head.relation_init': 'ones',
  'head.score_scale': (1.0,),
  'behavior.auxiliary': (),
  'behavior.loss': 'softmax',
  'behavior.negatives': 10,
  'fusion.dropout': 0.3,
}
GCMC = {
  'gcmc': {**_GCMC, 'fusion.name': 'gcmc'},
  'gcmc_sage': {**_GCMC, 'fusion.name': 'gcmc_sage', 'fusion.sample': 10},
  'gcmc_gat': {**_GCMC, 'fusion.name': 'gcmc_gat'},
}
_OF_ONE = {
  'lightgcn': {**SYSTEMS['lightgcn'], **PUBLISHED},
  'mf_bpr': {**SYSTEMS['mf_bpr'], **PUBLISHED},
  **GCMC,
}
OF_ONE_BEHAVIOR = tuple(_OF_ONE)


def preset(dataset: str, system: str = 'lightgcn') -> config_lib.Config:
  """Settings of a system as published, for a log of one behavior.

  Args:
    dataset: a named dataset without behaviors.
    system: of `OF_ONE_BEHAVIOR`.
  Raises:
    types.UserError: an unknown system; the message lists the known ones.
  """
  fields.refuse_unknown('system', system, OF_ONE_BEHAVIOR)
  named = {'data.dataset': dataset, 'model.name': 'multi_behavior'}
  changes = named | resolved(_OF_ONE[system], 1)
  return config_lib.changed(config_lib.Config(), changes)


def resolved(changes: Mapping[str, Any], number: int) -> dict[str, Any]:
  """Settings of a variant for a dataset with so many behaviors."""
  value = lambda v: v(number) if callable(v) else v
  return {path: value(given) for path, given in changes.items()}
