import re

import pytest

from tests.studies import finished
from tests.studies import papers
from tests.studies import written
from twotsrec.studies import document

PIN = papers.module('pin')


@pytest.fixture(scope='module')
def page():
  return written.of('pin').page


@pytest.fixture(scope='module')
def text():
  return written.of('pin').text


def _cell(page, system, place, metric='auc', model='din'):
  block = page.chapters['ml-1m'].blocks[model]
  place = 'all' if place < 0 else f'group {place + 1}'
  cell = block.systems[system].cells[metric, place]
  return f'{cell.value:.4f} ({cell.low:.4f} to {cell.high:.4f})'


# ---- The paper's numbers


def test_the_table_of_methods_is_the_ablation_of_din():
  """Table 2's base and "Ours" are printed again in Table 4."""
  assert set(PIN.BY_GROUP) == set(PIN.MODELS)
  for systems in PIN.BY_GROUP.values():
    assert {'base', 'ga', 'ga_pn'} <= set(systems) <= set(PIN.SYSTEMS)
    for values in systems.values():
      assert len(values) == 5 and all(0.8 < value < 1 for value in values)
  assert set(PIN.BY_USER) <= set(PIN.BY_GROUP['din'])


def test_gains_are_those_the_paper_tells():
  """PIN sec. 4.2."""
  din = PIN.BY_GROUP['din']
  gain = lambda a, b, group: round(din[a][group - 1] - din[b][group - 1], 4)
  assert gain('grad_transfer', 'base', 1) == 0.0181
  assert gain('grad_transfer', 'base', 5) == -0.0011
  assert gain('ga', 'base', 1) == 0.0122
  assert gain('ga', 'base', 5) == -0.0132
  assert gain('ga_pn', 'ga', 1) == 0.0050
  assert gain('ga_pn', 'ga', 5) == 0.0278
  assert gain('ga_pn', 'grad_transfer', 2) == 0.0091


# ---- What stands where


def test_group_values_stand_below_those_of_the_paper(text, page):
  head, popularity, *rows = written.section(text, 'Table 2')
  assert head == ['system', 'from', 'seeds', 'group 1', 'group 2', 'group 3']
  assert popularity[:2] == ['popularity', 'ours']
  by_name = {tuple(row[:2]): row[2:] for row in rows}
  assert by_name['DIN', 'paper'][:3] == ['', '0.8262', '0.9026']
  ours = [_cell(page, 'base', place) for place in range(3)]
  assert by_name['DIN', 'ours'] == ['2', *ours]
  assert by_name['DIN +GA+PN', 'paper'][1] == '0.8434'
  assert by_name['PCGrad', 'ours'][0] == '2'
  assert by_name['Agr-Rand', 'ours'] == ['-'] * 4
  *printed, separate, balanced = rows
  assert [row[0] for row in printed[::2]] == [
    'DIN', 'Agr-Rand', 'Grad-Transfer', 'PCGrad', 'DIN +GA+PN'
  ]  # fmt: skip
  assert separate[:2] == ['DIN, a model per group', 'ours']
  assert balanced[:2] == ['DIN, balanced batches', 'ours']
  assert 'lowest in group' in text and 'group 1 in the paper' in text


def test_user_values_stand_beside_those_of_the_paper(text, page):
  head, popularity, *rows = written.section(text, 'Table 3')
  assert head == ['system', 'paper', 'ours', 'seeds']
  assert popularity[0] == 'popularity' and popularity[1] == ''
  by_name = {name: row for name, *row in rows}
  everybody = _cell(page, 'ga_pn', -1, 'user_auc')
  assert by_name['DIN +GA+PN'] == ['0.9052', everybody, '2']
  assert by_name['Grad-Transfer'] == ['0.8958', '-', '-']


def test_the_ablation_has_every_model(text, page):
  _, _, *rows = written.section(text, 'Table 4')
  by_name = {tuple(row[:2]): row[2:] for row in rows}
  one = [_cell(page, 'base', place, model='gru4rec') for place in range(3)]
  assert by_name['GRU4Rec', 'ours'] == ['1', *one]
  assert by_name['SASRec +GA', 'ours'] == ['-'] * 4
  assert by_name['DIN, trained as long', 'ours'][0] == '1'
  assert len(by_name) == len(rows) == 3 * (2 * 3 + 2)


def test_the_curve_starts_from_the_trunk(text):
  head, *rows = written.section(text, 'Fig. 4')
  assert head[:2] == ['epoch', 'seeds']
  assert [row[0] for row in rows] == ['0, the trunk', '1', '2']
  assert rows[0][2] == '0.2500 (0.2500 to 0.2500)'
  assert rows[1][2] == '0.6000 (0.5000 to 0.7000)'
  assert rows[2][1:3] == ['1', '0.6000']  # the other seed stopped before
  assert '![Hit@1 by epoch and group](pin_fig4.png)' in text
  error = (0.25 * 0.75 / 20) ** 0.5
  assert f'{error:.4f} to {error:.4f} by group' in text


def test_base_stands_for_the_prior_of_the_data(text, page):
  head, *rows = written.section(text, 'The prior')
  assert [row[0] for row in rows] == ['1, joint', '0, +GA', '-1']
  assert rows[0][2] == _cell(page, 'base', 0)
  assert rows[2][-1] == _cell(page, 'ga_tau_minus1', -1, 'user_auc')
  assert 'so it is not trained again' in text


def test_claims_are_judged_by_their_intervals(text, page):
  """Shifts of the AUC: +GA -.05, +GA+PN +.05, base trained as long +.1."""
  head, *rows = written.section(text, 'What holds')
  verdicts = {(row[0], row[1]): row[2] for row in rows}
  assert len(verdicts) == len(rows) == 3 * len(PIN.CLAIMS)
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
  plugged = page.chapters['ml-1m'].blocks['din'].systems['ga_pn']
  row = plugged.against['base']['auc', 'group 1']
  shown = f'{row.difference:+.4f} ({row.low:+.4f} to {row.high:+.4f})'
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


# ---- Other choices


def test_other_data_stand_without_the_papers_numbers(tmp_path):
  plan = finished.plan(
    'pin', tmp_path, datasets=('amazon-beauty-5core', 'ml-1m'), models=('din',)
  )
  written.write_pin(plan, 'din', 'base')
  page = document.collect(plan, written.RESAMPLES)
  text = document.markdown(page)
  assert 'its Amazon is Amazon Books' in text
  assert '0.8262' not in text and '0.8909' not in text
  _, own = text.split('\n## amazon-beauty-5core\n')
  assert '| paper' not in own  # which the data of Table 1 have
  assert text.endswith('## ml-1m\n\nNo run has finished.\n')
  assert document.missing(page) == 2 * len(PIN.SYSTEMS) * 2 - 1


def test_only_the_tables_asked_for_are_written(tmp_path):
  plan = finished.plan('pin', tmp_path, table=('3',), models=('sasrec',))
  written.write_pin(plan, 'din', 'base')
  text = document.markdown(document.collect(plan, written.RESAMPLES))
  titles = re.findall('^### (.*)$', text, re.MULTILINE)
  assert titles == [
    'What holds', 'Table 3: mean AUC of the users, DIN', 'Runs'
  ]  # fmt: skip
