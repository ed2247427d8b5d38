"""A run is stopped while it ranks, and finished before its training ends."""

import shutil

import chex
import jax
import numpy as np
import pytest

from tests import finished
from tests import small_runs as runs
from tests.evaluation import toys
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import offline
from twotsrec.evaluation import ranking
from twotsrec.evaluation import rules
from twotsrec.evaluation import samples
from twotsrec.evaluation import tiles
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import rankings
from twotsrec.runs import recommend
from twotsrec.runs import reports
from twotsrec.runs import run as run_lib
from twotsrec.runs import tables
from twotsrec.training import checkpoints
from twotsrec.training import progress
from twotsrec.training import run_directory

# ---- Stopped while ranking


def _unreported(tmp_path):
  """A run that has been trained, but not ranked."""
  tmp_path.mkdir(exist_ok=True)
  workdir = finished.copy(tmp_path)
  for name in ('report.json', 'per_target.npz'):
    (workdir / name).unlink()
  return workdir


def _stopping_after(number):
  """Answers yes from the call of this number on."""
  calls = [0]

  def should_stop():
    calls[0] += 1
    return calls[0] > number

  return should_stop


def test_stopped_at_any_moment_of_the_ranking_it_ends_with_the_same_report(
  tmp_path,
):
  config = runs.config(evaluation__user_tile=4)  # seven tiles
  whole, workdir = _unreported(tmp_path / 'a'), _unreported(tmp_path / 'b')
  run_lib.train(config, str(whole), quiet=True)
  stops = 0
  while True:
    # One answer is asked for after training, and rules begin again.
    stop = _stopping_after(stops + 2)
    if run_lib.train(config, str(workdir), stop, quiet=True):
      break
    stops += 1
    assert not (workdir / 'report.json').exists()
    assert stops < 40
  assert stops >= 3  # in both splits
  assert runs.untimed_report(workdir) == runs.untimed_report(whole)
  with np.load(workdir / 'per_target.npz') as rows:
    with np.load(whole / 'per_target.npz') as expected:
      assert set(rows) == set(expected)
      for name in rows:
        np.testing.assert_array_equal(rows[name], expected[name])
  assert not (workdir / 'ranking').exists()


def test_a_split_that_was_ranked_is_not_ranked_again(tmp_path, monkeypatch):
  workdir = _unreported(tmp_path)
  stop = _stopping_after(1)
  assert run_lib.train(runs.config(), str(workdir), stop, quiet=True) is None
  assert rankings.done(str(workdir), 'validation') == 25
  ranked = []
  of_items = ranking._tiles_of_items

  def watched(cut, *arguments):
    ranked.append(sum(part.rows.size for part in cut.parts))
    return of_items(cut, *arguments)

  monkeypatch.setattr(ranking, '_tiles_of_items', watched)
  assert run_lib.train(runs.config(), str(workdir), quiet=True)
  # Validation; test, and popularity and neighbors on it.
  assert ranked == [0, 25, 25, 25]


def _two_rankings(watch):
  """A scorer that likes all items the same, under two rules."""
  data = toys.log(np.random.default_rng(3), num_users=20, num_items=30)
  params = toys.integer_params(np.random.default_rng(3), 30)
  params = jax.tree.map(np.zeros_like, params)
  task = ranking.Task(
    contracts.Ranker(toys.dot_model(), params, None, 4),
    data,
    prepared_lib.targets(data, prepared_lib.TEST),
  )
  lists = np.repeat(task.targets.item[:, None], 3, axis=1)
  show = watch(lambda done, total: None)
  return [
    ranking.rank_targets(task, among, sizes=tiles.Sizes(8, 32), progress=show)
    for among in (
      lists,
      rules.without(prepared_lib.seen_items(data, 'all'), data.num_items),
      rules.everything(data.num_items),
    )
  ]


def test_rankings_of_one_split_are_not_taken_for_each_other(tmp_path):
  expected = _two_rankings(lambda show: show)
  assert np.any(expected[1].tied != expected[2].tied)
  stops, names = 0, set()
  while True:
    stop = _stopping_after(stops + 3)  # a list is ranked in three tiles
    try:
      watch = rankings.keeping(str(tmp_path), 'test', stop, 0.0)
      actual = _two_rankings(watch)
      break
    except progress.Stopped:
      stops += 1
      names |= {path.name for path in tmp_path.glob('ranking/*')}
  assert names == {'test.npz', 'test-2.npz'}
  for one, other in zip(actual, expected, strict=True):
    chex.assert_trees_all_equal(one, other)


def test_what_cannot_be_read_is_ranked_again(tmp_path):
  workdir = _unreported(tmp_path)
  (workdir / 'ranking').mkdir()
  kept = workdir / 'ranking' / 'test.npz'
  kept.write_bytes(b'PK half of it')
  assert rankings.done(str(workdir), 'test') == 0
  np.savez(kept, done=np.ones(25, bool))
  assert rankings.done(str(workdir), 'test') == 25
  kept.write_bytes(kept.read_bytes()[:-30])
  assert rankings.done(str(workdir), 'test') == 0
  run_lib.train(runs.config(), str(workdir), quiet=True)
  assert runs.untimed_report(workdir) == runs.untimed_report(finished.run())


# ---- How long it takes


def test_the_time_of_a_ranking_is_told_before(monkeypatch, tmp_path):
  experiment, params = experiment_lib.load(str(finished.run()))
  ranker = experiment_lib.ranker(experiment, params)
  workdir = str(tmp_path)
  assert rankings.forecast(experiment, workdir, ranker) == ''  # soon done
  monkeypatch.setattr(rankings, '_FEW', 1)
  small = runs.config(evaluation__user_tile=5, evaluation__item_tile=200)
  experiment = experiment._replace(config=small)
  for one in (ranker, None):
    text = rankings.forecast(experiment, workdir, one)
    assert text.startswith(
      'ranking 25 validation and 25 test items takes the model about'
    )
    assert 'evaluation.users' not in text
  # An hour a tile: the shorter ways stand in the same sentence.
  monkeypatch.setattr(rankings, '_seconds_of_tile', lambda *_: 3600.0)
  ahead = rankings.forecasting(experiment, workdir)
  text = ahead(ranker)
  across = -(-experiment.prepared.num_items // 200)
  assert f'about {10 * across}:00:00 (evaluation.users=N' in text
  assert 'evaluation.candidates=sampled' in text
  # What was ranked before takes no time, and it is measured once.
  (tmp_path / 'ranking').mkdir()
  kept = tmp_path / 'ranking' / 'validation.npz'
  np.savez(kept, done=np.arange(25) < 20)
  left = rankings.forecast(experiment, workdir, ranker)
  assert left.startswith('ranking 5 validation and 25 test items')
  assert f'about {6 * across}:00:00' in left
  assert ahead(ranker) == text


def test_a_sample_of_users_is_ranked_and_said():
  experiment, params = experiment_lib.load(str(finished.run()))
  whole = reports.evaluate(
    experiment, experiment_lib.ranker(experiment, params), 'test', quiet=True
  ).rows
  drawn = experiment._replace(config=runs.config(evaluation__users=9))
  part = reports.evaluate(
    drawn, experiment_lib.ranker(drawn, params), 'test', quiet=True
  ).rows
  chosen = samples.users(25, 9, 0)[whole['user']]
  assert chosen.sum() == 9
  np.testing.assert_array_equal(part['rank'], whole['rank'][chosen])
  protocol = reports.protocol(drawn)
  assert protocol['users'] == 9
  assert 'users' not in reports.protocol(experiment)
  assert 'all candidates of 9 users drawn once' in tables._ranking(protocol)


# ---- Finished as it is


def _unfinished(tmp_path, **changes):
  """A run that was stopped in its second epoch."""
  workdir, config = tmp_path / 'run', runs.config(**changes)
  answers = _stopping_after(2)  # asked in and after every epoch
  assert run_lib.train(config, str(workdir), answers, quiet=True) is None
  return workdir, config


def test_an_unfinished_run_is_reported_as_it_is_and_goes_on_later(tmp_path):
  workdir, config = _unfinished(tmp_path)
  latest = run_directory.latest_path(workdir)
  before = checkpoints.steps(latest)
  with pytest.raises(types.UserError, match='or with --finish to take it'):
    experiment_lib.load(str(workdir))
  report = run_lib.train(config, str(workdir), quiet=True, finish=True)
  early = report['training']['as_it_was']
  assert early['of'] == 3 and early['epochs'] < 3
  assert report['training']['epochs'] == early['epochs']
  line = f'finished as it was, after {early["epochs"]} of 3 epochs'
  assert line in tables.of_report(report)
  assert checkpoints.steps(latest) == before
  # It ranks with what it selected, and serves.
  experiment, params = experiment_lib.load(str(workdir))
  ranker = experiment_lib.ranker(experiment, params)
  part = reports.evaluate(experiment, ranker, 'test', quiet=True).part
  assert part == report['test']
  out = tmp_path / 'top.csv'
  recommend.run(str(workdir), str(out), recommend.Options(k=3), quiet=True)
  assert len(out.read_text().splitlines()) == 1 + 3 * 25
  # Finishing again trains nothing; the usual command ends as if never stopped.
  again = run_lib.train(config, str(workdir), quiet=True, finish=True)
  assert again == report
  run_lib.train(config, str(workdir), quiet=True)
  assert runs.untimed_report(workdir) == runs.untimed_report(finished.run())
  assert runs.untimed_metrics(workdir) == runs.untimed_metrics(finished.run())


def test_without_a_judge_the_last_checkpoint_is_taken(tmp_path):
  workdir, config = _unfinished(tmp_path, train__select_metric='none')
  report = run_lib.train(config, str(workdir), quiet=True, finish=True)
  (newest,) = checkpoints.steps(run_directory.latest_path(workdir))[-1:]
  assert report['training']['selected_step'] == newest
  assert report['training']['selected_value'] is None
  experiment_lib.load(str(workdir))


def test_nothing_trained_is_nothing_to_finish(tmp_path):
  workdir = tmp_path / 'run'
  with pytest.raises(types.UserError, match='not a run directory'):
    run_lib.train(runs.config(), str(workdir), quiet=True, finish=True)
  assert not workdir.exists()
  finished.copy(tmp_path)
  shutil.rmtree(workdir / 'checkpoints')
  (workdir / 'report.json').unlink()
  with pytest.raises(types.UserError, match='nothing has been trained in'):
    run_lib.train(runs.config(), str(workdir), quiet=True, finish=True)


def test_a_finished_run_is_as_it_was():
  expected = finished.run() / 'report.json'
  report = run_lib.train(
    runs.config(), str(finished.run()), quiet=True, finish=True
  )
  assert 'as_it_was' not in report['training']
  assert expected.is_file()


def test_held_out_items_are_counted_by_the_users_ranked():
  experiment, _ = experiment_lib.load(str(finished.run()))
  held_out = prepared_lib.targets(experiment.prepared, prepared_lib.TEST)
  assert offline.to_rank(experiment, 'test') == held_out.user.size
  drawn = experiment._replace(config=runs.config(evaluation__users=5))
  assert offline.to_rank(drawn, 'test') == 5
  assert offline.held_out(drawn, 'test') == 25
