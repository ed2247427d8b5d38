import numpy as np
import pytest

import peers_settings
import training_loop
from twotsrec import config as config_lib
from twotsrec import recipes
from twotsrec.data import prepared as prepared_lib
from twotsrec.runs import experiment as experiment_lib


def test_figures_are_of_one_model_and_positive():
  config = config_lib.Config()
  config.data.users, config.data.history_length = 60, 8
  config.model.width, config.model.hidden = 8, (8,)
  config.train.batch_size = 256
  measured = training_loop.measure(config, repeats=1)
  assert measured['model'] == 'din' and measured['source'] == 'synthetic'
  for name in ('bare_scan', 'full_loop'):
    assert measured['milliseconds_per_step'][name]['min'] > 0
  ratio = measured['full_loop_over_bare_scan']
  assert 0 < ratio['min'] <= ratio['median'] <= ratio['max']
  assert 0 <= measured['input_wait_share']['median'] < 1
  assert measured['ranking_seconds']['median'] > 0
  assert measured['ranked']['users'] == 60
  assert 0 < measured['peak_rss_mb_training'] <= measured['peak_rss_mb']
  epoch = measured['epoch']
  assert epoch['predicted'] <= 256 * epoch['steps']
  assert epoch['predicted'] > 256 * (epoch['steps'] - 1)
  assert epoch['seconds']['median'] > 0


@pytest.mark.parametrize('name', peers_settings.SETTINGS)
def test_settings_of_peers_are_taken(name):
  config = config_lib.Config()
  peers_settings.change(config, name)
  recipes.check(config)
  assert config.data.history_length == 50


def test_an_epoch_predicts_what_histories_have_room_for():
  config = config_lib.Config()
  peers_settings.change(config, 'gru4rec')
  changes = {'data.users': 30, 'data.history_length': 5, 'model.width': 4}
  config_lib.change(config, changes)
  data = experiment_lib.load_data(config)
  experiment = experiment_lib.make(config, data)
  parts = training_loop.first_phase(experiment)
  train = data.split == prepared_lib.TRAIN
  counts = np.bincount(data.event_users[train])
  expected = np.sum(np.minimum(np.maximum(counts - 1, 0), 5))
  assert training_loop._predicted(parts) == expected
