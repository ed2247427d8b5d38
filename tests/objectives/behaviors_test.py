import dataclasses
import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import behavior_toys as toys
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.objectives import behaviors as behavior_objectives

USERS, ITEMS = toys.USERS, toys.ITEMS


def _options(**changes):
  return dataclasses.replace(config_lib.BehaviorConfig(), **changes)


def _softplus(x):
  return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _listed(pairs, users):
  """(user, positive, negatives, weight) of every place."""
  users = np.maximum(np.asarray(users), 0)
  columns = map(np.asarray, (pairs.positive, pairs.negative, pairs.weight))
  return [
    (int(users[int(slot)]), int(p), [int(one) for one in n], float(w))
    for slot, p, n, w in zip(pairs.slot, *columns)
  ]


@pytest.mark.parametrize('negatives', [1, 3])
def test_the_loss_of_a_pair_is_that_of_its_scores(negatives):
  model, context, params = toys.system(toys.config(head__score_scale=(1.0,)))
  batch = toys.batch(negatives=negatives)
  encoded = jax.jit(model.encode)(params, context)
  every = jnp.tile(jnp.arange(1, ITEMS + 1), (USERS, 1))
  loops = {
    'bpr': lambda first, rest: np.mean([_softplus(s - first) for s in rest]),
    'hinge': lambda first, rest: np.mean([max(0, 1 + s - first) for s in rest]),
    'bce': lambda first, rest: np.mean(
      [_softplus(-first), *map(_softplus, rest)]
    ),
    'softmax': lambda first, rest: np.logaddexp.reduce([first, *rest]) - first,
  }
  for task in (0, 2):
    scores = np.asarray(
      model.score(params, encoded, task, jnp.arange(USERS), every)
    )
    losses = functools.partial(
      behavior_objectives.pair_losses, model, task=task
    )
    users = jnp.maximum(batch.users, 0)
    of_batch = jax.jit(model.encode)(params, context, users=users)
    for name, loop in loops.items():
      expected = [
        w * loop(scores[u, p - 1], [scores[u, n - 1] for n in rest])
        for u, p, rest, w in _listed(batch.pairs[task], batch.users)
      ]
      of_name = jax.jit(functools.partial(losses, loss=name))
      found = of_name(params, of_batch, batch)
      np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
      assert expected[-1] == 0  # filling


def test_one_negative_and_bpr_are_the_formula_of_eq_16_to_the_bit():
  model, context, params = toys.system(toys.config())
  batch = toys.batch(9)
  pairs = batch.pairs[2]
  users = jnp.maximum(batch.users, 0)
  encoded = jax.jit(model.encode)(params, context, users=users)

  def literal(params, encoded):
    items = jnp.stack([pairs.positive, pairs.negative[:, 0]], axis=1)
    scores = model.score(params, encoded, 2, pairs.slot, items)
    return pairs.weight * jax.nn.softplus(-(scores[:, 0] - scores[:, 1]))

  ours = lambda params, encoded: behavior_objectives.pair_losses(
    model, params, encoded, batch, 2
  )
  for one, two in (
    (ours, literal),
    (_gradient_of(ours), _gradient_of(literal)),
  ):
    found, expected = (jax.jit(f)(params, encoded) for f in (one, two))
    chex.assert_trees_all_equal(found, expected)


def _gradient_of(losses):
  total = lambda *args: jnp.sum(losses(*args))
  return jax.grad(total, argnums=(0, 1))


def test_the_penalty_of_a_batch_counts_rows_as_often_as_they_occur():
  _, _, params = toys.system(toys.config())
  batch = toys.batch(9, negatives=2)
  user, item = (
    np.asarray(params.tables[side]['embedding'], np.float64)
    for side in ('user', 'item')
  )
  total = count = 0.0
  for k in (0, 2):
    for u, p, rest, w in _listed(batch.pairs[k], batch.users):
      rows = [user[u], item[p], *(item[n] for n in rest)]
      total += w * sum(row @ row for row in rows)
      count += w
  options = _options(l2_scope='batch', weights=(0.5, 0.0, 0.5))
  found = behavior_objectives.penalty(params, batch, options)
  np.testing.assert_allclose(found, total / 2 / count, rtol=1e-5)
  nobody = batch._replace(
    pairs=tuple(p._replace(weight=0 * p.weight) for p in batch.pairs)
  )
  assert behavior_objectives.penalty(params, nobody, options) == 0


def test_the_penalty_by_norm_is_that_of_both_tables_over_the_items():
  _, _, params = toys.system(toys.config())
  user, item = (
    np.asarray(params.tables[side]['embedding'], np.float64)
    for side in ('user', 'item')
  )
  root = lambda table: math.sqrt(np.sum(table**2))
  found = behavior_objectives.penalty(
    params, toys.batch(), _options(l2_scope='norm')
  )
  expected = (root(user) + root(item[1:])) / ITEMS
  np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
  ('changes', 'free'),
  [
    ({'head__transfer_layers': 2}, 2),
    ({'head__transfer': 'linear'}, 1),
    ({'head__name': 'bilinear'}, 1),
    ({'head__name': 'mmoe', 'fusion__post_behavior': 'merged'}, 3),
  ],
)
def test_relations_and_biases_are_not_regularized(changes, free):
  _, _, params = toys.system(toys.config(**changes))
  net = {
    jax.tree_util.keystr(path): float(np.sum(np.square(leaf)))
    for path, leaf in jax.tree_util.tree_flatten_with_path(params.net)[0]
  }
  names = ("'relation'", "'bias'")
  left_out = [path for path in net if any(name in path for name in names)]
  assert len(left_out) == free
  # The padding row is nobody's.
  tables = sum(
    float(np.sum(np.square(rows)))
    for rows in (
      params.tables['user']['embedding'],
      params.tables['item']['embedding'][1:],
    )
  )
  everything = tables + sum(net.values())
  np.testing.assert_allclose(
    behavior_objectives.l2_penalty(params, 'all'), everything, rtol=1e-5
  )
  np.testing.assert_allclose(
    behavior_objectives.l2_penalty(params, 'authors'),
    everything - sum(net[path] for path in left_out),
    rtol=1e-5,
  )


def test_weights_are_equal_unless_given():
  assert behavior_objectives.task_weights(_options(), 4) == (0.25,) * 4
  given = (0.0, 0.5, 0.5)
  assert behavior_objectives.task_weights(_options(weights=given), 3) == given


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'weights': (1.0, 1.0)}, '2 numbers, but there are 3 behaviors'),
    ({'weights': (0.0, 0.0, 0.0)}, 'numbers from 0, not all 0'),
  ],
)
def test_weights_that_do_not_fit_the_behaviors_are_refused(changes, message):
  with pytest.raises(types.UserError, match=message) as caught:
    behavior_objectives.check(_options(**changes), 3)
  assert '\n' not in str(caught.value)
