import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import worlds
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import batches
from twotsrec.data import feeds
from twotsrec.data import prepared as prepared_lib
from twotsrec.objectives import sampled as objectives
from twotsrec.training import validation

GROUPS, LENGTH, NEGATIVES, ITEMS = 3, 5, 2, 30
_KEY = jax.random.key(5)


@functools.cache
def _world():
  prepared, groups = worlds.log(num_items=ITEMS)
  model = worlds.mean_model()
  data = config_lib.DataConfig(history_length=LENGTH)
  feed = feeds.make_feed(prepared, groups, data, prepared_lib.VALIDATION)
  batch_of = functools.partial(
    batches.make_batch, draws=batches.Draws(LENGTH, ITEMS, NEGATIVES)
  )
  sizes = types.Sizes(prepared.num_users, ITEMS, LENGTH)
  params = model.init(jax.random.key(1), {}, sizes)
  loss = validation.make_loss(
    objectives.make(objectives.Loss(), model), batch_of, GROUPS
  )
  return prepared, groups, feed, batch_of, params, loss


def _literal():
  """Mean loss of everybody and of every group, one user at a time."""
  prepared, groups, feed, batch_of, params, _ = _world()
  table = np.asarray(params.tables['item']['embedding'], np.float64)
  kernel = np.asarray(params.net['kernel'], np.float64)
  count = feed.target.shape[0]
  drawn = np.asarray(batch_of(feed, jnp.arange(count), _KEY).candidates)
  losses = []
  for user in range(prepared.num_users):
    start, end = prepared.user_offsets[user : user + 2]
    own = prepared.items[start:end]
    # Leave-last-out: the validation item is the one before the last.
    history, item = own[:-2][-LENGTH:], own[-2]
    negatives = drawn[user, 1:]
    assert drawn[user, 0] == item and not np.isin(negatives, own).any()
    state = np.tanh(table[history].mean(axis=0) @ kernel)
    scores = table[np.append(item, negatives)] @ state
    signs = np.array([1] + [-1] * NEGATIVES)
    losses.append(np.mean(np.log1p(np.exp(-signs * scores))))
  losses = np.array(losses)
  by_group = [losses[groups.user_group == g].mean() for g in range(GROUPS)]
  return losses.mean(), by_group


@pytest.mark.parametrize('batch_size', [5, 100])
def test_it_is_the_mean_over_held_out_items_whatever_the_batches(batch_size):
  *_, feed, _, params, loss = _world()
  evaluate = validation.make_evaluate(loss, {}, feed, batch_size, _KEY)
  found = evaluate(params)
  expected, by_group = _literal()
  np.testing.assert_allclose(found['loss'], expected, rtol=1e-5)
  np.testing.assert_allclose(found['loss_by_group'], by_group, rtol=1e-5)


def test_the_negatives_are_fixed():
  *_, feed, _, params, loss = _world()
  evaluate = validation.make_evaluate(loss, {}, feed, 12, _KEY)
  assert evaluate(params) == evaluate(params)
  other = validation.make_evaluate(loss, {}, feed, 12, jax.random.key(6))
  assert evaluate(params) != other(params)


def test_a_model_per_group_is_judged_on_its_own_group():
  *_, feed, _, params, loss = _world()
  evaluate = validation.make_evaluate(loss, {}, feed, 12, _KEY)
  scaled = lambda factor: params._replace(
    net=jax.tree.map(lambda leaf: factor * leaf, params.net)
  )
  several = [scaled(factor) for factor in (1.0, 0.5, 2.0)]
  found = evaluate(several)
  alone = [evaluate(one)['loss_by_group'] for one in several]
  expected = [alone[group][group] for group in range(GROUPS)]
  assert found['loss_by_group'] == expected
  assert len({losses[0] for losses in alone}) == GROUPS
  prepared, groups, *_ = _world()
  users = np.bincount(groups.user_group)
  mean = np.average(expected, weights=users)
  np.testing.assert_allclose(found['loss'], mean, rtol=1e-5)


def test_a_group_without_held_out_items_has_no_loss():
  *_, feed, _, params, loss = _world()
  chosen = np.flatnonzero(np.asarray(feed.group) != 1)
  feed = feed._replace(
    **{
      name: getattr(feed, name)[chosen]
      for name in ('first', 'last', 'target', 'user', 'group', 'weight')
    }
  )
  found = validation.make_evaluate(loss, {}, feed, 12, _KEY)(params)
  assert [x is None for x in found['loss_by_group']] == [False, True, False]
