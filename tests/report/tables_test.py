import csv
import io
import json
import pathlib

import numpy as np
import pytest

from tests.runs import compare_test
from twotsrec import types
from twotsrec.evaluation import lists
from twotsrec.report import formats
from twotsrec.report import tables
from twotsrec.runs import compare

METRICS = ('auc', 'ndcg@10')


def told(workdir: str, **sections) -> str:
  """Adds sections to a report."""
  path = pathlib.Path(workdir) / 'report.json'
  path.write_text(json.dumps({**report_of(workdir), **sections}))
  return workdir


def report_of(workdir: str) -> dict:
  return json.loads((pathlib.Path(workdir) / 'report.json').read_text())


def listed(value: float) -> dict:
  """What `lists.build` gives, all numbers alike."""
  cells = {name: {'value': value} for name in lists.NAMES}
  groups = [{'users': 20, **cells}] * compare_test.GROUPS
  return {'overall': {'users': 60, **cells}, 'groups': groups}


def write_seeds(folder: pathlib.Path) -> dict[str, list[str]]:
  """Two systems of two seeds, with a rule beside them and lists."""
  made = {
    name: [
      compare_test.write_run(
        folder / f'{name}{seed}', compare_test.make_targets(seed + at, 0.1 * at)
      )
      for seed in range(2)
    ]
    for at, name in enumerate(('a&b', 'c_d'))
  }
  rule = report_of(made['a&b'][0])['test']
  for dirs in made.values():
    for at, workdir in enumerate(dirs):
      systems = {'model': listed(0.25 + at / 8), 'popularity': listed(0.125)}
      section = {'k': 10, 'users': 60, 'seen': False, 'systems': systems}
      told(workdir, baselines={'popularity': rule}, lists=section)
  return made


@pytest.fixture
def systems(tmp_path):
  return tables.with_rules(compare.opened(write_seeds(tmp_path)))


def test_cells_are_means_and_deviations_of_the_reports(systems):
  table = tables.results(systems, METRICS)
  assert list(table.cells['auc']) == ['popularity', 'a&b', 'c_d']
  assert table.rows == ('group 1', 'group 2', 'group 3', 'all')
  assert table.users == (20, 20, 20, 60)
  assert table.seeds == {'popularity': 2, 'a&b': 2, 'c_d': 2}
  for metric in METRICS:
    for name in ('a&b', 'c_d'):
      reports = [report_of(run.workdir)['test'] for run in systems[name]]
      parts = zip(*([*one['groups'], one['overall']] for one in reports))
      cells = table.cells[metric][name]
      for cell, seeds in zip(cells, parts, strict=True):
        values = [part[metric]['value'] for part in seeds]
        assert cell.value == pytest.approx(np.mean(values))
        assert cell.spread == pytest.approx(abs(np.subtract(*values)) / 2**0.5)
  assert '(2 of popularity, 2 of a&b, 2 of c_d)' in table.notes[1]


def test_a_single_seed_is_shown_as_it_stands(tmp_path):
  workdir = write_seeds(tmp_path)['c_d'][0]
  table = tables.results(compare.opened({'one': [workdir]}))
  for metric, by_system in table.cells.items():
    expected = report_of(workdir)['test']['groups'][1][metric]
    cell = by_system['one'][1]
    assert cell.spread is None and cell.value == expected['value']
    assert formats.lines(table)[1][:2] == ['auc', 'one']
  assert f'{expected["value"]:.4f}' in formats.text([table])


def test_systems_may_have_other_numbers_of_seeds(tmp_path):
  made = write_seeds(tmp_path)
  systems = {'two': made['a&b'], 'one': made['c_d'][:1]}
  table = tables.results(compare.opened(systems), METRICS)
  assert table.seeds == {'two': 2, 'one': 1}
  assert table.cells['auc']['one'][0].spread is None
  assert table.cells['auc']['two'][0].spread is not None
  rows = [*csv.DictReader(io.StringIO(formats.csv_text([table])))]
  assert {(row['system'], row['seeds']) for row in rows} == {
    ('two', '2'),
    ('one', '1'),
  }
  single = tables.results(compare.opened({'one': made['c_d'][:1]}))
  assert single.notes == ('leave_last_out, all candidates',)


def test_a_rule_beside_is_shown_once(tmp_path):
  first, second = write_seeds(tmp_path)['a&b']
  names = lambda *systems: list(
    tables.with_rules(compare.opened(dict(systems)))
  )
  assert names(('x', [first])) == ['popularity', 'x']
  named = ('pop', [f'{first}:popularity'])
  assert names(named, ('x', [second])) == ['pop', 'x']
  assert names(('popularity', [first])) == ['popularity (rule)', 'popularity']


def test_differences_are_those_of_the_comparison(tmp_path):
  result = compare.compare(write_seeds(tmp_path), METRICS, 200)
  table = tables.differences(result)
  rows = result['comparisons']['c_d']['auc']
  assert table.rows[-2:] == ('all', 'mean of groups')
  for cell, row in zip(table.cells['auc']['c_d'], rows, strict=True):
    assert cell[:3] == (row['difference'], row['low'], row['high'])
    decisive = row['p'] if row['holm'] is None else row['holm']
    assert cell.marked == (decisive < 0.05)
    shown = formats.shown(cell, table.kind)
    assert shown.startswith(f'{row["difference"]:+.4f} ± ')
    assert f'[{row["low"]:+.4f}, {row["high"]:+.4f}]' in shown
    assert shown.endswith('*') == cell.marked


def test_lists_are_shown_where_reports_tell(systems):
  table = tables.of_lists(systems)
  assert table and table.title == 'Lists of 10 for 60 users'
  assert tuple(table.cells) == lists.NAMES
  assert [c.value for c in table.cells['gini']['c_d']] == [0.3125] * 4
  assert [c.value for c in table.cells['gini']['popularity']] == [0.125] * 4
  silent = {name: [run._replace(report={}) for run in runs]
            for name, runs in systems.items()}  # fmt: skip
  assert tables.of_lists(silent) is None


def test_every_format_has_the_same_cells(systems, tmp_path):
  made = [tables.results(systems, METRICS), tables.of_lists(systems)]
  cells = [row for table in made for row in formats.lines(table)]
  piped = [
    [cell.strip() for cell in line.strip('|').split('|')]
    for line in formats.markdown(made).splitlines()
    if line.startswith('|') and '---' not in line
  ]
  assert piped == cells
  plain = {r'\&': '&', r'\_': '_', r'$\pm$': '±'}
  text = formats.tex(made)
  for there, here in plain.items():
    text = text.replace(there, here)
  rows = [
    line.removesuffix(r' \\').split(' & ')
    for line in text.splitlines()
    if line.endswith(r'\\')
  ]
  assert rows == cells
  assert text.count(r'\begin{tabular}') == text.count(r'\end{tabular}') == 2
  out = str(tmp_path / 'numbers.csv')
  formats.write(made, out, 'csv')
  lines = [*csv.DictReader(io.StringIO(pathlib.Path(out).read_text()))]
  assert len(lines) == 4 * 3 * (len(METRICS) + len(lists.NAMES))
  [line] = [
    one
    for one in lines
    if (one['metric'], one['system'], one['row']) == ('auc', 'c_d', 'group 2')
  ]
  cell = made[0].cells['auc']['c_d'][1]
  assert float(line['value']) == cell.value and line['low'] == ''
  assert float(line['spread']) == cell.spread and line['seeds'] == '2'


def test_another_ending_is_refused():
  assert formats.kind_of('a/b.tex') == 'tex'
  with pytest.raises(types.UserError, match='must end in .md, .csv or .tex'):
    formats.kind_of('a.html')
