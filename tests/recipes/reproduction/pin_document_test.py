import importlib.util
import json
import re

import pytest

from tests.recipes.reproduction import finished
from twotsrec import types
from twotsrec.recipes.reproduction import pin
from twotsrec.recipes.reproduction import pin_document
from twotsrec.recipes.reproduction import pin_numbers
from twotsrec.recipes.reproduction import pin_results

RESAMPLES = 200
SHIFTS = {'base': 0.0, 'ga': -0.05, 'ga_pn': 0.05, 'base_long': 0.1}


def _write(made, model, system, seed, **named):
  run = pin.Run(made.datasets[0], model, seed, system)
  return finished.write(made, run, SHIFTS.get(system, 0.02), **named)


@pytest.fixture(scope='module')
def settings(tmp_path_factory):
  """DIN with two seeds, GRU4Rec's base with one; the rest is missing."""
  made = finished.settings(tmp_path_factory.mktemp('out'))
  for seed in made.seeds:
    for system in ('base', 'ga', 'pcgrad', 'ga_tau_minus1'):
      _write(made, 'din', system, seed)
  _write(made, 'din', 'ga_pn', 0, curve=[(0.5, 0.3, 0.2), (0.6, 0.4, 0.1)])
  _write(made, 'din', 'ga_pn', 1, curve=[(0.7, 0.3, 0.2)])
  _write(made, 'din', 'base_long', 1)
  _write(made, 'gru4rec', 'base', 0)
  return made


@pytest.fixture(scope='module')
def result(settings):
  return pin_results.collect(settings, RESAMPLES)


@pytest.fixture(scope='module')
def text(result):
  return pin_document.markdown(result, 'pin_fig4.png')


def _section(text, title):
  """Rows of the first table below a title that starts like this."""
  after = text.split(f'\n### {title}', 1)[1].split('\n### ')[0]
  rows = [line for line in after.splitlines() if line.startswith('|')]
  cells = [[cell.strip() for cell in row.strip('|').split('|')] for row in rows]
  return [cells[0], *cells[2:]]


def _cell(result, system, place, metric='auc', model='din'):
  of_model = result['datasets']['ml-1m']['models'][model]
  cell = of_model['systems'][system]['cells'][metric][place]
  return f'{cell["value"]:.4f} ({cell["low"]:.4f} to {cell["high"]:.4f})'


# ---- The paper's numbers


def test_the_table_of_methods_is_the_ablation_of_din():
  """Table 2's base and "Ours" are printed again in Table 4."""
  assert set(pin_numbers.BY_GROUP) == set(pin.MODELS)
  for systems in pin_numbers.BY_GROUP.values():
    assert {'base', 'ga', 'ga_pn'} <= set(systems) <= set(pin.SYSTEMS)
    for values in systems.values():
      assert len(values) == 5 and all(0.8 < value < 1 for value in values)
  assert set(pin_numbers.BY_USER) <= set(pin_numbers.BY_GROUP['din'])


def test_gains_are_those_the_paper_tells():
  """PIN sec. 4.2."""
  din = pin_numbers.BY_GROUP['din']
  gain = lambda a, b, group: round(din[a][group - 1] - din[b][group - 1], 4)
  assert gain('grad_transfer', 'base', 1) == 0.0181
  assert gain('grad_transfer', 'base', 5) == -0.0011
  assert gain('ga', 'base', 1) == 0.0122
  assert gain('ga', 'base', 5) == -0.0132
  assert gain('ga_pn', 'ga', 1) == 0.0050
  assert gain('ga_pn', 'ga', 5) == 0.0278
  assert gain('ga_pn', 'grad_transfer', 2) == 0.0091


# ---- What stands where


def test_the_command_comes_first(text, settings):
  assert text.startswith('# PIN, reproduced\n')
  assert f'```\n{pin.command(settings)}\n```' in text


def test_seconds_are_summed(text, result):
  done = 2 * 5 + 1 + 1
  assert f'{done} runs took {done * 100:,} seconds' in text
  missing = len(pin.SYSTEMS) * 2 + 2 * 5 * 2 - done
  assert result['missing'] == missing
  assert f'{missing} are missing, their cells are -' in text
  head, *rows = _section(text, 'Runs')
  assert len(rows) == done + missing
  assert ['DIN', 'ga_pn', '0', '2', '1', '100', '10'] in rows
  assert ['DIN', 'agr_rand', '0', '-', '-', '-', '-'] in rows


def test_group_values_stand_below_those_of_the_paper(text, result):
  head, popularity, *rows = _section(text, 'Table 2')
  assert head == ['system', 'from', 'seeds', 'group 1', 'group 2', 'group 3']
  assert popularity[:2] == ['popularity', 'ours']
  by_name = {tuple(row[:2]): row[2:] for row in rows}
  assert by_name['DIN', 'paper'][:3] == ['', '0.8262', '0.9026']
  ours = [_cell(result, 'base', place) for place in range(3)]
  assert by_name['DIN', 'ours'] == ['2', *ours]
  assert by_name['DIN +GA+PN', 'paper'][1] == '0.8434'
  assert by_name['PCGrad', 'ours'][0] == '2'
  assert by_name['Agr-Rand', 'ours'] == ['-'] * 4
  assert [row[0] for row in rows[::2]] == [
    'DIN', 'Agr-Rand', 'Grad-Transfer', 'PCGrad', 'DIN +GA+PN'
  ]  # fmt: skip
  assert 'lowest in group' in text and 'group 1 in the paper' in text


def test_user_values_stand_beside_those_of_the_paper(text, result):
  head, popularity, *rows = _section(text, 'Table 3')
  assert head == ['system', 'paper', 'ours', 'seeds']
  assert popularity[0] == 'popularity' and popularity[1] == ''
  by_name = {name: row for name, *row in rows}
  everybody = _cell(result, 'ga_pn', -1, 'user_auc')
  assert by_name['DIN +GA+PN'] == ['0.9052', everybody, '2']
  assert by_name['Grad-Transfer'] == ['0.8958', '-', '-']


def test_the_ablation_has_every_model(text, result):
  _, _, *rows = _section(text, 'Table 4')
  by_name = {tuple(row[:2]): row[2:] for row in rows}
  one = [_cell(result, 'base', place, model='gru4rec') for place in range(3)]
  assert by_name['GRU4Rec', 'ours'] == ['1', *one]
  assert by_name['SASRec +GA', 'ours'] == ['-'] * 4
  assert by_name['DIN, trained as long', 'ours'][0] == '1'
  assert len(by_name) == len(rows) == 3 * (2 * 3 + 2)


def test_the_curve_starts_from_the_trunk(text):
  head, *rows = _section(text, 'Fig. 4')
  assert head[:2] == ['epoch', 'seeds']
  assert [row[0] for row in rows] == ['0, the trunk', '1', '2']
  assert rows[0][2] == '0.2500 (0.2500 to 0.2500)'
  assert rows[1][2] == '0.6000 (0.5000 to 0.7000)'
  assert rows[2][1:3] == ['1', '0.6000']  # the other seed stopped before
  assert '![Hit@1 by epoch and group](pin_fig4.png)' in text
  error = (0.25 * 0.75 / 20) ** 0.5
  assert f'{error:.4f} to {error:.4f} by group' in text


def test_base_stands_for_the_prior_of_the_data(text, result):
  head, *rows = _section(text, 'The prior')
  assert [row[0] for row in rows] == ['1, joint', '0, +GA', '-1']
  assert rows[0][2] == _cell(result, 'base', 0)
  assert rows[2][-1] == _cell(result, 'ga_tau_minus1', -1, 'user_auc')
  assert 'so it is not trained again' in text


def test_claims_are_judged_by_their_intervals(text, result):
  """Shifts of the AUC: +GA -.05, +GA+PN +.05, base trained as long +.1."""
  head, *rows = _section(text, 'What holds')
  verdicts = {(row[0], row[1]): row[2] for row in rows}
  assert len(verdicts) == len(rows) == 3 * len(pin_results.CLAIMS)
  din = {claim: v for (model, claim), v in verdicts.items() if model == 'DIN'}
  assert din == {
    '+GA+PN above base in every group, AUC': 'holds',
    'gain in the tail (group 1), AUC': 'holds',
    'head (last group) not hurt, AUC': 'holds',
    '+GA+PN above base by user, user AUC': 'holds',
    '+GA alone gains in the tail, AUC': 'does not hold',
    "plugins and stage 2's epochs add to +GA in every group, AUC": 'holds',
    'plugins add to a +GA trained as long, in every group, AUC': '-',
    '+GA+PN above a base trained as long, in every group, AUC': 'does not hold',
    '+GA+PN above a base trained as long, by user, user AUC': 'does not hold',
  }
  others = {v for (model, _), v in verdicts.items() if model != 'DIN'}
  assert others == {'-'}
  first = rows[0]
  assert first[3] == '2 of 2' and first[-1] == ''
  assert re.fullmatch(r'\+0\.\d{4} \(\+0\.\d{4} to \+0\.\d{4}\)', first[4])
  by_user = next(row for row in rows if 'base by user' in row[1])
  assert by_user[4:-1] == [''] * 3 and by_user[-1].startswith('+0.0')
  compared = result['datasets']['ml-1m']['models']['din']['comparisons']
  row = compared[0]['comparisons']['ga_pn']['auc'][0]
  shown = f'{row["difference"]:+.4f} ({row["low"]:+.4f} to {row["high"]:+.4f})'
  assert first[4] == shown


def test_systems_are_paired_with_the_base_and_each_other(text):
  titles = re.findall(r'^\*\*(.+)\*\*$', text, re.MULTILINE)
  assert titles == [
    'DIN +GA against DIN',
    'DIN +GA+PN against DIN',
    'PCGrad against DIN',
    'DIN +GA, tau = -1 against DIN',
    'DIN, trained as long against DIN',
    'DIN +GA+PN against DIN +GA',
    'DIN +GA, tau = -1 against DIN +GA',
    'DIN +GA+PN against DIN, trained as long',
  ]
  assert text.count('seeds: 0, 1') == 2 and text.count('seeds: 1') == 2


def test_each_run_is_a_command(text, settings):
  run = pin.Run('ml-1m', 'din', 0, 'ga_pn')
  assert f'\n{pin.train_command(settings, run)}\n' in text


# ---- Other choices


def test_other_data_stand_without_the_papers_numbers(tmp_path):
  made = finished.settings(
    tmp_path, datasets=('amazon-beauty-5core', 'ml-1m'), models=('din',)
  )
  _write(made, 'din', 'base', 0)
  result = pin_results.collect(made, RESAMPLES)
  text = pin_document.markdown(result)
  assert 'its Amazon is Amazon Books' in text
  assert '0.8262' not in text and '0.8909' not in text
  assert '| paper' not in text
  assert text.endswith('## ml-1m\n\nNo run has finished.\n')
  assert result['missing'] == 2 * len(pin.SYSTEMS) * 2 - 1


def test_only_the_tables_asked_for_are_written(tmp_path):
  made = finished.settings(tmp_path, tables=('3',), models=('sasrec',))
  _write(made, 'din', 'base', 0)
  text = pin_document.markdown(pin_results.collect(made, RESAMPLES))
  titles = re.findall('^### (.*)$', text, re.MULTILINE)
  assert titles == [
    'What holds', 'Table 3: mean AUC of the users, DIN', 'Runs'
  ]  # fmt: skip


def test_the_files_are_written(settings, result):
  path = pin_document.write(result, settings.out)
  picture = path.parent / 'pin_fig4.png'
  drawn = importlib.util.find_spec('matplotlib') is not None
  assert picture.is_file() == drawn
  if drawn:
    assert picture.read_bytes().startswith(b'\x89PNG')
  named = 'pin_fig4.png' if drawn else ''
  assert path.read_text() == pin_document.markdown(result, named)
  numbers = json.loads((path.parent / 'pin.json').read_text())
  assert numbers == json.loads(json.dumps(result))


def test_nothing_finished_is_told(tmp_path):
  with pytest.raises(types.UserError, match='no run of these settings'):
    pin_results.collect(finished.settings(tmp_path), RESAMPLES)


@pytest.mark.parametrize('name', ['test', 'baselines', 'training', 'dataset'])
def test_a_damaged_report_is_named(tmp_path, name):
  made = finished.settings(tmp_path)
  path = _write(made, 'din', 'base', 0) / 'report.json'
  report = json.loads(path.read_text())
  del report[name]
  path.write_text(json.dumps(report))
  with pytest.raises(types.UserError, match='report.json is damaged or of'):
    pin_results.collect(made, RESAMPLES)
