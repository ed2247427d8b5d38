import dataclasses
import json

import pytest

from tests import finished
from tests import small_runs as runs
from tests.runs import turned
from twotsrec import types
from twotsrec.evaluation import report as report_lib
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import tables
from twotsrec.training import files


@pytest.fixture(scope='module')
def report():
  return files.read_json(finished.run() / 'report.json')


def test_the_table_stands_beside_popularity_with_its_protocol(report):
  table = tables.of_report(report)
  lines = table.splitlines()
  assert lines[0].split() == list(report_lib.default_names((5, 10)))
  systems = ['popularity', 'item_knn', 'din']
  assert lines[1].split()[3:] == systems * 4
  for group, line in zip(report['test']['groups'], lines[2:]):
    assert f'{group["user_auc"]["value"]:.4f}' in line.split()
  overall = report['baselines']['popularity']['overall']
  assert f'{overall["auc"]["value"]:.4f}' in lines[5].split()
  about = 'leave_last_out, all candidates, ties: mean over their places'
  assert about in lines[6]
  lists = lines.index('') + 1
  names = ['coverage', 'novelty', 'popular', 'gini', 'distance']
  assert lines[lists].split() == names
  assert lines[lists + 1].split()[3:] == systems * 5
  found = lines[lists + 5].split()[2:]  # 'all' has no activity
  every = [report['lists']['systems'][n] for n in (*systems[:2], 'model')]
  assert found == [
    f'{system["overall"][name]["value"]:.4f}'
    for name in names
    for system in every
  ]


def test_a_table_without_a_cut_off_at_ten_takes_the_largest():
  assert report_lib.default_names((1, 5)) == (
    'auc', 'user_auc', 'hr@5', 'ndcg@5'
  )  # fmt: skip
  assert report_lib.default_names((50, 10))[2:] == ('hr@10', 'ndcg@10')
  assert report_lib.default_names(()) == ('auc', 'user_auc')


def test_with_behaviors_the_rules_and_the_parts_are_shown():
  run = finished.behaviors()
  report = files.read_json(run / 'report.json')
  table = tables.of_report(report)
  lines = [line.split() for line in table.splitlines()]
  rules = ['buy_popularity', 'cart_reminder', 'view_reminder']
  rules.append('last_reminder')  # the log has times
  assert lines[0] == ['hr@10', 'ndcg@10']
  assert lines[1][3:] == [*rules, 'din'] * 2
  parts = report['test']['parts']
  assert [line[0] for line in lines[6:9]] == ['cart', 'view', 'new']
  for part, line in zip(parts, lines[6:9]):
    assert line[1] == f'{part["users"]:,}'
    assert line[6] == f'{part["hr@10"]["value"]:.4f}'
  assert 'unbought candidates' in table and '\ncart, view: ' in table
  protocol = {**report['protocol'], 'strip_heldout': True}
  stripped = tables.of_report({**report, 'protocol': protocol})
  assert 'toward them in training; new: the rest' in table
  assert 'in the log; these events are taken out of what is trained' in stripped
  again = tables.evaluated([str(run)], ['din'], 'test', [], quiet=True).text
  assert again.splitlines()[:9] == table.splitlines()[:9]
  with pytest.raises(types.UserError, match='must differ: buy_popularity, '):
    tables.evaluated([str(run)], [rules[1]], 'test', [], quiet=True)


def test_runs_stand_side_by_side(tmp_path, report):
  copy, once = finished.copy(tmp_path), finished.run()
  both = [str(once), str(copy)]
  table = tables.evaluated(both, ['base', 'again'], 'test', ['auc'], True).text
  lines = table.splitlines()
  assert lines[1].split()[3:] == ['popularity', 'item_knn', 'base', 'again']
  for group, line in zip(report['test']['groups'], lines[2:]):
    assert line.split()[-2:] == [f'{group["auc"]["value"]:.4f}'] * 2


def test_runs_that_cannot_be_compared_are_refused(tmp_path):
  copy, once = finished.copy(tmp_path), finished.run()
  both = [str(once), str(copy)]
  refused = [
    (both, ['one'], [], '1 names for 2 run directories'),
    (both, ['a', 'a'], [], 'must differ'),
    (both[:1], ['popularity'], [], 'must differ'),
    (both[:1], [], ['hr@7'], "unknown metric 'hr@7'; known: auc, user_auc"),
  ]
  for workdirs, names, metrics, message in refused:
    with pytest.raises(types.UserError, match=message):
      tables.evaluated(workdirs, names, 'test', metrics, quiet=True)
  config = dataclasses.asdict(runs.config(evaluation__rank_ties=1.0))
  (copy / 'config.json').write_text(json.dumps(config), encoding='utf-8')
  with pytest.raises(types.UserError, match='other data, groups or protocol'):
    tables.evaluated(both, [], 'test', [], quiet=True)


def test_routing_is_for_runs_with_plugins(tmp_path, monkeypatch):
  copy, once = finished.copy(tmp_path), finished.run()
  both = [str(once), str(copy)]
  with pytest.raises(types.UserError, match='would change nothing'):
    tables.evaluated(both, [], 'test', [], quiet=True, routing='dynamic')
  config = dataclasses.asdict(runs.config(plugin__name='light'))
  (copy / 'config.json').write_text(json.dumps(config), encoding='utf-8')
  load = experiment_lib.load

  def load_turned(workdir):
    experiment, params = load(str(once))
    if workdir == str(copy):
      experiment = turned.by_group(experiment, hysteresis=0.0)
    return experiment, params

  monkeypatch.setattr(experiment_lib, 'load', load_turned)
  plain, turned_now = {}, {}
  for mode in ('', 'frozen', 'dynamic'):
    table = tables.evaluated(both, [], 'test', ['auc'], True, mode).text
    values = [line.split()[-2:] for line in table.splitlines()[2:-1]]
    plain[mode], turned_now[mode] = zip(*values)
  assert len(set(plain.values())) == 1
  assert turned_now[''] == turned_now['frozen'] != turned_now['dynamic']
