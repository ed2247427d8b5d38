import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models import examples
from twotsrec import config
from twotsrec import plugins
from twotsrec import types
from twotsrec.objectives import beside
from twotsrec.objectives import sampled
from twotsrec.ops import rows
from twotsrec.plugins import plugged

_BATCH = types.Batch(
  history=jnp.asarray(examples.HISTORY),
  candidates=jnp.asarray(examples.CANDIDATES[:, :3]),
  user=jnp.arange(4),
  group=jnp.asarray([0, 1, 1, 0]),
  weight=jnp.ones(4),
)


def test_negatives_come_in_turn():
  candidates = np.array([[9, 1, 2, 3], [8, 4, 5, 6]])
  np.testing.assert_array_equal(
    beside.in_turn(jnp.asarray(candidates), 5),
    [[1, 2, 3, 1, 2], [4, 5, 6, 4, 5]],
  )


@pytest.mark.parametrize('name', ['dien', 'mimn'])
def test_the_loss_is_that_of_the_ranking_and_the_weighted_own_one(name):
  params = examples.params(name)

  @jax.jit
  def losses(params):
    weighted = [examples.make(name, auxiliary_weight=w) for w in (1.0, 2.0)]
    objectives = [beside.make(sampled.Loss(), model) for model in weighted]
    objectives.append(sampled.make(sampled.Loss(), weighted[0]))
    return [objective(params, {}, _BATCH) for objective in objectives]

  once, twice, ranking = losses(params)
  own = once - ranking
  np.testing.assert_allclose(twice - ranking, 2 * own, rtol=1e-4, atol=1e-5)
  lengths = np.array(examples.LENGTHS)
  assert np.all(own[lengths > 1] > 0.1)
  # Nothing comes after a single item.
  np.testing.assert_allclose(own[lengths < 2], 0.0, atol=1e-6)


def test_a_model_without_a_loss_of_its_own_has_that_of_the_ranking():
  for name, changes in (('din', {}), ('dien', {'auxiliary_weight': 0.0})):
    assert examples.make(name, **changes).auxiliary is None


def test_the_own_loss_of_a_plugged_model_goes_through_each_group_s_plugin():
  model = examples.make('dien')
  plugin = plugins.make(config.PluginConfig(name='light'))
  joined = plugged.plugged(model, plugin, 2)
  params = plugged.join(
    examples.params('dien'),
    jax.tree.map(
      lambda leaf: 0.3 * jnp.ones_like(leaf),
      plugin.init(
        jax.random.key(0),
        model.stages,
        examples.params('dien'),
        2,
        examples.SIZES,
      ),
    ),
  )
  table = params.tables['item']
  others = beside.in_turn(_BATCH.candidates, _BATCH.history.shape[1])
  looked_up = rows.gather(table, _BATCH.history), rows.gather(table, others)

  def loss(own):
    inputs = sampled.inputs_of(_BATCH)
    net = {**params.net, 'plugins': own}
    values = joined.auxiliary(net, looked_up[0], inputs, looked_up[1])
    return jnp.sum(values[1:2])  # of an example of group 2

  grads = jax.jit(jax.grad(loss))(params.net['plugins'])
  moved = jax.tree.map(
    lambda leaf: np.any(leaf, axis=(1, *range(2, leaf.ndim))), grads['A']
  )
  for leaf in jax.tree.leaves(moved):
    np.testing.assert_array_equal(leaf, [False, True])
