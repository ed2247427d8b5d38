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


COPF = papers.module('copf')


def _reproduce(capsys, *flags):
  return scripts.run(capsys, 'reproduce/copf', '--quiet', *flags)


def test_the_document_of_finished_runs_is_written(capsys, tmp_path, trained):
  plan = finished.plan('copf', tmp_path, seeds=(0,))
  finished.write_copf(plan, finished.run('taobao-copf', 'copf'))
  flags = ['--table=2,4', '--epochs=2', f'--out={tmp_path}', '--report_only']
  ended = _reproduce(capsys, *flags)
  path = tmp_path / 'copf.md'
  assert ended == (0, f'written to {path}\n', '') and not trained
  assert f'--out={tmp_path}' in path.read_text()
  assert (tmp_path / 'copf.json').is_file()


@pytest.mark.parametrize('dataset', COPF.FILES)
def test_runs_are_those_of_the_training_script(
  capsys, tmp_path, trained, dataset
):
  """Field by field: every system on Taobao, one of each kind elsewhere."""
  variants = COPF.SYSTEMS
  if dataset != 'taobao-copf':
    variants = ('copf', 'wo_back', 'layers_3', 'temperature_0.6', 'alpha_0.8')
  flags = [f'--datasets={dataset}', f'--variants={",".join(variants)}']
  flags += ['--seeds=3', '--epochs=5', '--data_root=there', '--cache_dir=here']
  ended = _reproduce(capsys, *flags, f'--out={tmp_path}')
  assert ended.code == 2 and 'no run of these settings' in ended.err
  assert len(ended.out.splitlines()) == len(trained)
  plan = finished.plan(
    'copf', tmp_path, {'data_root': 'there', 'cache_dir': 'here'},
    datasets=(dataset,), variants=variants, seeds=(3,), epochs=5,
  )  # fmt: skip
  runs = plans.runs(plan)
  assert len(runs) == len(trained)
  reproducing.assert_as_trained_alone(capsys, trained, plan, runs)


@pytest.mark.parametrize('number', [2, 5])
def test_runs_on_a_directory_are_those_of_the_training_script(
  capsys, tmp_path, trained, number
):
  own = directories.make(tmp_path / 'mine', number)
  flags = [f'--prepared={own}', f'--variants={",".join(COPF.SYSTEMS)}']
  ended = _reproduce(capsys, *flags, '--epochs=5', f'--out={tmp_path}')
  assert 'no run of these settings' in ended.err
  plan = finished.plan(
    'copf', tmp_path, prepared=(own,), variants=COPF.SYSTEMS, seeds=(0,),
    epochs=5,
  )  # fmt: skip
  runs = plans.runs(plan)
  assert len(runs) == len(trained) > 50
  reproducing.assert_as_trained_alone(capsys, trained, plan, runs)


def test_tables_of_the_data_need_no_run(capsys, tmp_path):
  own = directories.make(tmp_path / 'mine', 3)
  flags = ['--table=1,fig6', f'--prepared={own}', f'--out={tmp_path / "out"}']
  ended = _reproduce(capsys, *flags)
  assert ended == (0, f'written to {tmp_path}/out/copf.md\n', '')
  text = (tmp_path / 'out' / 'copf.md').read_text()
  assert 'Table 1' in text and '| mine | 111 |' in text


def test_a_stop_is_told_and_has_its_code(
  capsys, tmp_path, trained, monkeypatch
):
  monkeypatch.setattr(run_lib, 'train', lambda *arguments: None)
  flags = ['--table=fig4', '--data_root=there', f'--out={tmp_path}']
  ended = _reproduce(capsys, *flags)
  assert ended.code == 143 and ended.err == ''
  assert 'the same command resumes' in ended.out
  assert not (tmp_path / 'copf.md').exists()


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--table=7'], "--table: unknown '7'; known: 1, 2, 3, 4, 5, 6, fig3"),
    (['--datasets=taobao'], "--datasets: unknown 'taobao'; known: taobao-copf"),
    (['--variants=dfme'], "--variants: unknown 'dfme'; known: copf, copf_rel"),
    (['--variants=mmoe', '--table=3'], 'no --table=3 has any of --variants='),
    (['--seeds=a'], "--seeds: 'a' is not a whole number"),
    (['--seeds='], '--seeds is empty'),
    (['--epochs=0'], '--epochs'),
    (['--tried=best'], "--tried: unknown 'best'; known: own, slow, middle"),
    (['--out='], '--out is missing'),
    ([], '--data_root is missing'),
    (['--table=1'], '--data_root is missing'),
    (['--table=1', '--data_root=DIR'], 'no file DIR/taobao-copf'),
    (['--data_root=DIR'], 'no file DIR/taobao-copf'),
    (['--report_only'], 'no run of these settings has finished in DIR'),
    (['--prepared=DIR'], 'DIR is not a prepared directory'),
    (['--report_only', 'stray'], "unexpected argument 'stray'"),
    (['--models=din'], "Unknown command line flag 'models'"),
  ],
  ids=str,
)
def test_a_wrong_command_is_one_line_and_leaves_nothing(
  capsys, tmp_path, flags, message
):
  fill = lambda text: text.replace('DIR', str(tmp_path))
  # Whatever was prepared in the working directory is not looked at.
  folders = f'--out={tmp_path}', f'--cache_dir={tmp_path / "none"}'
  ended = _reproduce(capsys, *folders, *map(fill, flags))
  scripts.assert_refused(ended, fill(message))
  assert not list(tmp_path.iterdir())
