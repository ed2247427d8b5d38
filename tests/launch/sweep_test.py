import json

import pytest

from tests import small_runs as runs
from tests.launch import scripts
from twotsrec.runs import sweep
from twotsrec.runs import sweep_result

# ml_collections reads config files with a function that Python deprecates.
pytestmark = [
  pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning'),
  pytest.mark.usefixtures('undone'),
]
CONFIG = """from twotsrec import config


def get_config(model='ease'):
  made = config.Config()
  made.model.name, made.data.users, made.groups.num_groups = model, 25, 3
  made.evaluation.bootstrap = 20
  return made


def get_space():
  return {'closed_form.l2': '1..500:log', 'evaluation.seed': '0,1'}
"""


@pytest.fixture
def config(tmp_path):
  path = tmp_path / 'small.py'
  path.write_text(CONFIG, encoding='utf-8')
  return path


def test_what_stands_beside_the_configuration_is_tried(
  config, capsys, tmp_path
):
  flags = [f'--config={config}:ease', f'--workdir={tmp_path / "sweep"}']
  flags += ['--vary=evaluation.seed=0', '--trials=2', '--quiet']
  ended = scripts.run(capsys, 'sweep', *flags)
  assert ended.code == 0 and ended.err == ''
  result = json.loads((tmp_path / 'sweep/sweep.json').read_text('utf-8'))
  assert ended.out == sweep_result.format(result, f'{tmp_path}/sweep') + '\n'
  tried = [one['settings'] for one in result['trials']]
  assert tried[0] == {'closed_form.l2': 500.0, 'evaluation.seed': 0}
  assert 1 <= tried[1]['closed_form.l2'] <= 500
  best = f'--config={tmp_path}/sweep/best.py'
  ended = scripts.run(
    capsys, 'train', best, f'--workdir={tmp_path / "best"}', '--quiet'
  )
  assert ended.code == 0, ended.err
  for name in ('report.json', 'config.json'):
    made = json.loads((tmp_path / 'best' / name).read_text('utf-8'))
    there = result['trials'][result['best'][0]]['workdir']
    same = json.loads((tmp_path / there / name).read_text('utf-8'))
    for report in (made, same):
      report.pop('training', None)
    assert made == same


def test_flags_are_handed_on_and_a_stop_is_told(
  config, capsys, monkeypatch, tmp_path
):
  seen = []

  def train(task, workdir, stop, quiet):
    seen.append((task, workdir, quiet))

  monkeypatch.setattr(sweep, 'train', train)
  ended = scripts.run(
    capsys,
    'sweep',
    f'--config={config}',
    f'--workdir={tmp_path}',
    '--objective=both',
    '--metric=hr@5',
    '--seed=3',
    '--noprune',
    '--trials=7',
  )
  assert ended.code == 143 and 'the same command resumes' in ended.out
  ((task, workdir, quiet),) = seen
  assert workdir == str(tmp_path) and not quiet
  assert list(task.space) == ['closed_form.l2', 'evaluation.seed']
  assert task[2:] == (7, 'both', 'hr@5', 3, False)


def test_objectives_are_those_that_there_are(config, capsys):
  ended = scripts.run(capsys, 'sweep', f'--config={config}', '--objective=x')
  assert ended.code == 2
  assert '|'.join(sweep.OBJECTIVES) in ended.err


def test_wrong_input_is_one_line(config, capsys, tmp_path):
  for flags, message in (
    ([], '--config is missing'),
    ([f'--config={config}'], '--workdir is missing'),
    ([f'--config={config}', '--vary=model.width=x'], '--workdir'),
  ):
    ended = scripts.run(capsys, 'sweep', *flags)
    assert ended.code == 2 and message in ended.err
    assert len(ended.err.splitlines()) == 1
  ended = scripts.run(
    capsys,
    'sweep',
    f'--config={config}',
    f'--workdir={tmp_path / "x"}',
    '--vary=model.widht=1,2',
    *runs.flags()[:1],
  )
  assert ended.code == 2 and 'known: ' in ended.err
  assert not (tmp_path / 'x').exists()
