import numpy as np
import pytest
from scipy import optimize
from scipy import special

from twotsrec import config
from twotsrec import types
from twotsrec.data import features
from twotsrec.data import pipeline
from twotsrec.data import prepared
from twotsrec.data import report
from twotsrec.data import settings
from twotsrec.data import splits
from twotsrec.data import synthetic_stream

World = synthetic_stream.World
SMALL = World(num_users=150, num_items=90, num_categories=4, max_activity=60)


def written(folder):
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in folder.rglob('*')
    if path.is_file()
  }


def test_a_log_does_not_depend_on_the_tile(tmp_path, monkeypatch):
  monkeypatch.setattr(synthetic_stream, '_CHUNK', 64)
  for tile in (1, 200, 10**6):
    synthetic_stream.write(SMALL, str(tmp_path / str(tile)), tile=tile)
  one = written(tmp_path / '1')
  assert one == written(tmp_path / '200') == written(tmp_path / '1000000')
  prepared.load(str(tmp_path / '1'), verify=True)


@pytest.mark.parametrize('split', ['global_time', 'per_user_time'])
def test_the_directory_is_that_of_the_log_in_memory(tmp_path, split):
  """Through reading, numbering and splitting of the pipeline."""
  options = pipeline.Options(
    dataset=settings.SYNTHETIC_STREAM,
    users=300,
    seed=5,
    split=pipeline.SplitOptions(split),
  )
  in_memory = pipeline.prepare(options)
  on_disk = pipeline.prepare(options, str(tmp_path / 'out'))
  assert on_disk.manifest['digest'] == in_memory.manifest['digest']
  assert on_disk.manifest['options'] == in_memory.manifest['options']
  made = features.load(on_disk)
  assert made.categorical['category'].shape == (on_disk.num_items + 1,)
  assert np.all(made.categorical['category'][1:] > 0)
  again = pipeline.prepare(options, str(tmp_path / 'out'))
  assert again.path == on_disk.path


def test_times_ascend_and_late_users_have_no_train_event(tmp_path):
  table = synthetic_stream.generate(SMALL)
  same_user = np.diff(table.user) == 0
  assert np.all(np.diff(table.user) >= 0)
  assert np.all(np.diff(table.time)[same_user] >= 0)
  data = synthetic_stream.write(SMALL, str(tmp_path / 'out'))
  held = report.describe_held_out(data)['test']
  assert 0 < held['new_users'] < held['users']
  early = synthetic_stream.generate(SMALL._replace(arrival=0.0))
  late = synthetic_stream.generate(SMALL._replace(arrival=1.0))
  assert np.mean(late.time) > np.mean(early.time)


def test_seeds_tell_logs_apart():
  one, same, other = (
    synthetic_stream.generate(SMALL._replace(seed=seed)) for seed in (1, 1, 2)
  )
  np.testing.assert_array_equal(one.item, same.item)
  assert len(one.item) != len(other.item) or np.any(one.item != other.item)


@pytest.mark.parametrize('alpha', [1.5, 2.5])
def test_the_exponent_is_found_again_from_the_log(alpha):
  world = World(num_users=20_000, alpha=alpha, max_activity=10**5)
  offsets = synthetic_stream.stream(world).user_offsets
  counts = np.diff(offsets)  # T + 1

  def loss(a):
    return a * np.mean(np.log(counts)) + np.log(special.zeta(a, 1))

  found = optimize.minimize_scalar(loss, bounds=(1.01, 5), method='bounded').x
  assert abs(found - alpha) < 0.05


def test_users_click_what_they_like_more_than_what_is_popular():
  world = SMALL._replace(num_users=400, max_activity=200)
  table = synthetic_stream.generate(world)
  category = synthetic_stream.item_features(world).categorical['category']
  of_event = category[table.item - 1]
  overall = np.bincount(of_event, minlength=5) / len(of_event)
  heavy = np.argsort(-np.bincount(table.user))[:20]
  own = [
    np.max(np.bincount(of_event[table.user == user], minlength=5) / overall_of)
    for user, overall_of in ((u, np.sum(table.user == u)) for u in heavy)
  ]
  assert np.mean(own) > np.max(overall)


def test_the_log_is_built_in_and_made_in_memory_for_a_configuration():
  wanted = config.DataConfig(
    dataset='synthetic-stream', users=60, split='per_user_time'
  )
  data = pipeline.from_config(wanted)
  assert (data.path, data.num_users) == ('', 60)


def test_what_a_streamed_log_cannot_do_is_refused(tmp_path):
  options = pipeline.Options(dataset='synthetic-stream', users=60)
  for wrong, message in (
    (
      {'filters': options.filters._replace(min_user=5)},
      'leave out the filters',
    ),
    ({'split': pipeline.SplitOptions('date', test_from='5')}, 'allowed are'),
    ({'groups': config.GroupConfig()}, 'leave out num_groups'),
  ):
    with pytest.raises(types.UserError, match=message):
      pipeline.prepare(options._replace(**wrong), str(tmp_path / 'out'))
  with pytest.raises(types.UserError, match='allowed are global_time'):
    synthetic_stream.write(SMALL, str(tmp_path / 'out'), splits.Rule('date'))
  assert not list(tmp_path.iterdir())
