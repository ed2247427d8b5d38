"""Runs on impressions with labels, from training to recommendations."""

import csv

import numpy as np
import pytest

from tests import configured
from tests import finished
from tests import small_runs as runs
from twotsrec import types
from twotsrec.data import pipeline
from twotsrec.data import tables as data_tables
from twotsrec.runs import compare
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import new_events
from twotsrec.runs import recommend
from twotsrec.runs import run as run_lib
from twotsrec.runs import tables
from twotsrec.training import files
from twotsrec.training import run_directory

SMALL = {
  'data__dataset': 'synthetic-impressions',
  'data__users': 40,
  'train__epochs': 2,
  'train__batch_size': 256,
  'train__log_groups': False,
  'train__checkpoint_every': 60.0,
  'plugin__epochs': 1,
}


def _config(**changes):
  return runs.config(**SMALL | changes)


def _reading(**columns):
  return pipeline.TableOptions(columns=data_tables.Columns(**columns))


def _report(workdir):
  return files.read_json(run_directory.report_path(workdir))


@pytest.fixture(scope='module')
def trunk():
  return finished.kept('shown_ga', _config())


@pytest.fixture(scope='module')
def plugged(trunk):
  config = _config(plugin__name='light', plugin__trunk=str(trunk))
  return finished.kept('shown_ga_pn', config)


def test_a_report_is_by_the_labels_of_every_group(trunk):
  report = _report(trunk)
  assert report['protocol']['candidates'] == 'shown'
  assert report['protocol']['split'] == 'global_time'
  assert report['dataset']['impressions'] > 2 * report['dataset']['events']
  assert [*report['baselines']][:2] == ['popularity', 'click_rate']
  for part in (report['validation'], report['test']):
    for row in (part['overall'], *part['groups']):
      for name in ('auc', 'user_auc', 'hr@10', 'mrr'):
        assert 0 <= row[name]['value'] <= 1
      assert 0 < row['log_loss']['value'] < 2
      assert row['auc']['low'] < row['auc']['high']
  assert report['verdict']['metric'] == 'auc'
  assert not any('prior.terms' in line for line in report['verdict']['try'])


def test_a_run_goes_on_where_it_stopped(trunk, tmp_path):
  config = _config()
  asked = iter([False, True])
  stopped = run_lib.train(
    config, str(tmp_path), lambda: next(asked, True), quiet=True
  )
  assert stopped is None
  run_lib.train(config, str(tmp_path), quiet=True)
  assert runs.untimed_report(tmp_path) == runs.untimed_report(trunk)


def test_plugins_of_groups_train_on_labels(trunk, plugged):
  report = _report(plugged)
  assert report['protocol']['selection'] == 'validation group_auc'
  named = {'ga': [str(trunk)], 'ga_pn': [str(plugged)]}
  result = compare.compare(named, (), 120)
  assert [*result['comparisons']['ga_pn']] == ['auc', 'user_auc', 'log_loss']
  text = tables.evaluated(
    [str(trunk), str(plugged)], ['a', 'b'], 'test', (), True
  ).text
  assert 'log_loss' in text and 'shown candidates' in text
  assert 'activity: training impressions' in text


def test_a_rule_stands_for_comparison(trunk):
  named = {'ga': [str(trunk)], 'rate': [f'{trunk}:click_rate']}
  result = compare.compare(named, ('log_loss', 'auc'), 120)
  rows = result['comparisons']['rate']['log_loss']
  rate = _report(trunk)['baselines']['click_rate']['overall']['log_loss']
  assert rows[3]['other'] == pytest.approx(rate['value'])


@pytest.mark.parametrize(
  'changes',
  [
    {'train__method': 'separate'},
    {
      'aggregator__name': 'pcgrad',
      'train__batching': 'balanced',
      'model__name': 'gru4rec',
      'model__hidden': (128, 64),
    },
  ],
  ids=lambda changes: next(iter(changes.values())),
)
def test_other_methods_run_through(tmp_path, changes):
  config = _config(
    train__epochs=1, train__select_metric='none', aggregator__name='joint'
  )
  config = configured.by(base=config, **changes)
  run_lib.train(config, str(tmp_path), quiet=True)
  overall = _report(tmp_path)['test']['overall']
  assert 0 < overall['auc']['value'] < 1 and overall['log_loss']['value'] > 0


def test_users_are_recommended_what_they_did_not_click(plugged, tmp_path):
  out = tmp_path / 'top.csv'
  recommend.run(str(plugged), str(out), recommend.Options(k=3), quiet=True)
  with open(out, encoding='utf-8') as file:
    lists = list(csv.DictReader(file))
  experiment, _ = experiment_lib.load(str(plugged))
  data = experiment.prepared
  assert len(lists) == 3 * data.num_users
  user = np.searchsorted(data.user_ids, [int(row['user_id']) for row in lists])
  for row, own in zip(lists, user):
    first, last = data.user_offsets[own : own + 2]
    clicked = data.item_ids[data.items[first:last] - 1]
    assert int(row['item_id']) not in clicked


def test_a_history_from_a_table_is_its_clicks(plugged, tmp_path):
  experiment, _ = experiment_lib.load(str(plugged))
  data = experiment.prepared
  items = data.item_ids[:4].tolist()
  rows = [f'new,{item},{n},{n % 2}' for n, item in enumerate(items)]
  path = tmp_path / 'new.csv'
  path.write_text('\n'.join(['user_id,item_id,timestamp,clicked', *rows, '']))
  reading = _reading(label='clicked')
  events = new_events.read(data, str(path), reading)
  assert [int(i) for i in np.asarray(events.table.item)] == items[1::2]
  assert not events.unlabeled
  events = new_events.read(data, str(path), _reading())
  assert len(events.table.item) == 4 and events.unlabeled
  (note,) = new_events.notes(False, (), True)
  assert 'count as clicks' in note
  plain, _ = experiment_lib.load(str(finished.run('base')))
  with pytest.raises(types.UserError, match='the run has no labels'):
    new_events.read(plain.prepared, str(path), reading)


@pytest.mark.parametrize(
  ('changes', 'says'),
  [
    ({'train__objective': 'bpr'}, "train.objective is 'bpr'"),
    ({'data__num_negatives': 9}, 'data.num_negatives is 9'),
    ({'prior__terms': ('repeats',)}, 'prior.terms is'),
    ({'model__name': 'multi_behavior'}, 'has labels of impressions'),
    ({'model__name': 'two_time_scale'}, 'has labels of impressions'),
    ({'model__name': 'pair_experts'}, 'has labels of impressions'),
  ],
  ids=lambda value: value if isinstance(value, str) else '',
)
def test_what_labels_cannot_serve_is_one_line(tmp_path, changes, says):
  data = {'data.dataset': 'synthetic-impressions', 'data.users': 40}
  config = configured.by(data, **changes)
  with pytest.raises(types.UserError, match=says) as refused:
    run_lib.train(config, str(tmp_path / 'run'), quiet=True)
  assert '\n' not in str(refused.value)
  assert not (tmp_path / 'run').exists()
