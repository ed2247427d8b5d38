from absl.testing import absltest
import numpy as np
import pytest

from tests.evaluation import rankings
from tests.evaluation import toys
from twotsrec import config
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import groups as groups_data
from twotsrec.data import prepared
from twotsrec.evaluation import behaviors

_LENGTH = 4
_MODEL = toys.dot_model()


class BehaviorsTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    rng = np.random.default_rng(3)
    cls.data = toys.behavior_log(rng, num_users=40, num_items=30)
    cls.params = toys.factor_params(rng, 40, 30)
    cls.scores = toys.loop_factor_scores(cls.params)

  def _evaluate(self, split=prepared.TEST, candidates='unbought', **changes):
    options = {'user_tile': 16, 'item_tile': 24, 'bootstrap': 20, **changes}
    return rankings.rank(
      contracts.Ranker(toys.factor_model(), self.params, None, _LENGTH),
      self.data,
      groups_data.assign(self.data, config.GroupConfig(num_groups=2)),
      split,
      config.EvaluationConfig(candidates=candidates, **options),
    )

  def _loop_rank(self, user, item, left_out):
    scores = self.scores[user]
    among = set(range(1, 31)) - left_out - {item}
    better = sum(scores[other] > scores[item] for other in among)
    return 1 + better, len(among)

  def test_unbought_ranks_among_all_but_earlier_purchases(self):
    for split in (prepared.VALIDATION, prepared.TEST):
      _, per_target = self._evaluate(split)
      targets = prepared.targets(self.data, split)
      kept_in = set()
      for row, (user, item) in enumerate(zip(targets.user, targets.item)):
        events = slice(*self.data.user_offsets[user : user + 2])
        items = self.data.items[events]
        bought = (self.data.behaviors[events] == 2) & (
          self.data.split[events] < split
        )
        left_out = set(items[bought].tolist())
        kept_in |= set(items.tolist()) - left_out
        rank, number = self._loop_rank(user, item, left_out)
        self.assertEqual(per_target['rank'][row], rank)
        self.assertEqual(per_target['num_negatives'][row], number)
        score = self.scores[user, item]
        np.testing.assert_allclose(
          per_target['score'][row], score, rtol=1e-5, atol=1e-6
        )
      self.assertNotEmpty(kept_in)  # what was viewed competes

  def test_a_purchase_held_out_for_validation_is_no_negative_in_the_test(self):
    _, validation = self._evaluate(prepared.VALIDATION)
    _, test = self._evaluate(prepared.TEST)
    np.testing.assert_array_equal(
      test['num_negatives'], validation['num_negatives'] - 1
    )

  def test_all_leaves_out_whatever_was_interacted_with(self):
    _, per_target = self._evaluate(candidates='all')
    for user, item, rank in zip(
      per_target['user'], per_target['item'], per_target['rank']
    ):
      own = self.data.items[slice(*self.data.user_offsets[user : user + 2])]
      expected, _ = self._loop_rank(user, item, set(own.tolist()))
      self.assertEqual(rank, expected)

  def test_never_interacted_ranks_discoveries_alone(self):
    _, everybody = self._evaluate()
    part, per_target = self._evaluate(candidates='never_interacted')
    found, new = [], set()
    for user, item, rank in zip(
      per_target['user'], per_target['item'], per_target['rank']
    ):
      events = slice(*self.data.user_offsets[user : user + 2])
      items = self.data.items[events]
      expected, _ = self._loop_rank(user, item, set(items.tolist()))
      self.assertEqual(rank, expected)
      found.append((user, item))
    for user, item in zip(everybody['user'], everybody['item']):
      events = slice(*self.data.user_offsets[user : user + 2])
      trained = self.data.split[events] == prepared.TRAIN
      if item not in self.data.items[events][trained]:
        new.add((user, item))
    self.assertEqual(set(found), new)
    self.assertBetween(len(found), 1, len(everybody['user']) - 1)
    self.assertEqual(part['overall']['hr@5']['count'], len(found))
    self.assertEqual(part['parts'][-1]['users'], len(found))

  def test_without_a_discovery_there_is_nothing_to_rank(self):
    column = lambda *values: np.array(values, np.int8)
    data = prepared.build(
      np.array([0, 0, 1, 1], np.int32),
      np.array([1, 1, 2, 2], np.int32),
      column(prepared.TRAIN, prepared.TEST, prepared.TRAIN, prepared.TEST),
      user_ids=np.arange(2),
      item_ids=np.arange(1, 4),
      behaviors=column(0, 1, 0, 1),
      behavior_names=('view', 'buy'),
      history_rule=prepared.FIXED,
    )
    protocol = config.EvaluationConfig(candidates='never_interacted')
    with pytest.raises(types.UserError, match='test split is new to its user'):
      rankings.protocol(data, prepared.TEST, protocol)
    rankings.protocol(data, prepared.VALIDATION, protocol)  # has no events

  def test_parts_hold_everybody_once_with_their_own_means(self):
    part, per_target = self._evaluate()
    self.assertEqual(
      [p['name'] for p in part['parts']], ['cart', 'view', 'new']
    )
    self.assertEqual(sum(p['users'] for p in part['parts']), 40)
    targets = prepared.targets(self.data, prepared.TEST)
    np.testing.assert_array_equal(
      per_target['part'], behaviors.parts(self.data, targets)
    )
    for number, row in enumerate(part['parts']):
      rank = per_target['rank'][per_target['part'] == number]
      placement = per_target['placement_all'][per_target['part'] == number]
      self.assertAlmostEqual(row['hr@5']['value'], np.mean(rank <= 5))
      self.assertAlmostEqual(row['auc']['value'], np.mean(placement))
      self.assertLessEqual(row['hr@5']['low'], row['hr@5']['value'])
      self.assertEqual(row['hr@5']['count'], rank.size)

  def test_a_log_without_behaviors_has_parts_where_users_come_back(self):
    self.data = self.data._replace(behaviors=None)
    part, per_target = self._evaluate(candidates='catalog')
    self.assertEqual([p['name'] for p in part['parts']], ['again', 'new'])
    new = per_target['part'] == 1
    self.assertBetween(np.sum(new), 1, new.size - 1)
    # Where what a user had does not compete, discoveries alone are ranked.
    discoveries, ranked = self._evaluate(candidates='never_interacted')
    self.assertNotIn('parts', discoveries)
    np.testing.assert_array_equal(ranked['event'], per_target['event'][new])
    self.assertLess(ranked['num_negatives'].max(), self.data.num_items - 1)

  def test_a_log_where_nobody_comes_back_has_no_parts(self):
    bought = np.flatnonzero(self.data.behaviors == 2)
    self.data = prepared.build(
      self.data.event_users[bought],
      self.data.items[bought],
      self.data.split[bought],
      user_ids=self.data.user_ids,
      item_ids=self.data.item_ids,
    )
    part, per_target = self._evaluate(candidates='all')
    self.assertNotIn('parts', part)
    self.assertNotIn('part', per_target)

  def test_tile_sizes_change_nothing(self):
    part, per_target = self._evaluate()
    again, arrays = self._evaluate(user_tile=64, item_tile=64)
    np.testing.assert_array_equal(per_target['rank'], arrays['rank'])
    self.assertEqual(part['parts'][0]['hr@10'], again['parts'][0]['hr@10'])

  def test_the_protocol_says_what_is_ranked_among_what(self):
    told = {
      candidates: rankings.protocol(
        self.data,
        prepared.TEST,
        config.EvaluationConfig(candidates=candidates),
      )['negatives']
      for candidates in ('all', 'unbought')
    }
    self.assertIn('without a buy of the user', told['unbought'])
    self.assertIn('the user had before are not ranked', told['all'])
