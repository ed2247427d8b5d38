import dataclasses
import io

from absl.testing import absltest
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from tests.evaluation import rankings
from tests.evaluation import toys
from twotsrec import config
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import choices
from twotsrec.data import groups as groups_data
from twotsrec.data import prepared
from twotsrec.data import routing as routing_data

_LENGTH = 4
_MODEL = toys.dot_model()


class RankTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.data = toys.log(rng, num_users=60, num_items=80, held_out=2)
    self.params = toys.integer_params(rng, 80)
    self.groups = groups_data.assign(
      self.data, config.GroupConfig(num_groups=3)
    )
    self.config = config.EvaluationConfig(bootstrap=30)

  def _evaluate(self, evaluation=None, **changes):
    evaluation = evaluation or dataclasses.replace(self.config, **changes)
    return rankings.rank(
      contracts.Ranker(_MODEL, self.params, None, _LENGTH),
      self.data,
      self.groups,
      prepared.TEST,
      evaluation,
    )

  def _pairs(self):
    """(positive scores, negative scores, user) of every target, by loops."""
    targets = prepared.targets(self.data, prepared.TEST)
    scores = toys.loop_scores(self.params, self.data, targets, _LENGTH)
    for row, (user, item) in enumerate(zip(targets.user, targets.item)):
      negatives = toys.loop_negatives(self.data, user)
      yield scores[row, item], scores[row, negatives], user

  def _pooled(self, group):
    labels, scores = [], []
    for positive, negative, user in self._pairs():
      if group is None or self.groups.user_group[user] == group:
        labels += [1] + [0] * negative.size
        scores += [positive, *negative]
    return sklearn_metrics.roc_auc_score(labels, scores)

  def test_pooled_auc_equals_sklearn_for_groups_and_everybody(self):
    part, _ = self._evaluate(user_tile=16, item_tile=24)
    self.assertAlmostEqual(part['overall']['auc']['value'], self._pooled(None))
    for group, row in enumerate(part['groups']):
      self.assertAlmostEqual(row['auc']['value'], self._pooled(group))

  def test_user_auc_equals_sklearn_user_by_user(self):
    _, per_target = self._evaluate()
    expected = [
      sklearn_metrics.roc_auc_score(
        [1] + [0] * negative.size, [positive, *negative]
      )
      for positive, negative, _ in self._pairs()
    ]
    np.testing.assert_allclose(per_target['user_auc'], expected)

  def test_strict_auc_counts_no_ties(self):
    _, per_target = self._evaluate(auc_ties=0.0)
    expected = [
      np.mean(negative < positive) for positive, negative, _ in self._pairs()
    ]
    np.testing.assert_allclose(per_target['user_auc'], expected)

  def test_tile_sizes_change_nothing(self):
    part, per_target = self._evaluate()
    for user_tile, item_tile in ((8, 8), (50, 33)):
      again, arrays = self._evaluate(user_tile=user_tile, item_tile=item_tile)
      self.assertEqual(again, part)
      for name, values in per_target.items():
        np.testing.assert_array_equal(arrays[name], values, err_msg=name)

  def test_arrays_are_in_event_order_and_can_be_saved(self):
    _, per_target = self._evaluate()
    targets = prepared.targets(self.data, prepared.TEST)
    np.testing.assert_array_equal(per_target['event'], targets.event)
    np.testing.assert_array_equal(per_target['item'], targets.item)
    file = io.BytesIO()
    np.savez(file, **per_target)
    file.seek(0)
    with np.load(file, allow_pickle=False) as loaded:
      self.assertEqual(set(loaded), set(per_target))

  def test_sampled_user_auc_agrees_with_the_full_one(self):
    full, full_arrays = self._evaluate()
    sampled, arrays = self._evaluate(candidates='sampled', num_candidates=40)
    # One list's AUC has variance p (1 - p) / n at most.
    p = full_arrays['user_auc']
    error = np.sqrt(np.sum(p * (1 - p) / 40)) / p.size
    difference = arrays['user_auc'].mean() - p.mean()
    self.assertLess(abs(difference), 4 * error)
    self.assertGreater(
      sampled['overall']['hr@5']['value'], full['overall']['hr@5']['value']
    )
    np.testing.assert_array_equal(arrays['num_negatives'], 40)

  def test_groups_of_events_come_before_groups_of_users(self):
    event_group = np.arange(self.data.num_events, dtype=np.int32) % 3
    self.groups = self.groups._replace(event_group=event_group)
    _, per_target = self._evaluate()
    np.testing.assert_array_equal(per_target['group'], per_target['event'] % 3)

  def _routed(self, routing, model=None, **changes):
    return rankings.rank(
      contracts.Ranker(
        model or toys.routed_model(), self.params, None, _LENGTH, routing
      ),
      self.data,
      self.groups,
      prepared.TEST,
      dataclasses.replace(self.config, **changes),
    )

  def _plug_in(self):
    """Parameters with a vector per group."""
    rng = np.random.default_rng(5)
    self.params = toys.routed_params(rng, 80, num_groups=3)

  def test_everybody_is_ranked_with_the_plugin_of_the_route(self):
    self._plug_in()
    targets = prepared.targets(self.data, prepared.TEST)
    for mode in ('frozen', 'dynamic'):
      options = config.RoutingConfig(mode=mode, shrinkage=9.0)
      _, per_target = self._routed(options, auc_ties=0.0)
      routes = routing_data.of_targets(
        self.data, self.groups, targets, 'user_train_count', options
      )
      shifts = toys.loop_shifts(self.params, routes)
      scores = toys.loop_scores(
        self.params, self.data, targets, _LENGTH, shifts
      )
      for row, (user, item) in enumerate(zip(targets.user, targets.item)):
        negative = scores[row, toys.loop_negatives(self.data, user)]
        self.assertEqual(per_target['score'][row], scores[row, item])
        self.assertAlmostEqual(
          per_target['user_auc'][row], np.mean(negative < scores[row, item])
        )

  def test_tile_sizes_change_nothing_with_routes(self):
    self._plug_in()
    for mode in choices.ROUTING:
      options = config.RoutingConfig(mode=mode, shrinkage=9.0)
      part, per_target = self._routed(options)
      again, arrays = self._routed(options, user_tile=8, item_tile=33)
      if mode == 'soft':  # weights that are no exact sums
        np.testing.assert_allclose(
          arrays['score'], per_target['score'], rtol=1e-5, atol=1e-5
        )
        continue
      self.assertEqual(again, part)
      for name, values in per_target.items():
        np.testing.assert_array_equal(arrays[name], values, err_msg=name)

  def test_pooled_auc_has_every_row_where_routes_cut_groups(self):
    self._plug_in()
    options = config.RoutingConfig(mode='dynamic', hysteresis=0.0)
    part, per_target = self._routed(options, user_tile=8)
    np.testing.assert_allclose(
      part['overall']['auc']['value'], per_target['placement_all'].mean()
    )
    plain, arrays = self._routed(options, toys.dot_model())
    np.testing.assert_array_equal(
      arrays['num_negatives'], per_target['num_negatives']
    )
    # Routes change nothing for a model without plugins.
    unrouted, _ = self._routed(None, toys.dot_model())
    self.assertEqual(plain, unrouted)

  def test_protocol_states_the_digest_of_sampled_lists(self):
    sampled = dataclasses.replace(self.config, candidates='sampled')
    sampled = dataclasses.replace(sampled, num_candidates=10)
    described = rankings.protocol(self.data, prepared.TEST, sampled)
    again = rankings.protocol(self.data, prepared.TEST, sampled)
    other = rankings.protocol(
      self.data, prepared.TEST, dataclasses.replace(sampled, seed=1)
    )
    self.assertEqual(described, again)
    self.assertNotEqual(
      described['negatives_digest'], other['negatives_digest']
    )
    full = rankings.protocol(self.data, prepared.TEST, self.config)
    self.assertNotIn('negatives_digest', full)
    self.assertEqual(full['split'], 'test')

  def test_activity_counts_training_interactions(self):
    actual = prepared.train_counts(self.data)
    for user in range(self.data.num_users):
      start, end = self.data.user_offsets[user : user + 2]
      expected = np.sum(self.data.split[start:end] == prepared.TRAIN)
      self.assertEqual(actual[user], expected)

  def test_users_of_every_item_are_ranked_by_nothing(self):
    full = np.arange(1, 81)
    items = np.concatenate([self.data.items, full]).astype(np.int32)
    user = np.append(self.data.event_users, np.full(80, 60, np.int32))
    split = np.append(self.data.split, np.full(80, prepared.TRAIN, np.int8))
    split[-2:] = prepared.TEST
    before, _ = self._evaluate()
    self.data = prepared.build(
      user, items, split, user_ids=np.arange(61), item_ids=np.arange(80)
    )
    self.groups = groups_data.assign(
      self.data, config.GroupConfig(num_groups=3)
    )
    sampled = {'candidates': 'sampled', 'num_candidates': 5}
    for protocol in ({}, sampled, {'user_tile': 16, 'item_tile': 24}):
      part, rows = self._evaluate(**protocol)
      self.assertEqual(part['rivals']['without'], 2)
      self.assertEqual(rows['num_negatives'][-2:].tolist(), [0, 0])
      for name, cell in part['overall'].items():
        self.assertEqual(cell['count'], before['overall'][name]['count'], name)
        # Two items of a user, each after its own history, are in no one list.
        in_no_list = name.startswith(('precision', 'map', 'user_ndcg'))
        self.assertEqual(cell['value'] is None, in_no_list)
        if not (protocol or in_no_list):
          np.testing.assert_allclose(
            cell['value'], before['overall'][name]['value']
          )
      group = self.groups.user_group
      self.assertEqual(part['groups'][group[-1]]['without_rivals'], 2)

  def test_a_constant_scorer_hits_by_chance_in_every_protocol(self):
    constant = jnp.ones((81, 1))
    self.params = types.Params({'item': {'embedding': constant}}, {})
    for protocol in ({}, {'candidates': 'sampled', 'num_candidates': 18}):
      part, rows = self._evaluate(**protocol)
      number = rows['num_negatives']
      self.assertAlmostEqual(
        part['overall']['hr@10']['value'], np.mean(10 / (number + 1))
      )

  def test_precision_is_of_the_one_list_of_a_user(self):
    fixed = {**self.data.manifest, 'history_rule': prepared.FIXED}
    self.data = self.data._replace(manifest=fixed)
    targets = prepared.targets(self.data, prepared.TEST)
    scores = toys.loop_scores(self.params, self.data, targets, _LENGTH)
    for candidates in ('catalog', 'all'):
      part, rows = self._evaluate(candidates=candidates, ks=(5,))
      expected = []
      for user in np.unique(targets.user):
        mine = np.flatnonzero(targets.user == user)
        held = targets.item[mine]
        first, last = self.data.user_offsets[user : user + 2]
        had = set(self.data.items[first:last].tolist()) - set(held.tolist())
        left_out = had if candidates == 'all' else set()
        among = [i for i in range(1, 81) if i not in left_out]
        # Ties count by the mean over all their orders.
        of = scores[mine[0]]
        found = 0.0
        for item in held:
          above = sum(of[i] > of[item] for i in among)
          tie = sum(of[i] == of[item] for i in among)
          found += np.clip(5 - above, 0, tie) / tie
        expected.append(found / 5)
      self.assertAlmostEqual(
        part['overall']['precision@5']['value'], np.mean(expected)
      )
      self.assertEqual('list' in rows, candidates == 'catalog')

  def test_of_a_sample_of_users_all_held_out_items_are_counted(self):
    again = self.data.items.copy()
    first = self.data.user_offsets[:-1]
    again[self.data.user_offsets[1:] - 1] = again[first]  # had before
    self.data = self.data._replace(items=again)
    part, rows = self._evaluate(users=20, candidates='all')
    known = self.data.known[rows['event']]
    self.assertFalse(known.any())
    self.assertEqual(part['rivals']['held_out'], 40)
    self.assertEqual(part['rivals']['had_before'], 20)

  def test_empty_split_is_a_user_error(self):
    with pytest.raises(types.UserError, match='validation split is empty'):
      rankings.rank(
        contracts.Ranker(_MODEL, self.params, None, _LENGTH),
        self.data,
        self.groups,
        prepared.VALIDATION,
        self.config,
      )


def _movielens(shared_data) -> prepared.Prepared:
  """ML-1M, the last item of every user for test, the one before left out."""
  user, item, position = np.loadtxt(
    shared_data / 'ml-1m' / 'interactions.csv.gz',
    dtype=np.int64,
    delimiter=',',
    skiprows=1,
    usecols=(0, 1, 2),
    unpack=True,
  )
  order = np.lexsort((position, user))
  user_ids, user = np.unique(user[order], return_inverse=True)
  item_ids, item = np.unique(item[order], return_inverse=True)
  from_end = np.bincount(user)[user] - 1 - position[order]
  split = np.maximum(prepared.TEST - from_end, prepared.TRAIN)
  return prepared.build(
    user.astype(np.int32),
    (item + 1).astype(np.int32),
    split.astype(np.int8),
    user_ids=user_ids,
    item_ids=item_ids,
  )


def test_popularity_on_movielens_reaches_its_known_auc(shared_data):
  data = _movielens(shared_data)
  count = np.bincount(
    data.items[data.split == prepared.TRAIN], minlength=data.num_items + 1
  )
  table = jnp.asarray(count[:, None], jnp.float32)
  model = _MODEL._replace(
    encode=lambda net, rows, context, inputs, key=None: jnp.ones(
      (len(inputs['history']), 1)
    )
  )
  part, per_target = rankings.rank(
    contracts.Ranker(
      model, types.Params({'item': {'embedding': table}}, {}), None
    ),
    data,
    groups_data.assign(data),
    prepared.TEST,
    config.EvaluationConfig(bootstrap=0),
  )
  # Counted once without this package: last item, all negatives.
  assert abs(part['overall']['user_auc']['value'] - 0.8126) < 0.0005
  by_group = [row['auc']['value'] for row in part['groups']]
  np.testing.assert_allclose(
    by_group, [0.846, 0.833, 0.822, 0.795, 0.763], atol=0.001
  )
  assert per_target['num_negatives'].sum() == 6040 * 3706 - data.num_events
