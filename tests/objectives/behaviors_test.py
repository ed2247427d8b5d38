import dataclasses
import functools
import math

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
  """(user, positive, negative, weight) of every place."""
  users = np.maximum(np.asarray(users), 0)
  columns = (pairs.positive, pairs.negative, pairs.weight)
  return [
    (int(users[int(slot)]), int(p), int(n), float(w))
    for slot, p, n, w in zip(pairs.slot, *columns)
  ]


def test_the_loss_of_a_pair_is_bpr_on_its_two_scores():
  model, context, params = toys.system(toys.config(head__score_scale=(1.0,)))
  batch = toys.batch()
  encoded = jax.jit(model.encode)(params, context)
  every = jnp.tile(jnp.arange(1, ITEMS + 1), (USERS, 1))
  for task in (0, 2):
    scores = np.asarray(
      model.score(params, encoded, task, jnp.arange(USERS), every)
    )
    losses = functools.partial(
      behavior_objectives.pair_losses, model, task=task
    )
    found = jax.jit(losses)(params, encoded, batch)
    expected = [
      w * _softplus(scores[u, n - 1] - scores[u, p - 1])
      for u, p, n, w in _listed(batch.pairs[task], batch.users)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert expected[-1] == 0  # filling


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
