import dataclasses
import json
import shutil

import numpy as np
import pytest

from tests import finished
from tests import small_runs as runs
from tests import worlds
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import offline
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import run as run_lib
from twotsrec.training import files
from twotsrec.training import run_directory


def test_a_config_survives_its_file():
  config = runs.config(
    aggregator__prior=(0.2, 0.3, 0.5), model__hidden=(), data__prepared='x/y'
  )
  stored = json.loads(json.dumps(dataclasses.asdict(config)))
  assert run_directory.config_from_dict(stored) == config
  assert run_directory.config_from_dict({}) == config_lib.Config()


def test_a_config_of_another_version_names_the_unknown_field():
  with pytest.raises(types.UserError, match='unknown field train.momentum'):
    run_directory.config_from_dict({'train': {'momentum': 0.9}})


def test_items_are_counted_in_training_events_alone():
  prepared, _ = worlds.log()
  counts = offline.item_counts(prepared)
  expected = np.zeros(prepared.num_items + 1)
  for item, split in zip(prepared.items, prepared.split):
    expected[item] += split == prepared_lib.TRAIN
  np.testing.assert_array_equal(counts, expected)
  assert expected.sum() == prepared.num_events - 2 * prepared.num_users


def test_popularity_scores_items_by_their_counts():
  prepared, _ = worlds.log()
  config = config_lib.Config()
  config.groups.num_groups = 3
  experiment = experiment_lib.make(config, prepared)
  model, params, context, *_ = offline.popularity(experiment)
  inputs = {'history': np.array([[1, 2, 0]])}
  encoded = model.encode(params.net, None, context, inputs)
  scores = model.score(params.net, encoded, params.tables['item'])
  np.testing.assert_array_equal(scores[0], offline.item_counts(prepared))


def test_data_are_kept_once_and_other_data_are_refused(tmp_path):
  prepared, _ = worlds.log()
  experiment_lib.keep_data(str(tmp_path), prepared)
  experiment_lib.keep_data(str(tmp_path), prepared)
  kept = prepared_lib.load(str(tmp_path / 'ids'), verify=True)
  np.testing.assert_array_equal(kept.items, prepared.items)
  other, _ = worlds.log(seed=1)
  with pytest.raises(types.UserError, match='data have changed'):
    experiment_lib.keep_data(str(tmp_path), other)


def test_a_finished_run_is_loaded_from_its_directory_alone(tmp_path):
  workdir = finished.copy(tmp_path)
  experiment, params = experiment_lib.load(str(workdir))
  assert experiment.config == runs.config()
  _, expected = experiment_lib.load(str(finished.run()))
  runs.assert_same_arrays(params, expected)


@pytest.mark.parametrize('name', ['items', 'user_offsets', 'item_ids'])
def test_a_changed_byte_of_the_data_is_refused_and_copied_again(tmp_path, name):
  workdir = finished.copy(tmp_path)
  path = workdir / 'ids' / f'{name}.npy'
  content = bytearray(path.read_bytes())
  content[-4] ^= 1
  path.write_bytes(content)
  with pytest.raises(types.UserError, match='repeat the training command') as e:
    experiment_lib.load(str(workdir))
  assert f'delete {workdir / "ids"}' in str(e.value)
  shutil.rmtree(workdir / 'ids')
  report = run_lib.train(runs.config(), str(workdir), quiet=True)
  assert report == files.read_json(workdir / 'report.json')
  experiment, _ = experiment_lib.load(str(workdir))
  expected, _ = experiment_lib.load(str(finished.run()))
  np.testing.assert_array_equal(
    experiment.prepared.items, expected.prepared.items
  )
  shutil.rmtree(workdir / 'ids')
  report['protocol']['dataset_digest'] = 'of other data'
  files.write_json(workdir / 'report.json', report)
  with pytest.raises(types.UserError, match='data have changed'):
    run_lib.train(runs.config(), str(workdir), quiet=True)


def test_a_report_without_what_serving_needs_is_written_again(tmp_path):
  workdir = finished.copy(tmp_path)
  files.write_json(workdir / 'report.json', {})
  with pytest.raises(types.UserError, match='lacks training.*delete it'):
    experiment_lib.load(str(workdir))
  with pytest.raises(types.UserError, match='lacks training.*delete it'):
    run_lib.train(runs.config(), str(workdir), quiet=True)
  (workdir / 'report.json').unlink()
  run_lib.train(runs.config(), str(workdir), quiet=True)
  experiment_lib.load(str(workdir))


@pytest.mark.parametrize(
  ('missing', 'message'),
  [
    ('config.json', 'not a run directory'),
    ('report.json', 'training has not finished'),
    ('ids', 'not a prepared directory'),
    ('checkpoints/best', 'no checkpoint of step'),
  ],
)
def test_what_a_run_lacks_is_named(tmp_path, missing, message):
  workdir = finished.copy(tmp_path)
  path = workdir / missing
  shutil.rmtree(path) if path.is_dir() else path.unlink()
  with pytest.raises(types.UserError, match=message):
    experiment_lib.load(str(workdir))
