"""A ranking that is stopped between two tiles goes on where it was."""

import numpy as np
import pytest

from tests.evaluation import toys
from twotsrec import contracts
from twotsrec.data import prepared
from twotsrec.evaluation import auc
from twotsrec.evaluation import counting
from twotsrec.evaluation import ranking
from twotsrec.evaluation import rules
from twotsrec.evaluation import tiles

_LENGTH, _USERS, _ITEMS = 4, 40, 90
_SIZES = tiles.Sizes(8, 32)  # five tiles of users, three of items
_MODEL = toys.dot_model()


class _Stop(Exception):
  pass


def _world():
  rng = np.random.default_rng(5)
  data = toys.log(rng, num_users=_USERS, num_items=_ITEMS)
  params = toys.integer_params(rng, _ITEMS)
  return data, params, prepared.targets(data, prepared.TEST)


def _rank(world, progress=None, sizes=_SIZES, model=_MODEL):
  data, params, targets = world
  seen = prepared.seen_items(data, 'all')
  return ranking.rank_targets(
    ranking.Task(contracts.Ranker(model, params, None, _LENGTH), data, targets),
    rules.without(seen, data.num_items),
    sizes=sizes,
    fold=auc.pooled_counts(targets.user % 3, 3),
    progress=progress,
  )


def _keeper(kept, stop_after):
  """Stops after so many tiles of items; `kept` is a list of what was kept."""
  tiles_left = [stop_after]

  def pause(make):
    tiles_left[0] -= 1
    if not tiles_left[0]:
      kept.append({name: array.copy() for name, array in make().items()})
      raise _Stop

  load = lambda: kept[-1] if kept else None
  return counting.Kept(lambda done, total: None, load, pause)


def _assert_same(actual, expected):
  for name in counting.Counts._fields[:-1]:
    np.testing.assert_array_equal(
      getattr(actual, name), getattr(expected, name), name
    )
  for one, other in zip(actual.folded, expected.folded, strict=True):
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize('stop_after', [1, 2, 3, 4, 8, 15])
def test_stopped_anywhere_it_ends_with_the_same_counts(stop_after):
  world, kept = _world(), []
  expected = _rank(world)
  with pytest.raises(_Stop):
    _rank(world, _keeper(kept, stop_after))
  assert kept[0]['done'].sum() == 8 * (stop_after // 3)
  _assert_same(_rank(world, _keeper(kept, -1)), expected)


def test_stopped_again_and_again_no_tile_of_users_is_ranked_twice():
  world, kept, tiles_ranked = _world(), [], 0
  while True:
    try:
      counts = _rank(world, _keeper(kept, 4))  # one tile of users and a third
    except _Stop:
      tiles_ranked += 1
      assert kept[-1]['done'].sum() == 8 * tiles_ranked
      continue
    break
  assert tiles_ranked == 4
  _assert_same(counts, _rank(world))


def test_a_faster_program_goes_on_in_its_own_order_of_tiles(monkeypatch):
  monkeypatch.setattr(tiles, '_WORTH', 1)
  world, kept, model = _world(), [], toys.rounded_model()
  with pytest.raises(_Stop):
    _rank(world, _keeper(kept, 7), model=model)
  assert kept[0]['done'].sum() == 8 * 2
  assert not kept[0]['done'][:8].any()  # the first tiles are like the whole
  again = _rank(world, _keeper(kept, -1), model=model)
  _assert_same(again, _rank(world, model=model))


def test_what_is_ranked_is_told_from_the_start_on():
  world, kept, shown = _world(), [], []
  with pytest.raises(_Stop):
    _rank(world, _keeper(kept, 6))
  keeper = _keeper(kept, -1)
  _rank(world, keeper._replace(show=lambda done, total: shown.append(done)))
  assert shown == [16, 24, 32, 40]


def test_other_parameters_or_tiles_begin_again():
  world, kept = _world(), []
  with pytest.raises(_Stop):
    _rank(world, _keeper(kept, 6))
  other = tiles.Sizes(11, 32)
  _assert_same(_rank(world, _keeper(kept, -1), other), _rank(world))
  data, _, targets = world
  other = data, toys.integer_params(np.random.default_rng(9), _ITEMS), targets
  _assert_same(_rank(other, _keeper(kept, -1)), _rank(other))
