import functools

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import behavior_toys
from tests import compiling
from tests import small_runs as runs
from twotsrec import config
from twotsrec import contracts
from twotsrec import metrics
from twotsrec import types
from twotsrec.data import behaviors as behaviors_lib
from twotsrec.data import groups as groups_lib
from twotsrec.data import pipeline
from twotsrec.data import prepared
from twotsrec.data import settings
from twotsrec.data import synthetic_behaviors
from twotsrec.evaluation import behaviors as shown
from twotsrec.evaluation import offline
from twotsrec.evaluation import ranking
from twotsrec.evaluation import rules
from twotsrec.models import reminders
from twotsrec.ops import rows

NUM_USERS, NUM_ITEMS = 4, 9
ROUTE = types.Route(np.zeros(1, np.int32), np.ones(1, np.float32))


def seen(pairs):
  """prepared.SeenItems of a set of (user, item)."""
  items = [
    sorted(i for u, i in pairs if u == user) for user in range(NUM_USERS)
  ]
  offsets = np.cumsum([0] + [len(row) for row in items])
  return prepared.SeenItems(offsets, np.array(sum(items, []), np.int32))


def behaviors_of(*sets):
  names = ('view', 'cart', 'buy')[-len(sets) :]
  return behaviors_lib.Behaviors(
    names, NUM_USERS, NUM_ITEMS, tuple(map(seen, sets))
  )


def scores(model, params, users, ids):
  """f32[B, C] as in an evaluation."""
  return np.asarray(_scores(model, params, users, ids))


@functools.partial(jax.jit, static_argnums=0)
def _scores(model, params, users, ids):
  history = jnp.zeros((len(users), 2), jnp.int32)
  table = params.tables['item']
  inputs = {'history': history, 'route': ROUTE, 'user': users}
  encoded = model.encode(params.net, rows.gather(table, history), None, inputs)
  return model.score(params.net, encoded, rows.gather(table, ids))


def _of_any_log(params):
  """The same parameters with filling, so that all logs share a program."""
  touched, place = params.net['touched'], params.net['place']
  filling = (0, NUM_USERS * NUM_ITEMS + 1 - len(place))
  filled = touched._replace(
    items=np.pad(touched.items, filling),
    steps=np.arange(NUM_ITEMS, dtype=np.int32),
  )
  place = np.pad(place, filling)
  return params._replace(net={**params.net, 'touched': filled, 'place': place})


def order(model, params, user):
  """Items of a user, best first; no two score the same."""
  ids = np.arange(1, NUM_ITEMS + 1, dtype=np.int32)
  params = _of_any_log(params)
  (own,) = scores(model, params, np.array([user], np.int32), ids)
  assert len(set(own.tolist())) == NUM_ITEMS
  return ids[np.argsort(-own)].tolist()


def expected_order(sets, user, shown):
  """What is shown and not bought by buys / (shown + 5), then all by buys."""
  count = lambda pairs, item: sum(i == item for _, i in pairs)
  bought = sets[-1]
  by_buys = lambda item: (-count(bought, item), item)
  by_rate = lambda item: (
    -count(bought, item) / (count(shown, item) + 5), item
  )  # fmt: skip
  own = {i for u, i in shown if u == user and (u, i) not in bought}
  others = set(range(1, NUM_ITEMS + 1)) - own
  return sorted(own, key=by_rate) + sorted(others, key=by_buys)


PAIRS = st.sets(
  st.tuples(st.integers(0, NUM_USERS - 1), st.integers(1, NUM_ITEMS)),
  max_size=25,
)


@hypothesis.settings(max_examples=25, deadline=None, derandomize=True)
@hypothesis.given(PAIRS, PAIRS, PAIRS, st.integers(-1, NUM_USERS - 1))
def test_rules_sort_as_they_say(view, cart, buy, user):
  rules = reminders.rules(behaviors_of(view, cart, buy))
  pairs_of = {'buy_popularity': set(), 'cart_reminder': cart or view}
  if view and cart:
    pairs_of['view_reminder'] = view
  assert list(rules) == list(pairs_of)
  for name, pairs in pairs_of.items():
    expected = expected_order((view, cart, buy), user, pairs)
    assert order(*rules[name], user) == expected


def test_lists_of_their_own_score_like_shared_candidates():
  rng = np.random.default_rng(0)
  draw = lambda: {
    (int(u), int(i))
    for u, i in zip(rng.integers(4, size=15), 1 + rng.integers(9, size=15))
  }
  rules = reminders.rules(behaviors_of(draw(), draw(), draw()))
  users = np.array([2, -1, 0], np.int32)
  lists = rng.integers(1, NUM_ITEMS + 1, size=(3, 5)).astype(np.int32)
  for rule in rules.values():
    everything = scores(*rule, users, np.arange(NUM_ITEMS + 1))
    expected = np.take_along_axis(everything, lists, axis=1)
    np.testing.assert_array_equal(scores(*rule, users, lists), expected)


def test_two_behaviors_have_one_reminder_and_one_has_none():
  cart, buy = {(0, 3), (1, 3), (0, 5)}, {(2, 5), (3, 1)}
  rules = reminders.rules(behaviors_of(cart, buy))
  for user in range(NUM_USERS):
    by_cart = order(*rules['cart_reminder'], user)
    assert by_cart == expected_order((cart, buy), user, cart)
  assert list(rules) == ['buy_popularity', 'cart_reminder']
  assert list(reminders.rules(behaviors_of(buy))) == ['buy_popularity']


def test_the_parameters_given_are_the_initial_ones():
  model, params = reminders.rules(behaviors_of(set(), {(0, 1)}))[
    'cart_reminder'
  ]
  assert model.init(None, {'params': params}, None) is params


def _evaluated(data, name, ks):
  rule = reminders.rules(behaviors_lib.of_prepared(data))[name]
  options = config.Config(
    groups=config.GroupConfig(num_groups=3),
    evaluation=config.EvaluationConfig(
      candidates='unbought', ks=ks, bootstrap=0
    ),
  )
  groups = groups_lib.assign(data, options.groups)
  experiment = contracts.Experiment(options, data, groups)
  return offline.rank(experiment, contracts.Ranker(*rule, None), 'test').part


def test_the_next_behavior_stands_in_for_one_without_rows():
  view, cart, buy = behavior_toys.masks()
  nothing = np.zeros_like(cart)
  log = behavior_toys.behaviors(
    (view, cart, nothing, buy), ('view', 'cart', 'gift', 'buy')
  )
  with_gifts = reminders.rules(log)
  without = reminders.rules(behavior_toys.behaviors((view, cart, buy)))
  for name, (_, params) in without.items():
    runs.assert_same_arrays(with_gifts[name][1], params)


@pytest.mark.parametrize('validation', [False, True])
def test_the_cart_reminder_reaches_its_closed_form(validation):
  options = config.DataConfig(
    dataset=settings.SYNTHETIC_BEHAVIORS, users=1500, validation=validation
  )
  part = _evaluated(pipeline.from_config(options), 'cart_reminder', (5, 10))
  users = part['overall']['hr@5']['count']
  from_cart = synthetic_behaviors.ORIGINS[0]
  for k in (5, 10):
    hit_rate = k / synthetic_behaviors.PENDING
    deviation = np.sqrt(from_cart * hit_rate * (1 - hit_rate) / users)
    assert (
      abs(
        part['overall'][f'hr@{k}']['value']
        - synthetic_behaviors.reminder_hit_rate(k)
      )
      < 3 * deviation + 1 / users
    )
    # A gain lies in 0..1, so it varies no more than a hit.
    most = np.sqrt(from_cart * hit_rate / users)
    assert (
      abs(
        part['overall'][f'ndcg@{k}']['value']
        - synthetic_behaviors.reminder_ndcg(k)
      )
      < 3 * most
    )


def test_taobao_gives_the_known_numbers(shared_data, tmp_path):
  data = pipeline.from_config(
    config.DataConfig(
      dataset='taobao-copf',
      data_root=str(shared_data),
      cache_dir=str(tmp_path),
      validation=False,
    )
  )
  targets = prepared.targets(data, prepared.TEST)
  found = {}
  for name, rule in reminders.rules(behaviors_lib.of_prepared(data)).items():
    with compiling.optimized():
      result = ranking.rank_targets(
        ranking.Task(contracts.Ranker(*rule, None), data, targets),
        rules.without(shown.bought(data, prepared.TEST), data.num_items),
      )
    assert not np.any(result.tied)
    pair = result.better, result.tied
    hits, gains = metrics.hit(*pair, 10), metrics.ndcg(*pair, 10)
    found[name] = [np.mean(hits), np.mean(gains)]
  # Counted once without this package.
  known = {
    'buy_popularity': [0.0113, 0.0055],
    'cart_reminder': [0.175, 0.099],
    'view_reminder': [0.354, 0.181],
  }
  for name, values in known.items():
    np.testing.assert_allclose(found[name], values, atol=5e-4, err_msg=name)
  sizes = np.bincount(shown.parts(data, targets)).tolist()
  assert shown.part_names(data, targets.event) == ('cart', 'view', 'new')
  assert sizes == [3381, 9782, 2286]  # of the authors' files
