import importlib.util
import json
import re

import pytest

from tests.recipes.reproduction import copf_finished
from twotsrec import types
from twotsrec.recipes.reproduction import copf
from twotsrec.recipes.reproduction import copf_document
from twotsrec.recipes.reproduction import copf_numbers
from twotsrec.recipes.reproduction import copf_results
from twotsrec.recipes.reproduction import copf_tables
from twotsrec.recipes.reproduction import results

RESAMPLES = 200
# Ranks below those of COPF.
WORSE = {'copf': 0, 'wo_con': 6, 'wo_back': -3, 'all_sg': 0, 'copf_prior': -30}
DATASET = 'taobao-copf'


@pytest.fixture(scope='module')
def settings(tmp_path_factory):
  """Two seeds of five systems, one of others; the rest is missing."""
  made = copf_finished.settings(tmp_path_factory.mktemp('out'))
  for system, worse in WORSE.items():
    for seed in made.seeds:
      copf_finished.write(made, copf.Run(DATASET, seed, system), worse)
  for system in ('wo_dfme', 'alpha_0.8'):
    copf_finished.write(made, copf.Run(DATASET, 1, system), 4)
  return made


@pytest.fixture(scope='module')
def result(settings):
  return copf_results.collect(settings, RESAMPLES)


@pytest.fixture(scope='module')
def text(result):
  return copf_document.markdown(result, {'fig5': 'copf_fig5.png'})


def _section(text, title):
  """Rows of the first table below a title that starts like this."""
  after = text.split(f'\n### {title}', 1)[1].split('\n### ')[0]
  rows = [line for line in after.splitlines() if line.startswith('|')]
  cells = [[cell.strip() for cell in row.strip('|').split('|')] for row in rows]
  return [cells[0], *cells[2:]]


def _cell(result, system, place=-1, metric='hr@10', by='groups'):
  measured = result['datasets'][DATASET]['systems'][system]
  cell = measured['cells'][by][metric][place]
  return f'{cell["value"]:.4f} ({cell["low"]:.4f} to {cell["high"]:.4f})'


def _report(settings, system, seed):
  place = copf.workdir(settings, copf.Run(DATASET, seed, system))
  with open(f'{place}/report.json', encoding='utf-8') as file:
    return json.load(file)


# ---- The paper's numbers


def test_every_row_of_the_paper_is_one_of_ours():
  for dataset in copf_numbers.DATASETS:
    for table in ('3', '4', '5'):
      values = [
        copf_numbers.printed(table, row, dataset) for row in copf.TABLES[table]
      ]
      assert all(0 < ndcg < hr < 0.2 for hr, ndcg in values)
      # The order of the paper: COPF, the last row, is above all others.
      assert max(values) == values[-1]
    known = [copf_numbers.has('2', row) for row in copf.TABLES['2']]
    assert known == [True, False, False, True]
  assert copf_numbers.printed('3', 'copf', 'retailrocket-mb') is None
  assert copf_numbers.printed('fig3', 'copf', DATASET) is None
  assert set(copf_numbers.FIGURES) == set(copf.SWEEPS)


def test_columns_are_the_datasets_of_the_paper():
  """COPF sec. 5.2: the best baseline of Taobao, PKEF, gains 12.06 %."""
  hr, ndcg = copf_numbers.printed('2', 'copf', DATASET)
  assert round(hr / 0.1385 - 1, 4) == 0.1206
  assert round(ndcg / 0.0785 - 1, 4) == 0.0675
  hr, _ = copf_numbers.printed('2', 'copf', 'beibei-copf-noview')
  assert round(hr / 0.1130 - 1, 4) == 0.4991
  hr, _ = copf_numbers.printed('2', 'copf', 'tmall-copf-noview')
  assert round(hr / 0.1414 - 1, 4) == 0.2412


def test_systems_have_names():
  names = [copf_tables.name(system) for system in copf.SYSTEMS]
  assert len(set(names)) == len(names)
  assert not any('_' in name for name in names)


# ---- Cells


def test_a_cell_is_the_mean_over_seeds(settings, result):
  systems = result['datasets'][DATASET]['systems']
  for system, seeds in {'copf': (0, 1), 'wo_dfme': (1,)}.items():
    assert systems[system]['seeds'] == list(seeds)
    tests = [_report(settings, system, seed)['test'] for seed in seeds]
    for by in copf_results.BY:
      for metric in copf_results.METRICS:
        cells = systems[system]['cells'][by][metric]
        rows = zip(*([*test[by], test['overall']] for test in tests))
        assert [cell['value'] for cell in cells] == pytest.approx(
          [sum(row[metric]['value'] for row in at) / len(at) for at in rows]
        )
        assert all(c['low'] <= c['value'] <= c['high'] for c in cells)
  assert systems['copf_a'] is None


def test_differences_are_paired_over_common_seeds(result):
  systems = result['datasets'][DATASET]['systems']
  assert systems['copf']['against'] is None
  assert systems['wo_con']['against']['seeds'] == [0, 1]
  assert systems['wo_dfme']['against']['seeds'] == [1]
  assert systems['copf_a'] is None
  for by, places in (('groups', [1, 2, 3]), ('parts', copf_finished.PARTS)):
    rows = systems['wo_con']['against'][by]['hr@10']
    assert [row['group'] for row in rows[:4]] == [*places, 'all']
  # The same ranks differ in nothing.
  (row,) = [
    row
    for row in systems['all_sg']['against']['groups']['hr@10']
    if row['group'] == 'all'
  ]
  assert row['difference'] == row['low'] == row['high'] == 0


# ---- What stands where


def test_the_command_and_the_budget_come_first(text, settings):
  assert text.startswith('# COPF, reproduced\n')
  assert f'```\n{copf.command(settings)}\n```' in text
  assert 'trained for 2 epochs at most, evaluated every 5' in text
  assert 'selected on validation' in text


def test_seconds_are_summed(text, result, settings):
  done = 2 * len(WORSE) + 2
  seconds = 100 * done + len(WORSE) + 2
  assert f'{done} runs took {seconds:,} seconds' in text
  missing = len(copf.runs(settings)) - done
  assert result['missing'] == missing
  assert f'{missing} are missing, their cells are -' in text
  head, *rows = _section(text, 'Runs')
  assert len(rows) == done + missing
  assert ['copf', '1', '2', '2', '101', '10'] in rows
  assert ['mmoe', '0', '-', '-', '-', '-'] in rows


@pytest.mark.parametrize('table', copf.TABLES)
def test_rules_stand_above_every_table(text, settings, table):
  head, *rows = _section(text, copf_document.TITLES[table])
  assert [row[0] for row in rows[:3]] == list(copf_finished.RULES)
  value = _report(settings, 'copf', 0)['baselines']['view_reminder']['overall']
  shown = next(cell for cell in rows[2][1:] if cell)
  assert shown.startswith(f'{value["hr@10"]["value"]:.4f} (')
  assert len(rows) == 3 + len(copf.TABLES[table])


def test_ours_stand_beside_the_paper(text, result):
  head, *rows = _section(text, 'Table 3')
  assert head == [
    'system', 'paper HR@10', 'paper NDCG@10', 'HR@10', 'NDCG@10',
    'HR@10 - COPF', 'NDCG@10 - COPF', 'seeds', 'epochs', 'selected', 'seconds',
  ]  # fmt: skip
  by_name = {row[0]: row[1:] for row in rows}
  first = by_name['w/o con.']
  assert first[:2] == ['0.1476', '0.0788']
  assert first[2] == _cell(result, 'wo_con')
  assert first[3] == _cell(result, 'wo_con', metric='ndcg@10')
  assert re.fullmatch(r'-0\.\d{4} \(-0\.\d{4} to -0\.\d{4}\)', first[4])
  assert first[6:] == ['2', '2, 2', '1, 2', '100']
  assert by_name['COPF'][4:6] == ['', '']
  assert by_name['COPF-A'] == ['0.1389', '0.0740', *['-'] * 8]
  assert by_name['cart_reminder'][:2] == ['', '']


def test_one_run_stands_in_several_tables(text, result):
  ours = _cell(result, 'wo_dfme')
  _, *rows = _section(text, 'Table 5')
  by_name = {row[0]: row[1:] for row in rows}
  assert by_name['Bilinear (the run of w/o DFME)'][:3] == [
    '0.0986', '0.0522', ours
  ]  # fmt: skip
  assert by_name['DFME'][:3] == ['0.1552', '0.0838', _cell(result, 'copf')]
  _, *rows = _section(text, 'Table 3')
  assert {row[0]: row[3] for row in rows}['w/o DFME'] == ours
  assert text.count('seed0/wo_dfme ') == 1 and 'seed0/bilinear' not in text


def test_rows_are_judged_by_their_intervals(text):
  """COPF above w/o con. by 6 ranks, below w/o back. by 3, and a tie."""
  third = text.split('### Table 3')[1].split('\n###')[0]
  assert f'by HR@10: {results.HOLDS}: w/o DFME, w/o con.; ' in third
  assert f'; {results.FAILS}: w/o back.; ' in third
  assert f'; {results.OPEN}: all sg.; not trained: w/o COGCN, COPF-P' in third
  # Only what the paper has is a claim of the paper.
  second = text.split('### Table 2')[1].split('\n###')[0]
  assert 'by HR@10: not trained: LightGCN' in second


def test_figures_are_tables_too(text, result):
  head, *rows = _section(text, 'Fig. 5')
  assert head[:3] == ['alpha', 'HR@10', 'NDCG@10']
  assert [row[0] for row in rows[3:]] == ['0.1, COPF', '0.2', '0.4', '0.8']
  assert rows[3][1] == _cell(result, 'copf')
  assert rows[4][1:] == ['-'] * 8
  assert rows[6][1] == _cell(result, 'alpha_0.8')
  assert 'Highest at alpha 0.1 by HR@10, 0.1 by NDCG@10, of 2 fin' in text
  assert '](copf_fig5.png)' in text and 'copf_fig3.png' not in text
  assert 'with beta at 0.001 the highest is alpha = 0.1' in text


def test_parts_tell_who_is_above_the_rules(text, result):
  head, *rows = _section(text, 'By what the user had shown')
  counts = [f'{name} (30)' for name in copf_finished.PARTS]
  assert head == ['system', *counts, 'all (90)', 'above every rule in']
  by_name = {row[0]: row[1:] for row in rows}
  prior = by_name['COPF + pair prior']
  assert prior[-1] == 'cart, view, new, all'
  assert prior[0] == _cell(result, 'copf_prior', 0, by='parts') + ' >'
  assert by_name['w/o con.'][-2] == _cell(result, 'wo_con') + ' <'
  assert by_name['w/o con.'][-1] == 'none'
  assert by_name['all sg.'][0] == _cell(result, 'all_sg', 0, by='parts')
  assert by_name['view_reminder'][-1] == '' and 'COPF-A' not in by_name


def test_groups_have_a_table_of_their_own(text, result):
  head, *rows = _section(text, 'By activeness group: NDCG@10')
  assert head[1:4] == [f'group {group} (30)' for group in (1, 2, 3)]
  by_name = {row[0]: row[1:] for row in rows}
  assert by_name['COPF'][2] == _cell(result, 'copf', 2, 'ndcg@10')


def test_each_run_is_a_command(text, settings):
  for system in ('copf', 'wo_back', 'layers_3'):
    run = copf.Run(DATASET, 0, system)
    assert f'\n{copf.train_command(settings, run)}\n' in text


# ---- Other choices


def test_other_data_are_marked(tmp_path):
  made = copf_finished.settings(
    tmp_path,
    datasets=('beibei-copf-noview', 'retailrocket-mb', DATASET),
    tables=('3',),
  )
  for dataset in made.datasets[:2]:
    copf_finished.write(made, copf.Run(dataset, 0, 'copf'))
  text = copf_document.markdown(copf_results.collect(made, RESAMPLES))
  beibei, retail, taobao = text.split('\n## ')[1:]
  assert 'OUR DATA ARE WITHOUT VIEWS' in beibei and '0.1694' in beibei
  assert 'The paper has no numbers on this dataset.' in retail
  assert '| paper' not in retail and '0.1694' not in retail
  assert taobao == f'{DATASET}\n\nNo run has finished.\n'


def test_only_what_is_asked_for_is_written(tmp_path):
  made = copf_finished.settings(
    tmp_path, tables=('2', 'fig4'), variants=('wo_con', 'copf_released', 'copf')
  )
  copf_finished.write(made, copf.Run(DATASET, 0, 'copf_released'))
  copf_finished.write(made, copf.Run(DATASET, 0, 'wo_con'))  # in no table
  result = copf_results.collect(made, RESAMPLES)
  text = copf_document.markdown(result)
  assert result['missing'] == 2 * 2 - 1
  titles = re.findall('^### (.*)$', text, re.MULTILINE)
  assert titles[0].startswith('Table 2') and 'Fig' not in titles[1]
  _, *rows = _section(text, 'Table 2')
  assert [row[0] for row in rows[3:]] == ['COPF, as released', 'COPF']
  assert 'in the paper. Here' not in text  # it has neither of these rows
  # Without COPF there is nothing to be compared with.
  assert rows[3][5:7] == ['', ''] and rows[4][3:] == ['-'] * 8


def test_the_files_are_written(settings, result):
  path = copf_document.write(result, settings.out)
  drawn = importlib.util.find_spec('matplotlib') is not None
  figures = {name: f'copf_{name}.png' for name in copf.SWEEPS if drawn}
  for picture in figures.values():
    assert (path.parent / picture).read_bytes().startswith(b'\x89PNG')
  assert path.name == 'copf.md'
  assert path.read_text() == copf_document.markdown(result, figures)
  numbers = json.loads((path.parent / 'copf.json').read_text())
  assert numbers == json.loads(json.dumps(result))


def test_nothing_finished_is_told(tmp_path):
  with pytest.raises(types.UserError, match='no run of these settings'):
    copf_results.collect(copf_finished.settings(tmp_path), RESAMPLES)


@pytest.mark.parametrize('name', ['test', 'baselines', 'training', 'dataset'])
def test_a_damaged_report_is_named(tmp_path, name):
  made = copf_finished.settings(tmp_path)
  path = copf_finished.write(made, copf.Run(DATASET, 0, 'copf')) / 'report.json'
  report = json.loads(path.read_text())
  del report[name]
  path.write_text(json.dumps(report))
  with pytest.raises(types.UserError, match='report.json is damaged or of'):
    copf_results.collect(made, RESAMPLES)


def test_runs_on_changed_data_are_not_compared(tmp_path):
  made = copf_finished.settings(tmp_path, seeds=(0,), tables=('3',))
  copf_finished.write(made, copf.Run(DATASET, 0, 'copf'))
  run = copf.Run(DATASET, 0, 'wo_con')
  copf_finished.write(made, run, dataset_digest='e' * 64)
  with pytest.raises(types.UserError, match='dataset_digest is'):
    copf_results.collect(made, RESAMPLES)
