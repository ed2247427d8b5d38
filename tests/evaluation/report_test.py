import json

from absl.testing import absltest
import numpy as np

from twotsrec import config
from twotsrec.evaluation import report
from twotsrec.evaluation import report_notes


def _per_target():
  """Users 0 and 1 in group 1, user 2 with three items and user 3 in group 2.

  User 3 has no rival, and the last item but one of user 2 three.
  """
  return {
    'user': np.array([2, 0, 2, 1, 3, 2]),
    'item': np.arange(6),
    'group': np.array([1, 0, 1, 0, 1, 1]),
    'better': np.array([0, 1, 3, 3, 0, 15]),
    'tied': np.array([0, 0, 0, 3, 0, 0]),
    'num_negatives': np.array([20, 20, 3, 20, 0, 20]),
    'user_auc': np.array([1.0, 0.9, 0.8, 0.5, np.nan, 0.3]),
    'placement_group': np.array([0.9, 0.5, 0.7, 0.3, 0.8, 0.2]),
    'placement_all': np.array([0.8, 0.6, 0.6, 0.4, 0.7, 0.1]),
  }


_ACTIVITY = np.array([3, 5, 40, 20])


def _build(per_target, num_groups, ks, resamples=0, parts=()):
  options = config.EvaluationConfig(ks=ks, bootstrap=resamples)
  return report.build(per_target, _ACTIVITY, num_groups, options, parts)


class BuildTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.part = _build(_per_target(), 3, (1, 5), 50)

  def test_means_are_over_items_or_users_as_documented(self):
    overall = self.part['overall']
    expected = {
      'auc': (0.8 + 0.6 + 0.6 + 0.4 + 0.1) / 5,
      'user_auc': (0.9 + 0.5 + (1.0 + 0.8 + 0.3) / 3) / 3,
      'hr@5': (3 + 2 / 4) / 5,
      'recall@5': (1 + 2 / 4 + 2 / 3) / 3,
      'ndcg@1': 1 / 5,
      'ndcg@5': (
        1
        + 1 / np.log2(3)
        + 1 / np.log2(5)
        + (1 / np.log2(5) + 1 / np.log2(6)) / 4
      )
      / 5,
      'mrr': (1 + 1 / 2 + 1 / 4 + (1 / 4 + 1 / 5 + 1 / 6 + 1 / 7) / 4 + 1 / 16)
      / 5,
    }
    for name, value in expected.items():
      self.assertAlmostEqual(overall[name]['value'], value, msg=name)

  def test_counts_say_what_a_mean_rests_on(self):
    overall = self.part['overall']
    counts = {name: overall[name]['count'] for name in overall}
    # One of the four users has no rivals.
    self.assertEqual(counts['auc'], 5)
    self.assertEqual(counts['hr@1'], 5)
    self.assertEqual(counts['recall@1'], 3)
    self.assertEqual(counts['user_auc'], 3)

  def test_items_that_lack_rivals_are_counted_and_told(self):
    self.assertEqual(
      self.part['rivals'],
      {
        'held_out': 6,
        'had_before': 0,
        'without': 1,
        'fewer_than': {'1': 0, '5': 1},
      },
    )
    lacking = [row['without_rivals'] for row in self.part['groups']]
    self.assertEqual(lacking, [0, 1, 0])
    none, few = report_notes.rival_notes(self.part)
    self.assertStartsWith(none, '1 of 6 held-out items have no rival')
    self.assertIn('1 fewer than 5;', few)

  def test_other_candidates_are_named_to_models_that_read_them(self):
    part = {'rivals': {'held_out': 6, 'had_before': 2, 'without': 0}}
    part['rivals']['fewer_than'] = {}
    (one,), (other,) = (
      report_notes.rival_notes(part, c) for c in (True, False)
    )
    self.assertEndsWith(one, ' (evaluation.candidates=catalog ranks all)')
    self.assertEndsWith(other, 'what a user had does not compete')
    note = lambda chosen=True, **more: report_notes.catalog_note(
      {'candidates': 'catalog', 'had_before': 0.25, **more}, chosen
    )
    self.assertIn('candidates=all ranks', note())
    self.assertIn('candidates=all ranks', note(behaviors=['buy']))
    self.assertIn('candidates=unbought ranks', note(behaviors=['view', 'buy']))
    for said in (note(False), note(had_before=1.0)):  # nobody has a new one
      self.assertNotIn('evaluation.candidates', said)

  def test_a_log_with_rivals_enough_says_nothing(self):
    many = _per_target() | {'num_negatives': np.full(6, 20)}
    self.assertEqual(report_notes.rival_notes(_build(many, 3, (1, 5))), [])
    self.assertEqual(report_notes.rival_notes({}), [])  # of an older report

  def test_nobody_with_a_rival_leaves_no_value(self):
    part = _build(_per_target() | {'num_negatives': np.zeros(6, int)}, 3, (5,))
    values = {cell['value'] for cell in part['overall'].values()}
    self.assertEqual(values, {None})

  def test_groups_pool_their_own_pairs(self):
    first, second, empty = self.part['groups']
    self.assertAlmostEqual(first['auc']['value'], (0.5 + 0.3) / 2)
    self.assertAlmostEqual(second['auc']['value'], (0.9 + 0.7 + 0.2) / 3)
    self.assertEqual((first['group'], first['users']), (1, 2))
    self.assertEqual((first['min_activity'], first['max_activity']), (3, 5))
    self.assertEqual((second['min_activity'], second['max_activity']), (20, 40))
    self.assertEqual((empty['users'], empty['auc']['count']), (0, 0))
    self.assertIsNone(empty['auc']['value'])

  def test_intervals_hold_the_value(self):
    for row in [self.part['overall'], *self.part['groups'][:2]]:
      for name in report.metric_names((1, 5)):
        cell = row[name]
        self.assertLessEqual(cell['low'], cell['value'])
        self.assertGreaterEqual(cell['high'], cell['value'])

  def test_report_is_strict_json(self):
    json.dumps(self.part, allow_nan=False)

  def test_order_of_the_targets_does_not_matter(self):
    order = np.random.default_rng(0).permutation(6)
    shuffled = {name: x[order] for name, x in _per_target().items()}
    again = _build(shuffled, 3, (1, 5), 50)
    for name, cell in self.part['overall'].items():
      np.testing.assert_allclose(
        list(again['overall'][name].values()), list(cell.values())
      )

  def test_zero_resamples_leave_intervals_out(self):
    part = _build(_per_target(), 2, (1,))
    self.assertIsNone(part['overall']['auc']['low'])
    self.assertIsNotNone(part['overall']['auc']['value'])


class PartsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    per_target = _per_target() | {'part': np.array([0, 2, 0, 0, 2, 2])}
    names = ('cart', 'view', 'new')
    self.part = _build(per_target, 2, (5,), 50, names)

  def test_a_part_has_the_means_of_its_items(self):
    cart, view, new = self.part['parts']
    self.assertEqual((cart['name'], cart['users']), ('cart', 2))
    self.assertAlmostEqual(cart['hr@5']['value'], (1 + 1 + 2 / 4) / 3)
    self.assertAlmostEqual(cart['auc']['value'], (0.8 + 0.6 + 0.4) / 3)
    self.assertEqual((view['name'], view['users']), ('view', 0))
    self.assertIsNone(view['hr@5']['value'])
    # A user with held-out items in two parts counts in both.
    self.assertEqual((new['name'], new['users']), ('new', 3))
    self.assertAlmostEqual(new['hr@5']['value'], 1 / 2)
    self.assertLessEqual(new['hr@5']['low'], new['hr@5']['value'])
    json.dumps(self.part, allow_nan=False)

  def test_parts_stand_below_everybody(self):
    table = report.format_table({'a': self.part}, ['hr@5'])
    rows = [line.split() for line in table.split('\n')[2:]]
    self.assertEqual(rows[2][:2], ['all', '4'])
    self.assertEqual(rows[3:], [
      ['cart', '2', '0.8333'], ['view', '0', '-'], ['new', '3', '0.5000']
    ])  # fmt: skip
    self.assertLen({len(line) for line in table.split('\n')[1:]}, 1)


class FormatTableTest(absltest.TestCase):
  def test_systems_stand_side_by_side_and_columns_align(self):
    part = _build(_per_target(), 3, (1,))
    table = report.format_table(
      {'base': part, 'a longer name': part}, ['auc', 'hr@1']
    )
    top, head, *rows = table.split('\n')
    self.assertEqual(head.split()[:4], ['group', 'users', 'activity', 'base'])
    self.assertEqual(top.split(), ['auc', 'hr@1'])
    self.assertEqual(top.index('auc'), rows[0].index('0.4000'))
    self.assertLen(rows, 4)
    self.assertLen({len(row) for row in [head, *rows]}, 1)
    self.assertEqual(
      rows[0].split(), ['1', '2', '3-5'] + ['0.4000'] * 2 + ['0.0000'] * 2
    )
    self.assertEqual(rows[2].split(), ['3', '0', '-'] + ['-'] * 4)
    self.assertEqual(rows[3].split()[:2], ['all', '4'])

  def test_a_long_metric_name_does_not_shift_its_neighbor(self):
    part = _build(_per_target(), 2, (1,))
    table = report.format_table({'a': part}, ['user_auc', 'recall@1'])
    top, head, *_ = table.split('\n')
    self.assertEqual(head[top.index('recall@1') - 1], ' ')
    self.assertEqual(len(top), len(head))
