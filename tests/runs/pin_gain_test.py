"""PIN on the built-in log, whose groups may have tastes of their own.

With frozen trunks nothing but the plugins differs between +GA and +GA+PN, so
further epochs cannot explain what is gained.
"""

import jax
import numpy as np

from twotsrec import config as config_lib
from twotsrec.plugins import plugged
from twotsrec.recipes import pin
from twotsrec.runs import compare
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import reports
from twotsrec.runs import run as run_lib

GROUPS = 5


def _config(gamma):
  """A trunk too small, with too little history, to tell the groups apart."""
  return config_lib.Config(
    data=config_lib.DataConfig(
      users=600, gamma=gamma, history_length=5, validation=False
    ),
    groups=config_lib.GroupConfig(num_groups=GROUPS),
    model=config_lib.ModelConfig(width=4, hidden=(16,)),
    aggregator=config_lib.AggregatorConfig(name='backdoor'),
    train=config_lib.TrainConfig(
      batching='balanced',
      learning_rate=0.01,
      epochs=3,
      select_metric='none',
      checkpoint_every=60.0,
      seed=1,
    ),
    plugin=config_lib.PluginConfig(
      name='light',
      learning_rate=0.01,
      trunk_learning_rate=0.0,
      epochs=4,
      select_metric='none',
    ),
    evaluation=config_lib.EvaluationConfig(bootstrap=0),
  )


def _gain(folder, gamma, metrics):
  """Rows of +GA+PN against +GA for every metric, by group."""
  settings = pin.systems(_config(gamma), str(folder))
  run_lib.train(settings['ga'], str(folder / 'ga'), quiet=True)
  run_lib.train(settings['ga_pn'], str(folder / 'ga_pn'), quiet=True)
  runs = {name: [str(folder / name)] for name in ('ga', 'ga_pn')}
  result = compare.compare(runs, metrics, 4000)
  return [rows[:GROUPS] for rows in result['comparisons']['ga_pn'].values()]


def _served_by_others(workdir):
  """User AUC of every group when the plugin of another one serves it.

  It is that of the group after the next, since two neighbors of this log have
  tastes alike.
  """
  experiment, params = experiment_lib.load(str(workdir))
  trunk, own = plugged.split(params)
  others = jax.tree.map(lambda leaf: np.roll(leaf, 2, axis=0), own)
  params = plugged.join(trunk, others)
  ranker = experiment_lib.ranker(experiment, params)
  part = reports.evaluate(experiment, ranker, 'test', quiet=True).part
  return [group['user_auc']['value'] for group in part['groups']]


def test_plugins_gain_in_every_group_that_has_a_taste_of_its_own(tmp_path):
  # With training seeds 0, 1 and 2 every group gains .018 or more.
  pooled, by_user = _gain(tmp_path, 3.0, ['auc', 'user_auc'])
  for rows in (pooled, by_user):
    for row in rows:
      assert row['difference'] > 0.01
    assert all(row['low'] > 0 for row in rows)
  others = _served_by_others(tmp_path / 'ga_pn')
  for row, value in zip(by_user, others):
    assert value < row['reference']  # worse than no plugin at all


def test_plugins_gain_nothing_where_groups_have_one_taste(tmp_path):
  for rows in _gain(tmp_path, 0.0, ['auc', 'user_auc']):
    for row in rows:
      assert row['low'] <= 0 <= row['high']
      assert row['holm'] >= 0.05 and abs(row['difference']) < 0.01
