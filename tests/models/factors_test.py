"""Vectors whose products are scores, of every model that says so."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twotsrec import config
from twotsrec import models
from twotsrec import types
from twotsrec.models import known_users
from twotsrec.ops import rows

ITEMS, LENGTH = 9, 4
NAMES = ('gru4rec', 'sasrec', 'sasrec_original', 'gru4rec_product')
NAMES += ('bert4rec', 'hstu', 'ligr')
HISTORY = np.array([[3, 1, 0, 0], [5, 5, 2, 9], [0, 0, 0, 0]], np.int32)


@functools.cache
def _made(name):
  """A model, parameters that are moved from their start, and an encoding."""
  options = config.ModelConfig(name=name, width=8)
  if 'num_heads' in models.OPTIONS[name]:
    options.num_heads = 2
  model = models.make(options)
  sizes = types.Sizes(3, ITEMS, LENGTH)
  params = model.init(jax.random.key(0), {}, sizes)
  leaves, tree = jax.tree.flatten(params)
  keys = jax.random.split(jax.random.key(1), len(leaves))
  params = jax.tree.unflatten(
    tree,
    [
      leaf + 0.3 * jax.random.normal(k, leaf.shape)
      for leaf, k in zip(leaves, keys)
    ],
  )
  history_rows = rows.gather(params.tables['item'], HISTORY)
  inputs = {'history': jnp.asarray(HISTORY)}
  return model, params, model.encode(params.net, history_rows, {}, inputs)


@pytest.mark.parametrize('name', NAMES)
def test_products_of_the_factors_are_the_scores(name):
  model, params, encoded = _made(name)
  ids = np.arange(1, ITEMS + 1)
  for asked in (ids, np.stack([ids, ids[::-1], ids])):
    item_rows = rows.gather(params.tables['item'], asked)
    of_users, of_items = model.factors(params.net, encoded, item_rows)
    of_items = np.broadcast_to(of_items, (3, ITEMS, of_items.shape[-1]))
    expected = model.score(params.net, encoded, item_rows)
    found = (np.asarray(of_users)[:, None] * of_items).sum(axis=-1)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)
    assert np.std(expected) > 0.1


@pytest.mark.parametrize('name', NAMES)
def test_vectors_of_items_are_nobodys(name):
  model, params, encoded = _made(name)
  item_rows = rows.gather(params.tables['item'], np.arange(1, 4))
  one = jax.tree.map(lambda leaf: leaf[:1], encoded)
  _, of_one = model.factors(params.net, one, item_rows)
  _, of_all = model.factors(params.net, encoded, item_rows)
  np.testing.assert_allclose(of_one, of_all, rtol=1e-5, atol=1e-6)


def test_other_models_have_none():
  for name in models.NAMES:
    made = models.make(config.ModelConfig(name=name))
    assert (made.factors is not None) == (name in NAMES), name


def test_users_of_a_log_have_a_vector_each():
  rng = np.random.default_rng(0)
  query, items = rng.normal(size=(5, 3)), rng.normal(size=(8, 3))
  model = known_users.make()
  params = known_users.params(jnp.asarray(query), jnp.asarray(items))
  encoded = model.encode(params.net, None, {}, {'user': jnp.array([2, -1, 4])})
  item_rows = rows.gather(params.tables['item'], np.arange(1, 8))
  of_users, of_items = model.factors(params.net, encoded, item_rows)
  np.testing.assert_allclose(of_users, query[[2, 2, 4]] * [[1], [0], [1]], 1e-6)
  np.testing.assert_allclose(of_items, items[1:], 1e-6)
