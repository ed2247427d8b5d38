import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import behavior_toys as toys
from twotsrec import config as config_lib
from twotsrec import recipes
from twotsrec import types
from twotsrec.models import multi_behavior
from twotsrec.objectives import auxiliaries

USERS, ITEMS = toys.USERS, toys.ITEMS


def _options(**changes):
  return dataclasses.replace(config_lib.BehaviorConfig(), **changes)


def _softplus(x):
  return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _listed(pairs, users):
  """(user, positive, negative, weight) of every place."""
  users = np.maximum(np.asarray(users), 0)
  columns = (pairs.positive, pairs.negative[:, 0], pairs.weight)
  return [
    (int(users[int(slot)]), int(p), int(n), float(w))
    for slot, p, n, w in zip(pairs.slot, *columns)
  ]


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
    return auxiliaries.alignment(encoded, batch, USERS, options)

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
  found = auxiliaries.unique_losses(encoded, batch, pairs_of, USERS, options)
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


def test_parallel_tables_rank_the_pairs_of_every_task_that_is_trained():
  made = toys.config(
    'no_aggregation',
    behavior__auxiliary=('parallel',),
    behavior__parallel=2.0,
    behavior__weights=(0.5, 0.0, 0.25),
    head__score_scale=(2.0, 3.0, 4.0),
  )
  ((name, loss),) = auxiliaries.make(made, USERS).items()
  assert name == 'parallel'
  tables, batch = toys.tables(seed=7), toys.batch()
  encoded = multi_behavior.Encoded(
    tuple(toys.tables()), (None,) * 3, {'parallel': tables}
  )
  expected = 0.0
  for k, weight_k in ((0, 0.5), (2, 0.25)):
    table, total, weights = np.asarray(tables[k], np.float64), 0.0, 0.0
    for user, positive, negative, weight in _listed(
      batch.pairs[k], batch.users
    ):
      gap = table[USERS + positive - 1] - table[USERS + negative - 1]
      scale = made.head.score_scale[k]
      total += weight * _softplus(-scale * table[user] @ gap)
      weights += weight
    expected += 2.0 * made.behavior.bpr_scale * weight_k * total / weights
  found = loss(encoded, batch)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_parallel_tables_are_those_of_a_fusion_that_has_them():
  made = toys.config('copf', behavior__auxiliary=('alignment', 'parallel'))
  extra = lambda name: (
    multi_behavior.make(toys.config(fusion__name=name), 3, USERS, ITEMS).extra
  )
  auxiliaries.check_extra(made, extra('pkef'))
  with pytest.raises(types.UserError, match='reads parallel of a fusion'):
    auxiliaries.check_extra(made, extra('cogcn'))


def test_the_losses_are_those_named_that_have_a_weight():
  names = lambda **changes: tuple(
    auxiliaries.make(toys.config('no_aggregation', **changes), USERS)
  )
  assert names() == ('alignment',)
  assert names(behavior__contrastive=0.0) == ()
  assert names(behavior__auxiliary=()) == ()
  both = {'head__unique_weight': 2.0}
  assert names(**both) == ('alignment', 'unique')
  turned = ('unique', 'alignment')
  assert names(**both, behavior__auxiliary=turned) == turned


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (
      {'behavior__auxiliary': ('cosine',)},
      "behavior.auxiliary 'cosine' is unknown; known: alignment, unique",
    ),
    (
      {'behavior__auxiliary': ('alignment', 'alignment')},
      "behavior.auxiliary has 'alignment' 2 times; name it once",
    ),
    (
      {'behavior__auxiliary': ('unique',)},
      "behavior.auxiliary has 'unique', but its weight head.unique_weight is 0;"
      ' raise the weight, or leave the name out',
    ),
    (
      {'behavior__auxiliary': ('alignment',), 'head__unique_weight': 1.0},
      'head.unique_weight 1.0 changes nothing with'
      " behavior.auxiliary=('alignment',); leave it at 0.0, or add 'unique' to"
      ' behavior.auxiliary',
    ),
    (
      {'behavior__auxiliary': (), 'behavior__contrastive': 0.5},
      'behavior.contrastive 0.5 changes nothing with behavior.auxiliary=();'
      " leave it at 1.0, or add 'alignment' to behavior.auxiliary",
    ),
  ],
)
def test_names_and_weights_that_contradict_each_other_are_refused(
  changes, message
):
  with pytest.raises(types.UserError) as caught:
    recipes.check(toys.config('no_aggregation', **changes))
  assert str(caught.value).startswith(message)


def test_a_weight_of_zero_may_stay_where_its_loss_is_not_named():
  for variant in ('copf', 'wo_con', 'lightgcn'):
    recipes.check(toys.config(variant, behavior__auxiliary=()))
  named = {'behavior__auxiliary': ('unique',), 'head__unique_weight': 1.0}
  recipes.check(toys.config('pme', **named))


def test_a_loss_is_refused_where_the_fusion_lacks_what_it_reads(monkeypatch):
  reads = auxiliaries.Auxiliary(
    lambda *_: jnp.zeros(()), 'behavior.l2', ('parallel', 'views')
  )
  monkeypatch.setitem(auxiliaries._ALL, 'other', reads)
  made = toys.config(behavior__auxiliary=('alignment', 'other'))
  auxiliaries.check_extra(made, ('views', 'parallel', 'more'))
  with pytest.raises(types.UserError) as caught:
    auxiliaries.check_extra(made, ('views',))
  assert str(caught.value) == (
    "behavior.auxiliary has 'other', which reads parallel of a fusion, and"
    ' fusion.name=cogcn gives views; leave the name out, or use another fusion'
  )
