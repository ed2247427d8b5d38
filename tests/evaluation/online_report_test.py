import io
import json

from absl.testing import parameterized
import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from tests.evaluation import online_toys
from twotsrec import config
from twotsrec import metrics
from twotsrec import types
from twotsrec.data import groups as groups_data
from twotsrec.data import prepared
from twotsrec.evaluation import buckets
from twotsrec.evaluation import comparison
from twotsrec.evaluation import expected
from twotsrec.evaluation import online
from twotsrec.evaluation import online_report
from twotsrec.evaluation import report

_OPTIONS = online_report.Options(
  lists=8, k=3, edges=(2, 4), threshold=3, resamples=40
)


_SHOWN = _OPTIONS._replace(k=10, resamples=0)  # of a table


def _ranked(seed=0, lists=8, num_users=25):
  rng = np.random.default_rng(seed)
  data = online_toys.log(rng, num_users=num_users)
  blocks = online_toys.blocks(rng, data, prepared.TEST)
  vectors = online_toys.vectors(rng, data)
  among = online.usual_rules(data, lists)
  events = online.held_out(data, prepared.TEST)
  ranked = online.rank(online.Queries(blocks, vectors), data, events, among)
  return data, ranked


def _values(ranked, rule, metric, options=_OPTIONS):
  """One metric of every event, from its definition."""
  ending = '_without_past' if rule.endswith('_without_past') else ''
  ending = '_sampled' if rule == 'sampled' else ending
  better, tied = ranked['better' + ending], ranked['tied' + ending]
  if rule.startswith('expected'):
    known = better, tied, ranked['num_negatives' + ending], options.lists
    return {
      'mrr': lambda: expected.reciprocal_rank(*known),
      'recall@3': lambda: expected.hit(*known, 3),
      'ndcg@3': lambda: expected.ndcg(*known, 3),
    }[metric]()
  value = {
    'mrr': lambda rank: 1 / rank,
    'recall@3': lambda rank: rank <= 3,
    'ndcg@3': lambda rank: (rank <= 3) / np.log2(1 + rank),
  }[metric]
  spans = zip(better + 1, better + tied + 2)
  return np.array([np.mean(value(np.arange(*span))) for span in spans])


def had_before(data, ranked):
  """Whether the user of an event had its item before, one by one."""
  users = data.event_users
  return np.array(
    [
      data.items[event] in data.items[data.user_offsets[users[event]] : event]
      for event in ranked['event']
    ]
  )


class BuildTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.data, self.ranked = _ranked()
    self.report = online_report.build(self.ranked, _OPTIONS)

  def _chosen(self, name):
    count = self.ranked['train_count']
    return {
      'all': count >= 0,
      'new': count == 0,
      '1-2': (count >= 1) & (count <= 2),
      '0-2': count <= 2,
      '3-4': (count >= 3) & (count <= 4),
      '>4': count > 4,
      'inactive': count <= 3,
      'active': count > 3,
    }[name]

  def test_every_mean_is_the_one_documented(self):
    rules = (
      'expected', 'expected_without_past', 'sampled', 'all',
      'all_without_past',
    )  # fmt: skip
    self.assertCountEqual(self.report['rules'], rules)
    user, warm = self.ranked['user'], self.ranked['warm']
    known = self.ranked['known']
    self.assertTrue(known.any())
    for row in self.report['rows']:
      for part, subset in (('all', True), ('warm', warm)):
        chosen = self._chosen(row['name']) & subset
        self.assertEqual(row[part]['events'], chosen.sum())
        users = np.unique(user[chosen])
        self.assertEqual(row[part]['users'], users.size)
        for rule in rules:
          for metric in ('mrr', 'recall@3', 'ndcg@3'):
            values = _values(self.ranked, rule, metric)
            cells = row[part][rule][metric]
            # What the user had stands alone among what the user had not.
            ranked = chosen & ~(known & rule.endswith('_without_past'))
            own = [
              values[ranked & (user == u)].mean()
              for u in np.unique(user[ranked])
            ]
            self.assertAlmostEqual(cells['by_user']['value'], np.mean(own))
            self.assertAlmostEqual(
              cells['by_event']['value'], values[ranked].mean()
            )

  def test_shares_of_new_users_and_cold_items(self):
    for row in self.report['rows']:
      chosen = self._chosen(row['name'])
      part = row['all']
      new = np.mean(self.ranked['train_count'][chosen] == 0)
      self.assertAlmostEqual(part['share_new'], new)
      cold = 1 - np.mean(self.ranked['warm'][chosen])
      self.assertAlmostEqual(part['share_cold'], cold)
      self.assertEqual(row['warm']['share_cold'], 0.0)

  def test_intervals_hold_the_value(self):
    cells = self.report['rows'][0]['all']['expected']['mrr']
    for mean in online_report.MEANS:
      self.assertLess(cells[mean]['low'], cells[mean]['value'])
      self.assertGreater(cells[mean]['high'], cells[mean]['value'])

  def test_buckets_divide_the_events(self):
    events = {row['name']: row['all']['events'] for row in self.report['rows']}
    names = buckets.names(_OPTIONS.edges)
    self.assertEqual(sum(events[name] for name in names), events['all'])
    self.assertEqual(events['inactive'] + events['active'], events['all'])
    self.assertEqual(events['new'] + events['1-2'], events['0-2'])

  def test_an_empty_row_is_null_and_all_is_strict_json(self):
    options = _OPTIONS._replace(edges=(50,), threshold=None, resamples=0)
    built = online_report.build(self.ranked, options)
    json.dumps(built, allow_nan=False)
    json.dumps(self.report, allow_nan=False)
    empty = built['rows'][-1]['all']
    self.assertEqual((empty['users'], empty['events']), (0, 0))
    self.assertIsNone(empty['all']['mrr']['by_user']['value'])
    self.assertIsNone(empty['share_cold'])

  def test_without_lists_nothing_is_sampled(self):
    _, ranked = _ranked(lists=0)
    built = online_report.build(ranked, _OPTIONS)
    self.assertNotIn('sampled', built['rules'])
    self.assertIsNone(built['lists_digest'])
    self.assertEqual(
      built['rows'][0]['all']['expected'],
      self.report['rows'][0]['all']['expected'],
    )

  @hypothesis.given(seed=st.integers(0, 10_000))
  @hypothesis.settings(max_examples=30, deadline=None, derandomize=True)
  def test_without_the_past_nobody_ranks_lower(self, seed):
    data, ranked = _ranked(seed, num_users=6)
    values = online_report.target_metrics(ranked, lists=8, k=3)
    for metric in ('mrr', 'recall@3', 'ndcg@3'):
      whole = values['all', metric]
      kept = values['all_without_past', metric]
      new = ~had_before(data, ranked)
      self.assertTrue(np.all(kept[new] >= whole[new]))
      self.assertTrue(np.all(np.isnan(kept[~new])))


class TableTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    _, ranked = _ranked()
    self.report = online_report.build(ranked, _SHOWN)
    self.reports = {'one': self.report, 'other': self.report}

  def test_a_line_per_row_and_a_column_per_metric_and_system(self):
    text = online_report.format_table(self.reports)
    head, *lines, shares = text.splitlines()
    words = ['train', 'events', 'users', 'events', 'mrr', 'one', 'mrr', 'other']
    self.assertEqual(
      head.split(), [*words, 'recall@10', 'one', 'recall@10', 'other']
    )
    self.assertLen(lines, len(self.report['rows']))
    for line, row in zip(lines, self.report['rows']):
      part = row['all']
      own = [
        f'{part["expected"][name]["by_event"]["value"]:.4f}'
        for name in ('mrr', 'recall@10')
        for _ in self.reports
      ]
      counts = [f'{part[count]:,}' for count in ('users', 'events')]
      self.assertEqual(line.split(), [row['name'], *counts, *own])
    share = self.report['rows'][0]['all']['share_cold']
    self.assertIn(f'{share:.1%}', shares)

  def test_other_events_do_not_stand_side_by_side(self):
    for other in (
      online_report.build(_ranked(seed=1)[1], _SHOWN),
      online_report.build(_ranked()[1], _SHOWN._replace(lists=9)),
    ):
      with pytest.raises(types.UserError, match='other events'):
        online_report.format_table({'one': self.report, 'two': other})


class RunReportTest(parameterized.TestCase):
  def test_is_the_standard_report_of_ranks_without_the_past(self):
    data, ranked = _ranked(num_users=40)
    groups = groups_data.assign(data, config.GroupConfig(num_groups=2))
    options = config.EvaluationConfig(bootstrap=20, ks=(1, 5))
    part, arrays = online_report.for_run_report(ranked, data, groups, options)
    self.assertEqual(
      part['rivals']['had_before'], np.sum(had_before(data, ranked))
    )
    new = {name: x[~had_before(data, ranked)] for name, x in ranked.items()}
    better = new['better_without_past']
    rank = 1 + better + 0.5 * new['tied_without_past']
    np.testing.assert_array_equal(arrays['rank'], rank)
    np.testing.assert_array_equal(
      arrays['user_auc'],
      metrics.user_auc(rank, new['num_negatives_without_past']),
    )
    np.testing.assert_array_equal(
      arrays['group'], groups.user_group[new['user']]
    )
    wanted = report.build(
      arrays,
      prepared.train_counts(data),
      2,
      options,
      left_out=part['rivals']['had_before'],
    )
    self.assertEqual(part, wanted)
    self.assertIsNone(part['overall']['auc']['value'])
    json.dumps(part, allow_nan=False)

  def test_with_the_past_everything_is_ranked_among_everything(self):
    data, ranked = _ranked(num_users=40)
    groups = groups_data.assign(data, config.GroupConfig(num_groups=2))
    options = config.EvaluationConfig(bootstrap=0)
    part, arrays = online_report.for_run_report(
      ranked, data, groups, options, with_past=True
    )
    np.testing.assert_array_equal(arrays['better'], ranked['better'])
    self.assertEqual(part['rivals']['had_before'], 0)
    self.assertEqual(part['overall']['mrr']['count'], len(ranked['event']))

  def test_its_arrays_can_be_compared(self):
    data, ranked = _ranked(num_users=40)
    groups = groups_data.assign(data, config.GroupConfig(num_groups=2))
    _, arrays = online_report.for_run_report(
      ranked, data, groups, config.EvaluationConfig(bootstrap=0)
    )
    file = io.BytesIO()
    np.savez(file, **arrays)
    read = comparison.read_targets(file.getvalue(), 2)
    for name, values in read.items():
      np.testing.assert_array_equal(values, arrays[name])
