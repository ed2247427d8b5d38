import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import behavior_toys as toys
from tests.models import fusions
from twotsrec import config as config_lib
from twotsrec.models import bcipm
from twotsrec.models import multi_behavior
from twotsrec.objectives import auxiliaries
from twotsrec.objectives import contrasts

USERS, ITEMS = toys.USERS, toys.ITEMS
ANCHORS = contrasts.Anchors(jnp.array([2, 0, 5]), jnp.array([1.0, 0.5, 0.0]))
ALIKE = jnp.array([[1, -1], [0, 4], [-1, -1], [0, 1], [5, 3], [1, 2]])


def options(**changes):
  return dataclasses.replace(config_lib.BehaviorConfig(), **changes)


def cosine(x, y):
  return x @ y / math.sqrt((x @ x) * (y @ y))


def test_a_star_is_its_definition():
  one, other = (np.asarray(table, float)[:USERS] for table in toys.tables(2))
  given = jnp.float32(one), jnp.float32(other)
  found = contrasts.star(ANCHORS, ALIKE, *given, options(temperature=0.3))
  expected = 0.0
  for row, weight in zip(*map(np.asarray, ANCHORS), strict=True):
    power = [math.exp(cosine(one[row], t) / 0.3) for t in other]
    star = {int(row), *(int(j) for j in ALIKE[row] if j >= 0)}
    expected -= weight * math.log(sum(power[j] for j in star) / sum(power))
  np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize('similarity', ['cosine', 'inner'])
def test_without_nodes_alike_the_star_is_the_alignment(similarity):
  one, other = (table[:USERS] for table in toys.tables(2))
  alone = jnp.full_like(ALIKE, -1)
  given = options(similarity=similarity, temperature=0.5)
  loss = lambda f: jax.value_and_grad(f, argnums=(0, 1))(one, other)
  star = loss(lambda x, y: contrasts.star(ANCHORS, alone, x, y, given))
  plain = loss(lambda x, y: contrasts.between(ANCHORS, x, y, given))
  for ours, theirs in zip(*map(jax.tree.leaves, (star, plain)), strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
  # And the named loss is COPF's, but for what it divides by.
  tables = tuple(toys.tables())
  made = toys.config(
    's_mbrec', behavior__star_weight=1.0, behavior__similarity=similarity
  )
  nobody = jnp.full((toys.NODES, 2), -1)
  encoded = multi_behavior.Encoded((), (), {'views': tables, 'alike': nobody})
  batch = toys.batch()
  named = auxiliaries.make(made, USERS)['star']
  pairs = float(jnp.sum(batch.pairs[-1].weight))
  aligned = auxiliaries.alignment(
    multi_behavior.Encoded(tables, ()), batch, USERS, made.behavior
  )
  np.testing.assert_allclose(
    named(encoded, batch), aligned * USERS / pairs, rtol=1e-5
  )


def test_a_view_is_told_from_those_of_the_other_users_of_a_batch():
  tables = [np.asarray(table, float) for table in toys.tables()]
  users = np.array([3, 0, 2, -1])
  values, weights = contrasts.view_losses(
    [jnp.float32(table) for table in tables], jnp.asarray(users)
  )
  np.testing.assert_array_equal(weights, [1, 1, 1, 0])
  for k, table in enumerate(tables):
    for place, user in enumerate(users[:3]):
      logits = {v: tables[-1][user] @ table[v] / toys.WIDTH for v in users[:3]}
      own = logits.pop(user)
      expected = math.log(sum(map(math.exp, logits.values()))) - own
      np.testing.assert_allclose(values[k, place], expected, rtol=1e-4)
  assert not np.any(values[:, 3])


def test_a_user_alone_and_filling_give_no_view_loss_and_finite_gradients():
  users = jnp.array([-1, 4, -1])

  def total(table):
    values, weights = contrasts.view_losses([table, 2 * table], users)
    return jnp.sum(values) + jnp.sum(weights)

  value, gradient = jax.value_and_grad(total)(toys.tables(1)[0])
  assert value == 0
  np.testing.assert_array_equal(gradient, jnp.zeros_like(gradient))


def test_preferences_are_told_by_cross_entropy_over_all_behaviors():
  made = fusions.make('bcipm')
  contextual, batch = made.encode().extra['contextual'], toys.batch()
  found = contrasts.preferences(contextual, batch, USERS)
  total = count = 0.0
  users = np.maximum(np.asarray(batch.users), 0)
  for k, pairs in enumerate(batch.pairs):
    for place, weight in enumerate(np.asarray(pairs.weight)):
      user = int(users[int(pairs.slot[place])])
      negatives = [int(item) for item in np.ravel(pairs.negative[place])]
      values = []
      for label, item in enumerate([*negatives, int(pairs.positive[place])]):
        node = USERS + item - 1
        row = bcipm.preference(
          contextual, jnp.array([user]), jnp.array([node]), k
        )
        chance = fusions.sigmoid(float(row[0] @ contextual.table[node]))
        is_positive = label == len(negatives)
        values.append(-math.log(chance if is_positive else 1 - chance))
      total += weight * np.mean(values)
      count += weight
  np.testing.assert_allclose(found, total / count, rtol=1e-4)
