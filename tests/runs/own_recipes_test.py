"""A recipe of one's own, in one file, is a run like any other."""

import csv
import itertools
import pathlib
import shutil

import numpy as np
import pytest

from tests import small_runs as runs
from tests.runs.own import ease
from tests.runs.own import two_losses
from twotsrec import types
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import recommend
from twotsrec.runs import reports
from twotsrec.runs import run as run_lib
from twotsrec.runs import systems
from twotsrec.runs import tables
from twotsrec.training import files

OWN = {'ease': ease, 'two_losses': two_losses}


def _config(name, **changes):
  return runs.config(
    model__name=f'{OWN[name].__file__}:RECIPE',
    train__log_groups=False,
    train__select_metric='mrr',
    **changes,
  )


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """Directories; leave them as they are."""
  workdirs = {name: tmp_path_factory.mktemp(name) / 'run' for name in OWN}
  for name, workdir in workdirs.items():
    run_lib.train(_config(name), str(workdir), quiet=True)
  return workdirs


def test_a_copy_that_was_changed_in_the_run_is_refused(trained, tmp_path):
  workdir = tmp_path / 'run'
  shutil.copytree(trained['ease'], workdir)
  (copy,) = workdir.glob('own/*/ease.py')
  copy.write_text(copy.read_text() + '\n')
  with pytest.raises(types.UserError, match='this copy of ease.py was changed'):
    experiment_lib.load(str(workdir))
  shutil.copyfile(ease.__file__, copy)
  experiment_lib.load(str(workdir))
  copy.unlink()
  with pytest.raises(types.UserError, match='cannot read'):
    experiment_lib.load(str(workdir))


@pytest.mark.parametrize('name', OWN)
def test_it_is_reported_and_loaded_again(trained, name, monkeypatch):
  workdir = trained[name]
  experiment, params = experiment_lib.load(str(workdir))
  ranker = experiment_lib.ranker(experiment, params)
  part = reports.evaluate(experiment, ranker, 'test', quiet=True).part
  monkeypatch.setattr(experiment_lib, 'load_data', None)
  report = run_lib.train(_config(name), str(workdir), quiet=True)
  assert part == report['test']
  assert 0 < part['overall']['auc']['value'] < 1
  shown = f'{name}.py:RECIPE'
  selection = {'ease': 'nothing', 'two_losses': 'validation mrr'}[name]
  assert report['protocol']['selection'] == selection
  assert report['protocol']['model'] == shown
  table = tables.of_report(report)
  systems_shown = [*report['baselines'], shown]
  assert table.splitlines()[1].split()[3:6] == systems_shown
  again = tables.evaluated([str(workdir)], [shown], 'test', [], quiet=True).text
  rows = len(again.splitlines()) - 1
  assert again.splitlines()[:rows] == table.splitlines()[:rows]


def test_the_file_may_be_named_by_another_path(trained, tmp_path, monkeypatch):
  workdir, path = trained['ease'], pathlib.Path(ease.__file__)
  monkeypatch.setattr(experiment_lib, 'load_data', None)
  monkeypatch.chdir(path.parent)
  config = _config('ease')
  config.model.name = f'{path.name}:RECIPE'
  report = run_lib.train(config, str(workdir), quiet=True)
  assert report == files.read_json(workdir / 'report.json')
  changed = tmp_path / path.name
  changed.write_text(path.read_text() + '\n')
  config.model.name = f'{changed}:RECIPE'
  with pytest.raises(types.UserError, match='the file has changed since'):
    run_lib.train(config, str(workdir), quiet=True)


def test_a_closed_form_is_the_least_of_its_ridge_regression():
  clicks = (np.random.default_rng(0).random((12, 5)) < 0.5).astype(float)
  solved = ease.weights(clicks)
  gradient = clicks.T @ (clicks @ solved - clicks) + ease.RIDGE * solved
  np.testing.assert_array_equal(np.diag(solved), 0.0)
  off = ~np.eye(5, dtype=bool)
  np.testing.assert_allclose(gradient[off], 0.0, atol=1e-9)


def _recommended(workdir, out, **options):
  options = recommend.Options(k=5, **options)
  recommend.run(str(workdir), str(out), options, quiet=True)
  with open(out, encoding='utf-8') as file:
    rows = list(csv.DictReader(file))
  first = lambda row: row['user_id']
  return {
    user: [int(row['item_id']) for row in own]
    for user, own in itertools.groupby(rows, first)
  }


@pytest.mark.parametrize('name', OWN)
def test_it_recommends_what_it_scores_highest(trained, name, tmp_path):
  experiment, params = experiment_lib.load(str(trained[name]))
  prepared = experiment.prepared
  found = _recommended(trained[name], tmp_path / 'top.csv')
  assert list(found) == [str(user) for user in prepared.user_ids]
  model, *_ = experiment_lib.ranker(experiment, params)
  table = params.tables['item']
  item_rows = lambda ids: {k: np.asarray(v)[ids] for k, v in table.items()}
  length = experiment.config.data.history_length
  for user in (0, 7):
    own = prepared.items[slice(*prepared.user_offsets[user : user + 2])]
    history = np.zeros((1, length), np.int32)
    history[0, : len(own[-length:])] = own[-length:]
    inputs = {'history': history}
    encoded = model.encode(params.net, item_rows(history), None, inputs)
    every = np.arange(prepared.num_items + 1)
    scores = np.array(model.score(params.net, encoded, item_rows(every))[0])
    scores[[0, *own]] = -np.inf
    best = np.argsort(-scores, kind='stable')[:5]
    assert found[str(prepared.user_ids[user])] == [
      int(prepared.item_ids[item - 1]) for item in best
    ]
  table = tmp_path / 'new.csv'
  table.write_text(f'user_id,item_id\nann,{prepared.item_ids[4]}\n')
  new = _recommended(
    trained[name], tmp_path / 'new_top.csv', history=str(table)
  )
  assert list(new) == ['ann'] and len(new['ann']) == 5


def test_stopped_again_and_again_it_ends_with_the_same_bits(trained, tmp_path):
  whole, workdir, stops, report = trained['two_losses'], tmp_path, 0, None
  while report is None:
    asked, last = itertools.count(), 2 * stops
    report = run_lib.train(
      _config('two_losses'),
      str(workdir),
      lambda asked=asked, last=last: next(asked) >= last,
      quiet=True,
    )
    stops += report is None
  assert stops > 2
  assert (
    runs.untimed_report(workdir)['test'] == (runs.untimed_report(whole)['test'])
  )
  (_, resumed), (_, never) = map(experiment_lib.load, (workdir, whole))
  runs.assert_same_arrays(resumed, never)
  assert set(report['training']['phases']) == {'pairs', 'chances'}


def test_a_phase_that_began_with_other_parameters_is_refused(
  trained, tmp_path, monkeypatch
):
  stops = iter([False] * 3 + [True] * 9)
  config = _config('two_losses', train__epochs=1)
  assert run_lib.train(config, str(tmp_path), lambda: next(stops)) is None
  assert (tmp_path / 'chances').is_dir()
  monkeypatch.setattr(two_losses.pin, 'digest', lambda params: 'another')
  with pytest.raises(types.UserError, match='started from other parameters'):
    run_lib.train(config, str(tmp_path), quiet=True)


def test_it_becomes_no_longer_unless_it_says_that_it_can(trained):
  workdir = trained['two_losses']
  report = (workdir / 'report.json').read_bytes()
  config = _config('two_losses', train__epochs=4)
  with pytest.raises(types.UserError, match='train.epochs: 3 there, 4 here'):
    run_lib.train(config, str(workdir), quiet=True)
  assert (workdir / 'report.json').read_bytes() == report


@pytest.mark.parametrize('name', OWN)
def test_what_it_refuses_leaves_nothing_behind(tmp_path, name):
  config = _config(name, plugin__name='light')
  with pytest.raises(types.UserError, match='plugin.name') as error:
    run_lib.train(config, str(tmp_path / 'run'), quiet=True)
  assert len(str(error.value).splitlines()) == 1
  with pytest.raises(types.UserError, match='has no .GA and .GA.PN; train it'):
    systems.train(_config(name), str(tmp_path / 'runs'), quiet=True)
  assert not list(tmp_path.iterdir())
