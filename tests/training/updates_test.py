"""Tables of sequence models, moved row by row (`train.table_optimizer`)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import worlds
from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import batches
from twotsrec.data import feeds
from twotsrec.data import plans
from twotsrec.objectives import sampled as objectives
from twotsrec.training import row_optimizers
from twotsrec.training import steps
from twotsrec.training import updates

GROUPS, LENGTH, BATCH, ITEMS, STEPS = 3, 4, 6, 60, 3
RATE, TABLE_RATE = 1e-2, 5e-2
MODEL = worlds.mean_model()
SIZES = types.Sizes(12, ITEMS, LENGTH)


def _config(optimizer, aggregator='joint'):
  config = config_lib.Config()
  config.aggregator.name = aggregator
  config.train.learning_rate = RATE
  config.train.table_optimizer = optimizer
  config.train.table_rate = TABLE_RATE if optimizer != 'adam' else 0.0
  return config


@functools.cache
def _data(negatives=1):
  """Group sizes, and a few batches with a row per group [G, n, ...]."""
  prepared, groups = worlds.log(num_items=ITEMS)
  data = config_lib.DataConfig(history_length=LENGTH)
  feed = feeds.make_feed(prepared, groups, data)
  group = np.asarray(feed.group)
  plan = plans.make_plan(group, GROUPS, BATCH, 'balanced', 0, 0)[:STEPS]
  stacked = plans.stack_plan(plan, group, GROUPS, 3)  # with filling
  make = functools.partial(
    batches.make_batch, draws=batches.Draws(LENGTH, ITEMS, negatives)
  )
  make = jax.jit(jax.vmap(make, in_axes=(None, 0, None)))
  made = [make(feed, rows, jax.random.key(n)) for n, rows in enumerate(stacked)]
  return jnp.asarray(groups.sizes, jnp.float32), made


def _update(config):
  sizes, _ = _data()
  learner = contracts.Learner(
    init=lambda key: MODEL.init(key, {}, SIZES),
    context={},
    loss=objectives.make(objectives.Loss(), MODEL),
  )
  source = contracts.Source((), sizes, batch_of=None, plan_of=None)
  return updates.aggregated(config, learner, source, updates.of_model(config))


def _trained(config, stacked):
  """Parameters before the first step, and after each of all steps."""
  update = _update(config)
  merge = lambda leaf: leaf.reshape(-1, *leaf.shape[2:])
  shaped = lambda b: b if update.stacked else jax.tree.map(merge, b)
  params = MODEL.init(jax.random.key(0), {}, SIZES)
  state = update.init(params, jax.random.key(1))
  step, totals = jax.jit(update.step), steps.init_totals(GROUPS)
  seen = [params]
  for batch in stacked:
    state, totals = step(state, totals, {}, shaped(batch))
    seen.append(state.params)
  assert int(totals.bad_step) == -1
  return jax.device_get(seen)


def _dense_gradients(name, params, stacked):
  """The aggregated gradient of the whole table at each step's parameters."""
  sizes, _ = _data()
  aggregator = aggregators.make(config_lib.AggregatorConfig(name=name))
  objective = objectives.make(objectives.Loss(), MODEL)
  gradient = jax.jit(
    steps.make_gradient(objective, aggregator, sizes, 'explicit')
  )
  state = aggregator.init(GROUPS, params[0])
  for one, batch in zip(params, stacked):
    grads, state, *_ = gradient(one, {}, batch, state, jax.random.key(0))
    yield np.asarray(grads.tables['item']['embedding'], np.float64)


class Literal:
  """One row of a table, moved by the rule of an optimizer in plain NumPy."""

  def __init__(self, name, row):
    self.name, self.row, self.count = name, row.astype(np.float64), 0
    self.mean = self.square = np.zeros_like(self.row)
    self.total = 0.0

  def move(self, grad):
    self.count += 1
    if self.name == 'row_sgd':
      self.row = self.row - TABLE_RATE * grad
    elif self.name == 'row_adagrad':
      self.total += np.mean(grad**2)
      if self.total:
        self.row = self.row - TABLE_RATE * grad / np.sqrt(self.total)
    else:
      self.mean = 0.9 * self.mean + 0.1 * grad
      self.square = 0.999 * self.square + 0.001 * grad**2
      mean = self.mean / (1 - 0.9**self.count)
      root = np.sqrt(self.square / (1 - 0.999**self.count))
      self.row = self.row - TABLE_RATE * mean / (root + 1e-8)


def _touched(batch):
  ids = np.concatenate([np.ravel(batch.history), np.ravel(batch.candidates)])
  return set(ids.tolist()) - {0}


@pytest.mark.parametrize('name', row_optimizers.NAMES)
@pytest.mark.parametrize('aggregator', ['joint', 'backdoor', 'pcgrad'])
def test_rows_move_as_in_a_literal_loop_and_others_stay(name, aggregator):
  _, stacked = _data()
  params = _trained(_config(name, aggregator), stacked)
  gradients = _dense_gradients(aggregator, params, stacked)
  tables = [one.tables['item']['embedding'] for one in params]
  rows = [Literal(name, row) for row in tables[0]]
  idle = 0
  for before, after, grad, batch in zip(
    tables, tables[1:], gradients, stacked, strict=False
  ):
    touched = _touched(batch)
    for number in range(ITEMS + 1):
      if number in touched:
        rows[number].move(grad[number])
        np.testing.assert_allclose(
          after[number], rows[number].row, rtol=2e-4, atol=2e-5
        )
      else:
        idle += 1
        np.testing.assert_array_equal(after[number], before[number])
  assert idle > ITEMS  # most rows rest in a step


def test_the_rest_of_the_model_is_moved_by_adam():
  _, stacked = _data()
  kernel = lambda config: _trained(config, stacked[:1])[1].net['kernel']
  np.testing.assert_array_equal(
    kernel(_config('row_sgd')), kernel(_config('adam'))
  )


def test_lazy_adam_is_adam_where_every_row_is_in_use():
  negatives = 8 * ITEMS
  _, stacked = _data(negatives)
  assert all(len(_touched(batch)) == ITEMS for batch in stacked)
  config = _config('lazy_adam')
  config.train.table_rate = 0.0  # that of the model
  ours, theirs = (
    _trained(one, stacked)[-1] for one in (config, _config('adam'))
  )
  for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
