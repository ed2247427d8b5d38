import functools

import jax
import numpy as np

from tests import worlds
from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import batches
from twotsrec.data import feeds
from twotsrec.data import plans
from twotsrec.objectives import sampled as objectives
from twotsrec.training import diagnostics
from twotsrec.training import steps

GROUPS, LENGTH, BATCH, ITEMS, LOOKS = 3, 5, 12, 30, 3
_KEY = jax.random.key(2)


class _World:
  """An objective, its batches and a state to look at."""

  def __init__(self):
    prepared, groups = worlds.log(num_items=ITEMS)
    model = worlds.mean_model()
    data = config_lib.DataConfig(history_length=LENGTH)
    self.feed = feeds.make_feed(prepared, groups, data)
    self.group = np.asarray(self.feed.group)
    self.batch_of = functools.partial(
      batches.make_batch, draws=batches.Draws(LENGTH, ITEMS, 2)
    )
    self.objective = objectives.make(objectives.Loss(), model)
    sizes = types.Sizes(prepared.num_users, ITEMS, LENGTH)
    params = model.init(jax.random.key(1), {}, sizes)
    self.state = steps.TrainState(0, params, (), (), jax.random.key(3))
    self.gradient = jax.jit(jax.value_and_grad(self._mean_loss))
    self.source = contracts.Source(
      feed=self.feed,
      sizes=groups.sizes,
      batch_of=self.batch_of,
      plan_of=lambda epoch: None,
      stack=self.stack,
    )
    self.look = diagnostics.make_diagnose(self.objective, self.source, LOOKS)

  def _mean_loss(self, params, examples, chosen):
    batch = self.batch_of(self.feed, examples, _KEY)
    losses = self.objective(params, {}, batch)
    return (losses * chosen).sum() / chosen.sum()

  def stack(self, plan):
    return plans.stack_plan(np.asarray(plan), self.group, GROUPS, BATCH)

  def diagnose(self, plan):
    found = self.look(self.state, {}, self.feed, plan, _KEY)
    return {name: np.asarray(value) for name, value in found.items()}

  def literal(self, batches):
    """Means over the batches that have the groups, one group at a time."""
    loss, norm, cosine = (
      [[[] for _ in range(GROUPS)] for _ in range(GROUPS)] for _ in range(3)
    )
    for examples in batches:
      slopes = {}
      for group in range(GROUPS):
        own = (examples >= 0) & (self.group[examples] == group)
        if not own.any():
          continue
        value, grads = self.gradient(self.state.params, examples, 1.0 * own)
        leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(grads)]
        slopes[group] = np.concatenate(leaves).astype(np.float64)
        loss[group][group].append(value)
        norm[group][group].append(np.linalg.norm(slopes[group]))
      for g, first in slopes.items():
        for h, second in slopes.items():
          lengths = np.linalg.norm(first) * np.linalg.norm(second)
          cosine[g][h].append(first @ second / lengths)
    mean = lambda table: np.array(
      [[np.mean(x) if x else 0.0 for x in row] for row in table]
    )
    return {
      'loss': np.diagonal(mean(loss)),
      'norm': np.diagonal(mean(norm)),
      'cosine': mean(cosine),
    }


@functools.cache
def _world():
  return _World()


def _assert_close(found, expected):
  assert set(found) == set(expected)
  for name, value in expected.items():
    np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6)


def test_it_is_the_literal_loop_over_some_batches():
  world = _world()
  plan = plans.make_plan(world.group, GROUPS, BATCH, 'proportional', 0, 0)
  assert len(plan) >= 2 * LOOKS
  every = len(plan) // LOOKS
  found = world.diagnose(plan)
  _assert_close(found, world.literal(plan[::every][:LOOKS]))
  np.testing.assert_allclose(found['cosine'], found['cosine'].T, atol=1e-6)
  np.testing.assert_allclose(np.diagonal(found['cosine']), 1.0, atol=1e-5)


def test_a_plan_with_a_row_per_group_gives_the_same():
  world = _world()
  plan = plans.make_plan(world.group, GROUPS, BATCH, 'proportional', 0, 0)
  flat = world.diagnose(plan)
  stacked = world.diagnose(world.stack(plan))
  for name in flat:
    np.testing.assert_array_equal(flat[name], stacked[name])


def test_batches_without_a_group_say_nothing_about_it():
  world = _world()
  members = [np.flatnonzero(world.group == group) for group in range(GROUPS)]
  plan = np.full((LOOKS, BATCH), -1, np.int32)
  plan[0, :3], plan[0, 3:5] = members[0][:3], members[1][:2]
  plan[1, :4] = members[1][2:6]
  found = world.diagnose(plan)
  _assert_close(found, world.literal(plan))
  assert found['loss'][0] > 0 and found['loss'][2] == 0
  np.testing.assert_allclose(np.diagonal(found['cosine']), [1, 1, 0], atol=1e-5)


def test_only_what_the_groups_share_is_compared():
  world = _world()
  look = diagnostics.make_diagnose(
    world.objective, world.source, 1, lambda grads: grads.net
  )
  plan = plans.make_plan(world.group, GROUPS, BATCH, 'proportional', 0, 0)
  found = look(world.state, {}, world.feed, plan, _KEY)
  for group in range(GROUPS):
    own = 1.0 * (world.group[plan[0]] == group)
    _, grads = world.gradient(world.state.params, plan[0], own)
    expected = np.linalg.norm(grads.net['kernel'])
    np.testing.assert_allclose(found['norm'][group], expected, rtol=1e-4)
