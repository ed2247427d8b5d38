import json
import re

import pytest

from tests.studies import directories
from tests.studies import finished
from tests.studies import papers
from tests.studies import written
from twotsrec import types
from twotsrec.studies import claims
from twotsrec.studies import document
from twotsrec.studies import plans

COPF = papers.module('copf')
DATASET = 'taobao-copf'
GROUPS_AND_PARTS = {
  'groups': [f'group {group}' for group in (1, 2, 3)],
  'parts': finished.PARTS,
}


@pytest.fixture(scope='module')
def plan():
  return written.of('copf').plan


@pytest.fixture(scope='module')
def page():
  return written.of('copf').page


@pytest.fixture(scope='module')
def text():
  return written.of('copf').text


def _block(page):
  return page.chapters[DATASET].blocks['']


def _cell(page, system, place='all', metric='hr@10'):
  cell = _block(page).systems[system].cells[metric, place]
  return f'{cell.value:.4f} ({cell.low:.4f} to {cell.high:.4f})'


def _report(plan, system, seed):
  place = plans.workdir(plan, finished.run(DATASET, system, seed=seed))
  with open(f'{place}/report.json', encoding='utf-8') as file:
    return json.load(file)


def _against(page, system):
  return _block(page).systems[system].against.get('copf')


# ---- The paper's numbers


def test_every_row_of_the_paper_is_one_of_ours():
  printed, rows = (
    COPF.STUDY.printed,
    {k: t.rows for k, t in COPF.TABLES.items()},
  )
  for dataset in COPF.COLUMNS:
    for table in ('3', '4', '5'):
      values = [printed[table][dataset][''][row] for row in rows[table]]
      assert all(0 < ndcg < hr < 0.2 for hr, ndcg in values)
      # The order of the paper: COPF, the last row, is above all others.
      assert max(values) == values[-1]
    ours = {row for row in rows['2'] if row not in printed['2'][dataset]['']}
    assert ours == {'lightgcn_multi', 'mule', 'copf_released', 'copf_prior'}
    assert max(printed['2'][dataset][''].values()) == values[-1]
    # Table 6 takes its backbones from Table 2, but for the one of its own.
    backbones = printed['6'][dataset]['']
    for row in backbones.keys() & printed['2'][dataset][''].keys():
      assert backbones[row] == printed['2'][dataset][''][row]
    for row in (row for row in backbones if f'{row}_dfme' in backbones):
      assert backbones[f'{row}_dfme'] > backbones[row]  # COPF sec. 5.4
  assert 'retailrocket-mb' not in printed['3']
  assert not {*printed} & {*COPF.SWEEPS}


def test_columns_are_the_datasets_of_the_paper():
  """COPF sec. 5.2: the best baseline of Taobao, PKEF, gains 12.06 %."""
  printed = lambda dataset: COPF.STUDY.printed['2'][dataset]['']['copf']
  hr, ndcg = printed(DATASET)
  assert round(hr / 0.1385 - 1, 4) == 0.1206
  assert round(ndcg / 0.0785 - 1, 4) == 0.0675
  hr, _ = printed('beibei-copf-noview')
  assert round(hr / 0.1130 - 1, 4) == 0.4991
  hr, _ = printed('tmall-copf-noview')
  assert round(hr / 0.1414 - 1, 4) == 0.2412


# ---- Cells


def test_a_cell_is_the_mean_over_seeds(plan, page):
  systems = _block(page).systems
  for system, seeds in {'copf': (0, 1), 'wo_dfme': (1,)}.items():
    assert len(systems[system].trainings) == len(seeds)
    tests = [_report(plan, system, seed)['test'] for seed in seeds]
    for by, places in GROUPS_AND_PARTS.items():
      for metric in COPF.METRICS:
        keys = [(metric, place) for place in (*places, 'all')]
        cells = [systems[system].cells[key] for key in keys]
        rows = zip(*([*test[by], test['overall']] for test in tests))
        assert [cell.value for cell in cells] == pytest.approx(
          [sum(row[metric]['value'] for row in at) / len(at) for at in rows]
        )
        assert all(c.low <= c.value <= c.high for c in cells)
  assert systems['copf_a'] is None


def test_differences_are_paired_over_common_seeds(page):
  assert _against(page, 'copf') is None
  assert _block(page).systems['copf_a'] is None
  for system, seeds in {'wo_con': 2, 'wo_dfme': 1}.items():
    against = _against(page, system)
    assert all(len(row.by_seed) == seeds for row in against.values())
    places = {place for metric, place in against if metric == 'hr@10'}
    assert places > {*GROUPS_AND_PARTS['groups'], *finished.PARTS, 'all'}
  # The same ranks differ in nothing.
  row = _against(page, 'all_sg')['hr@10', 'all']
  assert row.difference == row.low == row.high == 0


# ---- What stands where


def test_the_budget_comes_first(text):
  assert 'trained for 2 epochs at most, evaluated every 5' in text
  assert 'selected on validation' in text


@pytest.mark.parametrize('table', [k for k, t in COPF.TABLES.items() if t.rows])
def test_rules_stand_above_every_table(text, plan, table):
  head, *rows = written.section(text, COPF.TABLES[table].title)
  assert [row[0] for row in rows[:3]] == list(finished.RULES)
  value = _report(plan, 'copf', 0)['baselines']['view_reminder']['overall']
  shown = next(cell for cell in rows[2][1:] if cell)
  assert shown.startswith(f'{value["hr@10"]["value"]:.4f} (')
  assert len(rows) == 3 + len(COPF.TABLES[table].rows)


def test_ours_stand_beside_the_paper(text, page):
  head, *rows = written.section(text, 'Table 3')
  assert head == [
    'system', 'paper HR@10', 'paper NDCG@10', 'HR@10', 'NDCG@10',
    'HR@10 - COPF', 'NDCG@10 - COPF', 'seeds', 'epochs', 'selected', 'seconds',
  ]  # fmt: skip
  by_name = {row[0]: row[1:] for row in rows}
  first = by_name['w/o con.']
  assert first[:2] == ['0.1476', '0.0788']
  assert first[2] == _cell(page, 'wo_con')
  assert first[3] == _cell(page, 'wo_con', metric='ndcg@10')
  assert re.fullmatch(r'-0\.\d{4} \(-0\.\d{4} to -0\.\d{4}\)', first[4])
  assert first[6:] == ['2', '2, 2', '1, 2', '100']
  assert by_name['COPF'][4:6] == ['', '']
  assert by_name['COPF-A'] == ['0.1389', '0.0740', *['-'] * 8]
  assert by_name['cart_reminder'][:2] == ['', '']


def test_one_run_stands_in_several_tables(text, page):
  ours = _cell(page, 'wo_dfme')
  _, *rows = written.section(text, 'Table 5')
  by_name = {row[0]: row[1:] for row in rows}
  assert by_name['Bilinear (the run of w/o DFME)'][:3] == [
    '0.0986', '0.0522', ours
  ]  # fmt: skip
  assert by_name['DFME'][:3] == ['0.1552', '0.0838', _cell(page, 'copf')]
  _, *rows = written.section(text, 'Table 3')
  assert {row[0]: row[3] for row in rows}['w/o DFME'] == ours
  assert text.count('seed0/wo_dfme ') == 1 and 'seed0/bilinear' not in text


def test_rows_are_judged_by_their_intervals(text):
  """COPF above w/o con. by 6 ranks, below w/o back. by 3, and a tie."""
  third = text.split('### Table 3')[1].split('\n###')[0]
  assert f'by HR@10: {claims.HOLDS}: w/o DFME, w/o con.; ' in third
  assert f'; {claims.FAILS}: w/o back.; ' in third
  assert f'; {claims.OPEN}: all sg.; not trained: w/o COGCN, COPF-P' in third
  # Only what the paper has is a claim of the paper.
  second = text.split('### Table 2')[1].split('\n###')[0]
  rows = second.split('by HR@10: not trained: ')[1].split('\n')[0]
  assert rows.startswith('MF-BPR, NeuMF, LightGCN, ') and 'BCIPM' in rows
  assert 'MuLe' not in rows and 'LightGCN per behavior' not in rows


def test_numbers_of_earlier_publications_are_marked(text, tmp_path):
  head, *rows = written.section(text, 'Table 2')
  by_name = {row[0]: dict(zip(head, row)) for row in rows}
  heads = 'paper HR@10', 'paper NDCG@10'
  shown = lambda row: tuple(by_name[row][head] for head in heads)
  assert shown('LightGCN') == ('0.0411 =', '0.0240 =')
  assert shown('MF-BPR') == ('0.0076', '0.0036')
  assert shown('LightGCN per behavior') == ('', '')
  second = text.split('### Table 2')[1].split('\n###')[0]
  assert 'digit for digit: LightGCN, CRGCN, MB-CGCN and PKEF' in second
  # On Beibei there is no such publication.
  plan = finished.plan(
    'copf', tmp_path, datasets=('beibei-copf-noview',), table=('2',)
  )
  _write(plan, 'beibei-copf-noview', 'copf')
  other = document.markdown(document.collect(plan, written.RESAMPLES))
  assert '0.0391' in other and ' = ' not in other


def test_figures_are_tables_too(text, page):
  head, *rows = written.section(text, 'Fig. 5')
  assert head[:3] == ['alpha', 'HR@10', 'NDCG@10']
  assert [row[0] for row in rows[3:]] == ['0.1, COPF', '0.2', '0.4', '0.8']
  assert rows[3][1] == _cell(page, 'copf')
  assert rows[4][1:] == ['-'] * 8
  assert rows[6][1] == _cell(page, 'alpha_0.8')
  assert 'Highest at alpha 0.1 by HR@10, 0.1 by NDCG@10, of 2 fin' in text
  assert '](copf_fig5.png)' in text and 'copf_fig3.png' not in text
  assert 'with beta at 0.001 the highest is alpha = 0.1' in text


def test_parts_tell_who_is_above_the_rules(text, page):
  head, *rows = written.section(text, 'By what the user had shown')
  counts = [f'{name} (30)' for name in finished.PARTS]
  assert head == ['system', *counts, 'all (90)', 'above every rule in']
  by_name = {row[0]: row[1:] for row in rows}
  prior = by_name['COPF + pair prior']
  assert prior[-1] == 'cart, view, new, all'
  assert prior[0] == _cell(page, 'copf_prior', 'cart') + ' >'
  assert by_name['w/o con.'][-2] == _cell(page, 'wo_con') + ' <'
  assert by_name['w/o con.'][-1] == 'none'
  assert by_name['all sg.'][0] == _cell(page, 'all_sg', 'cart')
  assert by_name['view_reminder'][-1] == '' and 'COPF-A' not in by_name


def test_groups_have_a_table_of_their_own(text, page):
  head, *rows = written.section(text, 'By activeness group: NDCG@10')
  assert head[1:4] == [f'group {group} (30)' for group in (1, 2, 3)]
  by_name = {row[0]: row[1:] for row in rows}
  assert by_name['COPF'][2] == _cell(page, 'copf', 'group 3', 'ndcg@10')


# ---- Other choices


def _write(plan, dataset, system, **protocol):
  run = finished.run(dataset, system)
  return finished.write_copf(plan, run, **protocol)


def test_other_data_are_marked(tmp_path):
  datasets = ('beibei-copf-noview', 'retailrocket-mb', DATASET)
  plan = finished.plan('copf', tmp_path, datasets=datasets, table=('3',))
  for dataset in datasets[:2]:
    _write(plan, dataset, 'copf')
  text = document.markdown(document.collect(plan, written.RESAMPLES))
  beibei, retail, taobao = text.split('\n## ')[1:]
  assert 'OUR DATA ARE WITHOUT VIEWS' in beibei and '0.1694' in beibei
  assert 'The paper has no numbers on this dataset.' in retail
  assert '| paper' not in retail and '0.1694' not in retail
  assert taobao == f'{DATASET}\n\nNo run has finished.\n'


def test_a_directory_is_a_chapter_without_the_paper(tmp_path):
  own = directories.make(tmp_path / 'mine', 2)
  plan = finished.plan('copf', tmp_path, prepared=(own,), table=('3',))
  _write(plan, 'mine', 'copf')
  page = document.collect(plan, written.RESAMPLES)
  text = document.markdown(page)
  assert '\n## mine\n' in text and '| paper' not in text
  assert 'The paper has no numbers on this dataset.' in text
  assert document.numbers(page)['settings']['prepared']['mine']['path'] == own


def test_only_what_is_asked_for_is_written(tmp_path):
  plan = finished.plan(
    'copf',
    tmp_path,
    table=('2', 'fig4'),
    variants=('wo_con', 'copf_released', 'copf'),
  )
  _write(plan, DATASET, 'copf_released')
  _write(plan, DATASET, 'wo_con')  # in no table
  page = document.collect(plan, written.RESAMPLES)
  text = document.markdown(page)
  assert document.missing(page) == 2 * 2 - 1
  titles = re.findall('^### (.*)$', text, re.MULTILINE)
  assert titles[0].startswith('Table 2') and 'Fig' not in titles[1]
  _, *rows = written.section(text, 'Table 2')
  assert [row[0] for row in rows[3:]] == ['COPF, as released', 'COPF']
  assert 'in the paper. Here' not in text  # it has neither of these rows
  # Without COPF there is nothing to be compared with.
  assert rows[3][5:7] == ['', ''] and rows[4][3:] == ['-'] * 8


def test_the_chosen_setting_stands_for_its_system(tmp_path):
  """wo_con has been tried with one of two settings only."""
  plan = finished.plan(
    'copf',
    tmp_path,
    table=('3',),
    variants=('copf', 'wo_con', 'wo_back'),
    tried=('own', 'fast'),
  )
  for system, setting, seed, value, worse in (
    ('copf', 'own', 0, 0.2, 0),
    ('copf', 'fast', 0, 0.3, 6),
    ('copf', 'fast', 1, 0.1, 6),
    ('wo_back', 'own', 0, 0.3, 9),
    ('wo_back', 'fast', 0, 0.2, 0),
    ('wo_con', 'own', 0, 0.9, 0),
  ):
    run = finished.run(DATASET, system, seed=seed, setting=setting)
    finished.write_copf(plan, run, worse, value)
  page = document.collect(plan, written.RESAMPLES)
  text = document.markdown(page)
  assert document.missing(page) == 3
  assert 'Every system is given 2 settings of the training: own (its' in text
  assert 'fast (train.batch_size=1024 train.learning_rate=0.03 beh' in text
  assert 'with the best HR@10 on validation' in text
  copf = _block(page).systems['copf']
  assert copf.tuning.values == {'own': 0.2, 'fast': 0.3}
  reports = [
    plans.report(plan, finished.run(DATASET, 'copf', seed=k, setting='fast'))
    for k in (0, 1)
  ]
  assert copf.cells['hr@10', 'all'].value == pytest.approx(
    sum(report['test']['overall']['hr@10']['value'] for report in reports) / 2
  )
  head, *rows = written.section(text, 'Table 3')
  by_name = {row[0]: dict(zip(head, row)) for row in rows}
  costs = ('setting', 'seeds', 'seconds', 'seconds of all settings')
  shown = lambda name: [by_name[name][column] for column in costs]
  assert shown('COPF') == ['fast', '2', '100', '200']
  assert shown('w/o back.') == ['own', '1', '100', '200']
  assert shown('w/o con.') == ['-'] * 4
  head, *rows = written.section(text, 'Runs')
  assert head[:4] == ['system', 'setting', 'on validation', 'chosen']
  assert [row[:5] for row in rows] == [
    ['copf', 'own', '0.2000', '', '0'],
    ['copf', 'fast', '0.3000', 'yes', '0'],
    ['copf', 'fast', '0.1000', 'yes', '1'],
    ['wo_con', 'own', '0.9000', '', '0'],
    ['wo_con', 'fast', '-', '', '0'],
    ['wo_con', 'the chosen one', '-', '', '1'],
    ['wo_back', 'own', '0.3000', 'yes', '0'],
    ['wo_back', 'fast', '0.2000', '', '0'],
    ['wo_back', 'own', '-', 'yes', '1'],
  ]
  for run in plans.runs(plan):
    line = plans.train_command(plan, run) if run.setting else '\0'
    assert (f'\n{line}\n' in text) == (run.seed == 0)
  numbers = document.numbers(page)
  assert numbers['settings']['tried'] == ['own', 'fast']
  settings = {run['setting'] for run in numbers['datasets'][DATASET]['runs']}
  assert settings == {'own', 'fast', ''}


def test_claims_are_judged_by_the_run_that_stands_for_a_system(tmp_path):
  """Bilinear is the run of w/o DFME; MMOE has none."""
  variants = ('copf', 'wo_dfme', 'copf_d', 'bilinear', 'shared_bottom', 'mmoe')
  plan = finished.plan(
    'copf', tmp_path, table=('3', '5'), variants=variants, seeds=(0,)
  )
  for system, worse in {'wo_dfme': 2, 'copf_d': 1, 'shared_bottom': 6}.items():
    finished.write_copf(plan, finished.run(DATASET, system), worse)
  text = document.markdown(document.collect(plan, written.RESAMPLES))
  _, *rows = written.section(text, 'What holds')
  assert [row[:2] for row in rows] == [
    ['sec. 5.3.1: w/o DFME above COPF-D', 'does not hold'],
    ['sec. 5.3.3: MMOE above SB', '-'],
    ['sec. 5.3.3: Bilinear above SB', 'holds'],
  ]


def test_runs_on_changed_data_are_not_compared(tmp_path):
  plan = finished.plan('copf', tmp_path, seeds=(0,), table=('3',))
  _write(plan, DATASET, 'copf')
  _write(plan, DATASET, 'wo_con', dataset_digest='e' * 64)
  with pytest.raises(types.UserError, match='dataset_digest is'):
    document.collect(plan, written.RESAMPLES)
