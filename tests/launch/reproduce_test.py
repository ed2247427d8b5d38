import pytest

from tests.launch import reproducing
from tests.launch import scripts
from tests.studies import directories
from tests.studies import finished
from tests.studies import papers
from twotsrec.runs import run as run_lib
from twotsrec.studies import plans

# ml_collections reads config files with a function that Python deprecates.
pytestmark = [
  pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning'),
  pytest.mark.usefixtures('undone'),
]


PIN = papers.module('pin')


def _reproduce(capsys, *flags):
  return scripts.run(capsys, 'reproduce/pin', '--quiet', *flags)


def test_the_document_of_finished_runs_is_written(capsys, tmp_path, trained):
  plan = finished.plan('pin', tmp_path, models=('din',), seeds=(0,))
  finished.write_pin(plan, finished.run('ml-1m', 'din', 'base'))
  flags = ['--table=2,3', '--seeds=0', '--epochs=2', '--stage2_epochs=1']
  flags += [f'--out={tmp_path}', '--report_only']
  ended = _reproduce(capsys, *flags)
  path = tmp_path / 'pin.md'
  assert ended == (0, f'written to {path}\n', '') and not trained
  assert f'--out={tmp_path}' in path.read_text()
  assert (tmp_path / 'pin.json').is_file()


@pytest.mark.parametrize('dataset', PIN.FILES)
@pytest.mark.parametrize('model', PIN.MODELS)
def test_runs_are_those_of_the_training_script(
  capsys, tmp_path, trained, dataset, model
):
  """Field by field, for every system."""
  flags = ['--table=2,4,tau', f'--models={model}', f'--datasets={dataset}']
  flags += ['--seeds=3', '--epochs=5', '--data_root=there', '--cache_dir=here']
  ended = _reproduce(capsys, *flags, f'--out={tmp_path}')
  assert ended.code == 2 and 'no run of these settings' in ended.err
  assert len(ended.out.splitlines()) == len(trained)
  plan = finished.plan(
    'pin', tmp_path, {'data_root': 'there', 'cache_dir': 'here'},
    table=('2', '4', 'tau'), models=(model,), datasets=(dataset,), seeds=(3,),
    epochs=5, stage2_epochs=4,
  )  # fmt: skip
  runs = [run for run in plans.runs(plan) if run.place[1] == model]
  assert len(runs) == (11 if model == 'din' else 5)
  reproducing.assert_as_trained_alone(capsys, trained, plan, runs)


def test_runs_on_a_directory_are_those_of_the_training_script(
  capsys, tmp_path, trained
):
  own = directories.make(tmp_path / 'mine', 0)
  flags = ['--table=2,4', '--models=sasrec', f'--prepared={own}', '--seeds=3']
  ended = _reproduce(capsys, *flags, '--epochs=5', f'--out={tmp_path}')
  assert 'no run of these settings' in ended.err
  plan = finished.plan(
    'pin', tmp_path, prepared=(own,), table=('2', '4'), models=('sasrec',),
    seeds=(3,), epochs=5, stage2_epochs=4,
  )  # fmt: skip
  runs = plans.runs(plan)
  assert len(runs) == len(trained) == 10 + 5
  reproducing.assert_as_trained_alone(capsys, trained, plan, runs)


def test_a_stop_is_told_and_has_its_code(
  capsys, tmp_path, trained, monkeypatch
):
  whole = run_lib.train

  def stopped_in_stage_two(config, *arguments):
    return whole(config, *arguments) if config.plugin.name == 'none' else None

  monkeypatch.setattr(run_lib, 'train', stopped_in_stage_two)
  flags = ['--table=fig4', '--seeds=0', '--data_root=there']
  ended = _reproduce(capsys, *flags, f'--out={tmp_path}')
  assert ended.code == 143 and ended.err == ''
  assert len(trained) == 1
  assert 'the same command resumes' in ended.out
  assert not (tmp_path / 'pin.md').exists()


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--table=7'], "--table: unknown '7'; known: 1, 2, 3, 4, fig4, tau"),
    (['--datasets=ml-3m'], "--datasets: unknown 'ml-3m'; known: ml-1m"),
    (['--models=dim'], "--models: unknown 'dim'; known: din"),
    (['--seeds=a'], "--seeds: 'a' is not a whole number"),
    (['--seeds=0.5'], "--seeds: '0.5' is not a whole number"),
    (['--seeds='], '--seeds is empty'),
    (['--epochs=0'], '--epochs'),
    (['--epochs=many'], '--epochs'),
    (['--stage2_epochs=0'], '--stage2_epochs'),
    (['--out='], '--out is missing'),
    ([], '--data_root is missing'),
    (['--data_root=DIR'], 'no file DIR/ml-1m'),
    (['--report_only'], 'no run of these settings has finished in DIR'),
    (['--report_only', 'stray'], "unexpected argument 'stray'"),
    (['--tables=2'], "Unknown command line flag 'tables'"),
  ],
  ids=str,
)
def test_a_wrong_command_is_one_line_and_leaves_nothing(
  capsys, tmp_path, flags, message
):
  fill = lambda text: text.replace('DIR', str(tmp_path))
  ended = _reproduce(capsys, f'--out={tmp_path}', *map(fill, flags))
  scripts.assert_refused(ended, fill(message))
  assert not list(tmp_path.iterdir())
