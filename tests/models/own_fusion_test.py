"""A fusion in one file outside the package goes through all that COGCN does."""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import behavior_toys as toys
from tests import configured
from tests import small_runs as runs
from tests.models import mb_cgcn
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import behavior_heads
from twotsrec.models import cogcn
from twotsrec.models import fusion as fusion_lib
from twotsrec.models import multi_behavior
from twotsrec.objectives import behaviors as behavior_objectives
from twotsrec.ops import graph as graph_lib
from twotsrec.plugins import plugged
from twotsrec.presets import copf
from twotsrec.recipes import multi_behavior as recipe
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import run as runs_lib
from twotsrec.training import behavior_steps
from twotsrec.training import run_directory

FILE = pathlib.Path(mb_cgcn.__file__)
NAME = f'{FILE}:make'
SIZES = types.NodeSizes(3, toys.USERS, toys.ITEMS, toys.WIDTH)
GROUPS = jnp.array([9.0, 4.0])


def _fusion(dense=None, dropout=0.0, **changes):
  """(fusion, what it is given)."""
  dense = toys.masks() if dense is None else dense
  made = mb_cgcn.make(toys.config(**changes), SIZES, dropout)
  edges = toys.edges(dense), toys.USERS, toys.ITEMS
  return made, made.context(graph_lib.make_edges(*edges))


def _nodes():
  return np.random.default_rng(5).normal(size=(toys.NODES, toys.WIDTH))


def _tables(net, dense=None, key=None, **changes):
  fusion, context = _fusion(dense, **changes)
  nodes = jnp.asarray(_nodes(), jnp.float32)
  fused = fusion.encode(net, nodes, context, key=key)
  return [np.asarray(table) for table in fused.behaviors]


@functools.cache
def _net():
  return toys.random_like(jax.eval_shape(_fusion()[0].init, jax.random.key(0)))


def test_the_map_shows_the_file():
  shown = (FILE.parents[2] / 'WORKSPACE.md').read_text(encoding='utf-8')
  text = FILE.read_text(encoding='utf-8')
  assert f'```python\n{text}```\n' in shown
  assert len(text.splitlines()) <= 60


def test_it_is_its_equations_in_dense_algebra():
  depths = (1, 2, 1)
  weight = np.asarray(_net()['weight'], np.float64)
  start, expected = _nodes(), []
  for k, (mask, depth) in enumerate(zip(toys.masks(), depths)):
    walk = toys.normalize(toys.adjacency(mask), 'symmetric')
    layers = [np.linalg.matrix_power(walk, n) @ start for n in range(depth + 1)]
    expected.append(np.mean(layers, axis=0))
    if k < 2:
      users, items = np.split(expected[-1], [toys.USERS])
      start = np.concatenate([users @ weight[k, 0], items @ weight[k, 1]])
  found = _tables(_net(), fusion__num_layers=depths)
  for ours, theirs in zip(found, expected, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
  merged = {'fusion__num_layers': depths, 'fusion__post_behavior': 'merged'}
  for table in _tables(_net(), **merged):
    np.testing.assert_allclose(table, sum(expected), rtol=1e-4, atol=1e-5)


def test_without_layers_and_maps_it_is_matrix_factorization():
  identity = {'weight': jnp.broadcast_to(jnp.eye(toys.WIDTH), (2, 2, 4, 4))}
  for table in _tables(identity, fusion__num_layers=(0, 0, 0)):
    np.testing.assert_allclose(table, _nodes(), rtol=1e-6)


def test_the_target_does_not_reach_upstream():
  *upstream, target = toys.masks()
  before, after = _tables(_net()), _tables(_net(), (*upstream, ~target))
  for k in range(3):
    assert np.array_equal(before[k], after[k]) == (k < 2)


def test_what_it_drops_is_drawn_in_training_and_alike_after_the_update():
  changes = {
    'head__score_scale': (3.0,), 'behavior__aggregate': 'groups',
    'aggregator__name': 'famo', 'behavior__contrastive': 0.0,
  }  # fmt: skip
  made = toys.config('copf', **changes)
  fusion = mb_cgcn.make(made, SIZES, dropout=0.5)
  head = behavior_heads.make(made, fusion, SIZES)
  model = multi_behavior.compose(fusion, head, SIZES)
  context = model.context(toys.edges())
  params = toys.random_like(jax.eval_shape(model.init, jax.random.key(0)))
  keep = lambda grads, info, state, key=None: (
    jax.tree.map(lambda g: jnp.sum(g, 0), grads), info, {}
  )  # fmt: skip
  spy = types.GradientAggregator(
    lambda number, params: (), keep, post=lambda info, state: info
  )
  gradient = behavior_steps.make_gradient(model, made, toys.USERS, GROUPS, spy)
  post = behavior_steps.make_post(model, made, GROUPS, spy)

  @jax.jit
  def both(key):
    _, before, *_ = gradient(params, context, toys.batch(), (), key)
    after = post(params, context, toys.batch(), (), key)
    return before.losses, after.losses

  first, again = both(jax.random.key(0)), both(jax.random.key(1))
  np.testing.assert_allclose(*first, rtol=1e-5)  # nothing has moved
  assert np.all(np.asarray(first[0]) != np.asarray(again[0]))
  dropped = [
    _tables(_net(), key=jax.random.key(k), dropout=0.5) for k in (0, 1)
  ]
  assert not np.array_equal(dropped[0][2], dropped[1][2])
  np.testing.assert_array_equal(
    _tables(_net(), dropout=0.5)[2], _tables(_net())[2]
  )


def _config(**changes) -> config_lib.Config:
  made = copf.preset('synthetic-behaviors', 'copf_prior')
  settings = {
    'data.users': 40,
    'model.width': 4,
    'groups.num_groups': 2,
    'train.batch_size': 16,
    'train.epochs': 6,
    'train.evaluate_every': 3,
    'train.learning_rate': 0.03,
    'behavior.samples': 3,
    'behavior.aggregate': 'groups',
    'aggregator.name': 'pcgrad',
    'aggregator.granularity': 'block',
    'evaluation.bootstrap': 20,
    'fusion.name': NAME,
  }
  return configured.by(settings, made, **changes)


@pytest.fixture(scope='module')
def trunk(tmp_path_factory):
  """Directory and report of a finished run; leave them as they are."""
  workdir = str(tmp_path_factory.mktemp('own') / 'run')
  return workdir, runs_lib.train(_config(), workdir, quiet=True)


def test_it_is_trained_ranked_and_loaded(trunk):
  workdir, report = trunk
  experiment, params = experiment_lib.load(workdir)
  drawn = recipe.template(experiment)
  weight = params.net['fusion']['weight']
  assert weight.shape == (2, 2, 4, 4)
  assert np.all(weight != drawn.net['fusion']['weight'])
  losses = [line['train_loss'] for line in run_directory.read_metrics(workdir)]
  assert losses[-1] < losses[0]
  served = experiment_lib.ranker(experiment, params).params
  assert 'fusion' not in served.net
  assert report['test']['overall']['auc']['value'] > 0.5


def test_a_stopped_run_ends_as_one_that_was_not(trunk, tmp_path):
  workdir = str(tmp_path / 'run')
  calls = iter([False, False, True])
  assert (
    runs_lib.train(_config(), workdir, lambda: next(calls, True), quiet=True)
    is None
  )
  runs_lib.train(_config(), workdir, quiet=True)
  _, first = experiment_lib.load(trunk[0])
  _, second = experiment_lib.load(workdir)
  runs.assert_same_arrays(first, second)


def test_plugins_stand_on_what_it_gave(trunk, tmp_path):
  config = _config(
    plugin__name='light',
    plugin__points='Z',
    plugin__trunk=trunk[0],
    plugin__trunk_learning_rate=0.0,
    plugin__learning_rate=0.01,
    plugin__epochs=1,
  )
  report = runs_lib.train(config, str(tmp_path / 'run'), quiet=True)
  finished, before = experiment_lib.load(trunk[0])
  _, params = experiment_lib.load(str(tmp_path / 'run'))
  frozen, own = plugged.split(params)
  runs.assert_same_arrays(frozen, recipe.as_trunk(finished, before))
  assert any(np.any(leaf) for leaf in jax.tree.leaves(own))
  assert np.isfinite(report['test']['overall']['auc']['value'])


def test_weights_of_a_fusion_are_regularized_but_not_its_biases():
  params = types.Params(
    {side: {'embedding': jnp.zeros((3, 2))} for side in ('user', 'item')},
    {'fusion': {'weight': jnp.ones(5), 'bias': 2 * jnp.ones(3)}, 'head': {}},
  )
  assert behavior_objectives.l2_penalty(params, 'authors') == 5.0
  assert behavior_objectives.l2_penalty(params, 'all') == 17.0


def test_an_unknown_name_lists_the_fusions_there_are():
  made = toys.config(fusion__name='gcn')
  with pytest.raises(types.UserError, match="name 'gcn' is unknown; known: co"):
    fusion_lib.make(made, SIZES)


def test_a_fusion_says_how_many_behaviors_it_needs(tmp_path):
  file = tmp_path / 'pair.py'
  file.write_text(
    'from twotsrec.models import cogcn\n\n\n'
    'def make(config, sizes):\n'
    '  return cogcn.make(config, sizes)._replace(least_behaviors=2)\n'
  )
  made = toys.config(fusion__name=f'{file}:make')
  fusion_lib.make(made, SIZES._replace(num_behaviors=2))
  with pytest.raises(types.UserError, match='fuses 2 behaviors') as caught:
    fusion_lib.make(made, SIZES._replace(num_behaviors=1))
  text = str(caught.value)
  assert 'or more, but the data have 1; give a behavior column' in text
  assert '\n' not in text


def test_settings_that_a_fusion_does_not_read_are_refused():
  reads = {'num_layers': (1, 2, 1), 'post_behavior': 'merged'}
  others = {
    'pre_behavior': 'none', 'in_behavior': 'own', 'operator': 'union',
    'normalization': 'right', 'self_loop': False, 'combine': 'mean',
  }  # fmt: skip
  for name, value in (reads | others).items():
    changed = {'fusion__name': NAME, f'fusion__{name}': value}
    if name in reads:
      assert fusion_lib.make(toys.config(**changed), SIZES).width == toys.WIDTH
      continue
    with pytest.raises(types.UserError) as caught:
      fusion_lib.make(toys.config(**changed), SIZES)
    text = str(caught.value)
    assert text.startswith(f'fusion.{name} is {value}, but ')
    assert 'it takes num_layers, post_behavior; leave it at' in text
    assert text.endswith('or name it in its `reads`') and '\n' not in text


def test_every_setting_of_a_fusion_is_one_that_a_fusion_reads():
  names = {field.name for field in dataclasses.fields(config_lib.FusionConfig)}
  read = set()
  for name in fusion_lib.NAMES:
    made = fusion_lib.make(toys.config(fusion__name=name), SIZES)
    read |= {*made.reads}
  assert read == names - {'name'}
  assert set(cogcn.READS) < read
