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


def test_wrong_input_is_two_lines(capsys, tmp_path):
  for flags, message in (
    ([], '--workdir is missing'),
    ([f'--workdir={tmp_path}'], 'not a run directory'),
    ([f'--workdir={finished.run()}', '--metrics=hr@7'], 'known: auc'),
    ([f'--workdir={finished.run()}', '--split=train'], 'split'),
    (
      [f'--workdir={finished.run()}', '--routing=magic'],
      'frozen|dynamic|soft',
    ),
    ([f'--workdir={finished.run()}', '--routing=soft'], 'no model here has'),
  ):
    ended = scripts.run(capsys, 'evaluate', '--quiet', *flags)
    assert ended.code == 2 and ended.out == ''
    assert message in ended.err
    assert len(ended.err.splitlines()) <= 2
