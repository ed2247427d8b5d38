import numpy as np
import pytest

from tests import two_time_toys as toys
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.recipes.two_time import recipe
from twotsrec.recipes.two_time import stages
from twotsrec.recipes.two_time import threshold as threshold_lib
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import run as runs_lib
from twotsrec.theory import bounds
from twotsrec.theory import estimates
from twotsrec.theory import user_vectors
from twotsrec.training import files
from twotsrec.training import run_directory

# Users with more train events are active.
TRIED = (2, 6, 9)


pytestmark = pytest.mark.usefixtures('small_programs')


def _choose(folder, **changes):
  named = {f'two_time__{name}': value for name, value in changes.items()}
  return threshold_lib.train(toys.experiment(**named), toys.work(folder))


@pytest.fixture
def trained(monkeypatch):
  """Options and folders that were trained; nothing is."""
  found = []

  def train(experiment, work):
    options = experiment.config.two_time
    found.append((options, work.workdir))
    return f'trained with {options.threshold}'

  monkeypatch.setattr(stages, 'train', train)
  return found


def test_a_given_threshold_is_taken_as_it_is(tmp_path, trained):
  assert _choose(tmp_path) == (
    'trained with 6', {'threshold_rule': 'given'}
  )  # fmt: skip
  assert trained == [(toys.config().two_time, tmp_path)]


def test_the_best_threshold_on_validation_is_taken(
  tmp_path, trained, monkeypatch
):
  values = {2: 0.1, 6: 0.3, 9: 0.2}
  monkeypatch.setattr(
    threshold_lib,
    '_validated',
    lambda trained: values[int(trained.split()[-1])],
  )
  # A threshold that is given is not used.
  best, told = _choose(
    tmp_path, threshold_rule='validation', thresholds=TRIED, threshold=10_000
  )
  assert best == 'trained with 6'
  assert told == {
    'threshold_rule': 'validation',
    'validation_mrr': {str(k): v for k, v in values.items()},
  }
  assert [options.threshold for options, _ in trained] == list(TRIED)
  assert [options.window for options, _ in trained] == [1, 3, 4]
  folders = [folder for _, folder in trained]
  assert len(set(folders)) == 3 and tmp_path not in folders


def test_a_stop_between_thresholds_stops_the_choice(
  tmp_path, trained, monkeypatch
):
  def stopped(trained):
    raise KeyboardInterrupt

  monkeypatch.setattr(threshold_lib, '_validated', stopped)
  with pytest.raises(KeyboardInterrupt):
    _choose(tmp_path, threshold_rule='validation', thresholds=TRIED)
  assert len(trained) == 1


def test_a_run_is_loaded_with_the_threshold_and_window_it_chose():
  config = toys.config(
    two_time__threshold_rule='theory',
    two_time__threshold=100,
    two_time__window=50,
  )
  report = {'two_time': {'threshold': 7, 'window': 5}}
  options = recipe.in_force(config, report).two_time
  assert (options.threshold, options.window) == (7, 5)
  assert options.threshold_rule == 'given'


@pytest.mark.parametrize('threshold', TRIED)
def test_a_window_is_at_most_half_of_its_threshold(threshold):
  assert threshold_lib.with_threshold(toys.config(), 1).two_time.window == 1
  config = toys.config()
  made = threshold_lib.with_threshold(config, threshold).two_time
  assert made.threshold == threshold
  assert made.window == min(toys.WINDOW, threshold // 2)
  assert config.two_time.threshold == toys.THRESHOLD


@pytest.fixture
def estimated(monkeypatch):
  """Estimates the threshold of the theorem that is put in; what it is from."""
  found = {'threshold': 7}

  def ridge_halves(item_vectors, offsets, items, *, seed):
    found.update(item_vectors=item_vectors, offsets=offsets, items=items)
    shape = (len(offsets) - 1, toys.WIDTH)
    vectors = [np.zeros(shape)] * 3
    return user_vectors.Halves(np.arange(shape[0]), *vectors, np.diff(offsets))

  def estimate(halves, **named):
    counts = halves.counts
    np.testing.assert_array_equal(named['activity'], counts)
    # As Fig. 5 has it.
    assert named['alpha_minimum'] == np.bincount(counts[counts > 0]).argmax()
    values = dict.fromkeys(estimates.Estimates._fields, 1.0)
    return estimates.Estimates(**{**values, 'threshold': found['threshold']})

  monkeypatch.setattr(user_vectors, 'ridge_halves', ridge_halves)
  monkeypatch.setattr(estimates, 'estimate', estimate)
  return found


def test_a_threshold_by_theory_comes_from_stage_1_and_train_events(estimated):
  workdir = toys.train(
    'by_theory', two_time__threshold_rule='theory', two_time__threshold=10_000
  )
  report = files.read_json(run_directory.report_path(workdir))
  # Users with T >= 7 are active there, here those with T > t*.
  assert report['two_time']['threshold'] == 6 == bounds.model_threshold(7)
  assert report['two_time']['estimates']['threshold'] == 7
  prepared, _ = toys.log()
  train = np.asarray(prepared.split) == 0
  np.testing.assert_array_equal(estimated['items'], prepared.items[train])
  counts = prepared_lib.train_counts(prepared)
  np.testing.assert_array_equal(np.diff(estimated['offsets']), counts)
  shape = (prepared.num_items + 1, toys.WIDTH)
  assert estimated['item_vectors'].shape == shape
  experiment, params = experiment_lib.load(str(workdir))
  assert experiment.config.two_time.threshold == 6
  assert set(params.net['networks']) == {'inactive', 'active'}


@pytest.mark.parametrize(
  ('threshold', 'message'),
  [
    (None, 'users differ by no more than the noise of their vectors'),
    (500, 'nobody would be active; choose 1 to 17'),
  ],
)
def test_an_estimate_that_divides_nobody_is_told(
  estimated, tmp_path, threshold, message
):
  estimated['threshold'] = threshold
  config = toys.config(
    data__prepared=toys.prepared_path(), two_time__threshold_rule='theory'
  )
  with pytest.raises(types.UserError, match=message) as error:
    runs_lib.train(config, str(tmp_path), quiet=True)
  assert len(str(error.value).splitlines()) == 1
  # Stage 1 has been trained by then, under this configuration.
  way_out = 'use two_time.threshold_rule=given in a new --workdir'
  assert str(error.value).endswith(way_out)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'threshold_rule': 'validation'}, 'name what to try in'),
    (
      {'threshold_rule': 'validation', 'thresholds': (4, 40)},
      'two_time.threshold 40: users have 1 to 18 train events',
    ),
  ],
)
def test_a_rule_that_cannot_choose_is_refused(tmp_path, changes, message):
  named = {f'two_time__{name}': value for name, value in changes.items()}
  with pytest.raises(types.UserError, match=message):
    threshold_lib.train(toys.experiment(**named), toys.work(tmp_path))
