import chex
import jax
import numpy as np
import pytest

from tests.models import examples
from tests.plugins import cases
from twotsrec import config
from twotsrec import models
from twotsrec import types
from twotsrec.plugins import plugged


@pytest.mark.parametrize('name', ['din', 'sasrec', 'sasrec_original'])
def test_it_equals_the_trunk_with_parameters_added(name):
  params = cases.moved(name, 'naive')
  model = cases.model(name, 'naive')
  trunk, deltas = plugged.split(params)
  for group in range(cases.GROUPS):
    parts = {
      part: jax.tree.map(lambda p, d: p + d[group], trunk.net[part], leaf)  # noqa: B023
      for part, leaf in deltas.items()
    }
    moved = types.Params(trunk.tables, {**trunk.net, **parts})
    expected = cases.trunk_scores(name, moved)
    actual = cases.scores(model, params, cases.one(group))
    for candidates, values in actual.items():
      chex.assert_trees_all_close(
        values, expected[candidates], rtol=1e-5, atol=1e-5
      )


def test_a_blend_adds_the_weighted_residuals():
  params = cases.moved('din', 'naive')
  trunk, deltas = plugged.split(params)
  weights = np.array([0.75, 0.25], np.float32)
  route = types.Route(np.array([2, 0], np.int32), weights)
  actual = cases.scores(cases.model('din', 'naive'), params, route)
  add = lambda p, d: p + 0.75 * d[2] + 0.25 * d[0]
  parts = {k: jax.tree.map(add, trunk.net[k], d) for k, d in deltas.items()}
  moved = types.Params(trunk.tables, {**trunk.net, **parts})
  expected = cases.trunk_scores('din', moved)
  for candidates, values in actual.items():
    chex.assert_trees_all_close(
      values, expected[candidates], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize('name', models.TRAINED)
def test_it_has_all_parameters_but_the_embedding_and_starts_at_zero(name):
  trunk, fresh = plugged.split(cases.start(name, 'naive'))
  zeros = lambda leaf: np.zeros((cases.GROUPS, *leaf.shape), leaf.dtype)
  parts = {part: trunk.net[part] for part in ('extractor', 'classifier')}
  chex.assert_trees_all_equal(fresh, jax.tree.map(zeros, parts))


def test_parameter_counts_are_those_of_pin_for_din():
  model = models.make(config.ModelConfig(name='din'))
  trunk = jax.eval_shape(
    lambda key: model.init(key, {}, examples.SIZES), jax.random.key(0)
  )
  fresh = jax.eval_shape(
    lambda: cases.make('naive').init(None, model.stages, trunk, 5, None)
  )
  count = lambda part: sum(leaf.size for leaf in jax.tree.leaves(fresh[part]))
  assert count('extractor') == 5 * (2 * (32 * 32 + 32) + 3 * 32 * 32)
  widths = (64, 128, 64, 1)
  dense = [(n + 1) * m for n, m in zip(widths[:-1], widths[1:], strict=True)]
  assert count('classifier') == 5 * sum(dense)
