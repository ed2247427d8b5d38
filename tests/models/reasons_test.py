"""What models say of the items of a history, beside their equations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twotsrec import config
from twotsrec import models
from twotsrec import plugins
from twotsrec import types
from twotsrec.models import closed_form
from twotsrec.ops import rows
from twotsrec.ops import sequence
from twotsrec.plugins import plugged
from twotsrec.serving import reasons as reasons_lib

ITEMS, LENGTH, WIDTH = 9, 4, 8
HISTORY = np.array([[3, 1, 0, 0], [5, 5, 2, 9], [0, 0, 0, 0]], np.int32)
IDS = np.array([[1, 2, 3], [4, 9, 5], [6, 6, 7]], np.int32)
SIZES = types.Sizes(3, ITEMS, LENGTH)


@functools.cache
def _made(name, **options):
  model = models.make(config.ModelConfig(name=name, width=WIDTH, **options))
  return model, _moved(model.init(jax.random.key(0), {}, SIZES))


def _moved(tree):
  leaves, form = jax.tree.flatten(tree)
  keys = jax.random.split(jax.random.key(1), len(leaves))
  moved = [
    leaf + 0.5 * jax.random.normal(key, leaf.shape)
    for leaf, key in zip(leaves, keys, strict=True)
  ]
  return jax.tree.unflatten(form, moved)


def _reasons(model, params, ids=IDS, **inputs):
  inputs = {'history': jnp.asarray(HISTORY), **inputs}
  item = params.tables['item']
  encoded = model.encode(params.net, rows.gather(item, HISTORY), {}, inputs)
  found = model.reasons(params.net, encoded, HISTORY, rows.gather(item, ids))
  return np.asarray(found)


def _dense(layer, x):
  return x @ np.asarray(layer['kernel'], np.float64) + np.asarray(
    layer.get('bias', 0.0)
  )


def _softmax(logits):
  raised = np.exp(logits - logits.max(initial=-np.inf))
  return raised / raised.sum()


def _each(weights):
  """The weights (b, candidate id, l = 0, 1, ... items) of all, f64[B, C, L]."""
  made = np.zeros((*IDS.shape, LENGTH))
  for b, own in enumerate(HISTORY):
    count = np.count_nonzero(own)
    for c, item in enumerate(IDS[b]):
      made[b, c, :count] = weights(b, item, own[:count])
  return made


def test_din_tells_its_attention():
  model, params = _made('din')
  table = np.asarray(params.tables['item']['embedding'], np.float64)
  net = params.net['extractor']

  def weights(b, item, own):
    q = _dense(net['query'], np.tanh(_dense(net['target'], table[item])))
    keys = _dense(net['key'], np.tanh(_dense(net['history'], table[own])))
    return _softmax(keys @ q / WIDTH**0.5)

  found = _reasons(model, params)
  np.testing.assert_allclose(found, _each(weights), rtol=1e-4, atol=1e-6)
  assert np.ptp(found[1, 0]) > 0.05 and np.all(found[2] == 0)


def _mlp(layers, x):
  for place in range(3):
    x = _dense(layers[f'dense_{place}'], x)
    x = 1 / (1 + np.exp(-x)) if place < 2 else x
  return x[..., 0]


def _logits(net, target, items):
  """a_l of Zhou et al. 2018 for a target f64[D] and items f64[L, D]."""
  target = np.broadcast_to(target, items.shape)
  parts = [target, items, target - items, target * items]
  return _mlp(net['attention'], np.concatenate(parts, axis=-1))


@pytest.mark.parametrize('normed', [True, False])
def test_the_original_din_tells_the_weights_it_pools_with(normed):
  model, params = _made('din_original', attention_norm=normed)
  table = np.asarray(params.tables['item']['embedding'], np.float64)

  def weights(b, item, own):
    found = _logits(params.net['extractor'], table[item], table[own])
    return _softmax(found / WIDTH**0.5) if normed else found

  found = _reasons(model, params)
  np.testing.assert_allclose(found, _each(weights), rtol=1e-4, atol=1e-5)


def test_dien_tells_its_attention_to_the_states():
  model, params = _made('dien')
  net, table = params.net['extractor'], params.tables['item']['embedding']
  mask = HISTORY > 0
  embedded = jnp.where(mask[..., None], table[HISTORY], 0.0)
  _, states = sequence.gru(net['gru'], embedded, mask, jnp.float32)

  def weights(b, item, own):
    read = np.asarray(states[b, : len(own)], np.float64)
    return _softmax(_logits(net, np.asarray(table[item], np.float64), read))

  found = _reasons(model, params)
  np.testing.assert_allclose(found, _each(weights), rtol=1e-4, atol=1e-5)


def test_candidates_that_all_share_are_those_of_everybody():
  for name in ('din', 'din_original', 'dien'):
    model, params = _made(name)
    shared = _reasons(model, params, IDS[0])
    own = _reasons(model, params, np.stack([IDS[0]] * 3))
    np.testing.assert_allclose(shared, own, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('name', ['light', 'naive', 'film'])
def test_a_plugin_changes_what_a_model_looks_at(name):
  trunk, params = _made('din')
  plugin = plugins.make(config.PluginConfig(name=name))
  model = plugged.plugged(trunk, plugin, 3)
  start = model.init(jax.random.key(2), {}, SIZES)._replace(
    tables=params.tables
  )
  start.net['trunk'] = params.net
  moved = start._replace(
    net={**start.net, 'plugins': _moved(start.net['plugins'])}
  )
  groups = np.array([[1], [0], [2]], np.int32)
  route = types.Route(jnp.asarray(groups), jnp.ones((3, 1)))
  found = _reasons(model, moved, route=route)
  for row, group in enumerate(groups[:, 0]):
    one = types.Route(jnp.array([group]), jnp.ones(1))
    alone = _reasons(model, moved, route=one)
    np.testing.assert_allclose(found[row], alone[row], rtol=1e-5, atol=1e-6)
    others = plugged.attached(
      trunk,
      plugin,
      rows.gather(moved.net['plugins'], jnp.array([group])),
      jnp.ones(1),
    )
    by_hand = _reasons(others, params)
    np.testing.assert_allclose(alone, by_hand, rtol=1e-5, atol=1e-6)
  plain = _reasons(trunk, params)
  at_start = _reasons(model, start, route=route)
  np.testing.assert_allclose(at_start, plain, rtol=1e-5, atol=1e-6)
  assert np.max(np.abs(found - plain)) > 0.01


def test_models_that_have_reasons_are_listed():
  has = [
    name
    for name in models.NAMES
    if models.make(config.ModelConfig(name=name)).reasons is not None
  ]
  solved = [
    name
    for name in closed_form.NAMES
    if closed_form.make_model(name, 5, config.ClosedFormConfig()).reasons
  ]
  assert sorted([*has, *solved]) == sorted(reasons_lib.NAMES)
