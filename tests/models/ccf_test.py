import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import features as features_lib
from twotsrec.models import ccf
from twotsrec.models import item_features
from twotsrec.ops import rows

USERS, ITEMS, WIDTH, FEATURE_WIDTH = 5, 6, 8, 3
SIZES = types.Sizes(USERS, ITEMS, 0)
KINDS = ('categorical', 'multivalued', 'dense')
KEY = jax.random.key(0)


def _features(kinds=KINDS):
  """Features of six items; the last has no value of any."""
  category = np.array([0, 2, 1, 2, 3, 1, 0], np.int32)
  tags = np.array(
    [[0, 0], [1, 3], [2, 0], [1, 2], [3, 0], [1, 0], [0, 0]], np.int32
  )
  numbers = np.random.default_rng(0).normal(size=(ITEMS + 1, 2))
  numbers[[0, ITEMS]] = 0.0
  return features_lib.ItemFeatures(
    {'brand': category} if 'categorical' in kinds else {},
    {'tags': tags, 'words': tags[:, :1]} if 'multivalued' in kinds else {},
    (numbers if 'dense' in kinds else numbers[:, :0]).astype(np.float32),
    vocabularies={},
    dense_names=('a', 'b') if 'dense' in kinds else (),
    mean=np.zeros(2),
    deviation=np.ones(2),
  )


def _config(with_features=True):
  config = config_lib.Config()
  config.model.width = WIDTH
  config.two_time.feature_width = FEATURE_WIDTH if with_features else 0
  return config


@functools.cache
def _system(kinds=KINDS):
  """(params far from 0, context); user 1 and item 3 were never trained."""
  context = {
    'item_counts': jnp.array([0.0, 2, 1, 0, 4, 1, 1]),
    'user_counts': jnp.array([3.0, 0, 1, 1, 4]),
  }
  if kinds:
    context['features'] = item_features.to_device(_features(kinds))
  params = ccf.init(KEY, context, SIZES, _config(bool(kinds)))
  generator = np.random.default_rng(1)
  draw = lambda leaf: jnp.asarray(generator.normal(size=leaf.shape), 'f4')
  return jax.tree.map(draw, params), context


def _literal_features(net, features, item):
  """g(f_i), item by item and value by value."""
  net = jax.tree.map(np.asarray, net)
  total = np.zeros(FEATURE_WIDTH)
  linear = lambda p, x: x @ p['kernel'] + p['bias']
  for name, values in features.categorical.items():
    if values[item]:
      total += net['categorical'][name]['embedding'][values[item]]
  for name, values in features.multivalued.items():
    own = net['multivalued'][name]
    present = [own['embedding'][v] for v in values[item] if v]
    mean = sum(present) / len(present) if present else np.zeros(FEATURE_WIDTH)
    total += linear(own['linear'], mean)
  if features.dense.shape[1]:
    total += linear(net['dense'], features.dense[item])
  return total


@pytest.mark.parametrize('kinds', [*((kind,) for kind in KINDS), KINDS])
def test_item_vectors_are_as_written_in_the_paper(kinds):
  params, context = _system(kinds)
  actual = jax.jit(ccf.item_vectors)(params, context)
  assert actual.shape == (ITEMS + 1, WIDTH)
  np.testing.assert_array_equal(actual[0], 0.0)
  table = np.asarray(params.tables['item']['embedding'])
  for item in range(1, ITEMS + 1):
    x = table[item] * (context['item_counts'][item] > 0)
    g = _literal_features(params.net['features'], _features(kinds), item)
    np.testing.assert_allclose(
      actual[item], np.concatenate([x, g]), rtol=1e-5, atol=1e-6
    )


def test_features_of_some_items_are_those_of_all():
  params, context = _system()
  net, arrays = params.net['features'], context['features']
  vectors = jax.jit(item_features.vectors)
  everything = vectors(net, arrays, jnp.arange(ITEMS + 1))
  few = jnp.array([[3, 0], [5, 3]])
  many = jnp.array([4, 1, 1, 0, 6, 2, 5, 3, 3])
  for ids in (few, many):
    actual = vectors(net, arrays, ids)
    np.testing.assert_allclose(actual, everything[ids], rtol=1e-6, atol=1e-6)


def test_features_pass_their_gradient_however_many_items():
  params, context = _system()
  net, arrays = params.net['features'], context['features']
  ids = jnp.array([4, 1, 1, 2, 5, 3, 3, 4])
  weights = jnp.asarray(np.random.default_rng(2).normal(size=(8, 3)), 'f4')

  def total(net, ids, weights):
    return jnp.sum(weights * item_features.vectors(net, arrays, ids))

  grad = jax.jit(jax.grad(total))
  halves = [grad(net, ids[h], weights[h]) for h in (slice(4), slice(4, None))]
  jax.tree.map(
    lambda a, b, c: np.testing.assert_allclose(a, b + c, rtol=1e-4, atol=1e-5),
    grad(net, ids, weights),
    *halves,
  )


def test_without_features_the_table_has_the_whole_width():
  params, context = _system(())
  assert params.net == {}
  table = params.tables['item']['embedding']
  assert table.shape == (ITEMS + 1, WIDTH)
  warm = np.asarray(context['item_counts'] > 0)[:, None]
  np.testing.assert_array_equal(
    ccf.item_vectors(params, context), np.where(warm, table, 0.0)
  )


def test_tables_start_small():
  sizes = types.Sizes(3000, 2000, 0)
  params = ccf.init(KEY, {}, sizes, _config(False))
  for entity, count in (('user', 3000), ('item', 2001)):
    table = np.asarray(params.tables[entity]['embedding'])
    assert table.shape == (count, WIDTH) and table.dtype == np.float32
    np.testing.assert_allclose(table.std(), 0.1 / WIDTH**0.5, rtol=0.03)


@pytest.mark.parametrize('kinds', [(), KINDS])
def test_a_model_ranks_by_inner_products_and_strangers_get_the_mean(kinds):
  params, context = _system(kinds)
  model = ccf.make(_config(bool(kinds)))
  served = jax.jit(ccf.serve)(params, context)
  users = jnp.array([4, -1, 1, 0])
  encoded = model.encode(served.net, {}, context, {'user': users})
  table = np.asarray(params.tables['user']['embedding'])
  mean = table[[0, 2, 3, 4]].mean(axis=0)
  own = np.stack([table[4], mean, mean, table[0]])
  np.testing.assert_allclose(encoded, own, rtol=1e-5, atol=1e-6)
  vectors = np.asarray(ccf.item_vectors(params, context))
  shared = jnp.arange(ITEMS + 1)
  each = jnp.array([[1, 2], [3, 0], [6, 5], [4, 4]])
  for ids, expected in (
    (shared, own @ vectors.T),
    (each, np.einsum('bd,bcd->bc', own, vectors[each])),
  ):
    candidates = rows.gather(served.tables['item'], ids)
    scores = model.score(served.net, encoded, candidates)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


def test_widths_that_do_not_fit_are_one_line():
  config = _config()
  config.two_time.feature_width = WIDTH
  with pytest.raises(types.UserError, match='feature_width is 8; .* 7') as it:
    ccf.make(config)
  assert '\n' not in str(it.value)
  _, context = _system()
  with pytest.raises(types.UserError, match='is 0, but there are item'):
    ccf.init(KEY, context, SIZES, _config(False))
  with pytest.raises(types.UserError, match='is 3, but there are no item'):
    ccf.init(KEY, {}, SIZES, _config())
