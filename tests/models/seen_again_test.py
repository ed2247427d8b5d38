import hypothesis
from hypothesis import strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

from twotsrec.data import prepared as prepared_lib
from twotsrec.data import splits
from twotsrec.models import seen_again
from twotsrec.ops import rows

ITEMS = 9


def _order(popularity, first, history):
  """All items, best first, by the rule's own words."""
  had = [int(item) for item in history if item]
  recent = lambda item: max(i for i, x in enumerate(had) if x == item)
  keys = {
    seen_again.RECENT: recent,
    seen_again.FREQUENT: lambda item: (had.count(item), recent(item)),
  }
  top = sorted(set(had), key=keys[first], reverse=True)
  usual = sorted(range(1, ITEMS + 1), key=lambda item: -popularity[item])
  return top + [item for item in usual if item not in top]


@pytest.mark.parametrize('first', [seen_again.FREQUENT, seen_again.RECENT])
def test_what_a_user_had_comes_first_then_popularity(first):
  rng = np.random.default_rng(3)
  popularity = rng.integers(0, 4, ITEMS + 1).astype(np.float64)
  history = rng.integers(1, ITEMS + 1, (6, 7)).astype(np.int32)
  history[0], history[1, 4:] = 0, 0
  model, params = seen_again.rule(popularity, first)
  encoded = model.encode(
    params.net, None, {}, {'history': jnp.asarray(history)}
  )
  every = np.arange(1, ITEMS + 1)
  for ids in (every, np.stack([every[::-1]] * len(history))):
    table = rows.gather(params.tables['item'], jnp.asarray(ids))
    scores = np.asarray(model.score(params.net, encoded, table))
    for row, own in enumerate(history):
      items = ids if ids.ndim == 1 else ids[row]
      assert len(set(scores[row])) == ITEMS  # no ties
      found = items[np.argsort(-scores[row])].tolist()
      assert found == _order(popularity, first, own)


def _log(user, item):
  split = splits.leave_last_out(user, True)
  ids = {'user_ids': np.arange(user.max() + 1), 'item_ids': np.arange(ITEMS)}
  return prepared_lib.build(user, item, split, **ids)


@hypothesis.settings(max_examples=30, deadline=None, derandomize=True)
@hypothesis.given(st.integers(0, 10**6))
def test_the_order_that_finds_training_repeats_sooner_is_taken(seed):
  rng = np.random.default_rng(seed)
  user = np.repeat(np.arange(6, dtype=np.int32), rng.integers(3, 9, 6))
  item = rng.integers(1, 5, user.size).astype(np.int32)
  data = _log(user, item)
  gains = {}
  for first in (seen_again.FREQUENT, seen_again.RECENT):
    gains[first] = 0.0
    for one in range(6):
      own = item[(user == one) & (data.split == prepared_lib.TRAIN)]
      if len(own) and own[-1] in own[:-1]:
        order = _order(np.zeros(ITEMS + 1), first, own[:-1])
        gains[first] += 1 / (1 + order.index(own[-1]))
  best = max(gains, key=lambda first: gains[first])  # of equal ones the first
  assert seen_again.better_order(data) == best
