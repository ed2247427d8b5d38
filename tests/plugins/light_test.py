import chex
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import examples
from tests.plugins import cases
from twotsrec import config
from twotsrec import models
from twotsrec import plugins
from twotsrec import types
from twotsrec.plugins import light

WIDTH, HIDDEN, K = 4, 3, 2
ACTIVATIONS = {'tanh': np.tanh, 'relu': lambda x: np.maximum(x, 0.0)}
WEIGHTS = np.array([0.7, 0.6], np.float32)


def draw_plugs(seed=0, number=K):
  rng = np.random.default_rng(seed)
  shapes = {
    'V': (number, WIDTH, HIDDEN), 'a': (number, HIDDEN),
    'Q': (number, HIDDEN, WIDTH), 'c': (number, WIDTH),
  }  # fmt: skip
  return {k: rng.normal(size=v).astype('f4') for k, v in shapes.items()}


def draw_x(seed=1):
  return np.random.default_rng(seed).normal(size=(5, 2, WIDTH)).astype('f4')


def one_up(plugs, k, x, act):
  """act(x V + a) Q + c of plug k, one vector."""
  hidden = act(x @ plugs['V'][k] + plugs['a'][k])
  return hidden @ plugs['Q'][k] + plugs['c'][k]


def literal(plugs, weights, x, act=np.tanh, post_activation=False):
  """The docstring's formula, vector by vector, in f64."""
  plugs = examples.as_numpy(plugs)
  out = np.empty(x.shape)
  for index in np.ndindex(x.shape[:-1]):
    vector = x[index].astype(np.float64)
    ups = [one_up(plugs, k, vector, act) for k in range(len(weights))]
    if post_activation:
      out[index] = (1.0 - sum(weights)) * vector
      out[index] += sum(w * act(vector + up) for w, up in zip(weights, ups))
    else:
      out[index] = vector + sum(w * up for w, up in zip(weights, ups))
  return out


@pytest.mark.parametrize('activation', ['tanh', 'relu'])
@pytest.mark.parametrize('post_activation', [False, True])
def test_a_bottleneck_is_the_formula(activation, post_activation):
  plug = light.bottleneck(
    activation=activation, post_activation=post_activation
  )
  plugs, x = draw_plugs(), draw_x()
  act = ACTIVATIONS[activation]
  expected = literal(plugs, WEIGHTS, x, act, post_activation)
  actual = plug.apply(plugs, WEIGHTS, x)
  assert actual.dtype == np.float32
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('post_activation', [False, True])
@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), weight=st.floats(0.0, 1.0, width=32))
def test_blends_do_not_depend_on_order_and_end_at_the_trunk(
  post_activation, seed, weight
):
  plug = light.bottleneck(post_activation=post_activation)
  plugs, x = draw_plugs(seed), draw_x(seed)
  weights = np.array([weight, 1.0 - weight], np.float32)
  np.testing.assert_allclose(
    plug.apply({k: v[::-1] for k, v in plugs.items()}, weights[::-1], x),
    plug.apply(plugs, weights, x),
    rtol=1e-4,
    atol=1e-5,
  )
  np.testing.assert_array_equal(plug.apply(plugs, 0.0 * weights, x), x)


def test_the_authors_form_is_the_activation_alone_for_one_group():
  plug = light.bottleneck(post_activation=True)
  plugs, x = draw_plugs(number=1), draw_x()
  expected = literal(plugs, np.ones(1), x, np.tanh, True)
  up = literal(plugs, np.ones(1), x)
  np.testing.assert_allclose(expected, np.tanh(up), rtol=1e-6)
  actual = plug.apply(plugs, np.ones(1, np.float32), x)
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_the_identity_starts_with_a_random_way_down_and_none_up():
  params = light.bottleneck(ratio=0.5).init(cases.KEY, 30)
  chex.assert_shape(params['V'], (30, 15))
  limit = np.sqrt(6.0 / 45)
  assert 0.9 * limit < np.max(np.abs(params['V'])) <= limit
  for name, shape in (('a', (15,)), ('Q', (15, 30)), ('c', (30,))):
    chex.assert_trees_all_equal(params[name], jnp.zeros(shape))


def test_the_small_start_is_xavier_with_a_thousandth_of_the_gain():
  params = light.bottleneck(init='small').init(cases.KEY, 30)
  limit = 1e-3 * np.sqrt(6.0 / 45)
  for name in ('V', 'Q'):
    assert 0.9 * limit < np.max(np.abs(params[name])) <= limit
  assert not np.any(params['a']) and not np.any(params['c'])
  assert not np.allclose(params['V'], params['Q'].T)


def test_the_authors_form_starts_at_the_activation_not_at_the_identity():
  plug = light.bottleneck(init='small', post_activation=True)
  params = plug.init(cases.KEY, WIDTH)
  x = draw_x()
  one_group = jax.tree.map(lambda leaf: leaf[None], params)
  actual = plug.apply(one_group, jnp.ones(1), x)
  np.testing.assert_allclose(actual, np.tanh(x), atol=1e-4)


@pytest.mark.parametrize('name', models.TRAINED)
def test_points_have_the_width_of_their_vectors_and_the_counts_of_pin(name):
  model = models.make(config.ModelConfig(name=name))
  trunk = jax.eval_shape(
    lambda key: model.init(key, {}, examples.SIZES), jax.random.key(0)
  )
  plugin = cases.make('light')
  shapes = jax.eval_shape(
    lambda key: plugin.init(key, model.stages, trunk, 5, examples.SIZES),
    jax.random.key(0),
  )
  wide = ('din', 'gru4rec_tower')  # two vectors side by side
  widths = {'A': 32, 'Z': 64 if name in wide else 32}
  assert light.widths(model.stages, trunk, examples.SIZES) == widths
  for point, d in widths.items():
    h = d // 2
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes[point]))
    assert count == 5 * (d * h + h + h * d + d)


def test_every_group_and_point_starts_by_itself():
  stages, trunk = examples.make('gru4rec').stages, examples.params('gru4rec')
  key = jax.random.key(0)  # one whose draws a vmap does not change
  start = lambda points: cases.init(
    (cases.make('light', points=points), stages), trunk, key
  )
  both = start('AZ')
  assert set(both) == {'A', 'Z'}
  kernels = [*both['A']['V'], *both['Z']['V']]
  for i, kernel in enumerate(kernels):
    for other in kernels[:i]:
      assert not np.allclose(kernel, other)
  # Leaving a point out changes nothing about the other.
  for point in 'AZ':
    chex.assert_trees_all_equal(start(point), {point: both[point]})


def test_the_way_up_moves_first():
  params = cases.start('din', 'light')
  model = cases.model('din', 'light')

  def loss(plugins, model, params, route):
    net = {**params.net, 'plugins': plugins}
    params = types.Params(params.tables, net)
    encoded = cases.encode(model, params, route)
    scores = cases.score(model, params, encoded, examples.CANDIDATES)
    return jnp.sum(jax.nn.softplus(scores))

  grad = lambda model, params, route: jax.grad(loss)(
    params.net['plugins'], model, params, route
  )
  grads = examples.jit(grad)(model, params, cases.own())
  for point in 'AZ':
    for name, leaf in grads[point].items():
      moves = np.any(leaf, axis=tuple(range(1, leaf.ndim)))
      assert list(moves) == [name in ('Q', 'c')] * cases.GROUPS, (point, name)


# Stages that hand on what they are given.
HISTORY = np.array([[3, 1, 0], [2, 0, 0]], np.int32)
MIRROR = types.Stages(
  init=None,
  embed=lambda net, rows, inputs: rows['embedding'],
  summarize=lambda extractor, embedded, mask, *, key=None: embedded[:, 0],
  extract=lambda extractor, summary, rows: types.Features(summary, rows),
  classify=lambda classifier, features, rows: (features, rows),
)


@pytest.mark.parametrize(
  ('points', 'history_only'),
  [('A', False), ('Z', False), ('AZ', False), ('A', True), ('AZ', True)],
)
def test_each_point_acts_on_its_own_vectors_alone(points, history_only):
  plugin = cases.make('light', points=points, history_only=history_only)
  both = {'A': draw_plugs(3), 'Z': draw_plugs(4)}
  stages = plugin.attach(MIRROR, {p: both[p] for p in points}, WEIGHTS)
  rng = np.random.default_rng(0)
  # A trunk may leave something in the padding: it stays.
  embedded = rng.normal(size=(2, 3, WIDTH)).astype('f4')
  summary = rng.normal(size=(2, WIDTH)).astype('f4')
  rows = {
    'embedding': rng.normal(size=(2, 5, WIDTH)).astype('f4'),
    'bias': rng.normal(size=(2, 5, 1)).astype('f4'),
  }
  at = lambda point, x, on=True: (
    literal(both[point], WEIGHTS, x) if on and point in points else x
  )
  actual = stages.embed({}, {'embedding': embedded}, {'history': HISTORY})
  real = (HISTORY > 0)[..., None]
  expected = np.where(real, at('A', embedded), embedded)
  np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
  np.testing.assert_array_equal(
    np.where(real, 0.0, actual), np.where(real, 0.0, embedded)
  )

  features = stages.extract({}, summary, rows)
  np.testing.assert_allclose(
    features.plugged, at('Z', summary), rtol=1e-4, atol=1e-5
  )
  np.testing.assert_allclose(
    features.fixed['embedding'],
    at('A', rows['embedding'], not history_only),
    rtol=1e-4,
    atol=1e-5,
  )
  np.testing.assert_array_equal(features.fixed['bias'], rows['bias'])
  # The classifier gets the rows as they are.
  chex.assert_trees_all_equal(
    stages.classify({}, features, rows), (features, rows)
  )


@pytest.mark.parametrize(
  'name', ['din', 'gru4rec', 'sasrec', 'sasrec_original']
)
def test_padding_stays_zero(name):
  stages, params = examples.make(name).stages, cases.moved(name, 'light')
  plugins_k = jax.tree.map(lambda leaf: leaf[:1], params.net['plugins'])
  stages = cases.make('light').attach(stages, plugins_k, jnp.ones(1))
  rows = {'embedding': params.tables['item']['embedding'][examples.HISTORY]}
  inputs = {'history': examples.HISTORY}
  embedded = stages.embed(params.net['trunk']['embed'], rows, inputs)
  empty = np.all(np.asarray(embedded) == 0, axis=-1)
  np.testing.assert_array_equal(empty, examples.HISTORY == 0)


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'points': 'B'}, "points 'B'.*AZ, A, Z"),
    ({'points': ''}, "points ''.*AZ, A, Z"),
    ({'points': 'Z', 'history_only': True}, 'history_only.*points=Z.*A or AZ'),
    ({'activation': 'gelu'}, "activation 'gelu'.*tanh, relu"),
    ({'init': 'zero'}, "init 'zero'.*identity, small"),
    ({'ratio': 0.0}, 'ratio 0.0.*positive'),
    ({'ratio': -1.0}, 'ratio -1.0.*positive'),
    ({'ratio': float('nan')}, 'ratio nan.*finite'),
    ({'ratio': float('inf')}, 'ratio inf.*finite'),
  ],
)
def test_a_wrong_option_names_the_right_ones(options, message):
  with pytest.raises(types.UserError, match=message):
    plugins.make(config.PluginConfig(name='light', **options))


def test_a_ratio_that_leaves_no_hidden_unit_is_refused():
  plug = light.bottleneck(ratio=0.1)
  with pytest.raises(types.UserError, match='0.1.*width 8.*at least 0.125'):
    plug.init(cases.KEY, 8)
  chex.assert_shape(plug.init(cases.KEY, 10)['V'], (10, 1))
