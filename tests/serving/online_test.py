import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.serving import online_toys
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import gathers
from twotsrec.evaluation import online_states
from twotsrec.serving import online
from twotsrec.serving import recommend
from twotsrec.serving import requests as requests_lib

_PLUGGED = {
  'two_time__variant': '2ts_plus',
  'plugin__name': 'light',
  'plugin__points': 'AZ',
  'plugin__history_only': True,
}
_PLUS = {'two_time__variant': '2ts_plus', 'two_time__cell': 'lstm'}
_SYSTEMS = [
  {},
  _PLUS,
  {'two_time__variant': 'one_gru', 'two_time__cell': 'scaled_gru'},
  {'two_time__variant': 'ccf'},
  _PLUGGED,
]


def _rows(state, chosen):
  return online.State(*(jnp.array(np.asarray(x)[chosen]) for x in state))


def _same(first, second, **tolerance):
  for name, a, b in zip(online.State._fields, first, second, strict=True):
    np.testing.assert_allclose(a, b, err_msg=name, **tolerance)


@pytest.mark.parametrize('changes', _SYSTEMS)
def test_updates_are_the_batch_walk_and_queries_come_before_them(changes):
  world = online_toys.world(**changes)
  service, prepared = world.service, world.experiment.prepared
  begin, end = online_toys.replayed(world)
  state = online_toys.at_first(world)
  queries = np.zeros((prepared.num_events, service.width))
  for step in range(int((end - begin).max())):
    here = begin + step < end
    event = np.where(here, begin + step, 0)
    queries[event[here]] = np.asarray(online.query(service, state))[here]
    item = np.where(here, np.asarray(prepared.items)[event], online.NO_EVENT)
    state = online.update(service, state, item)
  np.testing.assert_allclose(state.state, service.known.state, atol=1e-6)
  moved = end > begin
  np.testing.assert_array_equal(state.last[moved], service.known.last[moved])
  np.testing.assert_array_equal(state.consumed, end - begin)
  wanted = np.ones(prepared.num_events, bool)
  played = np.zeros(0, int)
  for player in world.players:
    net = world.nets.get(player.job.part.name)
    if net is not None:
      blocks = online_states.blocks(
        player.play(net, world.setting.vectors, wanted)
      )
      for block in blocks:
        found = queries[block.event]
        np.testing.assert_allclose(found, block.query, atol=1e-6)
        played = np.append(played, block.event)
  assert len(played) == np.sum(end - begin)


@pytest.mark.parametrize('changes', [{}, _PLUGGED])
def test_a_known_user_is_what_the_run_serves(changes):
  world = online_toys.world(**changes)
  users = np.arange(world.experiment.prepared.num_users)
  state = online.start(world.service, users)
  _same(state, world.service.known, rtol=0)
  served = world.params.net['user']
  found = online.query(world.service, state)
  np.testing.assert_allclose(found, served['query'], atol=1e-6)


def test_a_batch_gives_what_its_users_give_one_by_one():
  service = online_toys.world(**_PLUGGED).service
  users = [2, -1, 0, 4, 11, 9, 2]
  items = [5, 7, 0, 1, 20, online.NO_EVENT, 21]
  queries = online.query(service, online.start(service, users))
  batch = online.update(service, online.start(service, users), items)
  for row, (user, item) in enumerate(zip(users, items)):
    one = online.start(service, user)
    np.testing.assert_allclose(
      online.query(service, one)[0], queries[row], atol=1e-6
    )
    alone = online.update(service, one, item)
    _same(alone, _rows(batch, [row]), atol=1e-6)


def test_an_event_moves_the_next_query_and_not_its_own():
  service = online_toys.world().service
  users = [0, 1]
  before = np.asarray(online.query(service, online.start(service, users)))
  after = []
  for item in (3, 4):
    state = online.start(service, users)
    same = online.query(service, state)
    np.testing.assert_array_equal(same, before)
    state = online.update(service, state, [item, item])
    after.append(np.asarray(online.query(service, state)))
  assert np.all(np.any(after[0] != after[1], axis=1))
  assert np.all(np.any(after[0] != before, axis=1))


def test_an_unknown_item_leaves_the_state_and_is_counted():
  world = online_toys.world(**_PLUS)
  service, users = world.service, np.arange(7)
  unknown = [0, 21, -2, 10**12, -(10**12), 99, 2**31]
  state = online.update(service, online.start(service, users), unknown)
  expected = online.start(service, users)
  _same(state, expected._replace(skipped=np.ones(7, np.int32)), rtol=0)
  on_device = jnp.asarray([0, 21, -2, -7, 99, 2**31 - 1, 3], jnp.int32)
  state = online.update(service, state, on_device)
  np.testing.assert_array_equal(state.skipped, [2, 2, 2, 2, 2, 2, 1])
  np.testing.assert_array_equal(state.last[6], 3)
  idle = online.update(service, online.start(service, users), [-1] * 7)
  _same(idle, expected, rtol=0)


@pytest.mark.parametrize('changes', _SYSTEMS)
def test_somebody_new_starts_at_the_common_start(changes):
  world = online_toys.world(**changes)
  service = world.service
  state = online.start(service, [-1, -1])
  assert not np.any([state.last, state.group, state.consumed, state.skipped])
  name = service.networks[int(state.network[0])]
  assert name in ('inactive', 'everyone')
  if name not in world.nets:
    np.testing.assert_allclose(
      online.query(service, state)[0], world.params.net['new'], rtol=1e-6
    )
    return
  net = world.nets[name]
  psi = net.get('trunk', net)['extractor']['psi']
  start = np.zeros(service.state_width)
  start[: service.width] = psi
  np.testing.assert_array_equal(state.state, [start, start])
  # The same as a user of the least active group who has not done anything.
  player = world.players[0]
  assert player.job.part.name == name
  member = np.flatnonzero(player.job.serves & (service.known.group == 0))[:1]
  expected = player.read(
    net,
    world.setting.vectors,
    member,
    start[None].astype('f4'),
    np.zeros(1, int),
  )
  np.testing.assert_allclose(
    online.query(service, state), np.repeat(expected, 2, axis=0), atol=1e-6
  )
  moved = online.update(service, state, [3, 4])
  assert np.any(np.asarray(moved.state[0]) != np.asarray(moved.state[1]))


def test_an_inactive_user_is_served_by_the_plugin_of_the_group():
  world = online_toys.world(**_PLUGGED)
  service, job = world.service, world.players[0].job
  assert service.groups == len(job.sizes) > 1
  assert len(set(service.known.group[job.serves])) == service.groups
  state = online.start(service, [-1, -1])
  other = state._replace(group=jnp.array([0, 1], jnp.int32))
  first, second = np.asarray(online.query(service, other))
  assert np.any(first != second)
  moved = online.update(service, other, [3, 3])
  assert np.any(np.asarray(moved.state[0]) != np.asarray(moved.state[1]))


def test_a_state_is_as_large_after_many_events_and_compiled_once():
  service = online_toys.world().service
  state = online.start(service, [0, 1, -1])
  shapes = [leaf.shape for leaf in state]
  state = online.update(service, state, [1, 2, 3])
  compiled = service.advance._cache_size()
  lowered = service.advance.lower(service.weights, state, np.int32([1, 2, 3]))
  cost = lowered.cost_analysis()
  for step in range(50):
    state = online.update(service, state, [1 + step % 20, 2, 3])
  assert [leaf.shape for leaf in state] == shapes
  assert service.advance._cache_size() == compiled
  again = service.advance.lower(service.weights, state, np.int32([1, 2, 3]))
  assert again.cost_analysis() == cost
  np.testing.assert_array_equal(
    np.asarray(state.consumed) - np.append(service.known.consumed[:2], 0), 51
  )


def test_the_memory_of_the_old_state_is_used_again():
  service = online_toys.world().service
  state = online.start(service, [0, 1, -1])
  online.update(service, state, [1, 2, 3])
  assert state.state.is_deleted()


def test_recommendations_are_those_of_the_run():
  world = online_toys.world(**_PLUS)
  prepared = world.experiment.prepared
  users = np.arange(prepared.num_users)
  seen = prepared_lib.seen_items(prepared, 'all')
  requests = requests_lib.known_users(prepared, seen, users, history_length=4)
  (expected,) = recommend.recommend(
    contracts.Ranker(world.experiment.system.model, world.params, {}),
    requests,
    num_items=prepared.num_items,
    k=5,
  )
  found = online.recommend(
    world.service,
    online.start(world.service, users),
    5,
    gathers.exclusions(seen, users),
  )
  np.testing.assert_array_equal(found.ids, expected.ids)
  np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
  assert np.any(found.ids == 0)  # of a user who had nearly everything


def test_the_best_items_are_the_largest_products():
  service = online_toys.world().service
  state = online.start(service, [0, -1, 5])
  found = online.recommend(service, state, 3)
  scores = online.query(service, state) @ service.weights.item[1:].T
  best = np.argsort(-scores, axis=1)[:, :3]
  np.testing.assert_array_equal(found.ids, best + 1)
  np.testing.assert_allclose(
    found.scores, np.take_along_axis(scores, best, axis=1), rtol=1e-5
  )
  with pytest.raises(types.UserError, match='k is 0'):
    online.recommend(service, state, 0)


def test_playing_many_events_is_one_update_after_another():
  service = online_toys.world(**_PLUGGED).service
  generator = np.random.default_rng(0)
  users = np.array([3, -1, 0, 2, 6])
  offsets = np.array([0, 4, 4, 11, 12, 18])
  items = generator.integers(0, 22, 18)
  told = []
  played = online.play(
    service,
    online.start(service, users),
    offsets,
    items,
    rows_at_once=2,
    show=lambda done, events: told.append((done, events)),
  )
  for row, user in enumerate(users):
    state = online.start(service, user)
    for item in items[offsets[row] : offsets[row + 1]]:
      state = online.update(service, state, item)
    _same(state, _rows(played, [row]), atol=1e-6)
  assert told == [(2, 13), (4, 5), (5, 0)]


def test_external_ids_are_numbers_inside():
  service = online_toys.world().service
  np.testing.assert_array_equal(
    online.users_of(service, [100, 111, 99, 112]), [0, 11, -1, -1]
  )
  np.testing.assert_array_equal(online.users_of(service, '103'), [3])
  np.testing.assert_array_equal(
    online.items_of(service, [1000, 1019, 1020]), [1, 20, 0]
  )


def test_services_of_other_parameters_differ_in_their_digest():
  world = online_toys.world()
  same = _service(world, world.params)
  assert same.digest == world.service.digest and len(same.digest) == 16
  tables = jax.tree.map(lambda x: x.at[3, 1].add(1e-3), world.params.tables)
  nets = jax.tree.map(lambda x: x * 1.001, world.params.net['networks'])
  changed = [
    world.params._replace(tables=tables),
    world.params._replace(net={**world.params.net, 'networks': nets}),
  ]
  digests = {_service(world, params).digest for params in changed}
  assert len(digests | {same.digest}) == 3
  # States of other users mean what they meant.
  users = jax.tree.map(lambda x: 2 * x, world.params.net['user'])
  kept = world.params._replace(net={**world.params.net, 'user': users})
  assert _service(world, kept).digest == same.digest


def _service(world, params):
  service = world.service
  return online.make(
    world.experiment.config,
    params,
    service.networks,
    service.known,
    service.ids,
  )
