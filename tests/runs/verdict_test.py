import ast
import copy
import re
import runpy

import numpy as np
import pytest

from tests import finished
from tests import small_runs as runs
from twotsrec import config as config_lib
from twotsrec import recipes
from twotsrec import types
from twotsrec.evaluation import offline
from twotsrec.evaluation import verdict as verdict_lib
from twotsrec.models import closed_form
from twotsrec.runs import compare
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import more_epochs
from twotsrec.runs import tables
from twotsrec.runs import verdict
from twotsrec.training import files
from twotsrec.training import run_directory

_ROWS = ('user_auc', 'placement_group', 'placement_all')


def _report(path):
  return files.read_json(path / 'report.json')


@pytest.mark.parametrize('name', ['ga', 'coming_back'])
def test_a_rule_is_a_system_of_a_comparison_and_gives_the_verdict(name):
  run = finished.coming_back() if name == 'coming_back' else finished.run(name)
  report = _report(run)
  section = report['verdict']
  assert list(section['rules']) == list(report['baselines'])
  bys = ['groups', 'parts'] if 'parts' in report['test'] else ['groups']
  for rule in section['rules']:
    for by in bys:
      systems = compare.systems([f'{run}:{rule}', str(run)])
      assert list(systems)[0] == rule
      result = compare.compare(systems, section['metrics'], 400, by=by)
      (compared,) = result['comparisons'].values()
      told = section['rules'][rule]
      rows = told[by].values() if by == 'parts' else told[by]
      for metric in section['metrics']:
        of_metric = compared[metric]
        for row, cells in zip(of_metric, [*rows, told['overall']]):
          assert cells[metric]['rule'] == row['reference']
          assert cells[metric]['model'] == row['other']
          assert cells[metric]['difference'] == pytest.approx(row['difference'])


def test_a_rule_that_is_not_there_is_named_beside_those_that_are():
  run = finished.coming_back()
  with pytest.raises(types.UserError, match='popularity, seen_again'):
    compare.compare(compare.systems([f'{run}:nothing', str(run)]))
  with pytest.raises(types.UserError, match='DIR:popularity,DIR'):
    compare.compare(compare.systems([str(run)]))


def _targets(ranks):
  """Rows of `per_target.npz` of users with an item each."""
  ranks = np.asarray(ranks, np.float64)
  ids = np.arange(ranks.size)
  columns = dict.fromkeys(_ROWS, ranks / 100) | dict.fromkeys(
    ('event', 'user', 'item', 'part', 'group'), ids
  )
  half = ids % 2
  counts = {'better': ranks.astype(int) - 1, 'tied': 0 * ids}
  columns |= {'group': half, 'part': half, 'rank': ranks, **counts}
  return columns | {'num_negatives': np.full(ranks.size, 99)}


@pytest.mark.parametrize(
  ('model', 'rule', 'standing'),
  [
    ([1] * 30 + [50] * 30, [50] * 60, verdict_lib.ABOVE),
    ([50] * 60, [1] * 30 + [50] * 30, verdict_lib.BELOW),
    ([1, 50] * 30, [50, 1] * 30, verdict_lib.LEVEL),
    ([1] * 60, [1] * 60, verdict_lib.LEVEL),
  ],
)
def test_the_interval_of_the_difference_decides(model, rule, standing):
  evaluation = runs.config(evaluation__bootstrap=300).evaluation
  section = verdict_lib.against(
    _targets(model), {'rule': _targets(rule)}, 2, evaluation, ('again', 'new')
  )
  row = section['rules']['rule']['overall']
  assert row['standing'] == standing
  cell = row[section['metric']]
  hit = lambda ranks: np.mean(np.asarray(ranks) <= 10)
  assert cell['model'] == pytest.approx(hit(model))
  assert cell['difference'] == pytest.approx(hit(model) - hit(rule))
  assert cell['low'] <= cell['difference'] <= cell['high']
  evaluation.bootstrap = 0
  bare = verdict_lib.against(
    _targets(model), {'rule': _targets(rule)}, 2, evaluation
  )
  assert bare['rules']['rule']['overall']['standing'] == verdict_lib.UNCLEAR


@pytest.mark.parametrize(
  ('losses', 'end'),
  [
    ([0.7], verdict.SHORT),
    ([0.7, 0.6], verdict.SHORT),
    ([0.7, 0.6, 0.5, 0.4], verdict.IMPROVING),
    ([0.7, 0.4, 0.4, 0.4, 0.4, 0.4], verdict.FLAT),
    ([0.7, 0.4, 0.401, 0.4, 0.402, 0.3999], verdict.FLAT),
    ([0.7, 0.4, 0.5, 0.6, 0.65], verdict.PAST),
    ([0.5] * 8, verdict.FLAT),
    # A plateau that is left at the end.
    ([0.7] + [0.6] * 9 + [0.55], verdict.IMPROVING),
  ],
)
def test_how_validation_ends(losses, end):
  assert verdict.end_of(losses) == end


def test_what_selection_saw_is_told():
  report = _report(finished.run('ga'))
  (curve,) = report['verdict']['validation'].values()
  assert curve['metric'] == 'loss'
  assert curve['epochs'] == report['training']['epochs']
  assert curve['best_epoch'] == report['training']['selected_epoch']
  text = tables.of_report(report)
  for line in (*report['verdict']['lines'], *report['verdict']['try']):
    assert line in text
  assert _report(finished.coming_back())['verdict']['validation'] == {}


def test_neighbors_that_take_long_are_asked_for(monkeypatch):
  experiment, _ = experiment_lib.load(str(finished.run('ga')))
  assert 'item_knn' in offline.rules(experiment)
  assert not [*verdict._absent(experiment, offline.rules(experiment))]
  monkeypatch.setattr(offline, '_AFFORDABLE', 1e3)
  rules = offline.rules(experiment)
  (line,) = verdict._absent(experiment, rules)
  assert list(rules) == ['popularity'] and 'item_knn' in line
  asked = runs.config(evaluation__rules=('item_knn',))
  asked = experiment._replace(config=asked)
  rules = offline.rules(asked)
  assert 'item_knn' in rules and not [*verdict._absent(asked, rules)]


def test_a_model_does_not_stand_beside_itself(monkeypatch):
  experiment, _ = experiment_lib.load(str(finished.coming_back()))
  asked = copy.deepcopy(experiment.config)
  config_lib.change(asked, {'evaluation.rules': ('item_knn', 'ease')})
  experiment = experiment._replace(config=asked)
  fitted, make = [], closed_form.make
  monkeypatch.setattr(
    closed_form,
    'make',
    lambda name, *given: fitted.append(name) or make(name, *given),
  )
  names = ['popularity', 'seen_again', 'item_knn']
  assert [*offline.rules(experiment)] == names
  assert fitted == ['item_knn']  # nor is it fitted again
  # What is ranked is what costs: of a sample of users neighbors come cheap.
  monkeypatch.setattr(offline, '_AFFORDABLE', 30 * 15 * 100 - 1)
  config_lib.change(asked, {'evaluation.rules': (), 'evaluation.users': 3})
  assert [*offline.rules(experiment)] == names
  config_lib.change(asked, {'evaluation.users': 0})
  assert [*offline.rules(experiment)] == names[:2]


def _changed(config, advice):
  """The configuration that flags of an advice give, which must be accepted."""
  flags = re.findall(r'--config\.([\w.]+)=(\S+)', advice)
  for path in re.findall(r'--config=(\S+)', advice):
    config = runpy.run_path(path)['get_config']()
  for path, value in flags:
    section, field = path.split('.')
    kind = type(getattr(getattr(config, section), field))
    if kind is tuple:
      value = ast.literal_eval(value.strip('";'))
    value = value == 'true' if kind is bool else kind(value)
    config_lib.change(config, {path: value})
  recipes.check(config)
  return config


def _section(standing):
  rules = {
    rule: {'overall': {'standing': standing}} for rule in ('x', 'seen_again')
  }
  return {'metric': 'hr@10', 'rules': rules}


@pytest.mark.parametrize(
  'run', ['ga', 'ga_pn', 'behaviors', 'copf', '2ts', 'coming_back']
)
def test_every_advice_is_accepted_by_a_recipe(run):
  workdir = {
    'behaviors': finished.behaviors,
    'coming_back': finished.coming_back,
  }.get(run, lambda: finished.run(run))()
  experiment, _ = experiment_lib.load(str(workdir))
  config = run_directory.typed_config(workdir)
  asked = getattr(config, recipes.of(config).section(config)).epochs
  given = set()
  for end in (verdict.IMPROVING, verdict.FLAT, verdict.PAST, verdict.SHORT):
    for ran in (asked, asked - 1):
      curves = {'': {'epochs': ran, 'end': end}}
      curves = curves if run != 'coming_back' else {}  # nothing is judged
      section = _section(verdict_lib.BELOW)
      given |= set(verdict._advice(experiment, section, curves))
      above = _section(verdict_lib.ABOVE)
      # Nothing else is proposed to what is above all rules.
      others = [*verdict._advice(experiment, above, curves)]
      assert all('epochs=' in one for one in others)
      goes_on = curves and end in (verdict.IMPROVING, verdict.SHORT)
      assert bool(others) == bool(goes_on)
  assert given
  for advice in given:
    changed = _changed(run_directory.typed_config(workdir), advice)
    assert changed.groups == config.groups  # so that they can be compared
    if 'goes on from here' in advice:
      assert more_epochs.wanted(changed, str(workdir))
    else:
      assert 'in a new --workdir' in advice
