import pytest

from tests.launch import reproducing
from tests.launch import scripts
from tests.recipes.reproduction import two_time_finished as finished
from twotsrec.recipes.reproduction import two_time
from twotsrec.recipes.reproduction import two_time_results
from twotsrec.recipes.reproduction import two_time_theory
from twotsrec.recipes.two_time import presets as presets
from twotsrec.runs import run as run_lib

# ml_collections reads config files with a function that Python deprecates.
pytestmark = [
  pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning'),
  pytest.mark.usefixtures('undone'),
]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
  monkeypatch.setattr(two_time_results, 'RESAMPLES', 200)


def _reproduce(capsys, *flags):
  return scripts.run(capsys, 'reproduce/two_time_scale', '--quiet', *flags)


def _preset(out, **changes):
  """What the command line below asks for."""
  return finished.settings(
    out, seeds=(0,), changes=(), systems=two_time.ASKED
  )._replace(**changes)


def test_the_document_of_finished_runs_is_written(capsys, tmp_path, trained):
  made = _preset(tmp_path)
  finished.write(made, two_time.Run('ml-100k', 'global_time', 0, '2ts'))
  flags = ['--table=comparison', '--seeds=0', f'--out={tmp_path}']
  ended = _reproduce(capsys, *flags, '--report_only')
  path = tmp_path / 'two_time_scale.md'
  assert ended == (0, f'written to {path}\n', '') and not trained
  assert f'--out={tmp_path}' in path.read_text()
  assert (tmp_path / 'two_time_scale.json').is_file()


def test_the_theorem_needs_neither_data_nor_runs(
  capsys, tmp_path, trained, monkeypatch
):
  told = {'table': [['spread'], ['5']], 'claims': {'so': 1}, 'runs': 1}
  collect = lambda folder: told | {'picture': ''}
  monkeypatch.setattr(two_time_theory, 'collect', collect)
  ended = _reproduce(capsys, '--figure=theory', f'--out={tmp_path}')
  assert ended.code == 0 and ended.err == '' and not trained
  assert 'Theorem 2.1' in (tmp_path / 'two_time_scale.md').read_text()


@pytest.mark.parametrize('dataset', two_time.FILES)
def test_runs_are_those_of_the_training_script(
  capsys, tmp_path, trained, dataset
):
  """Field by field, of every system on one dataset, of some elsewhere."""
  systems = two_time.SYSTEMS
  if dataset != 'ml-100k':
    systems = ('2ts', 'ccf', '2ts_plus', 'single_stage')
  made = _preset(
    tmp_path,
    datasets=(dataset,),
    splits=presets.SPLITS,
    systems=systems,
    seeds=(3,),
    data_root='there',
    cache_dir='here',
  )
  references = {
    split: two_time.Run(dataset, split, 3, '2ts') for split in presets.SPLITS
  }
  for run in references.values():
    finished.write(made, run)
  flags = [f'--datasets={dataset}', f'--splits={",".join(presets.SPLITS)}']
  flags += [f'--systems={",".join(systems)}', '--seeds=3', '--table=ablation']
  flags += ['--data_root=there', '--cache_dir=here', f'--out={tmp_path}']
  ended = _reproduce(capsys, *flags)
  assert ended.code == 0, ended.err
  assert len(ended.out.splitlines()) == len(trained) + 1
  runs = [run for run in two_time.runs(made) if run not in references.values()]
  assert len(runs) == len(trained)
  reproducing.assert_as_trained_alone(
    capsys,
    trained,
    runs,
    lambda run: two_time.flags(made, run),
    lambda run: two_time.workdir(made, run),
  )


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
  assert ended.code == 2 and ended.out == ''
  assert fill(message) in ended.err
  assert len(ended.err.splitlines()) == 1
  assert not list(tmp_path.iterdir())
