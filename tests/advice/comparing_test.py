"""What the scripts refuse that lay runs side by side, followed."""

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
from tests.advice.following import given
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
OF_REPORTS = [
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
      'draw.py: has no metric {}; it has',
      [BOTH, '--out=@/g.svg', '--metrics=hr@7'],
      given('metrics', says=r'it has .*(hr@3)'),
      None,
    ),
  )
]

CASES = [*COMPARE, *OF_REPORTS, *DRAW]


@pytest.mark.parametrize(
  'case', [*COMPARE, *OF_REPORTS], ids=lambda case: case.name
)
def test_runs_are_compared_as_advised(case, runs, capsys, tmp_path):
  followed('compare', case, runs, capsys, tmp_path)


@pytest.mark.parametrize('case', DRAW, ids=lambda case: case.name)
def test_runs_are_drawn_as_advised(case, runs, capsys, tmp_path):
  pytest.importorskip('matplotlib')
  followed('draw', case, runs, capsys, tmp_path)
