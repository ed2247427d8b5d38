import numpy as np
import pytest

from tests import jodie_toys as toys
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import moving_items
from twotsrec.evaluation import online
from twotsrec.models import jodie


@pytest.fixture(scope='module')
def player():
  return moving_items.make(toys.log(), prepared_lib.TEST, toys.SPANS)


def _by_hand(player, net):
  """{event: (distances to all items, movement, norm)} in order of time."""
  line, replay, said = player.line, toys.Replay(net), {}
  for n, event in enumerate(line.event):
    user, item = line.user[n], line.item[n]
    predicted = replay.predict(user, line.previous[n], line.gaps[n, 0])
    distances, before = replay.distances(predicted), replay.users[user].copy()
    replay.event(user, item, line.gaps[n])
    movement = np.linalg.norm(replay.users[user] - before)
    said[event] = distances, movement, np.linalg.norm(before)
  return said, replay


@pytest.mark.parametrize('static', ['one_hot', 'learned'])
def test_every_event_is_ranked_by_the_states_just_before_it(
  static, player, monkeypatch
):
  monkeypatch.setattr(moving_items, '_SCORES', 5 * toys.ITEMS)  # small blocks
  data, net = toys.log(), toys.net(static)
  events = online.held_out(data, prepared_lib.TEST)
  among, shown = online.usual_rules(data, 3, 0), []
  ranks = moving_items.rank(
    player, net, events, among, lambda *done: shown.append(done)
  )
  assert shown[-1] == (events.size, events.size)
  said, _ = _by_hand(player, net)
  users = data.event_users
  for row, event in enumerate(events):
    distances, movement, norm = said[event]
    own = distances[data.items[event] - 1]
    assert ranks['better'][row] == np.sum(distances < own - 1e-5)
    assert ranks['tied'][row] == 0
    past = set(data.items[data.user_offsets[users[event]] : event])
    rivals = [i for i in range(1, toys.ITEMS + 1) if i not in past]
    closer = [i for i in rivals if distances[i - 1] < own - 1e-5]
    assert ranks['better_without_past'][row] == len(closer)
    np.testing.assert_allclose(ranks['movement'][row], movement, atol=1e-5)
    np.testing.assert_allclose(ranks['norm'][row], norm, atol=1e-5)
  static_ranks = online.rank(
    online.popularity(data, prepared_lib.TEST), data, events, among
  )
  for name in ('list', 'num_negatives', 'num_sampled', 'item', 'known'):
    np.testing.assert_array_equal(ranks[name], static_ranks[name])
  assert set(ranks) == set(static_ranks)


def test_after_all_events_users_are_ranked_by_their_last_states(player):
  net = toys.net()
  _, replay = _by_hand(player, net)
  query, items = moving_items.after_all(player, net)
  scores = np.asarray(query @ items.T)[:, 1:]
  line, last = player.line, {}
  for user, item in zip(line.user, line.item, strict=True):
    last[user] = item
  for user in range(toys.USERS):
    predicted = replay.predict(user, last.get(user, 0), line.at_end[user])
    distances = replay.distances(predicted)
    np.testing.assert_allclose(
      scores[user] - scores[user, 0],
      (distances[0] - distances) / 2,
      rtol=1e-3,
      atol=1e-4,
    )


def test_states_before_the_first_span_are_at_the_start(player):
  net = toys.net()
  states = jodie.init_states(toys.USERS, toys.ITEMS, toys.WIDTH)
  items = moving_items.items_at(net, states, player.first_item, 0)
  start = toys.unit(np.asarray(net['start']['item']))
  np.testing.assert_allclose(items, np.tile(start, (len(items), 1)), rtol=1e-5)
