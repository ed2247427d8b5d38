import numpy as np
import pytest

from tests import finished
from tests import small_runs as runs
from tests.runs import behavior_runs
from tests.runs import turned
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import candidates
from twotsrec.evaluation import offline
from twotsrec.runs import compared_runs
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import reports
from twotsrec.runs import tables
from twotsrec.training import files

METRICS = (
  'auc', 'user_auc',
  'hr@1', 'hr@5', 'hr@10', 'hr@20',
  'ndcg@1', 'ndcg@5', 'ndcg@10', 'ndcg@20',
  'recall@1', 'recall@5', 'recall@10', 'recall@20',
  'precision@1', 'precision@5', 'precision@10', 'precision@20',
  'map@1', 'map@5', 'map@10', 'map@20',
  'user_ndcg@1', 'user_ndcg@5', 'user_ndcg@10', 'user_ndcg@20',
  'mrr',
)  # fmt: skip


@pytest.fixture(scope='module')
def report():
  return files.read_json(finished.run() / 'report.json')


@pytest.fixture(scope='module')
def loaded():
  return experiment_lib.load(str(finished.run()))


def _changed(experiment, **changes):
  return experiment._replace(config=runs.config(**changes))


def _evaluate(experiment, params, split='test'):
  """What the model of a run comes to."""
  ranker = experiment_lib.ranker(experiment, params)
  return reports.evaluate(experiment, ranker, split, quiet=True)


def test_the_report_has_its_parts(report):
  assert set(report) == {
    'schema', 'protocol', 'dataset', 'validation', 'test', 'baselines',
    'lists', 'verdict', 'training', 'versions',
  }  # fmt: skip
  assert report['schema'] == compared_runs.SCHEMA
  assert set(report['training']) == {
    'epochs', 'steps', 'selected_epoch', 'selected_step', 'selected_value',
    *runs.TIMING,
  }  # fmt: skip
  assert {'twotsrec', 'python', 'jax', 'numpy', 'backend', 'device'} < set(
    report['versions']
  )


@pytest.mark.parametrize('part', ['validation', 'test', 'popularity'])
def test_a_part_has_every_metric_with_its_interval(report, part):
  part = report['baselines'].get(part) or report[part]
  users = sum(group['users'] for group in part['groups'])
  assert users == report['dataset']['users']
  assert [group['group'] for group in part['groups']] == [1, 2, 3]
  for group in part['groups']:
    assert set(group) == {
      'group', 'users', 'without_rivals', 'min_activity', 'max_activity',
      *METRICS,
    }  # fmt: skip
  assert tuple(part['overall']) == METRICS
  for row in (part['overall'], *part['groups']):
    for name in METRICS:
      assert set(row[name]) == {'value', 'low', 'high', 'count'}
      assert row[name]['low'] <= row[name]['value'] <= row[name]['high']
      assert 0 <= row[name]['value'] <= 1


def test_the_dataset_is_counted(report, loaded):
  prepared = loaded[0].prepared
  assert report['dataset'] == {
    'source': 'synthetic',
    'users': prepared.num_users,
    'items': prepared.num_items,
    'events': prepared.num_events,
    'train': prepared.num_events - 2 * prepared.num_users,
    'validation': prepared.num_users,
    'test': prepared.num_users,
    'held_out': dict.fromkeys(
      ('validation', 'test'), {'in_train': 0, 'in_train_share': 0.0, 'same': 0}
    ),
  }


def test_the_protocol_is_told(report, loaded):
  protocol, experiment = report['protocol'], loaded[0]
  assert protocol['split'] == 'leave_last_out'
  assert protocol['candidates'] == 'all'
  assert protocol['rank_ties'] == protocol['auc_ties'] == 0.5
  assert 'never interacted with' in protocol['negatives']
  assert protocol['selection'] == 'validation loss'
  assert protocol['selected_on_test'] is False
  assert protocol['dataset_digest'] == experiment.prepared.manifest['digest']
  sizes = protocol['group_training_samples']
  # A user's first event has no history, so it is no sample.
  assert sum(sizes) == report['dataset']['train'] - report['dataset']['users']
  assert protocol['group_thresholds'] == sorted(protocol['group_thresholds'])
  assert 'negatives_digest' not in protocol
  assert 'behaviors' not in protocol


def test_a_model_with_plugins_is_routed(loaded):
  experiment, params = loaded
  plain = _evaluate(experiment, params).rows
  plugged = turned.by_group(experiment)
  routed = _evaluate(plugged, params).rows
  # From the worst on, what lay below the target lies above.
  negated = experiment.groups.user_group[plain['user']] == 1
  expected = np.where(negated, 1 - plain['user_auc'], plain['user_auc'])
  np.testing.assert_allclose(routed['user_auc'], expected)
  assert reports.protocol(plugged)['routing'] == {
    'mode': 'frozen', 'cold': 'group1', 'hysteresis': 0.1
  }  # fmt: skip
  assert reports.protocol(experiment)['routing'] is None


def test_sampled_candidates_are_told_with_their_digest(loaded):
  experiment = _changed(
    loaded[0],
    evaluation__candidates='sampled',
    evaluation__num_candidates=7,
    evaluation__seed=3,
  )
  protocol = reports.protocol(experiment)
  prepared = experiment.prepared
  lists = candidates.draw(
    prepared_lib.targets(prepared, prepared_lib.TEST),
    prepared_lib.seen_items(prepared, 'all'),
    prepared.num_items,
    7,
    3,
  )
  assert protocol['num_candidates'] == 7
  assert protocol['negatives_digest'] == candidates.digest(lists)


def test_what_is_served_ranks_in_place_of_what_is_trained(loaded, report):
  experiment, params = loaded
  train = runs.config(
    train__select_metric='hr@10', train__select_on='test'
  ).train
  rule = offline.popularity(experiment)
  part = reports.evaluate(experiment, rule, 'test', quiet=True).part
  assert part == report['baselines']['popularity']
  judge = offline.make_metric(experiment, lambda trained: rule, train)
  assert judge(params)['auc'] == part['overall']['auc']['value']
  assert _evaluate(experiment, params).part == report['test']


def test_with_behaviors_the_rules_are_the_baselines():
  experiment, _ = experiment_lib.load(str(finished.behaviors()))
  report = files.read_json(finished.behaviors() / 'report.json')
  assert list(report['baselines']) == [
    'buy_popularity', 'cart_reminder', 'view_reminder', 'last_reminder'
  ]  # fmt: skip
  names = ['cart', 'view', 'new']
  baselines = report['baselines'].values()
  for part in (report['test'], report['validation'], *baselines):
    assert [row['name'] for row in part['parts']] == names
    users = sum(row['users'] for row in part['parts'])
    assert users == sum(row['users'] for row in part['groups'])
  assert 'without a buy of the user' in report['protocol']['negatives']
  assert report['protocol']['candidates'] == 'unbought'
  assert report['protocol']['behaviors'] == ['view', 'cart', 'buy']
  assert report['protocol']['strip_heldout'] is False
  with np.load(finished.behaviors() / 'per_target.npz') as arrays:
    part, rank = arrays['part'], arrays['rank']
  for number, row in enumerate(report['test']['parts']):
    expected = row['hr@10']['value']
    np.testing.assert_allclose(np.mean(rank[part == number] <= 10), expected)
  # A cart without the held-out item still fills the first ten places.
  stripped = _changed(
    experiment, **behavior_runs.SETTINGS, data__strip_heldout=True
  )
  rule = offline.rules(stripped)['cart_reminder']
  part = reports.evaluate(stripped, rule, 'test', quiet=True).part
  assert part['parts'][0]['hr@10']['value'] == 0.0
  assert part['parts'][0]['users'] == report['test']['parts'][0]['users']


@pytest.mark.parametrize('candidates', ['auto', 'all', 'sampled'])
def test_what_was_viewed_is_not_given_away_whatever_the_model(candidates):
  experiment, params = experiment_lib.load(str(finished.behaviors()))
  changes = {'evaluation__candidates': candidates}
  if candidates == 'sampled':
    changes['evaluation__num_candidates'] = 5
  asked = _changed(experiment, **behavior_runs.SETTINGS | changes)
  told = reports.protocol(asked)
  assert told['candidates'] == {'auto': 'unbought'}.get(candidates, candidates)
  reminder = offline.rules(asked)['view_reminder']
  for ranker in (experiment_lib.ranker(asked, params), reminder):
    ranked = reports.evaluate(asked, ranker, 'test', quiet=True)
    parts = np.bincount(ranked.rows['part'], minlength=3)
    if candidates == 'auto':
      assert parts[:2].all() and ranked.part['rivals']['had_before'] == 0
    else:  # of the parts only `new` is ranked among what was never touched
      assert not parts[:2].any()
      assert ranked.part['rivals']['had_before'] == 40 - parts[2] > 0


def test_unbought_of_one_behavior_is_what_is_not_in_train(loaded):
  experiment = _changed(loaded[0], evaluation__candidates='unbought')
  told = reports.protocol(experiment)
  assert told['candidates'] == 'unbought'
  assert 'did not have in the splits before' in told['negatives']


def test_selection_on_test_marks_the_report_and_the_table(loaded, report):
  mark = 'SELECTED ON TEST'
  assert mark not in tables.of_report(report)
  chosen = _changed(loaded[0], train__select_on='test')
  marked = {**report, 'protocol': reports.protocol(chosen)}
  assert marked['protocol']['selected_on_test'] is True
  assert mark in tables.of_report(marked)
  last = _changed(
    loaded[0], train__select_on='test', train__select_metric='none'
  )
  protocol = reports.protocol(last)
  assert protocol['selection'] == 'last epoch'
  assert protocol['selected_on_test'] is False


def test_a_log_without_test_events_gets_a_report_all_the_same(loaded):
  experiment, params = loaded
  split = np.array(experiment.prepared.split)
  split[split == prepared_lib.TEST] = prepared_lib.VALIDATION
  prepared = experiment.prepared._replace(split=split)
  experiment = _changed(
    experiment._replace(prepared=prepared), evaluation__candidates='sampled'
  )
  reports.check_protocol(experiment)
  with pytest.raises(types.UserError, match='test split is empty'):
    _evaluate(experiment, params)
  report = {'test': None, 'protocol': reports.protocol(experiment)}
  assert 'no test events' in tables.of_report(report)


def test_arrays_per_target_are_those_of_the_report(report):
  with np.load(finished.run() / 'per_target.npz') as arrays:
    rank = arrays['rank']
  value = report['test']['overall']['hr@10']['value']
  # The small log has no ties.
  np.testing.assert_allclose(np.mean(rank <= 10), value)
