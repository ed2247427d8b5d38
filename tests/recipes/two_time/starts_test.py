import functools
import itertools

import jax
import numpy as np
import pytest

from tests import finished
from tests import two_time_toys as toys
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import stream_jobs
from twotsrec.recipes.two_time import stages
from twotsrec.recipes.two_time import starts
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import run as runs_lib
from twotsrec.theory import shrunk
from twotsrec.training import files
from twotsrec.training import run_directory

pytestmark = pytest.mark.usefixtures('small_programs')


@functools.cache
def _trained():
  changes = {'two_time__variant': 'shrunk'}
  workdir = toys.folder() / 'shrunk_starts'
  return stages.train(toys.experiment(**changes), toys.work(workdir))


def test_users_are_fitted_to_what_is_before_their_windows():
  trained, (prepared, _) = _trained(), toys.log()
  options = trained.experiment.config.two_time
  late = stream_jobs.last_windows(prepared, options)
  train = np.asarray(prepared.split) == prepared_lib.TRAIN
  stage = starts.stage1.make(trained.experiment)
  params, _ = starts.stage1.snapshot(stage, trained.choice.folder, 1)
  fit = starts.make(trained.experiment, params, stage.learner.context, 3)
  feed, how = fit.source.feed, fit.how
  np.testing.assert_array_equal(feed.item, prepared.items[train & ~late])
  assert how.train.epochs == 3 and how.snapshots == ()
  # They begin anew: stage 1 has seen the windows.
  (name,), fresh = fit.learner.init(jax.random.key(0)).tables, params.tables
  begun = fit.learner.init(jax.random.key(0)).tables[name]['embedding']
  assert name == 'user'
  assert np.all(np.any(np.asarray(begun) != fresh['user']['embedding'], axis=1))
  # Items stand still, and are those of all train events.
  np.testing.assert_array_equal(
    fit.learner.context['frozen_items']['embedding'], trained.vectors.item
  )
  counts = np.bincount(prepared.items[train], minlength=21)
  np.testing.assert_array_equal(stage.learner.context['item_counts'], counts)


def test_weights_follow_the_estimates_and_what_is_known():
  trained, (prepared, groups) = _trained(), toys.log()
  told = trained.start['estimates']
  before = np.maximum(prepared_lib.train_counts(prepared) - toys.WINDOW, 0)
  expected = shrunk.weight(before, told['q'], told['variance'])
  weight = np.asarray(trained.vectors.weight)
  np.testing.assert_allclose(weight, expected, rtol=1e-6)
  assert np.all(weight[before == 0] == 0.0)
  assert trained.start['users_at_psi'] == np.sum(expected == 0.0)
  for g, mean in enumerate(trained.start['weight_by_group']):
    of_group = expected[np.asarray(groups.user_group) == g]
    assert mean == pytest.approx(of_group.mean(), abs=1e-9)


def test_one_network_serves_everybody_and_has_the_fit_as_a_phase():
  trained = _trained()
  assert set(trained.nets) == {'everyone'}
  assert set(trained.phases) == {'stage1', 'starts_1', 'everyone_1'}
  report = files.read_json(
    run_directory.report_path(finished.two_time('shrunk'))
  )
  assert report['two_time']['start']['estimates']['users'] > 0
  _, params = experiment_lib.load(str(finished.two_time('shrunk')))
  user = params.net['user']
  assert user['weight'].shape == user['start'].shape[:1]


def test_a_user_without_events_is_served_like_somebody_new():
  _, params = experiment_lib.load(str(finished.two_time('shrunk')))
  counts = np.diff(np.asarray(toys.log()[0].user_offsets))
  train = prepared_lib.train_counts(toys.log()[0])
  psi = params.net['networks']['everyone']['extractor']['psi']
  np.testing.assert_allclose(params.net['new'], psi, rtol=1e-6)
  assert np.all(np.asarray(params.net['user']['weight'])[train == 0] == 0.0)
  assert np.all(counts > 0)  # everybody has moved since


def test_it_trains_with_plugins_an_aggregator_and_lengths_of_stage_1():
  changes = {
    'two_time__variant': 'shrunk_plus',
    'two_time__stage1_epochs': (1, 2),
    'plugin__name': 'film',
    'plugin__points': 'Z',
    'aggregator__name': 'pcgrad',
  }
  place = toys.train('shrunk_with_plugins', **changes)
  report = files.read_json(run_directory.report_path(place))
  assert set(report['training']['phases']) == {
    'stage1', 'starts_1', 'starts_2', 'everyone_1', 'everyone_2',
    'everyone_plugins',
  }  # fmt: skip
  _, params = experiment_lib.load(str(place))
  own = params.net['networks']['everyone']['plugins']
  assert {len(leaf) for leaf in jax.tree.leaves(own)} == {3}


def test_a_run_that_stops_in_its_phases_ends_with_the_same_numbers(tmp_path):
  config = toys.config(
    data__prepared=toys.prepared_path(), two_time__variant='shrunk'
  )
  report, stops = None, 0
  while report is None:
    asked, last = itertools.count(), 3 + 4 * stops
    report = runs_lib.train(
      config,
      str(tmp_path),
      should_stop=lambda asked=asked, last=last: next(asked) >= last,
      quiet=True,
    )
    stops += report is None
  assert stops > 0
  whole = finished.two_time('shrunk')
  expected = files.read_json(run_directory.report_path(whole))
  assert report['two_time']['start'] == expected['two_time']['start']
  assert report['test']['overall'] == expected['test']['overall']
  params = [experiment_lib.load(str(place))[1] for place in (tmp_path, whole)]
  for one, other in zip(*map(jax.tree.leaves, params), strict=True):
    np.testing.assert_array_equal(one, other)
