import training_loop
from twotsrec import config as config_lib


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
