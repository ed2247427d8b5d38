import functools
import math

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twotsrec import types
from twotsrec.ops import contrastive


def loop(anchors, positives, table, temperature, similarity):
  """The sum over pairs, one by one, in float64."""
  total = 0.0
  anchors = anchors.astype(np.float64)
  for anchor, positive in zip(anchors, positives):
    logits = [anchor @ row for row in table.astype(np.float64)]
    if similarity == 'cosine':
      norms = np.linalg.norm(table, axis=1) * np.linalg.norm(anchor)
      logits = logits / norms
    logits = np.array(logits) / temperature
    top = logits.max()
    total += top + np.log(np.exp(logits - top).sum()) - logits[positive]
  return total


def exact(anchors, weights, positives, table, temperature, similarity):
  """Value and both gradients from the whole matrix of logits, in float64."""
  anchors, weights, table = (
    np.asarray(x, np.float64) for x in (anchors, weights, table)
  )
  norms = lambda x: (
    np.sqrt((x**2).sum(axis=1, keepdims=True) + 1e-12)
    if similarity == 'cosine'
    else np.ones((len(x), 1))
  )
  queries, keys = anchors / norms(anchors), table / norms(table)
  logits = queries @ keys.T / temperature
  logits -= logits.max(axis=1, keepdims=True)
  probabilities = np.exp(logits)
  sums = probabilities.sum(axis=1, keepdims=True)
  chosen = np.eye(len(table))[positives]
  losses = np.log(sums[:, 0]) - (chosen * logits).sum(axis=1)
  by_logits = weights[:, None] * (probabilities / sums - chosen) / temperature

  def chain(gradient, directions, vectors):
    if similarity == 'cosine':
      along = (gradient * directions).sum(axis=1, keepdims=True)
      gradient = gradient - along * directions
    return gradient / norms(vectors)

  by_anchors = chain(by_logits @ keys, queries, anchors)
  return weights @ losses, (
    by_anchors,
    chain(by_logits.T @ queries, keys, table),
  )


def draw_case(seed, num_anchors, num_rows, width=4, scale=1.0):
  rng = np.random.default_rng(seed)
  normal = lambda *shape: jnp.asarray(rng.normal(size=shape) * scale, 'float32')
  return (
    normal(num_anchors, width),
    jnp.asarray(rng.integers(0, 4, num_anchors), jnp.float32),
    jnp.asarray(rng.integers(0, num_rows, num_anchors), jnp.int32),
    normal(num_rows, width),
  )


@functools.partial(jax.jit, static_argnums=(1, 2))
def measured(case, temperature, similarity):
  """Value and both gradients of what is tested."""
  both = jax.value_and_grad(contrastive.info_nce, argnums=(0, 3))
  return both(*case, temperature, similarity)


def assert_close(actual, expected, temperature=1.0):
  """Of what is added up, which is of the order of 1 / temperature."""
  for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
    scale = max(np.max(np.abs(other), initial=0.0), 1 / temperature)
    np.testing.assert_allclose(one, other, rtol=0.0, atol=1e-5 * scale)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
  seed=st.integers(0, 2**16),
  sizes=st.sampled_from([(1, 1), (21, 9)]),
  temperature=st.sampled_from([0.01, 0.2]),
  similarity=st.sampled_from(contrastive.SIMILARITIES),
)
def test_value_and_gradients_are_exact(seed, sizes, temperature, similarity):
  case = draw_case(seed, *sizes)
  assert_close(
    measured(case, temperature, similarity),
    exact(*case, temperature, similarity),
    temperature,
  )


@pytest.mark.parametrize('similarity', contrastive.SIMILARITIES)
def test_unique_anchors_with_counts_are_the_loop_over_pairs(similarity):
  anchors, counts, positives, table = draw_case(1, 7, 6)
  counts = counts.at[2].set(0.0)
  assert 0 in counts and max(counts) > 1
  repeats = np.asarray(counts).astype(int)
  expected = loop(
    np.repeat(np.asarray(anchors), repeats, axis=0),
    np.repeat(positives, repeats),
    np.asarray(table),
    0.2,
    similarity,
  )
  actual = contrastive.info_nce(
    anchors, counts, positives, table, 0.2, similarity
  )
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize('similarity', contrastive.SIMILARITIES)
def test_blocks_of_a_large_table_add_up(similarity, monkeypatch):
  case = draw_case(1, 100, 40, width=8)
  monkeypatch.setattr(contrastive, '_LIMITS', {'cpu': (16 * 40, 128)})
  assert contrastive._block_size(100, 40) == 16
  assert_close(measured(case, 0.1, similarity), exact(*case, 0.1, similarity))


def test_blocks_are_powers_of_two_within_bounds():
  assert contrastive._block_size(1792, 15449) == 128
  assert contrastive._block_size(1792, 100_000) == 16
  assert contrastive._block_size(1792, 10**8) == 8
  assert contrastive._block_size(1792, 0) == 128
  assert contrastive._block_size(5, 10) == 8
  assert contrastive._block_size(1, 10) == 1


def test_an_accelerator_takes_all_anchors_of_a_batch_at_once(monkeypatch):
  monkeypatch.setattr(contrastive, '_LIMITS', {})
  assert contrastive._block_size(900, 11_953) == 1024
  assert contrastive._block_size(900, 10**6) == 64
  case = draw_case(1, 100, 40, width=8)
  assert_close(measured(case, 0.1, 'cosine'), exact(*case, 0.1, 'cosine'))


def test_aligned_anchors_lose_nothing_as_the_temperature_falls():
  table = draw_case(2, 1, 30, width=16)[3]
  case = 3.0 * table, jnp.ones(30), jnp.arange(30), table
  for temperature, bound in ((0.1, math.inf), (1e-4, 0.0)):
    loss, gradients = measured(case, temperature, 'cosine')
    assert 0 <= loss <= bound
    assert all(np.isfinite(gradient).all() for gradient in gradients)
  # The other end: all rows are alike, so one in thirty is right.
  loss, _ = measured(case, 1e8, 'cosine')
  np.testing.assert_allclose(loss, 30 * math.log(30), rtol=1e-5)


def test_cosines_ignore_lengths():
  anchors, weights, positives, table = draw_case(3, 9, 12)
  lengths = np.random.default_rng(3).uniform(0.1, 9.0, (12, 1))
  lengths = jnp.asarray(lengths, jnp.float32)
  loss, gradients = measured(
    (anchors, weights, positives, table), 0.3, 'cosine'
  )
  scaled = anchors * lengths[:9], weights, positives, table * lengths
  np.testing.assert_allclose(
    measured(scaled, 0.3, 'cosine')[0], loss, rtol=1e-5
  )
  # Nothing is won by growing: gradients are orthogonal to their vectors.
  for vectors, gradient in zip((anchors, table), gradients):
    along = jnp.sum(vectors * gradient, axis=1)
    np.testing.assert_allclose(along, 0.0, atol=1e-5)


@pytest.mark.parametrize(
  ('temperature', 'scale', 'similarity'),
  [
    (1e-5, 1.0, 'cosine'),
    (0.025, 1e-3, 'cosine'),
    (1e4, 1.0, 'cosine'),
    (1e-3, 1e3, 'inner'),
  ],
)
def test_extremes_stay_finite(temperature, scale, similarity):
  anchors, _, positives, table = draw_case(4, 8, 10, scale=scale)
  weights = jnp.ones(8)
  opposite = anchors, weights, 0 * positives, jnp.tile(-anchors[:1], (10, 1))
  for case in ((anchors, weights, positives, table), opposite):
    loss, gradients = measured(case, temperature, similarity)
    assert np.isfinite(loss) and loss >= 0
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_rows_of_zeros_are_no_trouble():
  anchors, weights, positives, table = draw_case(5, 6, 7)
  case = anchors.at[0].set(0.0), weights + 1, positives, table.at[2].set(0.0)
  assert_close(measured(case, 0.2, 'cosine'), exact(*case, 0.2, 'cosine'))


@pytest.mark.parametrize('similarity', contrastive.SIMILARITIES)
def test_filling_contributes_nothing(similarity):
  anchors, weights, positives, table = draw_case(6, 200, 9)
  weights = (weights + 1).at[3].set(0.0) * (jnp.arange(200) < 70)
  case = anchors, weights, positives, table
  loss, (by_anchors, by_table) = measured(case, 0.2, similarity)
  alone = tuple(x[:70] for x in case[:3]) + (table,)
  expected, (by_alone, by_table_alone) = exact(*alone, 0.2, similarity)
  assert_close(
    (loss, by_anchors[:70], by_table), (expected, by_alone, by_table_alone)
  )
  np.testing.assert_array_equal(by_anchors[70:], 0.0)
  np.testing.assert_array_equal(by_anchors[3], 0.0)
  without = (anchors, 0 * weights, positives, table)
  for leaf in jax.tree.leaves(measured(without, 0.2, similarity)):
    np.testing.assert_array_equal(leaf, 0.0)


def test_blocks_behind_the_last_weight_are_not_computed():
  anchors, _, positives, table = draw_case(7, 200, 9)
  first = jnp.arange(200) < 128  # of the two blocks there are
  case = jnp.where(first[:, None], anchors, jnp.nan), positives, table
  loss = lambda weights: contrastive.info_nce(
    case[0], weights, *case[1:], 0.2, 'inner'
  )
  assert np.isfinite(loss(first.astype(jnp.float32)))
  assert np.isnan(loss(first.astype(jnp.float32).at[128].set(1.0)))


def test_it_works_inside_loops_and_over_groups():
  anchors, weights, positives, table = draw_case(8, 6, 8)
  loss = lambda table, anchors: contrastive.info_nce(
    anchors, weights, positives, table, 0.5
  )
  descend = lambda table: table - 0.1 * jax.grad(loss)(table, anchors)

  @jax.jit
  def scanned(table):
    return jax.lax.scan(lambda t, _: (descend(t), None), table, length=3)[0]

  @jax.jit
  def bounded(table, steps):
    return jax.lax.fori_loop(0, steps, lambda _, t: descend(t), table)

  expected = np.asarray(table, np.float64)
  for _ in range(3):
    case = anchors, weights, positives, expected
    expected = expected - 0.1 * exact(*case, 0.5, 'cosine')[1][1]
  assert_close(scanned(table), expected)
  assert_close(bounded(table, 3), expected)
  groups = jnp.stack([anchors, anchors[::-1], anchors - 1.0])
  actual = jax.jit(jax.vmap(jax.grad(loss), in_axes=(None, 0)))(table, groups)
  for gradient, group in zip(actual, groups):
    case = group, weights, positives, table
    assert_close(gradient, exact(*case, 0.5, 'cosine')[1][1])


def test_wrong_names_and_numbers_are_one_line():
  case = draw_case(8, 3, 4)
  for options, message in (
    ((0.1, 'cosin'), 'known: cosine, inner'),
    ((0.0,), 'temperature of 0.0'),
    ((-1.0,), 'one above 0'),
    ((math.nan,), 'one above 0'),
  ):
    with pytest.raises(types.UserError) as raised:
      contrastive.info_nce(*case, *options)
    assert message in str(raised.value) and '\n' not in str(raised.value)
