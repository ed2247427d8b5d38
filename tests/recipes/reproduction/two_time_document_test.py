import importlib.util
import json
import re

import numpy as np
import pytest

from tests.recipes.reproduction import two_time_finished as finished
from twotsrec import theory
from twotsrec import types
from twotsrec.recipes.reproduction import results
from twotsrec.recipes.reproduction import theory_report
from twotsrec.recipes.reproduction import two_time
from twotsrec.recipes.reproduction import two_time_claims as claims
from twotsrec.recipes.reproduction import two_time_document
from twotsrec.recipes.reproduction import two_time_results
from twotsrec.recipes.reproduction import two_time_tables
from twotsrec.recipes.reproduction import two_time_theory

RESAMPLES = 200
# Places below 2TS.
WORSE = {
  '2ts': 0, 'ccf': 8, '2ts_plus': -3, 'one_gru': 0, 'two_gru': 5,
  'single_stage': 4,
}  # fmt: skip
PLACE = 'ml-100k, global_time'


def _run(system, seed=0, dataset='ml-100k'):
  return two_time.Run(dataset, 'global_time', seed, system)


@pytest.fixture(scope='module')
def settings(tmp_path_factory):
  """Two seeds of six systems, one of another; the rest is missing."""
  made = finished.settings(tmp_path_factory.mktemp('out'))
  for seed in made.seeds:
    for system, worse in WORSE.items():
      finished.write(made, _run(system, seed), worse)
  finished.write(made, _run('2ts_paper', 1), slower=1.5)
  return made


@pytest.fixture(scope='module')
def result(settings):
  return two_time_results.collect(settings, RESAMPLES)


@pytest.fixture(scope='module')
def text(result):
  figures = {'fig3': 'a.png', 'fig5': 'c.png'}
  return two_time_document.markdown(result, figures)


def _section(text, title):
  """Rows of the first table below a title that starts like this."""
  after = re.split(f'\n##+ {re.escape(title)}', text, maxsplit=1)[1]
  after = re.split('\n##+ ', after)[0]
  rows = [line for line in after.splitlines() if line.startswith('|')]
  cells = [[c.strip() for c in row.strip('|').split(' | ')] for row in rows]
  return [cells[0], *cells[2:]]


def _by_name(text, title):
  return {row[0]: row[1:] for row in _section(text, title)[1:]}


def _claim(result, number, text):
  chapter = result['datasets'][PLACE]['claims']
  [row] = [r for r in chapter if (r['claim'], r['text']) == (number, text)]
  return row['verdict'], row['detail']


# ---- Claims


def test_claims_follow_the_paired_intervals(result):
  verdict = lambda *claim: _claim(result, *claim)[0]
  assert verdict('R1', '2TS above popularity and CCF') == results.HOLDS
  assert verdict('R3', '2TS-Plus above 2TS') == results.HOLDS
  assert verdict('R3', '2TS above 2TS-SingleStage') == results.HOLDS
  assert verdict('R3', '2TS above 2-GRU') == results.HOLDS
  # 1-GRU has the very ranks of 2TS.
  controls = 'above the controls 1-GRU and K-window GRU'
  assert verdict('R1', f'2TS {controls}') == results.OPEN
  assert verdict('R1', f'2TS-Plus {controls}') == results.HOLDS
  _, detail = _claim(result, 'R1', f'2TS {controls}')
  assert 'by +0.0000 (+0.0000 to +0.0000) of MRR' in detail
  assert detail.endswith('not trained: K-window GRU')


def test_single_stage_is_timed_against_all_parts(result):
  """10 s an epoch against 2 / 20 of stage 1 and 8.5 / 4 of two networks."""
  verdict, detail = _claim(
    result, 'R3', '2TS-SingleStage slower per epoch than 2TS'
  )
  assert verdict == results.HOLDS
  assert detail.startswith(f'10.00 s for an epoch against {0.1 + 8.5 / 2:.2f}')


def test_movement_is_judged_with_and_without_hold_out(result):
  move = 'states of inactive users move more, '
  assert _claim(result, 'R7', f'{move}2TS')[0] == results.HOLDS
  verdict, detail = _claim(result, 'R7', f'{move}2TS, no hold-out')
  assert verdict == results.FAILS  # 0.5 against 1
  assert detail.startswith('a test event moves them by 0.5')


def test_the_gain_is_over_the_best_of_the_others(result):
  verdict, detail = _claim(
    result, 'R6', 'gain larger for inactive users, as on ML-25M'
  )
  assert detail.startswith('2TS-Plus over 1-GRU, the best of the others')
  assert verdict in (results.HOLDS, results.FAILS, results.OPEN)


def test_what_is_not_here_is_not_judged(text):
  for number in ('R2', 'R4'):
    assert number in claims.NOT_CHECKABLE
    assert 'not checkable here' in claims.NOT_CHECKABLE[number]
    assert f'- {number}: {claims.NOT_CHECKABLE[number]}.' in text
  assert "The paper's result tables are lost" in text
  assert 'paper MRR' not in text


def test_shops_are_compared_with_the_other_data_of_the_paper(tmp_path):
  made = finished.settings(
    tmp_path, seeds=(0,), datasets=('amazon-beauty-5core', 'ml-100k')
  )
  for dataset in made.datasets:
    for system in ('2ts', 'one_gru'):
      finished.write(made, _run(system, dataset=dataset))
  result = two_time_results.collect(made, RESAMPLES)
  beauty = result['datasets']['amazon-beauty-5core, global_time']
  assert 'gain larger for active users, as on Taobao' in [
    row['text'] for row in beauty['claims']
  ]
  # Without hold-out 2TS is what the paper words.
  assert [r['verdict'] for r in beauty['claims'][-2:]] == [results.HOLDS] * 2
  head, *rows = _section(
    two_time_document.markdown(result), 'Which of the paper'
  )
  assert head[2:] == [*result['datasets']]
  assert all(len(row) == 4 or 'ML-25M' in row[2] for row in rows)


# ---- Tables


def _cell(result, system, rule, metric, row='all', mean='by_event'):
  chapter = result['datasets'][PLACE]
  measured = chapter['systems'].get(system) or chapter['popularity']
  rows = {r['name']: r['all'] for r in measured['report']['rows']}
  cell = rows[row][rule][metric][mean]
  return f'{cell["value"]:.4f} ({cell["low"]:.4f} to {cell["high"]:.4f})'


def test_systems_are_the_rows_of_the_comparison(text, result):
  rows = _by_name(text, 'Comparison: 1 + 30 candidates')
  shown = ['popularity', *two_time.TABLES['comparison']]
  assert list(rows) == [two_time_tables.name(system) for system in shown]
  seeds = result['datasets'][PLACE]['systems']['ccf']['spread']
  low, high = sorted(seeds['all']['all']['expected']['mrr'])
  assert rows['CCF'][0] == (
    _cell(result, 'ccf', 'expected', 'mrr') + f', seeds {low:.4f} to {high:.4f}'
  )
  assert rows['popularity'][2] == _cell(
    result, 'popularity', 'expected_without_past', 'mrr'
  )
  # One seed has no spread.
  one = rows[claims.NAMES['2ts_paper']]
  assert one[1] == _cell(result, '2ts_paper', 'expected', 'recall@10')
  assert rows['K-window GRU'] == ['-'] * 4
  everything = _by_name(text, 'Comparison: all items')
  assert everything['2TS'][0].startswith(_cell(result, '2ts', 'all', 'mrr'))


def test_kinds_and_buckets_have_their_own_tables(text, result):
  kinds = _by_name(text, 'Inactive and active users, with past')
  ours = _cell(result, '2ts', 'expected', 'mrr', 'active')
  assert kinds['2TS'][2].startswith(ours)
  title = 'MRR by train events of the user, mean over users, with past'
  head = _section(text, title)[0]
  names = [cell.split(' (')[0] for cell in head[1:]]
  assert names == ['new', '1-2', '3-4', '>4']
  bucket = _by_name(text, title)['2TS'][1]
  assert _cell(result, '2ts', 'expected', 'mrr', '1-2', 'by_user').startswith(
    bucket
  )
  assert 'mean over events' in text and 'Warm items alone' in text


def test_the_ablation_tells_paired_differences(text, result):
  rows = _by_name(text, 'Ablation')
  assert rows['2TS'][2:6] == [''] * 4
  against = result['datasets'][PLACE]['against']['single_stage']
  row = {r['group']: r for r in against['expected']['mrr']}['inactive']
  assert rows['2TS-SingleStage'][4].startswith(f'{row["difference"]:+.4f} (')
  assert rows['2TS-SingleStage'][-1] == '10.00'
  assert rows['2TS, active users frozen'] == ['-'] * 7


def test_trials_of_stage_1_are_no_part_of_the_cost(text):
  rows = _by_name(text, 'Training')
  assert rows['2TS'][:5] == [
    '20, 20', '2.0', 'inactive 4, 4; active 4, 4', '17.0', '4.35'
  ]  # fmt: skip
  assert rows['2TS-SingleStage'][0] == '-, -'
  assert '5: 0.2500, 20: 0.5000 (chosen: 20)' in text


def test_the_data_are_described(text, result):
  part = result['datasets'][PLACE]['popularity']['report']['rows'][0]['all']
  assert f'{part["events"]:,} test events of {part["users"]:,} users' in text
  assert f'{part["share_cold"]:.1%} of items without one' in text
  assert f'{part["share_new"]:.1%} are of users without a train event' in text
  assert r't\* = 3 divides' in text and 'K = 1, hold-out last_k' in text


def test_seconds_and_missing_runs_are_counted(text, result, settings):
  done = 2 * len(WORSE) + 1
  assert f'{done} runs took {100 * done + len(WORSE) + 1:,} seconds' in text
  assert result['missing'] == len(two_time.runs(settings)) - done
  assert f'{result["missing"]} are missing, their cells are -' in text


def test_each_run_is_a_command(text, settings):
  for system in ('2ts', '2ts_plus', 'window_gru'):
    line = two_time.train_command(settings, _run(system))
    assert f'\n{line}\n' in text
  assert f'```\n{two_time.command(settings)}\n```' in text


# ---- Figures, theory


def test_pictures_stand_where_they_were_drawn(text):
  assert '](a.png)' in text and '](c.png)' in text and 'Fig. 4' not in text
  assert re.search(r'global_time: (alpha = \d\.\d{3}|no power law fits)', text)


def test_the_figures_asked_for_are_drawn(settings, result):
  pytest.importorskip('matplotlib')
  path = two_time_document.write(result, settings.out)
  drawn = sorted(p.name for p in path.parent.glob('*.png'))
  assert drawn == [f'two_time_scale_fig{k}.png' for k in (3, 4, 5)]
  kept = json.loads(path.with_suffix('.json').read_text())
  assert kept['datasets'][PLACE]['systems']['window_gru'] is None


def test_a_figure_alone_needs_no_table(settings):
  made = settings._replace(tables=(), figures=('4',))
  result = two_time_results.collect(made, RESAMPLES)
  text = two_time_document.markdown(result, {'fig4': 'b.png'})
  assert '](b.png)' in text and '### Comparison' not in text
  assert [*result['datasets'][PLACE]['systems']] == ['2ts']


def _simulated() -> theory.Simulation:
  """Risks that cross where errors do, at T = 2."""
  counts = np.arange(1.0, 6.0)
  return theory.Simulation(
    J=np.array([0.5, 0.4, 0.2, 0.3, 0.4]), R_act=0.9 / counts, R_in=0.4,
    e=1.8 / counts, V=0.8, Q_worst=9.0, Q_moment=3.0, Q_tail=2.0, t_star=2,
    gamma=0.1, gammas=np.array([0.1, 0.2]), risk_in=np.array([1.0, 0.5]),
    risk_act=np.array([0.5, 1.0]), longest=1.0, config=theory.Config(),
  )  # fmt: skip


def test_the_theorem_is_simulated_once(tmp_path, monkeypatch):
  asked = []

  def run(spreads, seeds, config):
    asked.append((spreads, seeds, config))
    return [theory_report.Run(0, _simulated(), 1.0)]

  monkeypatch.setattr(theory_report, 'run', run)
  found = two_time_theory.collect(tmp_path / 'out', [5.0], [0])
  assert asked == [([5.0], [0], theory.Config())]
  assert found['runs'] == 1 and len(found['table']) == 2
  drawn = importlib.util.find_spec('matplotlib') is not None
  assert (tmp_path / 'out' / two_time_theory.PICTURE).is_file() == drawn
  assert two_time_theory.collect(tmp_path / 'out', [5.0], [0]) == found
  assert len(asked) == 1
  two_time_theory.collect(tmp_path / 'out', [5.0], [0, 1])
  assert len(asked) == 2
  made = finished.settings(tmp_path, tables=(), figures=('theory',))
  text = two_time_document.markdown(
    two_time_results.collect(made), theory=found
  )
  assert '- 1: active users want smaller steps' in text
  assert ('](two_time_scale_theory.png)' in text) == drawn
  assert 'runs took' not in text


# ---- What is refused


def test_nothing_finished_is_one_line(tmp_path):
  with pytest.raises(types.UserError, match='no run of these settings has fin'):
    two_time_results.collect(finished.settings(tmp_path), RESAMPLES)


def test_runs_on_changed_data_are_not_compared(tmp_path):
  made = finished.settings(tmp_path, seeds=(0,))
  finished.write(made, _run('2ts'))
  finished.write(made, _run('ccf'), digest='e' * 64)
  with pytest.raises(types.UserError, match='dataset_digest differs'):
    two_time_results.collect(made, RESAMPLES)


def test_seeds_may_choose_other_lengths_of_stage_1(tmp_path):
  made = finished.settings(tmp_path, seeds=(0, 1))
  finished.write(made, _run('2ts'))
  path = finished.write(made, _run('2ts', seed=1)) / 'report.json'
  report = json.loads(path.read_text())
  report['two_time']['stage1_epochs'] = 5
  path.write_text(json.dumps(report))
  text = two_time_document.markdown(two_time_results.collect(made, RESAMPLES))
  row = _by_name(text, 'Training')['2TS']
  assert row[0] == '20, 5' and row[2] == 'inactive 4, 7; active 4, 4'


def test_a_damaged_report_is_named(tmp_path):
  made = finished.settings(tmp_path, seeds=(0,))
  path = finished.write(made, _run('2ts')) / 'report.json'
  report = json.loads(path.read_text())
  del report['two_time']['stage1_seconds']
  path.write_text(json.dumps(report))
  with pytest.raises(types.UserError, match='is damaged or of another version'):
    two_time_results.collect(made, RESAMPLES)
