import json

import pytest

from tests import finished
from tests import small_runs as runs
from twotsrec import types
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import more_epochs
from twotsrec.runs import run as run_lib
from twotsrec.training import loop
from twotsrec.training import run_directory

MORE = 5


def _train(workdir, **changes):
  config = runs.config(**{'train__epochs': MORE, **changes})
  return run_lib.train(config, str(workdir), quiet=True)


def _set_epochs(workdir, epochs, **train):
  """Writes what the run was started with."""
  path = run_directory.config_path(workdir)
  config = json.loads(path.read_text())
  config['train'] |= {'epochs': epochs, **train}
  path.write_text(json.dumps(config))


def test_a_longer_run_is_that_of_all_epochs_at_once(tmp_path):
  longer, once = finished.copy(tmp_path), tmp_path / 'once'
  assert _train(longer)['training']['epochs'] > 3
  _train(once)
  for read in (
    runs.untimed_report, runs.untimed_metrics, run_directory.read_config
  ):  # fmt: skip
    assert read(longer) == read(once)
  (_, again), (_, expected) = map(experiment_lib.load, (longer, once))
  runs.assert_same_arrays(again, expected)


def test_what_may_differ_stays_as_the_run_has_it(tmp_path):
  workdir = finished.copy(tmp_path)
  before = run_directory.read_config(workdir)
  config = runs.config(train__epochs=MORE, train__keep=7)
  more_epochs.record(str(workdir), more_epochs.wanted(config, str(workdir)))
  before['train']['epochs'] = MORE
  assert run_directory.read_config(workdir) == before
  assert not run_directory.report_path(workdir).exists()


def test_killed_before_the_config_is_written_it_is_as_long_as_before(
  tmp_path, monkeypatch
):
  workdir = finished.copy(tmp_path)

  def killed(path, value):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(run_directory, 'write_json', killed)
    with pytest.raises(KeyboardInterrupt):
      _train(workdir)
  assert not run_directory.report_path(workdir).exists()
  run_lib.train(runs.config(), str(workdir), quiet=True)
  assert runs.untimed_report(workdir) == runs.untimed_report(finished.run())


def test_fewer_epochs_or_another_setting_beside_them_are_refused(tmp_path):
  workdir = finished.copy(tmp_path)
  with pytest.raises(types.UserError, match='train.epochs: 3 there, 2 here'):
    _train(workdir, train__epochs=2)
  with pytest.raises(types.UserError) as error:
    _train(workdir, train__learning_rate=0.5)
  assert 'train.learning_rate: 0.01 there, 0.5 here' in str(error.value)
  assert 'train.epochs' not in str(error.value)
  assert runs.untimed_report(workdir) == runs.untimed_report(finished.run())


def test_a_run_judged_out_of_turn_is_not_made_longer(tmp_path, monkeypatch):
  workdir = finished.copy(tmp_path)
  monkeypatch.setattr(loop, 'fit', None)
  _set_epochs(workdir, 3, evaluate_every=2)
  files = {path: path.read_bytes() for path in workdir.glob('*.json*')}
  with pytest.raises(types.UserError) as error:
    _train(workdir, train__evaluate_every=2)
  message = str(error.value)
  assert 'judged after its last epoch, 3' in message
  assert 'train.epochs 5' in message and 'train.evaluate_every 2' in message
  assert files == {path: path.read_bytes() for path in files}
  _set_epochs(workdir, 3, evaluate_every=1)  # as it was
  with pytest.raises(types.UserError, match='evaluate_every: 1 there, 2 here'):
    _train(workdir, train__evaluate_every=2)


@pytest.mark.parametrize(
  ('there', 'train'),
  [
    (2, {'evaluate_every': 2}),
    (4, {'evaluate_every': 3}),  # has not come to its last epoch
    (3, {'evaluate_every': 2, 'select_metric': 'none'}),
  ],
)
def test_a_run_judged_in_its_turn_is(tmp_path, there, train):
  workdir = finished.copy(tmp_path)
  _set_epochs(workdir, there, **train)
  changes = {f'train__{name}': value for name, value in train.items()}
  config = runs.config(train__epochs=MORE, **changes)
  assert more_epochs.wanted(config, str(workdir)) == {'train.epochs': MORE}


def test_stage_2_has_epochs_of_its_own(tmp_path):
  workdir = tmp_path / 'run'
  settings = {'plugin__name': 'light', 'plugin__trunk': 'there'}
  of = lambda **changes: runs.config(**settings, **changes)
  assert more_epochs.wanted(of(), str(workdir)) == {}
  workdir.mkdir()
  run_directory.write_json(
    run_directory.config_path(workdir),
    {'plugin': {'name': 'light', 'trunk': 'there', 'epochs': 3}},
  )
  longer = of(plugin__epochs=4, train__epochs=9)
  assert more_epochs.wanted(longer, str(workdir)) == {'plugin.epochs': 4}
  assert more_epochs.wanted(of(train__epochs=9), str(workdir)) == {}


def test_the_stages_of_2ts_are_as_long_as_they_were(tmp_path):
  workdir = finished.copy(tmp_path)
  config = runs.config(train__epochs=MORE, model__name='two_time_scale')
  assert more_epochs.wanted(config, str(workdir)) == {}
