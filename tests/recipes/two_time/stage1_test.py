import functools
import pathlib
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import two_time_toys as toys
from twotsrec import types
from twotsrec.data import stream_jobs
from twotsrec.models import item_features
from twotsrec.recipes.two_time import stage1
from twotsrec.training import files
from twotsrec.training import loop
from twotsrec.training import phases
from twotsrec.training import run_directory

pytestmark = pytest.mark.usefixtures('small_programs')


@functools.cache
def _left_out():
  return stream_jobs.window_events(toys.log()[0], toys.config().two_time)


def _stage(left_out=None, **changes):
  return stage1.make(toys.experiment(**changes), left_out)


def _fit(stage, folder):
  """Parameters after the last epoch."""
  return loop.fit(phases.make(*stage), str(folder), quiet=True).params


@functools.cache
def _trained():
  """(folder, stage, parameters) of three epochs; two are kept."""
  changes = {'two_time__stage1_epochs': (3, 1)}
  folder = str(toys.folder() / 'stage1_alone')
  pathlib.Path(folder).mkdir()
  stage = _stage(_left_out(), **changes)
  return folder, stage, _fit(stage, folder)


def test_it_sees_train_events_that_are_not_left_out():
  prepared, _ = toys.log()
  stage = _stage(_left_out())
  kept = (np.asarray(prepared.split) == 0) & ~_left_out()
  assert _left_out().any()
  source = stage.source
  np.testing.assert_array_equal(source.feed.item, prepared.items[kept])
  counts = np.bincount(prepared.items[kept], minlength=prepared.num_items + 1)
  np.testing.assert_array_equal(stage.learner.context['item_counts'], counts)
  for epoch in range(2):
    plan = source.plan_of(epoch)
    events = np.sort(plan[plan >= 0])
    np.testing.assert_array_equal(events, np.arange(kept.sum()))


def test_parameters_are_kept_after_every_number_of_epochs():
  folder, stage, params = _trained()
  assert stage.how.train.epochs == 3
  last = stage1.snapshot(stage, folder, 3)[0]
  chex.assert_trees_all_equal(last, params)
  first = stage1.snapshot(stage, folder, 1)[0]
  for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(params)):
    assert np.any(np.asarray(a) != np.asarray(b))
  assert not run_directory.snapshot_path(folder, 2).exists()


def test_a_shorter_stage_1_ends_at_the_snapshot_of_a_longer_one(tmp_path):
  folder, longer, _ = _trained()
  stage = _stage(_left_out(), two_time__stage1_epochs=(1,))
  params = _fit(stage, tmp_path)
  chex.assert_trees_all_equal(params, stage1.snapshot(longer, folder, 1)[0])


def test_what_was_not_trained_is_zero_or_the_mean():
  _, stage, params = _trained()
  vectors = stage1.vectors(params, stage.learner.context)
  user = np.asarray(params.tables['user']['embedding'])
  known = np.asarray(stage.learner.context['user_counts']) > 0
  assert not known.all()
  np.testing.assert_array_equal(vectors.user[known], user[known])
  np.testing.assert_allclose(
    np.asarray(vectors.user)[~known],
    np.broadcast_to(user[known].mean(axis=0), (np.sum(~known), toys.WIDTH)),
    rtol=1e-5,
    atol=1e-7,
  )
  warm = np.asarray(stage.learner.context['item_counts']) > 0
  table = np.asarray(params.tables['item']['embedding'])
  expected = np.where(warm[:, None], table, 0.0)
  np.testing.assert_array_equal(vectors.item, expected)


def test_a_refit_moves_users_on_all_events_and_no_item(tmp_path):
  prepared, _ = toys.log()
  _, stage, params = _trained()
  # As if an item occurred in the windows alone.
  counts = stage.learner.context['item_counts'].at[5].set(0.0)
  context = {**stage.learner.context, 'item_counts': counts}
  experiment = toys.experiment(two_time__stage1_epochs=(3, 2))
  refit = stage1.make_refit(experiment, params, context)
  _, source, how = refit
  assert how.train.epochs == 2 and how.snapshots == ()
  train = np.asarray(prepared.split) == 0
  np.testing.assert_array_equal(source.feed.item, prepared.items[train])
  frozen = refit.learner.context['frozen_items']['embedding']
  np.testing.assert_array_equal(frozen, stage1.vectors(params, context).item)
  np.testing.assert_array_equal(frozen[5], 0.0)
  before = jax.tree.map(np.array, params)
  users_alone = _fit(refit, tmp_path)
  assert set(users_alone.tables) == {'user'}
  users = stage1.refitted(params, users_alone, refit.learner.context)
  assert users.shape == (prepared.num_users, toys.WIDTH)
  active = toys.jobs()['active'].serves
  moved = np.abs(users - before.tables['user']['embedding'])[active]
  assert np.all(moved.max(axis=1) > 0)
  chex.assert_trees_all_equal(before, params)


def test_batches_are_stacked_by_group_where_the_aggregator_asks():
  phase = phases.make(*_stage(aggregator__name='pcgrad'))
  plan = phase.source.plan_of(0)
  group = np.asarray(phase.source.feed.group)
  assert plan.ndim == 3 and plan.shape[1] == 3
  for g in range(3):
    own = plan[:, g][plan[:, g] >= 0]
    np.testing.assert_array_equal(np.sort(own), np.flatnonzero(group == g))


# ---- Features


@pytest.fixture
def feature_file(tmp_path):
  prepared, _ = toys.log()
  lines = [f'{item},{item % 3}' for item in prepared.item_ids]
  path = tmp_path / 'items.csv'
  path.write_text('\n'.join(['item_id,kind', *lines]), encoding='utf-8')
  return str(path)


def test_features_are_read_and_become_a_part_of_the_vectors(feature_file):
  prepared, _ = toys.log()
  experiment = toys.experiment(
    two_time__item_features=feature_file,
    two_time__feature_columns=('kind:categorical',),
    two_time__feature_width=2,
  )
  stage = stage1.make(experiment)
  learner, _, how = stage
  params = learner.init(how.keys.init)
  item = params.tables['item']['embedding']
  assert item.shape == (prepared.num_items + 1, toys.WIDTH - 2)
  vectors = stage1.vectors(params, stage.learner.context)
  assert vectors.item.shape == (prepared.num_items + 1, toys.WIDTH)
  # Items of one kind have the same last numbers.
  own = jnp.asarray(vectors.item)[1:, -2:]
  kind = np.asarray(prepared.item_ids) % 3
  for k in range(3):
    assert np.ptp(np.asarray(own)[kind == k], axis=0).max() == 0


def test_features_and_their_width_go_together(feature_file):
  load = lambda **changes: item_features.load(
    toys.config(**changes).two_time, toys.log()[0]
  )
  assert load() is None
  for changes, message in (
    ({'two_time__item_features': feature_file}, 'set two_time.feature_width'),
    ({'two_time__feature_width': 2}, 'the data have no item features'),
  ):
    with pytest.raises(types.UserError, match=message) as error:
      load(**changes)
    assert len(str(error.value).splitlines()) == 1


# ---- Stage 1 of another run


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'model__name': 'din'}, "was trained with model.name 'din'"),
    (
      {
        'two_time__variant': 'single_stage',
        'two_time__stage1_epochs': (1,),
        'two_time__stage1_batch': 64,
      },
      'has no stage 1 of its own (none, or several)',
    ),
    (
      {'two_time__stage1': 'runs/first'},
      'has no stage 1 of its own (it was taken from runs/first)',
    ),
  ],
)
def test_a_run_of_another_kind_gives_no_stage_1(tmp_path, changes, message):
  options = {'two_time__holdout': 'none'}
  report = {'two_time': {'stage1_epochs': 1}}
  files.write_json(run_directory.report_path(tmp_path), report)
  ours = toys.experiment(two_time__stage1=str(tmp_path), **options)
  theirs = toys.experiment(**options, **changes)
  work = toys.work(tmp_path)._replace(load=lambda workdir: (theirs, None))
  with pytest.raises(types.UserError, match=re.escape(message)):
    stage1.taken(ours, work)
