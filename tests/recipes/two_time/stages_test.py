import functools

import numpy as np
import pytest

from tests import two_time_toys as toys
from twotsrec import contracts
from twotsrec.data import groups as groups_lib
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import expected
from twotsrec.evaluation import movement
from twotsrec.evaluation import online
from twotsrec.evaluation import players as players_lib
from twotsrec.evaluation import rules
from twotsrec.recipes.two_time import stages
from twotsrec.runs import experiment as experiment_lib
from twotsrec.training import files
from twotsrec.training import run_directory

# Of the planted clicks. As the paper words it: stage 1 sees all train events.
THRESHOLD, LISTS = 50, 20
PLANTED = {
  'model__width': 8,
  'two_time__threshold': THRESHOLD,
  'two_time__window': 25,
  'two_time__negatives': 5,
  'two_time__holdout': 'none',
  'two_time__warmup': 'none',
  'two_time__stage1_epochs': (10,),
  'two_time__stage1_batch': 512,
  'two_time__stage1_rate': 0.02,
  'two_time__tokens': 1000,
  'two_time__rate': 0.02,
  'two_time__epochs': 15,
  'two_time__single_stage_epochs': 25,
  'two_time__patience': 0,
}


pytestmark = pytest.mark.usefixtures('small_programs')


@functools.cache
def _world():
  """Many users who come late and click a little, some who click a lot."""
  prepared = toys.planted(
    1200, 60, longest=150, alpha=0.7, spread=1.5, arrival=0.9
  )
  options = groups_lib.assign(prepared, toys.config().groups)
  return prepared, options


@functools.cache
def _trained(variant):
  config = toys.config(two_time__variant=variant, **PLANTED)
  work = toys.work(toys.folder() / f'planted_{variant}')
  return stages.train(contracts.Experiment(config, *_world()), work)


def _ranked(blocks, item_vectors):
  """Arrays of the test events, and their expected reciprocal ranks."""
  prepared, _ = _world()
  found = online.rank(
    online.Queries(blocks, item_vectors),
    prepared,
    online.held_out(prepared, prepared_lib.TEST),
    [rules.everything(prepared.num_items)],
  )
  counts = (found[name] for name in ('better', 'tied', 'num_negatives'))
  return found, expected.reciprocal_rank(*counts, LISTS)


@functools.cache
def _tested(variant):
  trained, (prepared, _) = _trained(variant), _world()
  wanted = np.asarray(prepared.split) == prepared_lib.TEST
  blocks = players_lib.blocks(
    prepared, trained.players, trained.nets, trained.vectors, wanted
  )
  return _ranked(blocks, trained.vectors.item)


def test_following_inactive_users_beats_embeddings_that_stand_still():
  found, followed = _tested('2ts')
  prepared, _ = _world()
  vectors = _trained('2ts').vectors
  static = online.static_blocks(prepared, prepared_lib.TEST, vectors.user)
  _, still = _ranked(static, vectors.item)
  inactive = found['train_count'] <= THRESHOLD
  assert inactive.sum() > 500
  assert followed[inactive].mean() > still[inactive].mean() + 0.01
  chance = expected.reciprocal_rank(0, 39, 39, LISTS)  # all items tie
  assert still.mean() > 2 * chance


def _ahead(found, values, others):
  """Mean of a paired difference in standard errors, with users as clusters."""
  difference = values - others
  _, user = np.unique(found['user'], return_inverse=True)
  by_user = np.bincount(user, difference - difference.mean())
  return difference.sum() / np.sqrt(np.sum(by_user**2))


def test_active_users_gain_by_their_own_start_and_network():
  """Over one network for everybody, where tastes stand still (T10)."""
  found, two = _tested('2ts')
  _, one = _tested('one_gru')
  active = found['train_count'] > THRESHOLD
  mine = {'user': found['user'][active]}
  assert _ahead(mine, two[active], one[active]) > 4
  assert two[active].mean() > one[active].mean() + 0.01


def test_two_stages_beat_one_after_as_many_epochs():
  """As many passes over the data, those of stage 1 among them."""
  found, two = _tested('2ts')
  _, one = _tested('single_stage')
  assert _ahead(found, two, one) > 4
  epochs = lambda variant, phase: _trained(variant).phases[phase].progress.epoch
  passes = {epochs('2ts', name) for name in ('inactive_10', 'active')}
  assert passes == {15} and epochs('2ts', 'stage1') == 10
  assert epochs('single_stage', 'both') == 10 + 15


def test_inactive_users_move_more_than_active_ones():
  found, _ = _tested('2ts')
  curves = movement.curves(found, THRESHOLD)
  for name in ('mean', 'relative_mean'):
    for k in range(10):
      inactive, active = (curves[g][name][k] for g in ('inactive', 'active'))
      assert inactive > active


def test_what_is_not_asked_for_leaves_no_trace():
  trained = _trained('2ts')
  assert trained.choice.epochs == 10 and trained.choice.trials.keys() == {10}
  assert set(trained.phases) == {'stage1', 'inactive_10', 'active'}
  assert set(trained.nets) == {'inactive', 'active'}
  assert [job.part.name for job, *_ in trained.players] == list(trained.nets)
  alone = _trained('single_stage')
  assert alone.choice.epochs == 0 and alone.choice.trials == {}
  assert set(alone.phases) == {'both'}


def test_embeddings_alone_are_chosen_by_a_network_that_is_not_kept():
  workdir = toys.train(
    'ccf_of_two', two_time__variant='ccf', two_time__stage1_epochs=(1, 2)
  )
  report = files.read_json(run_directory.report_path(workdir))
  told = report['two_time']
  trials = {int(k): v for k, v in told['stage1_trials'].items()}
  assert told['stage1_epochs'] == max(trials, key=trials.get)
  phases_ = {'stage1', 'everyone_1', 'everyone_2'}
  assert set(report['training']['phases']) == phases_
  _, params = experiment_lib.load(str(workdir))
  assert params.net['networks'] == {}
