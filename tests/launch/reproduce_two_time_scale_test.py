import pytest

from tests.launch import reproducing
from tests.launch import scripts
from tests.studies import finished
from tests.studies import online_finished
from tests.studies import papers
from tests.studies import theory_test
from twotsrec.presets import two_time as presets
from twotsrec.runs import run as run_lib
from twotsrec.studies import online
from twotsrec.studies import plans
from twotsrec.studies import theory

# ml_collections reads config files with a function that Python deprecates.
pytestmark = [
  pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning'),
  pytest.mark.usefixtures('undone'),
]


TWO_TIME = papers.module('two_time_scale')


@pytest.fixture(autouse=True)
def quick(monkeypatch):
  monkeypatch.setattr(online, 'RESAMPLES', 200)


def _reproduce(capsys, *flags):
  return scripts.run(capsys, 'reproduce/two_time_scale', '--quiet', *flags)


def test_the_document_of_finished_runs_is_written(capsys, tmp_path, trained):
  plan = online_finished.plan(tmp_path, seeds=(0,), changes={})
  online_finished.write(plan, finished.run('ml-100k', 'global_time', '2ts'))
  flags = ['--table=comparison', '--seeds=0', f'--out={tmp_path}']
  ended = _reproduce(capsys, *flags, '--report_only')
  path = tmp_path / 'two_time_scale.md'
  assert ended == (0, f'written to {path}\n', '') and not trained
  assert f'--out={tmp_path}' in path.read_text()
  assert (tmp_path / 'two_time_scale.json').is_file()


def test_the_theorem_needs_neither_data_nor_runs(
  capsys, tmp_path, trained, monkeypatch
):
  world = theory_test.simulated()
  simulate = lambda *arguments: [theory.Run(0, world, 1.0)]
  monkeypatch.setattr(theory, 'simulate', simulate)
  ended = _reproduce(capsys, '--figure=theory', f'--out={tmp_path}')
  assert ended.code == 0 and ended.err == '' and not trained
  assert 'Theorem 2.1' in (tmp_path / 'two_time_scale.md').read_text()


@pytest.mark.parametrize('dataset', TWO_TIME.FILES)
def test_runs_are_those_of_the_training_script(
  capsys, tmp_path, trained, dataset
):
  """Field by field, of every system on one dataset, of some elsewhere."""
  systems = TWO_TIME.SYSTEMS
  if dataset != 'ml-100k':
    systems = ('2ts', 'ccf', '2ts_plus', 'single_stage')
  plan = online_finished.plan(
    tmp_path,
    {'data_root': 'there', 'cache_dir': 'here'},
    table=('ablation',),
    figure=(),
    datasets=(dataset,),
    splits=presets.SPLITS,
    systems=systems,
    seeds=(3,),
    changes={},
  )
  references = [
    finished.run(dataset, split, '2ts', seed=3) for split in presets.SPLITS
  ]
  for run in references:
    online_finished.write(plan, run)
  flags = [f'--datasets={dataset}', f'--splits={",".join(presets.SPLITS)}']
  flags += [f'--systems={",".join(systems)}', '--seeds=3', '--table=ablation']
  flags += ['--data_root=there', '--cache_dir=here', f'--out={tmp_path}']
  ended = _reproduce(capsys, *flags)
  assert ended.code == 0, ended.err
  assert len(ended.out.splitlines()) == len(trained) + 1
  runs = [run for run in plans.runs(plan) if run not in references]
  assert len(runs) == len(trained)
  reproducing.assert_as_trained_alone(capsys, trained, plan, runs)


def test_a_stop_is_told_and_has_its_code(
  capsys, tmp_path, trained, monkeypatch
):
  monkeypatch.setattr(run_lib, 'train', lambda *arguments: None)
  flags = ['--figure=4', '--data_root=there', f'--out={tmp_path}']
  ended = _reproduce(capsys, *flags)
  assert ended.code == 143 and ended.err == ''
  assert 'the same command resumes' in ended.out
  assert not (tmp_path / 'two_time_scale.md').exists()


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--table=1'], "--table: unknown '1'; known: comparison, ablation"),
    (['--figure=6'], "--figure: unknown '6'; known: theory, 3, 4, 5"),
    (['--datasets=taobao'], "--datasets: unknown 'taobao'; known: ml-1m"),
    (['--splits=date'], "--splits: unknown 'date'; known: global_time, per_u"),
    (['--systems=gru'], "--systems: unknown 'gru'; known: 2ts, ccf"),
    (['--seeds=a'], "--seeds: 'a' is not a whole number"),
    (['--out='], '--out is missing'),
    ([], '--data_root is missing'),
    (['--data_root=DIR'], 'no file DIR/ml-100k'),
    (['--report_only'], 'no run of these settings has finished in DIR'),
    (['--report_only', 'stray'], "unexpected argument 'stray'"),
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
