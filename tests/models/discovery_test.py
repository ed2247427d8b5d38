import fractions

import hypothesis
from hypothesis import strategies as st
import jax.numpy as jnp
import numpy as np

from twotsrec.models import discovery

ITEMS = 12
SHARES = (0.0, 0.1, 0.25, 1 / 3, 0.5, 0.9, 1.0)


def _merged(score, new, out, share):
  """The list by its definition, place after place."""
  order = sorted(np.flatnonzero(~out), key=lambda item: (-score[item], item))
  queues = [[i for i in order if new[i] == kind] for kind in (False, True)]
  exact, made, taken = fractions.Fraction(str(share)), [], 0
  while any(queues):
    wants_new = int((len(made) + 1) * exact) > taken
    kind = wants_new if queues[wants_new] else not wants_new
    taken += wants_new  # a place that nobody wants goes to the other kind
    made.append(queues[kind].pop(0))
  return made


@hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
@hypothesis.given(
  st.lists(st.integers(0, 5), min_size=ITEMS, max_size=ITEMS),
  st.lists(st.booleans(), min_size=ITEMS, max_size=ITEMS),
  st.lists(st.booleans(), min_size=ITEMS, max_size=ITEMS),
  st.sampled_from(SHARES),
)
def test_every_list_has_its_share(score, new, out, share):
  score, new, out = np.array(score, 'f4'), np.array(new), np.array(out)
  merge = discovery.merge_of(share, ITEMS)
  found = np.asarray(
    discovery.places(merge, *(jnp.asarray(x)[None] for x in (score, new, out)))
  )[0]
  ordered = np.argsort(found, kind='stable')[: np.sum(~out)]
  assert ordered.tolist() == _merged(score, new, out, share)
  np.testing.assert_array_equal(
    np.sort(found[~out]), 1 + np.arange(np.sum(~out))
  )
  assert np.all(found[out] > ITEMS)


def test_marks_are_the_items_of_each_user():
  of = discovery.ragged(np.array([2, 0, 1]), np.array([1, 3, 3]))
  found = discovery.marked(of, jnp.array([2, -1, 0, 1]), 4)
  expected = np.zeros((4, 5), bool)
  expected[0, 3] = expected[2, [1, 3]] = True
  np.testing.assert_array_equal(found, expected)
