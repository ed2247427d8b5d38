import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests import behavior_toys as toys
from twotsrec import recipes
from twotsrec import types
from twotsrec.data import datasets
from twotsrec.models import behavior_heads
from twotsrec.models import multi_behavior
from twotsrec.models import pair_prior
from twotsrec.ops import rows
from twotsrec.presets import copf
from twotsrec.training import behavior_steps

# The alignment does not depend on the variant, but takes long to compile.
ALIGNED = ('copf', 'copf_f')
# Four layers of the first behavior would make scores of 1e5 and gates whose
# logits have no digits left.
DEEP = ('pkef', 'pkef_dfme')


def _look(variant):
  """Losses, gradient, scores of pairs and of ranking, with random weights."""
  made = toys.config(variant)
  wanted = made.behavior.contrastive
  made.behavior.contrastive = wanted if variant in ALIGNED else 0.0
  model, context, params = toys.system(made)
  if variant in DEEP:
    params = toys.random_like(params, 0.03)
  batch = toys.batch()
  unique = ()
  if made.head.unique_weight:
    unique = ((2, 0), (0, 1))
    batch = batch._replace(unique=batch.pairs[:2])
  gradient = behavior_steps.make_gradient(
    model, made, toys.USERS, jnp.ones(3), unique=unique
  )
  users = jnp.arange(toys.USERS)
  items = jnp.arange(1, toys.ITEMS + 1)

  def look(params, context, batch):
    grads, _, sums, counts = gradient(params, context, batch, (), None)
    encoded = model.encode(params, context, (2,))
    every = jnp.tile(items, (toys.USERS, 1))
    pairwise = model.score(params, encoded, 2, users, every)
    if made.behavior.prior != 'none':
      gain = pair_prior.bonus(context['prior'], users, toys.ITEMS)
      pairwise += gain[:, 1:]
    served = model.serve(params, context)
    seen = model.ranker.encode(served.net, None, context, {'user': users})
    ranked = model.ranker.score(
      served.net, seen, rows.gather(served.tables['item'], items)
    )
    # A task that is not trained has no pair.
    return grads, sums / jnp.maximum(counts, 1), pairwise, ranked

  return jax.tree.map(np.asarray, jax.jit(look)(params, context, batch))


@pytest.mark.parametrize('variant', copf.VARIANTS)
def test_a_variant_learns_and_ranks_by_the_scores_it_learns(variant):
  recipes.check(copf.preset('synthetic-behaviors', variant))
  grads, losses, pairwise, ranked = _look(variant)
  assert np.any(losses > 0) and np.all(np.isfinite(losses))
  for leaf in jax.tree.leaves(grads):
    assert np.all(np.isfinite(leaf))
  assert all(np.any(leaf) for leaf in jax.tree.leaves(grads.tables))
  size = np.abs(pairwise).max()
  assert size > 0.01
  np.testing.assert_allclose(ranked, pairwise, rtol=1e-5, atol=3e-6 * size)


@pytest.mark.parametrize(
  'dataset', [name for name in copf._SETTINGS if name != 'synthetic-behaviors']
)
def test_a_preset_weighs_every_behavior_of_its_dataset(dataset):
  made = copf.preset(dataset)
  recipes.check(made)
  weights = made.behavior.weights
  assert len(weights) in (0, len(datasets.DATASETS[dataset].behaviors))
  if weights:
    np.testing.assert_allclose(sum(weights), 1.0)


def test_without_views_the_other_weights_keep_their_ratio():
  """Tmall's are 1/6, 2/6, 0, 3/6 with the view (authors)."""
  weights = np.array(copf.preset('tmall-copf-noview').behavior.weights)
  np.testing.assert_allclose(weights, np.array([2, 0, 3]) / 5)


def test_a_variant_changes_nothing_but_its_settings():
  plain, cut = (copf.preset('taobao-copf', v) for v in ('copf', 'wo_back'))
  assert plain.head.gradient_policy == 'stop_target'
  cut.head.gradient_policy = 'stop_target'
  assert cut == plain


# COPF sec. 5.3: what flows in, graphs walked, outputs; head and alignment.
FUSIONS = {
  'copf': ('all', 'upstream', 'decoupled', 'experts', 1.0),
  'wo_cogcn': ('none', 'own', 'decoupled', 'experts', 1.0),
  'copf_p': ('none', 'upstream', 'decoupled', 'experts', 1.0),
  'copf_a': ('all', 'all', 'decoupled', 'experts', 1.0),
  'copf_d': ('all', 'upstream', 'merged', 'bilinear', 0.0),
  'copf_f': ('none', 'all', 'decoupled', 'experts', 1.0),
  'copf_c': ('nearest', 'own', 'decoupled', 'experts', 1.0),
  'copf_b': ('nearest', 'upstream', 'decoupled', 'experts', 1.0),
  'copf_h': ('all', 'own', 'decoupled', 'experts', 1.0),
  'wo_dfme': ('all', 'upstream', 'decoupled', 'bilinear', 0.0),
  'wo_con': ('all', 'upstream', 'decoupled', 'experts', 0.0),
}
# Transfer, gate, whose gradient is stopped; with alignment but for Table 5.
HEADS = {
  'copf': ('fit', 'softmax', 'stop_target', 1.0),
  'copf_released': ('fit', 'softmax', 'none', 1.0),
  'wo_for': ('identity', 'softmax', 'stop_target', 1.0),
  'wo_back': ('fit', 'softmax', 'none', 1.0),
  'all_sg': ('fit', 'softmax', 'stop_all', 1.0),
  'wo_fit': ('identity', 'softmax', 'none', 1.0),
  'no_aggregation': ('none', 'none', 'none', 1.0),
  'summation': ('identity', 'none', 'none', 1.0),
  'linear': ('linear', 'softmax', 'none', 1.0),
  'attention': ('attention', 'none', 'none', 1.0),
  'projection': ('projection', 'softmax', 'none', 1.0),
  'mesi': ('identity', 'softmax', 'none', 0.0),
  'pme': ('projection', 'softmax', 'none', 0.0),
}
# Slots of the gate, scale of a transfer, weight of what experts do not share.
USUAL = ('self_first', 1.0, 0.0)
OWN = {
  'copf_released': ('self_first', 0.1, 0.0),
  'mesi': ('behavior', 1.0, 0.0),
  'pme': ('self_first', 0.01, 1.0),
}


@pytest.mark.parametrize('variant', FUSIONS)
def test_a_variant_of_the_fusion_is_three_switches(variant):
  made = copf.preset('taobao-copf', variant)
  fusion = made.fusion
  assert FUSIONS[variant] == (
    fusion.pre_behavior,
    fusion.in_behavior,
    fusion.post_behavior,
    made.head.name,
    made.behavior.contrastive,
  )
  # COGCN's own operator stands in all of them (spec of the authors' code).
  assert (fusion.operator, fusion.normalization) == ('merged', 'left')
  assert fusion.self_loop and fusion.combine == 'sum'


@pytest.mark.parametrize('variant', HEADS)
def test_a_variant_of_the_head_is_what_its_row_says(variant):
  made = copf.preset('taobao-copf', variant)
  head = made.head
  assert head.name == 'experts'
  assert HEADS[variant] == (
    head.transfer, head.gate, head.gradient_policy, made.behavior.contrastive
  )  # fmt: skip
  assert OWN.get(variant, USUAL) == (
    head.gate_order, head.transfer_scale, head.unique_weight
  )  # fmt: skip


@pytest.mark.parametrize(
  ('dataset', 'variant', 'temperature'),
  [('taobao-copf', 'copf_released', 0.2), ('beibei-copf-noview', 'copf', 0.1)],
)
def test_the_operating_point_is_that_of_the_authors_code(
  dataset, variant, temperature
):
  made = copf.preset(dataset, variant)
  head, loss, train = made.head, made.behavior, made.train
  assert (head.alpha, head.beta, head.transfer_layers) == (0.1, 0.001, 1)
  assert (head.tower, head.score_scale) == ('sum', (300.0,))
  assert (loss.bpr_scale, loss.l2, loss.contrastive) == (3.0, 0.01, 1.0)
  assert (loss.samples, loss.decay_rate) == (40, 0.96)
  assert loss.temperature == temperature and made.fusion.num_layers == ()
  assert (train.batch_size, train.epochs, train.learning_rate) == (
    256, 200, 1e-3
  )  # fmt: skip
  assert train.select_on == 'validation'


def test_what_was_searched_is_for_copf_and_its_variants_alone():
  searched = lambda variant: (
    copf.preset('taobao-copf', variant).train.learning_rate,
    copf.preset('taobao-copf', variant).head.score_scale,
  )
  for variant in ('copf', 'wo_con', 'copf_c', 'mmoe', 'copf_prior'):
    assert searched(variant) == searched('copf') != (1e-3, (300.0,))
  for variant in ('copf_released', 'cigf', 'pkef_dfme'):
    assert searched(variant) == (1e-3, (300.0,))


def test_the_head_is_released_as_the_authors_code_has_it():
  released = copf.preset('taobao-copf', 'copf_released').head
  assert released.transfer_scale == 0.1 and not released.modulate_residual


# Graphs walked, layers, weights of the losses; all with LightGCN's convention.
BASELINES = {
  'mf_bpr': ('upstream', (0, 0, 0), (0, 0, 1)),
  'lightgcn': ('own', (0, 0, 3), (0, 0, 1)),
  'lightgcn_multi': ('own', (), (2 / 6, 2 / 6, 2 / 6)),
  'lightgcn_m': ('all', (3, 3, 3), (0, 0, 1)),
  'lightgcn_m_dfme': ('all', (3, 3, 3), (2 / 6, 2 / 6, 2 / 6)),
}


@pytest.mark.parametrize('variant', BASELINES)
def test_a_competitor_is_a_graph_and_a_loss(variant):
  made = copf.preset('taobao-copf', variant)
  fusion, head = made.fusion, made.head
  assert BASELINES[variant] == (
    fusion.in_behavior, fusion.num_layers, made.behavior.weights
  )  # fmt: skip
  assert fusion.pre_behavior == 'none'  # nothing flows from graph to graph
  with_dfme = variant.endswith('_dfme')
  assert head.transfer == ('fit' if with_dfme else 'none')
  assert made.behavior.contrastive == (1.0 if with_dfme else 0.0)
  # Of two behaviors, too, the last one is the target.
  weights = copf.preset('beibei-copf-noview', variant).behavior.weights
  if BASELINES[variant][2] == (0, 0, 1):
    assert weights == (0, 1)


# Layers of three behaviors and of two, weights of the losses of both, and the
# scale of scores, of the systems with a fusion of their own.
TARGET, EQUAL, ALL = (
  ((0, 0, 1), (0, 1)),
  ((), ()),
  ((2 / 6,) * 3, (2 / 6, 4 / 6)),
)
SYSTEMS = {
  'rgcn': ((2,), (2,), TARGET, 1),
  'mb_cgcn': ((2, 4, 3), (4, 3), TARGET, 1),
  'mb_cgcn_dfme': ((2, 4, 3), (4, 3), ALL, None),
  'crgcn': ((), (), EQUAL, 1),
  'crgcn_dfme': ((), (), ALL, 10),
  'cigf': ((2,), (2,), EQUAL, 300),
  'cigf_dfme': ((2,), (2,), ALL, 300),
  'pkef': ((4, 1, 1), (4, 1), ((0, 4 / 6, 2 / 6), (4 / 6, 2 / 6)), 300),
  'pkef_dfme': ((4, 1, 1), (4, 1), ALL, 300),
}


@pytest.mark.parametrize('variant', SYSTEMS)
def test_a_system_is_its_fusion_with_its_own_loss_or_under_dfme(variant):
  three, two = (
    copf.preset(dataset, variant)
    for dataset in ('taobao-copf', 'beibei-copf-noview')
  )
  of_three, of_two, weights, scale = SYSTEMS[variant]
  assert three.fusion.name == two.fusion.name == variant.removesuffix('_dfme')
  assert (three.fusion.num_layers, two.fusion.num_layers) == (of_three, of_two)
  assert (three.behavior.weights, two.behavior.weights) == weights
  if scale is None:  # as means of layers shrink, by behavior
    assert three.head.score_scale == (3e3, 3e4, 3e5)
    assert two.head.score_scale == (3e4, 3e5)
  else:
    assert three.head.score_scale == (scale,)
  with_dfme = variant.endswith('_dfme')
  assert (three.head.transfer == 'fit') == with_dfme
  assert three.behavior.contrastive == (1.0 if with_dfme else 0.0)
  has_stream = 'parallel' in three.behavior.auxiliary
  assert has_stream == variant.startswith('pkef')
  assert ('alignment' in three.behavior.auxiliary) == (variant != 'pkef')


def test_pkef_trains_collects_where_carts_are_few():
  made = copf.preset('tmall-copf-noview', 'pkef')
  assert made.behavior.weights == (4 / 6, 0, 2 / 6)


def _trained(made, fusion=None, steps=3):
  """Parameters after some steps of Adam, and scores of the target."""
  model, context, params = toys.system(made)
  if fusion is not None:
    sizes = types.NodeSizes(3, toys.USERS, toys.ITEMS, toys.WIDTH)
    head = behavior_heads.make(made, fusion, sizes)
    model = multi_behavior.compose(fusion, head, sizes)
    context = model.context(toys.edges())
  gradient = behavior_steps.make_gradient(model, made, toys.USERS, jnp.ones(3))
  optimizer = optax.adam(0.05)

  def step(carry, _):
    params, state = carry
    grads, *_ = gradient(params, context, toys.batch(), (), None)
    updates, state = optimizer.update(grads, state)
    return (optax.apply_updates(params, updates), state), None

  def run(params):
    start = params, optimizer.init(params)
    (params, _), _ = jax.lax.scan(step, start, length=steps)
    return params, model.serve(params, context)

  return jax.tree.map(np.asarray, jax.jit(run)(params))


def test_mf_bpr_is_lightgcn_without_layers_bit_for_bit():
  """And both are a model whose vectors no graph has touched."""
  identity = types.Fusion(
    init=lambda key: {},
    context=lambda edges: (),
    encode=lambda net, nodes, context, *, key=None: types.Fused((nodes,) * 3),
    width=toys.WIDTH,
  )
  mf = toys.config('mf_bpr')
  none = toys.config('lightgcn', fusion__num_layers=(0, 0, 0))
  expected = _trained(mf, identity)
  for actual in (_trained(mf), _trained(none)):
    jax.tree.map(np.testing.assert_array_equal, actual, expected)
  layers = _trained(toys.config('lightgcn'))
  start = toys.system(mf)[2].tables['user']['embedding']
  moved = lambda made: np.abs(made[0].tables['user']['embedding'] - start).max()
  assert moved(expected) > 0.01
  assert np.any(
    layers[0].tables['user']['embedding']
    != expected[0].tables['user']['embedding']
  )


@pytest.mark.parametrize(
  ('names', 'message'),
  [
    (('taobao', 'copf'), "dataset 'taobao' is unknown; known: taobao-copf"),
    (('taobao-copf', 'dfme'), "variant 'dfme' is unknown; known: copf, copf_r"),
  ],
)
def test_an_unknown_name_lists_the_known_ones(names, message):
  with pytest.raises(types.UserError, match=message) as caught:
    copf.preset(*names)
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
  ('variant', 'head', 'width', 'weights'),
  [
    ('neumf', 'neumf', 128, (0.0, 0.0, 1.0)),
    ('nmtr', 'cascade_logits', 64, ()),
  ],
)
def test_networks_of_a_pair_train_by_log_loss_on_vectors_as_they_are(
  variant, head, width, weights
):
  made = copf.preset('taobao-copf', variant)
  assert (made.head.name, made.model.width) == (head, width)
  assert made.behavior.weights == weights
  assert (made.behavior.loss, made.behavior.negatives) == ('bce', 4)
  assert made.fusion.num_layers == (0, 0, 0)
  assert made.fusion.pre_behavior == 'none'
