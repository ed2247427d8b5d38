"""The other systems of COPF's Tables 2 and 6, each as what it changes.

They run under COPF's protocol on the datasets of `presets.copf`, which takes
these variants among its own.
"""

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
LIGHTGCN = {
  'fusion.pre_behavior': 'none',
  'fusion.in_behavior': 'own',
  'fusion.normalization': 'symmetric',
  'fusion.self_loop': False,
  'fusion.combine': 'mean',
}
SYSTEMS = {
  # A LightGCN per behavior on one table of embeddings.
  'lightgcn': {**LIGHTGCN, **PLAIN, **UNSCALED},
}
