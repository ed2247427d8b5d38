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
from twotsrec.models import multi_behavior
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
    users = jnp.maximum(batch.users, 0)
    of_batch = jax.jit(model.encode)(params, context, users=users)
    found = jax.jit(losses)(params, of_batch, batch)
    expected = [
      w * _softplus(scores[u, n - 1] - scores[u, p - 1])
      for u, p, n, w in _listed(batch.pairs[task], batch.users)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert expected[-1] == 0  # filling


def _info_nce(anchor, row, table, options):
  """-log of the share of the anchor's own row."""
  likeness = []
  for other in table:
    scale = 1.0
    if options.similarity == 'cosine':
      scale = math.sqrt((anchor @ anchor) * (other @ other))
    likeness.append(anchor @ other / scale / options.temperature)
  return float(np.logaddexp.reduce(likeness)) - likeness[row]


@functools.cache
def _compiled(changes):
  options = _options(**dict(changes))

  def align(tables, batch):
    encoded = multi_behavior.Encoded(tables, (None,) * 3)
    return behavior_objectives.alignment(encoded, batch, USERS, options)

  return jax.jit(align)


def _align(tables, batch, **changes):
  return float(_compiled(tuple(changes.items()))(tuple(tables), batch))


def _naive_alignment(tables, batch, options):
  """COPF eq. 8 pair by pair."""
  target = tables[-1]
  if options.anchors == 'all':
    nodes = [(node, 1.0) for node in range(USERS + ITEMS)]
  else:
    nodes = []
    for user, positive, _, weight in _listed(batch.pairs[-1], batch.users):
      nodes += [(user, weight), (USERS + positive - 1, weight)]
  total = 0.0
  for table in tables[:-1]:
    for node, weight in nodes:
      is_user = node < USERS
      side = slice(0, USERS) if is_user else slice(USERS, None)
      divisor = USERS
      if options.normalizer == 'sides' and not is_user:
        divisor = ITEMS
      row = node if is_user else node - USERS
      value = _info_nce(target[node], row, table[side], options)
      total += weight * value / divisor
  return total


@pytest.mark.parametrize(
  'changes',
  [
    {},
    {'temperature': 0.5, 'similarity': 'inner'},
    {'normalizer': 'sides'},
    {'anchors': 'all', 'normalizer': 'sides', 'temperature': 0.3},
  ],
)
def test_alignment_equals_a_loop_over_anchors_with_multiplicity(changes):
  options, tables = _options(**changes), toys.tables()
  batch = toys.batch(9)
  found = _align(tables, batch, **changes)
  exact = [np.asarray(table, np.float64) for table in tables]
  expected = _naive_alignment(exact, batch, options)
  np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_perfectly_aligned_tables_cost_nothing_at_a_low_temperature():
  table = toys.tables()[0]
  align = lambda *tables: _align(tables, toys.batch(), temperature=0.01)
  assert align(table, 3.0 * table, 0.5 * table) < 1e-3
  one, two, three = toys.tables()
  np.testing.assert_allclose(
    align(one, two, three), align(2.0 * one, two, 7.0 * three), rtol=1e-4
  )


def test_the_unique_part_of_a_source_ranks_pairs_of_one_behavior_only():
  tables = toys.tables()
  options = dataclasses.replace(
    config_lib.HeadConfig(), transfer_scale=0.1, score_scale=(20.0, 30.0, 40.0)
  )
  batch = toys.batch()
  pairs_of = ((2, 0), (1, 2))
  batch = batch._replace(unique=(batch.pairs[1], batch.pairs[0]))
  encoded = multi_behavior.Encoded(tuple(tables), (None,) * 3)
  found = behavior_objectives.unique_losses(
    encoded, batch, pairs_of, USERS, options
  )
  for (task, source), pairs, value in zip(pairs_of, batch.unique, found):
    own, other = (np.asarray(tables[k], np.float64) for k in (task, source))
    rest = 0.1 * np.stack(
      [o - (o @ y) / (y @ y) * y for o, y in zip(other, own)]
    )
    total = weights = 0.0
    for user, positive, negative, weight in _listed(pairs, batch.users):
      gap = rest[user] @ (
        rest[USERS + positive - 1] - rest[USERS + negative - 1]
      )
      total += weight * _softplus(-options.score_scale[task] * gap)
      weights += weight
    np.testing.assert_allclose(value, total / weights, rtol=1e-4)


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
