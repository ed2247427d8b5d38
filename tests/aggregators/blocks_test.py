import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.aggregators import cases
from twotsrec import types
from twotsrec.aggregators import agreement
from twotsrec.aggregators import blocks
from twotsrec.aggregators import linear
from twotsrec.aggregators import loss_weighted
from twotsrec.aggregators import projection

GROUPS = 3


def _params(seed, *leading):
  """Parameters with two blocks in `net` and one table."""
  draw = np.random.default_rng(seed).normal
  leaf = lambda *shape: jnp.asarray(draw(size=leading + shape), jnp.float32)
  net = {
    'classifier': {'bias': leaf(2), 'kernel': leaf(3, 2)},
    'extractor': [leaf(4)],
  }
  return types.Params({'item': {'embedding': leaf(5, 2)}}, net)


INFO = types.GroupInfo(
  jnp.ones(GROUPS), jnp.ones(GROUPS), jnp.array([0.5, 0.7, 0.9])
)


def test_blocks_are_tables_and_top_level_modules():
  named = blocks.split(_params(0))
  assert list(named) == ['tables/item', 'net/classifier', 'net/extractor']
  assert [len(leaves) for leaves in named.values()] == [1, 2, 1]
  assert list(blocks.split(_params(0), None)) == [
    'tables/item/embedding',
    'net/classifier/bias',
    'net/classifier/kernel',
    'net/extractor/0',
  ]


def test_every_block_is_aggregated_on_its_own():
  grads = _params(1, GROUPS)
  refined = blocks.by_block(projection.gradvac())
  state = refined.init(GROUPS, _params(0))
  key = jax.random.key(0)
  update, state, log = jax.jit(refined.update)(grads, INFO, state, key=key)
  whole = projection.gradvac()
  alone = jax.jit(whole.update)
  named = blocks.split(grads)
  for number, (name, leaves) in enumerate(named.items()):
    block_key = jax.random.fold_in(key, number)
    start = whole.init(GROUPS, None)
    expected, block_state, _ = alone(leaves, INFO, start, key=block_key)
    for actual, leaf in zip(blocks.split(update)[name], expected):
      np.testing.assert_allclose(actual, leaf, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state[number], block_state, atol=1e-5)
    assert f'{name}/weights' in log
  assert jax.tree.structure(update) == jax.tree.structure(_params(0))


def test_element_wise_methods_do_not_depend_on_granularity():
  grads = _params(2, GROUPS)
  whole, _, _ = jax.jit(agreement.agr_sum().update)(grads, INFO, ())
  leafwise = blocks.by_block(agreement.agr_sum(), None)
  state = leafwise.init(GROUPS, _params(0))
  update, _, _ = jax.jit(leafwise.update)(grads, INFO, state)
  jax.tree.map(np.testing.assert_array_equal, update, whole)


def test_linear_methods_stay_fused():
  joint = linear.joint()
  assert blocks.by_block(joint) is joint


def test_losses_after_the_update_reach_every_block():
  refined = blocks.by_block(loss_weighted.famo())
  state = refined.init(GROUPS, _params(0))
  _, state, _ = refined.update(_params(3, GROUPS), INFO, state)
  after = INFO._replace(losses=0.9 * INFO.losses**2)
  state = refined.post(after, state)
  assert len(state) == 3
  for block in state[1:]:
    np.testing.assert_array_equal(block.logits, state[0].logits)
  assert np.ptp(state[0].logits) > 0


def test_granularity_is_an_option_of_every_aggregator():
  vectors = cases.draw(0)
  by_leaf = cases.apply('mgda', vectors, granularity='leaf')
  for part in (slice(0, 3), slice(3, None)):
    alone = np.zeros_like(vectors)
    alone[:, part] = vectors[:, part]
    np.testing.assert_allclose(
      by_leaf[part], cases.apply('mgda', alone)[part], atol=1e-3
    )
  with pytest.raises(types.UserError, match="'row'; known: model, block, leaf"):
    cases.make('mgda', granularity='row')
