import collections

import numpy as np
import pytest
from scipy import optimize

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import splits
from twotsrec.evaluation import prior_fit

REPEATS, NEIGHBORS, SUCCESSORS = config_lib.PRIOR_TERMS


def _choices(seed):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(300, 7, 3)).astype(np.float32)
  offset = np.log(rng.integers(1, 4, (300, 7)).astype(np.float32))
  offset[:, 4] = np.where(rng.random(300) < 0.5, -np.inf, 0.0)
  logits = x @ [0.5, 2.0, -1.0] + offset
  chance = np.exp(logits - np.logaddexp.reduce(logits, axis=1)[:, None])
  chosen = [rng.choice(7, p=row / row.sum()) for row in chance]
  for row, place in enumerate(chosen):
    x[row, [0, place]] = x[row, [place, 0]]
    offset[row, [0, place]] = offset[row, [place, 0]]
  return prior_fit.Choices(x, offset)


@pytest.mark.parametrize('seed', [0, 1])
def test_the_weights_maximize_the_likelihood_of_the_choices(seed):
  choices = _choices(seed)
  alone = np.array([1.0, 0.0, 0.0])

  def mean_loss(weights):
    logits = choices.x @ weights + choices.offset
    return np.mean(np.logaddexp.reduce(logits, axis=1) - logits[:, 0])

  def cost(weights):
    ridge = 0.5 * np.sum((weights - alone) ** 2)
    return 300 * mean_loss(weights) + ridge

  weights, losses = prior_fit.maximize(choices)
  reference = optimize.minimize(cost, alone, tol=1e-10)
  np.testing.assert_allclose(weights, reference.x, atol=1e-3)
  expected = [mean_loss(alone), mean_loss(weights)]
  np.testing.assert_allclose(losses, expected, rtol=1e-6)


def test_columns_that_say_nothing_have_no_weight():
  choices = _choices(0)
  more = np.zeros((300, 7, 1), np.float32)
  widened = choices._replace(x=np.concatenate([choices.x, more], axis=2))
  weights, _ = prior_fit.maximize(widened)
  np.testing.assert_allclose(weights[:3], prior_fit.maximize(choices)[0])
  assert weights[3] == 0.0


@pytest.mark.parametrize('num_items', [40, 2000])
def test_candidates_are_the_item_what_the_user_had_and_a_sample(num_items):
  rng = np.random.default_rng(0)
  size, length = 5, 6
  history = rng.integers(1, 12, (size, length)).astype(np.int32)
  history[0], history[1, 2:] = 0, 0
  item = rng.integers(1, 12, size)
  item[2] = history[2, 0]
  columns = dict.fromkeys(('event', 'history_end'), np.arange(size))
  targets = prepared_lib.Targets(user=np.arange(size), item=item, **columns)
  barred = [[], [3], [4, 5], [7], []]
  lengths = [0, *map(len, barred)]
  left_out = prepared_lib.SeenItems(
    np.cumsum(lengths), np.concatenate(barred).astype(np.int32)
  )
  lists, offset = prior_fit._lists(targets, history, left_out, num_items, rng)
  for row in range(size):
    first, *others = lists[row]
    assert first == item[row] and offset[row, 0] == 0.0
    had, drawn = others[:length], others[length:]
    expected = {*history[row]} - {0, item[row], *barred[row]}
    assert sorted(i for i in had if i) == sorted(expected)
    taken = {item[row], *had, *barred[row]}
    assert not taken & {i for i in drawn if i}
    if num_items == 40:
      assert {i for i in drawn if i} == {*range(1, 41)} - taken
    # Together they stand for all that competes.
    total = np.sum(np.exp(offset[row]))
    whole = num_items - len(barred[row])
    assert total == pytest.approx(whole, rel=0.02)
  np.testing.assert_array_equal(np.isinf(offset), lists == 0)


def _log(seed=0):
  rng = np.random.default_rng(seed)
  user = np.repeat(np.arange(8, dtype=np.int32), rng.integers(4, 9, 8))
  item = rng.integers(1, 7, user.size).astype(np.int32)
  ids = {'user_ids': np.arange(8), 'item_ids': np.arange(6)}
  return prepared_lib.build(
    user, item, splits.leave_last_out(user, True), **ids
  )


def test_items_go_together_by_the_train_events_alone():
  config, data = config_lib.Config(), _log()
  config.prior.terms = (SUCCESSORS, NEIGHBORS)
  config.closed_form.shrinkage = 0.5
  made = prior_fit.memory(contracts.Experiment(config, data, None))
  bounds = zip(data.user_offsets[:-1], data.user_offsets[1:] - 2)
  runs = [data.items[slice(*bound)].tolist() for bound in bounds]
  sums = lambda: collections.defaultdict(float)
  after, first, second = sums(), sums(), sums()
  for events in runs:
    for place, one in enumerate(events):
      for apart, other in enumerate(events[place + 1 : place + 4], 1):
        after[one, other] += 1 / apart
        first[one] += 1 / apart
        second[other] += 1 / apart
  having = lambda *items: sum({*items} <= {*events} for events in runs)
  cosines = {
    SUCCESSORS: lambda a, b: (
      after[a, b] / (np.sqrt(first[a]) * np.sqrt(second[b]) + 0.5)
    ),
    NEIGHBORS: lambda a, b: (
      having(a, b) / (np.sqrt(having(a)) * np.sqrt(having(b)) + 0.5)
    ),
  }
  for term, cosine in cosines.items():
    expected = np.zeros((7, 7))
    for one, other in np.ndindex(7, 7):
      if one and other and one != other:
        expected[one, other] = cosine(one, other)
    table, found = made.near[term], np.zeros((7, 7))
    np.add.at(found, (np.arange(7)[:, None], table.ids), table.weights)
    expected /= expected[expected > 0].mean()
    np.testing.assert_allclose(found, expected, atol=1e-5)
