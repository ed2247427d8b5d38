import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from twotsrec.ops import sampling

_draw = jax.jit(sampling.draw, static_argnums=(3, 4))


def _complements(sets):
  counts = [len(s) for s in sets]
  offsets = np.concatenate([[0], np.cumsum(counts)])
  items = np.array([i for s in sets for i in sorted(s)], np.int32)
  return sampling.make_complements(offsets, items)


MOST = 12  # items; sets are laid out for so many, so that shapes are equal


def _padded(sets):
  """Complements of one shape whatever the sets."""
  found = _complements(sets)
  missing = len(sets) * MOST + 1 - len(found.ranks)
  return found._replace(ranks=jnp.pad(found.ranks, (0, missing)))


_items_of_rank = jax.jit(sampling._item_of_rank)


@hypothesis.given(
  st.integers(1, MOST).flatmap(
    lambda n: st.tuples(
      st.just(n),
      st.lists(
        st.sets(st.integers(1, n), max_size=n - 1), min_size=3, max_size=3
      ),
    )
  ),
)
@hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
def test_every_rank_maps_to_the_sorted_list_of_allowed_items(case):
  num_items, sets = case
  ranks = jnp.tile(jnp.arange(MOST), (3, 1))
  items = _items_of_rank(_padded(sets), jnp.arange(3), ranks)
  for row, taken in zip(np.asarray(items), sets):
    allowed = sorted(set(range(1, num_items + 1)) - taken)
    np.testing.assert_array_equal(row[: len(allowed)], allowed)


@pytest.mark.parametrize('seed', range(3))
def test_draws_stay_out_of_the_sets_and_inside_the_catalogue(seed):
  sets = [{1, 2, 3, 4, 5, 6, 8}, {8}, set()]
  drawn = _draw(jax.random.key(seed), _padded(sets), jnp.arange(3), 8, 7)
  for row, taken in zip(np.asarray(drawn), sets):
    assert not taken & set(row.tolist())
    assert np.all((row >= 1) & (row <= 8))


def test_draws_are_uniform_over_the_allowed_items():
  taken = {2, 3, 7}
  drawn = _draw(
    jax.random.key(0), _complements([taken]), jnp.array([0]), 9, 12_000
  )
  counts = np.bincount(np.asarray(drawn)[0], minlength=10)[1:]
  allowed = [i - 1 for i in range(1, 10) if i not in taken]
  assert stats.chisquare(counts[allowed]).pvalue > 1e-3


def test_a_key_per_user_makes_draws_independent_of_the_batch():
  complements = _complements([{1}, {2, 5}, set()])
  keys = jax.random.split(jax.random.key(3), 3)
  together = _draw(keys, complements, jnp.arange(3), 20, 4)
  alone = _draw(keys[1:2], complements, jnp.array([1]), 20, 4)
  np.testing.assert_array_equal(together[1:2], alone)


def test_popular_draws_are_as_often_as_counts_say_and_stay_out_of_sets():
  counts, power, number = np.array([0, 1, 8, 27, 64, 1]), 2 / 3, 20_000
  weights = np.maximum(counts, 1.0) ** power
  chances = weights / weights.sum()
  sets = [{4, 5}, {1}, set()]
  items, log_chance = jax.jit(sampling.draw_popular, static_argnums=4)(
    jax.random.split(jax.random.key(0), 3),
    sampling.make_popularity(counts, power),
    _padded(sets),
    jnp.arange(3),
    number,
  )
  for row, taken, logs in zip(np.asarray(items), sets, np.asarray(log_chance)):
    assert not taken & set(row.tolist())
    kept = row > 0
    np.testing.assert_allclose(
      logs[kept], np.log(chances[row[kept] - 1]), rtol=1e-5
    )
    seen = np.bincount(row, minlength=7)
    expected = number * chances
    expected[[item - 1 for item in taken]] = 0.0
    expected = np.append(number - expected.sum(), expected)
    some = expected > 0
    assert np.all(seen[~some] == 0)
    assert stats.chisquare(seen[some], expected[some]).pvalue > 1e-4
