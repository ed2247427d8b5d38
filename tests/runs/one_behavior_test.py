"""MF-BPR, LightGCN and COPF on a log that tells no behaviors apart."""

import csv

import numpy as np
import pytest

from tests import small_runs as runs
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.presets import baselines
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import recommend
from twotsrec.runs import run as run_lib
from twotsrec.training import files
from twotsrec.training import run_directory

USERS, ITEMS = 30, 24


def _log():
  """Users of two tastes, who take every fourth item from the other one."""
  generator = np.random.default_rng(0)
  rows = []
  for user in range(USERS):
    own, other = (
      generator.permutation(np.arange(taste, taste + 12)).tolist()
      for taste in (1 + 12 * (user % 2), 13 - 12 * (user % 2))
    )
    items = [(other if n % 4 == 3 else own).pop() for n in range(11)]
    split = [0] * 6 + [1] + [2] * (2 + user % 3)
    rows += [(user, *pair) for pair in zip(items, split)]
  user, item, split = np.array(rows).T
  return prepared_lib.build(
    user,
    item,
    split,
    user_ids=np.arange(USERS),
    item_ids=np.arange(ITEMS),
    history_rule=prepared_lib.FIXED,
  )


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  folder = tmp_path_factory.mktemp('one') / 'data'
  prepared_lib.save(_log(), str(folder))
  return str(folder)


def _config(data, **changes):
  system = baselines.resolved(baselines.SYSTEMS['lightgcn'], 1)
  named = {path.replace('.', '__'): value for path, value in system.items()}
  settings = {
    'data__prepared': data,
    'aggregator__name': 'joint',
    'model__name': 'multi_behavior',
    'model__width': 8,
    'model__hidden': (128, 64),
    'groups__num_groups': 2,
    'behavior__samples': 6,
    'train__batch_size': 16,
    'train__epochs': 12,
    'train__evaluate_every': 4,
    'train__learning_rate': 0.05,
    'train__log_groups': False,
    'train__select_metric': 'user_ndcg@5',
    'evaluation__ks': (1, 5),
    'evaluation__candidates': 'unbought',
  }
  return runs.config(**{**settings, **named, **changes})


def _by_hand(experiment, workdir, k):
  """(recall, NDCG) at k of every user with test items, literally.

  All items that are not in train or validation are ranked by the scores that
  recommendations have.
  """
  out = workdir.parent / 'lists.csv'
  options = recommend.Options(k=ITEMS, exclude_seen=False)
  recommend.run(str(workdir), str(out), options, quiet=True)
  listed = {user: [] for user in range(USERS)}
  with open(out, encoding='utf-8') as file:
    for row in csv.DictReader(file):
      listed[int(row['user_id'])].append(int(row['item_id']))
  prepared = experiment.prepared
  had = {user: ([], []) for user in range(USERS)}
  for user, item, split in zip(
    prepared.event_users, prepared.items, prepared.split
  ):
    had[user][int(split == prepared_lib.TEST)].append(item - 1)
  recalls, ndcgs = [], []
  for user, (before, test) in had.items():
    among = [item for item in listed[user] if item not in before]
    hits = [item in test for item in among[:k]]
    gains = 1 / np.log2(2 + np.arange(k))
    recalls.append(sum(hits) / len(test))
    ndcgs.append((gains @ hits) / gains[: len(test)].sum())
  return np.array(recalls), np.array(ndcgs)


def test_lightgcn_trains_ranks_and_recommends(data, tmp_path):
  workdir = tmp_path / 'run'
  report = run_lib.train(_config(data), str(workdir), quiet=True)
  losses = [line['train_loss'] for line in run_directory.read_metrics(workdir)]
  assert losses[-1] < 0.9 * losses[0]
  experiment, _ = experiment_lib.load(str(workdir))
  recalls, ndcgs = _by_hand(experiment, workdir, 5)
  overall = report['test']['overall']
  assert overall['recall@5']['value'] == pytest.approx(np.mean(recalls))
  assert overall['user_ndcg@5']['value'] == pytest.approx(np.mean(ndcgs))
  assert overall['user_ndcg@5']['count'] == USERS
  popularity = report['baselines']['popularity']['overall']
  for name in ('recall@5', 'user_ndcg@5'):
    cell = overall[name]
    assert cell['low'] < cell['value'] < cell['high']
    assert cell['value'] > popularity[name]['value']
    by_group = [part[name] for part in report['test']['groups']]
    assert sum(part['count'] for part in by_group) == USERS
  # Of other test items of the user none is left out.
  rows = np.load(workdir / 'per_target.npz')
  assert set(rows['num_negatives'].tolist()) == {ITEMS - 1 - 7}
  assert report['protocol']['candidates'] == 'unbought'
  assert files.read_json(workdir / 'report.json')['test'] == report['test']


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'behavior__prior': 'pattern'}, "behavior.prior 'pattern' changes"),
    ({'behavior__contrastive': 0.5}, 'behavior.contrastive 0.5 changes'),
    ({'behavior__aggregate': 'behaviors'}, "aggregate 'behaviors' changes"),
    ({'data__strip_heldout': True}, 'data.strip_heldout True changes'),
    ({'behavior__weights': (0.0, 1.0)}, 'has 2 numbers, but there are 1'),
    ({'fusion__num_layers': (0, 3)}, 'has 2 numbers, but there are 1'),
  ],
)
def test_what_one_behavior_cannot_have_is_one_line(
  data, tmp_path, changes, message
):
  workdir = tmp_path / 'run'
  config = _config(data, **changes)
  with pytest.raises(types.UserError, match=message) as caught:
    run_lib.train(config, str(workdir), quiet=True)
  assert '\n' not in str(caught.value)
  assert not (workdir / 'report.json').exists()
