import csv
import json

import pytest

from tests import finished
from tests import small_runs as runs
from tests.launch import scripts


def test_runs_are_evaluated_side_by_side(capsys):
  report = runs.untimed_report(finished.run())
  ended = scripts.run(
    capsys,
    'evaluate',
    f'--workdir={finished.run()}',
    '--names=+GA',
    '--split=validation',
    '--quiet',
  )
  assert ended.code == 0
  lines = ended.out.splitlines()
  assert lines[0].split() == ['auc', 'user_auc', 'hr@10', 'ndcg@10']
  assert lines[1].split()[3:6] == ['popularity', 'item_knn', '+GA']
  overall = report['validation']['overall']
  assert lines[-1].startswith(
    'validation, all candidates, ties: mean over their places'
  )
  [overall_line] = [line for line in lines if line.split()[:1] == ['all']]
  assert overall_line.split()[4] == f'{overall["auc"]["value"]:.4f}'


@pytest.fixture(scope='module')
def written(tmp_path_factory):
  """Suffix -> (what the command printed, the file it wrote)."""
  folder = tmp_path_factory.mktemp('written')

  def evaluate(capsys, suffix):
    path = folder / f'table{suffix}'
    flags = [f'--workdir={finished.run()}', '--names=mine', '--metrics=hr@10']
    ended = scripts.run(capsys, 'evaluate', *flags, f'--out={path}', '--quiet')
    assert ended.code == 0
    return ended.out.splitlines(), path.read_text(encoding='utf-8')

  return evaluate


def test_the_table_is_written_as_it_is_shown(capsys, written):
  shown, text = written(capsys, '.md')
  head, rule, *rows = [line for line in text.splitlines() if '|' in line]
  cells = lambda line: [cell.strip() for cell in line.strip('|').split('|')]
  systems = shown[1].split()[3:]
  assert cells(head)[3:] == [f'hr@10 {system}' for system in systems]
  assert len(cells(rule)) == len(cells(head))
  for row, line in zip(rows, shown[2:]):
    assert cells(row)[-len(systems) :] == line.split()[-len(systems) :]


def test_numbers_are_those_of_the_report(capsys, written):
  report = runs.untimed_report(finished.run())
  _, text = written(capsys, '.csv')
  rows = [row for row in csv.DictReader(text.splitlines())]
  groups = [row for row in rows if row['system'] == 'mine'][:-1]
  for row, group in zip(groups, report['test']['groups'], strict=True):
    assert row['of'] == f'group {group["group"]}'
    assert int(row['users']) == group['users']
    for column in ('value', 'low', 'high'):
      assert float(row[column]) == group['hr@10'][column]
  _, text = written(capsys, '.json')
  assert json.loads(text)['systems']['mine'] == report['test']


def test_wrong_input_is_two_lines(capsys, tmp_path):
  for flags, message in (
    ([], '--workdir is missing'),
    ([f'--workdir={tmp_path}'], 'not a run directory'),
    ([f'--workdir={finished.run()}', '--metrics=hr@7'], 'known: auc'),
    ([f'--workdir={finished.run()}', '--split=train'], 'split'),
    ([f'--workdir={finished.run()}', '--out=x.txt'], 'must end in .json'),
    (
      [f'--workdir={finished.run()}', '--routing=magic'],
      'frozen|dynamic|soft',
    ),
    ([f'--workdir={finished.run()}', '--routing=soft'], 'no model here has'),
  ):
    ended = scripts.run(capsys, 'evaluate', '--quiet', *flags)
    scripts.assert_refused(ended, message, lines=2)
