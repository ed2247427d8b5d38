"""What the scripts refuse that lay runs side by side, followed."""

import numpy as np
import pytest

from tests.advice.copies import FINISH
from tests.advice.copies import finished_again
from tests.advice.copies import followed
from tests.advice.copies import made_like
from tests.advice.copies import shown_again
from tests.advice.copies import told
from tests.advice.copies import without_report
from tests.advice.following import Case
from tests.advice.following import done
from tests.advice.following import dropped
from tests.advice.following import given
from tests.advice.following import together
from twotsrec.training import files
from twotsrec.training import run_directory

BOTH = '--runs=%runs/a,%runs/b'
COMPARE = [
  Case(says, asked, [way])
  for says, asked, way in (
    (
      'compare.py: {} names for {} systems',
      [BOTH, '--names=A'],
      given('names', 'A,B', says='(one for each)'),
    ),
    (
      'a run without a name in {}',
      ['--runs=%runs/a+,%runs/b'],
      given('runs', '%runs/a,%runs/b', says='(DIR_A,DIR_B)'),
    ),
    (
      'two systems are named {}',
      [BOTH, '--names=A,A'],
      given('names', 'A,B'),
    ),
    (
      'system to compare ({}); name two or more',
      ['--runs=%runs/a'],
      given('runs', '%runs/a:popularity,%runs/a', says='(DIR:popularity,DIR)'),
    ),
    (
      'unequal numbers of seeds',
      ['--runs=%runs/a+%runs/b,%runs/c'],
      given('runs', '%runs/a,%runs/b', says='(as many for each)'),
    ),
    (
      '{} is named twice; name each run once',
      ['--runs=%runs/a,%runs/a'],
      given('runs', '%runs/a,%runs/b', says='(name each run once)'),
    ),
    (
      '--out={} must end in .json or .md',
      [BOTH, '--out=@/t.txt'],
      given('out', '@/t.md', says='(.md)'),
    ),
    (
      '--out={} of a table must end in .md, .csv or',
      ['--runs=%runs/a', '--table', '--out=@/t.json'],
      given('out', '@/t.md', says='(.md)'),
    ),
    (
      'resamples are too few for {} groups',
      [BOTH, '--resamples=10'],
      given('resamples', says=r'use (\d+) or more'),
    ),
    (
      'runs on other data, groups or protocol',
      ['--runs=%runs/a,%runs/c'],
      given('runs', '%runs/a,%runs/b', says='(choose others)'),
    ),
    (
      'no rule {} stands beside the model of',
      ['--runs=%runs/a:random,%runs/a'],
      given('runs', '%runs/a:popularity,%runs/a', says='known: .*(popularity)'),
    ),
    (
      'has no parts, since its data have no',
      [BOTH, '--by=parts'],
      given('by', says='compare by (groups)'),
    ),
    (
      'report.py: unknown metric {}; known',
      [BOTH, '--metrics=hr@7'],
      given('metrics', says=r'known: .*(hr@3)'),
    ),
  )
]
PAIR = '--runs=@/run,%runs/b'
INTACT = given('runs', '%runs/a,%runs/b', says='(restore it from a copy)')


def of_parts(change):
  """Changes what a report says of the parts of the test events."""

  def make(run):
    path = run_directory.report_path(run)
    test = files.read_json(path)['test']
    change(test)
    told(path, test=test)

  return make


def with_arrays(change):
  """Changes the arrays beside a report."""

  def make(run):
    path = run_directory.targets_path(run)
    with np.load(path) as file:
      arrays = dict(file)
    change(arrays)
    np.savez(path, **arrays)

  return make


COMPARE.append(
  Case(
    'files.py: cannot {} {}: {}; {}',
    [BOTH, '--out=@/file/t.md'],
    [given('out', '@/t.md', says='a (folder)')],
    {'file': ''},
  )
)
OF_REPORTS = [
  Case(says, ['--runs=%runs/b,@/run'], [way], {'run': made_like('a', change)})
  for says, way, change in (
    (
      'has no test events to compare on; train on',
      given('runs', '%runs/a,%runs/b', says='(train on data with some)'),
      lambda run: told(run_directory.report_path(run), test=None),
    ),
    (
      '({} it lacks {})',
      INTACT,
      of_parts(lambda test: [part.pop('auc') for part in test['groups']]),
    ),
    (
      '({} it has {} {})',
      INTACT,
      of_parts(lambda test: test['groups'].append(test['groups'][0])),
    ),
    (
      'per_target.npz gives {} {} where report.json',
      INTACT,
      of_parts(lambda test: test['overall']['auc'].update(value=0.25)),
    ),
    (
      'compared_runs.py: ({} {})',
      INTACT,
      lambda run: run_directory.targets_path(run).write_bytes(b'nothing'),
    ),
    (
      'compared_runs.py: ({} it is missing)',
      INTACT,
      lambda run: run_directory.targets_path(run).unlink(),
    ),
    (
      'hold out other items ({} differs), so they',
      given('runs', '%runs/a,%runs/b', says='choose runs on the (same data)'),
      with_arrays(lambda arrays: arrays.update(item=arrays['item'] + 1)),
    ),
  )
]


def of_another_system(run):
  path = run_directory.report_path(run)
  told(path, protocol={**files.read_json(path)['protocol'], 'plugin': 'light'})


RULES = '%runs/a:popularity+%runs/b:popularity'
OF_REPORTS.append(
  Case(
    'joins runs that are no seeds of one system',
    [f'--runs=%runs/b+@/run,{RULES}'],
    [given('runs', '%runs/b,@/run', says='(with a comma between)')],
    {'run': made_like('a', of_another_system)},
  )
)
OF_REPORTS += [
  Case(says, [PAIR], [way], {'run': made_like('a', change)})
  for says, way, change in (
    (
      'compared_runs.py: training has not finished (no',
      FINISH,
      without_report,
    ),
    (
      '{} lacks {}, so it is damaged or of another',
      given('runs', '%runs/a,%runs/b', says='train (again) in an empty'),
      lambda run: files.write_json(run_directory.report_path(run), {}),
    ),
  )
]
DRAW = [
  Case(says, asked, [way], {'run': made_like('a', change)} if change else {})
  for says, asked, way, change in (
    (
      '--out={} is of no known kind; end it in',
      [BOTH, '--out=@/g.txt'],
      given('out', '@/g.svg', says=r'end it in .*(\.svg)'),
      None,
    ),
    (
      'give either --runs or --numbers; see',
      ['--out=@/g.svg'],
      given('runs', '%runs/a,%runs/b'),
      None,
    ),
    (
      '--names={} must name {} runs apart',
      [BOTH, '--names=A', '--out=@/g.svg'],
      given('names', 'A,B', says='must name (2) runs'),
      None,
    ),
    (
      '{} has no report.json; finish it with its',
      [PAIR, '--out=@/g.svg'],
      done(finished_again, 'finish it with its own command'),
      without_report,
    ),
    (
      '{} lacks test or baselines; delete it and',
      [PAIR, '--out=@/g.svg'],
      done(shown_again, 'delete it and finish'),
      lambda run: (
        told(run_directory.report_path(run), training={}, test=0)
        or files.write_json(run_directory.report_path(run), {'training': {}})
      ),
    ),
    (
      '{} has other groups than {}; draw runs on',
      ['--runs=%runs/a,%runs/c', '--out=@/g.svg'],
      given('runs', '%runs/a,%runs/b', says='draw runs on the (same data)'),
      None,
    ),
    (
      '{} has no test events to draw; leave it out',
      ['--runs=@/run,%runs/a,%runs/b', '--out=@/g.svg'],
      given('runs', '%runs/a,%runs/b', says='leave it (out)'),
      lambda run: told(run_directory.report_path(run), test=None),
    ),
    (
      '--numbers={} has no reports; name a .json that',
      ['--numbers=@/run/report.json', '--out=@/g.svg'],
      together(
        given('runs', '%runs/a,%runs/b', says='or give --(runs)'),
        dropped('numbers', 'or give --runs'),
      ),
      lambda run: None,
    ),
    (
      'draw.py: has no metric {}; it has',
      [BOTH, '--out=@/g.svg', '--metrics=hr@7'],
      given('metrics', says=r'it has .*(hr@3)'),
      None,
    ),
  )
]


REPORT = [
  Case(
    '--base={} is no system; known',
    [BOTH, '--base=c', '--format=csv', '--out=@/t.csv'],
    [given('base', says='known: .*(b)')],
  ),
]


@pytest.mark.parametrize('case', REPORT, ids=lambda case: case.name)
def test_runs_are_reported_as_advised(case, runs, capsys, tmp_path):
  followed('report', case, runs, capsys, tmp_path)


@pytest.mark.parametrize(
  'case', [*COMPARE, *OF_REPORTS], ids=lambda case: case.name
)
def test_runs_are_compared_as_advised(case, runs, capsys, tmp_path):
  followed('compare', case, runs, capsys, tmp_path)


@pytest.mark.parametrize('case', DRAW, ids=lambda case: case.name)
def test_runs_are_drawn_as_advised(case, runs, capsys, tmp_path):
  pytest.importorskip('matplotlib')
  followed('draw', case, runs, capsys, tmp_path)
