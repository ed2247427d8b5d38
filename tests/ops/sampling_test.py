import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from twotsrec.ops import sampling

_draw = jax.jit(sampling.draw, static_argnums=(3, 4))


def _complements(sets):
  counts = [len(s) for s in sets]
  offsets = np.concatenate([[0], np.cumsum(counts)])
  items = np.array([i for s in sets for i in sorted(s)], np.int32)
  return sampling.make_complements(offsets, items)


@hypothesis.given(
  st.integers(1, 12).flatmap(
    lambda n: st.tuples(
      st.just(n),
      st.lists(
        st.sets(st.integers(1, n), max_size=n - 1), min_size=3, max_size=3
      ),
    )
  ),
  st.integers(0, 2**31 - 1),
)
@hypothesis.settings(max_examples=30, deadline=None, derandomize=True)
def test_every_rank_maps_to_the_sorted_list_of_allowed_items(case, seed):
  num_items, sets = case
  complements = _complements(sets)
  for user, taken in enumerate(sets):
    allowed = sorted(set(range(1, num_items + 1)) - taken)
    ranks = jnp.arange(len(allowed))[None]
    items = sampling._item_of_rank(complements, jnp.array([user]), ranks)
    np.testing.assert_array_equal(items[0], allowed)
  drawn = _draw(jax.random.key(seed), complements, jnp.arange(3), num_items, 7)
  for user, taken in enumerate(sets):
    assert not taken & set(np.asarray(drawn[user]).tolist())
    assert np.all((drawn[user] >= 1) & (drawn[user] <= num_items))


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
