"""Checks for parts of one's own: built-in ones pass, wrong ones do not.

Models are checked in models/contract_test.py, and fusions of the package in
models/fusion_contract_test.py. Of aggregators there is one of each kind, and of
plugins one: their own contract tests ask all of them more.
"""

import jax
import jax.numpy as jnp
import pytest

from tests import behavior_toys as toys
from tests.models import examples
from tests.models import mb_cgcn
from twotsrec import aggregators
from twotsrec import config
from twotsrec import plugins
from twotsrec import testing
from twotsrec import types
from twotsrec.models import cogcn


# Linear, by inner products, by signs, by losses, by losses after the update.
@pytest.mark.parametrize(
  'name', ['backdoor', 'mgda', 'agr_rand', 'db_mtl', 'famo']
)
def test_aggregators_pass(name):
  made = aggregators.make(config.AggregatorConfig(name=name))
  testing.check_aggregator(made, lowers_loss=name != 'agr_rand')


def test_a_plugin_passes():
  plugin = plugins.make(config.PluginConfig(name='light'))
  testing.check_plugin(plugin, examples.make('gru4rec'))


def _aggregator(update, weights=None):
  init = lambda num_groups, params: ()
  return types.GradientAggregator(init=init, update=update, weights=weights)


def _mean(group_grads, info, state, *, key=None):
  del info, key
  return jax.tree.map(lambda g: jnp.mean(g, 0), group_grads), state, {}


def _cleaned(group_grads, info, state, *, key=None):
  group_grads = jax.tree.map(jnp.nan_to_num, group_grads)
  return _mean(group_grads, info, state)


def _uphill(group_grads, info, state, *, key=None):
  grads, *_ = _mean(group_grads, info, state)
  return jax.tree.map(jnp.negative, grads), state, {}


@pytest.mark.parametrize(
  ('aggregator', 'message'),
  [
    (_aggregator(lambda g, info, s, *, key=None: (g, s, {})), 'shape'),
    (_aggregator(_cleaned), 'gives an update without'),
    (_aggregator(_uphill), 'take the mean loss'),
    (
      _aggregator(_mean, lambda info: jnp.ones(4)),
      'not close|[Nn]ot equal|differ',
    ),
  ],
)
def test_a_wrong_aggregator_is_told(aggregator, message):
  with pytest.raises(AssertionError, match=message):
    testing.check_aggregator(aggregator)


def test_a_model_that_reads_padding_is_told():
  model = examples.make('gru4rec')

  def encode(net, rows, context, inputs, *, key=None):
    whole = {**inputs, 'history': jnp.ones_like(inputs['history'])}
    return model.encode(net, rows, context, whole, key=key)

  broken = model._replace(encode=encode, stages=None, encode_positions=None)
  with pytest.raises(AssertionError):
    testing.check_model(broken)


def test_a_plugin_for_everybody_is_told():
  plugin = plugins.make(config.PluginConfig(name='light'))

  def init(key, stages, trunk, num_groups, sizes):
    own = plugin.init(key, stages, trunk, num_groups, sizes)
    return jax.tree.map(lambda leaf: leaf[:1], own)

  with pytest.raises(AssertionError):
    testing.check_plugin(plugin._replace(init=init), examples.make('gru4rec'))


def test_a_fusion_in_a_file_passes():
  testing.check_fusion(mb_cgcn.make, _inner_products())


def _inner_products():
  return toys.config('no_aggregation', head__score_scale=(1.0,))


def _by_number(fusion):
  def encode(*given, key=None):
    fused = fusion.encode(*given, key=key)
    shift = lambda table: table + jnp.arange(len(table))[:, None] / 10
    return fused._replace(behaviors=tuple(map(shift, fused.behaviors)))

  return fusion._replace(encode=encode)


@pytest.mark.parametrize(
  ('spoil', 'message'),
  [
    (_by_number, 'relabeled users and items have other tables'),
    (lambda fusion: fusion._replace(merged=True), '`merged`, but its tables'),
    (
      lambda fusion: fusion._replace(upstream_only=True),
      '`upstream_only`, but edges of behavior 1 change the table of behavior 0',
    ),
    (
      lambda fusion: fusion._replace(init=lambda key: {'idle': jnp.ones(2)}),
      'idle.* is trained, but gets no gradient',
    ),
  ],
)
def test_a_wrong_fusion_is_told(spoil, message):
  made = _inner_products()
  made.fusion.in_behavior = 'all'  # later edges reach all tables
  with pytest.raises(AssertionError, match=message):
    testing.check_fusion(lambda *given: spoil(cogcn.make(*given)), made)
