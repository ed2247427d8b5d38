import chex
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import examples
from tests.plugins import cases
from twotsrec import config
from twotsrec import plugins
from twotsrec import types


def test_scale_and_shift_are_blended_by_the_weights():
  name = 'gru4rec'
  stages = examples.make(name).stages
  params = cases.moved(name, 'film')
  plugs, weights = params.net['plugins'], np.array([0.5, 0.2, 0.9], np.float32)
  attached = cases.make('film').attach(stages, plugs, weights)
  extractor = params.net['trunk']['extractor']
  rng = np.random.default_rng(0)
  state = rng.normal(size=(4, examples.WIDTH)).astype('f4')
  shape = (4, 2, examples.WIDTH)
  rows = {'embedding': rng.normal(size=shape).astype('f4')}

  def literal(point, x):
    plug = examples.as_numpy(plugs[point])
    residuals = [
      w * (x * s + c)
      for w, s, c in zip(weights, plug['scale'], plug['shift'], strict=True)
    ]
    return x + sum(residuals)

  actual = attached.extract(extractor, state, rows)
  moved_rows = {'embedding': jnp.asarray(literal('A', rows['embedding']), 'f4')}
  expected = stages.extract(extractor, state, moved_rows)
  np.testing.assert_allclose(
    actual.plugged, literal('Z', state), rtol=1e-5, atol=1e-5
  )
  np.testing.assert_allclose(actual.fixed, expected.fixed, rtol=1e-4, atol=1e-5)


def test_it_starts_at_zero_with_two_vectors_per_point():
  fresh = cases.start('din', 'film').net['plugins']
  vectors = lambda d: {
    name: jnp.zeros((cases.GROUPS, d)) for name in ('scale', 'shift')
  }
  expected = {'A': vectors(examples.WIDTH), 'Z': vectors(2 * examples.WIDTH)}
  chex.assert_trees_all_equal(fresh, expected)


@pytest.mark.parametrize('points', ['A', 'Z'])
def test_it_takes_the_points(points):
  plugin = cases.make('film', points=points)
  model, trunk = examples.make('din'), examples.params('din')
  fresh = plugin.init(
    cases.KEY, model.stages, trunk, cases.GROUPS, examples.SIZES
  )
  assert set(fresh) == {points}


def test_unknown_points_are_refused():
  with pytest.raises(types.UserError, match="'ZA'.*AZ, A, Z"):
    plugins.make(config.PluginConfig(name='film', points='ZA'))
