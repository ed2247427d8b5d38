import dataclasses
import functools
import pathlib

import numpy as np
import pytest

from tests import configured
from tests import finished
from tests import two_time_toys as toys
from tests.models import examples
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import candidates
from twotsrec.evaluation import offline
from twotsrec.evaluation import online
from twotsrec.evaluation import rules
from twotsrec.ops import rows as rows_ops
from twotsrec.presets import two_time as presets
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import run as runs_lib
from twotsrec.training import files
from twotsrec.training import online_rows
from twotsrec.training import run_directory

LISTS = toys.SETTINGS['two_time.evaluation_lists']
COUNTED = ('better', 'tied', 'num_negatives')


def _config(**changes) -> config_lib.Config:
  """A sequence model on the log of the runs of 2TS."""
  usual = {
    'data.prepared': toys.prepared_path(),
    'data.history_length': 8,
    'model.name': 'sum_pooling',
    'model.width': 4,
    'groups.num_groups': 3,
    'train.epochs': 1,
    'train.batch_size': 256,
    'evaluation.online': True,
    'evaluation.bootstrap': 20,
    'two_time.evaluation_lists': LISTS,
  }
  return configured.by(usual, **changes)


# Of the presets, at the size of the log.
_SAGE = {
  **{
    path.replace('.', '__'): value
    for path, value in presets.BASELINES['gcmc_sage'].items()
  },
  'behavior__weights': (1.0,),
  'model__width': 8,  # of 4 so many may be cut to 0 that items are alike
  'train__batch_size': 64,
  'train__select_metric': 'mrr',
}


def _graph() -> pathlib.Path:
  """A run of GCMC-SAGE on the same log."""
  return _trained('gcmc_sage', **_SAGE)


@functools.cache
def _trained(name: str, **changes) -> pathlib.Path:
  workdir = toys.folder() / name
  runs_lib.train(_config(**changes), str(workdir), quiet=True)
  return workdir


def _report(workdir):
  return files.read_json(run_directory.report_path(workdir))


@pytest.mark.parametrize('make', [lambda: _trained('plain'), _graph])
def test_a_model_ranks_the_events_and_the_lists_of_a_2ts_run(make):
  of_model = _report(make())['online']
  of_2ts = _report(finished.two_time())['online']
  for split in ('validation', 'test'):
    ours, theirs = of_model['model'][split], of_2ts['model'][split]
    assert ours['lists_digest'] == theirs['lists_digest'] is not None
    assert ours['rules'] == theirs['rules']
    count = lambda row: (row['name'], row['all']['users'], row['all']['events'])
    buckets = {count(row) for row in ours['rows']}
    assert buckets <= {count(row) for row in theirs['rows']}
    # What needs no training is the same number, whatever stands beside it.
    popular, beside = (of['popularity'][split] for of in (of_model, of_2ts))
    by_name = {row['name']: row for row in beside['rows']}
    assert all(row == by_name[row['name']] for row in popular['rows'])


def test_counts_are_those_of_scoring_every_event_by_itself():
  workdir = _trained('plain')
  rows = online_rows.read(workdir).model
  experiment, params = experiment_lib.load(str(workdir))
  data = experiment.prepared
  ranker = experiment_lib.ranker(experiment, params)
  rng = np.random.default_rng(0)
  for place in rng.choice(rows['event'].size, 12, replace=False):
    event = int(rows['event'][place])
    start = int(data.user_offsets[rows['user'][place]])
    history = _history(data, event, int(rows['user'][place]))
    scores = _scores(ranker, history, data.num_items)
    item, past = (
      int(data.items[event]),
      set(np.asarray(data.items[start:event])),
    )
    others = [i for i in range(1, data.num_items + 1) if i != item]
    target = _one_event(rows, place, item)
    drawn = rules.listed(data, LISTS, 0).excluded(target)
    listed = next(iter(drawn.masks(1, data.num_items))).items[0]
    for ending, chosen in (
      ('', others),
      ('_without_past', [i for i in others if i not in past]),
      ('_sampled', listed.tolist()),
    ):
      above = sum(scores[i] > scores[item] for i in chosen)
      assert abs(rows['better' + ending][place] - above) <= 1  # by rounding
    assert rows['num_negatives'][place] == len(others)


def test_vectors_of_a_graph_stand_still_while_events_arrive():
  """An event is ranked by the vector that its user has after training."""
  workdir = _graph()
  rows = online_rows.read(workdir).model
  experiment, params = experiment_lib.load(str(workdir))
  data, ranker = experiment.prepared, experiment_lib.ranker(experiment, params)
  net, table = ranker.params.net, ranker.params.tables['item']
  users, every = np.arange(data.num_users), np.arange(data.num_items + 1)
  encoded = ranker.model.encode(net, None, {}, {'user': users})
  scores = ranker.model.score(net, encoded, rows_ops.gather(table, every))
  scores = np.asarray(scores)[rows['user'], 1:]
  own = np.asarray(data.items)[rows['event']] - 1
  target = scores[np.arange(own.size), own]
  above = np.sum(scores > target[:, None] + 1e-5, axis=1)
  not_below = np.sum(scores > target[:, None] - 1e-5, axis=1) - 1
  assert np.all(above <= rows['better'] + rows['tied'])
  assert np.all(rows['better'] <= not_below)
  assert not rows['movement'].any()
  users, events = np.unique(rows['user'], return_counts=True)
  assert events.max() > 3 and np.mean(above == not_below) > 0.9


def _history(data, event, user):
  """The last eight items before an event, i32[1, 8]."""
  history, start = np.zeros((1, 8), np.int32), int(data.user_offsets[user])
  earlier = np.asarray(data.items[max(start, event - 8) : event])
  history[0, : earlier.size] = earlier
  return history


def _one_event(rows, place, item):
  """One event as targets."""
  one = lambda value: np.array([value])
  event = rows['event'][place]
  return prepared_lib.Targets(
    one(event), one(rows['user'][place]), one(item), one(event)
  )


def _scores(ranker, history, num_items):
  every = np.arange(num_items + 1, dtype=np.int32)
  return np.asarray(
    examples.scores(ranker.model, ranker.params, history, every)
  )[0]


def test_a_sample_of_users_has_the_rows_that_all_have_of_them():
  every = online_rows.read(_trained('plain')).model
  workdir = _trained('sampled', evaluation__users=30)
  some = online_rows.read(workdir).model
  users = np.unique(some['user'])
  assert 0 < users.size < np.unique(every['user']).size
  chosen = np.isin(every['user'], users)
  for name in ('event', 'better_sampled', *COUNTED):
    np.testing.assert_array_equal(some[name], every[name][chosen])
  assert _report(workdir)['protocol']['users'] == 30


@functools.cache
def _plugged():
  """A run with plugins that have moved: (workdir, experiment, ranker)."""
  workdir = _trained(
    'plugged',
    plugin__name='light',
    plugin__trunk=str(_trained('plain')),
    plugin__epochs=1,
    plugin__learning_rate=0.05,
  )
  experiment, params = experiment_lib.load(str(workdir))
  return workdir, experiment, experiment_lib.ranker(experiment, params)


@pytest.mark.parametrize('mode', ['frozen', 'soft'])
def test_plugins_serve_the_events_of_their_groups(mode):
  """The counts are those of scoring an event with its own plugins alone."""
  workdir, experiment, ranker = _plugged()
  routing = dataclasses.replace(ranker.routing, mode=mode)
  ranker, data = ranker._replace(routing=routing), experiment.prepared
  events = online.held_out(data, prepared_lib.TEST)
  held = prepared_lib.targets(data, prepared_lib.TEST)
  held = held._replace(history_end=held.event)
  routes = offline.routes_of(experiment, ranker, held)
  rows = online.rank_histories(
    ranker, data, events, online.usual_rules(data, 0), routes=routes
  )
  if mode == 'frozen':  # as the run itself has ranked
    of_run = online_rows.read(workdir).model
    np.testing.assert_array_equal(rows['better'], of_run['better'])
    bare = online_rows.read(_trained('plain')).model
    assert np.mean(rows['better'] != bare['better']) > 0.3
  chosen = np.random.default_rng(0).choice(events.size, 12, replace=False)
  table, every = ranker.params.tables['item'], np.arange(data.num_items + 1)
  for place in chosen:
    history = _history(data, int(events[place]), int(rows['user'][place]))
    inputs = {
      'history': history,
      'route': types.Route(*(leaf[[place]] for leaf in routes)),
      'user': rows['user'][place : place + 1],
    }
    net = ranker.params.net
    encoded = ranker.model.encode(
      net, rows_ops.gather(table, history), {}, inputs
    )
    scores = ranker.model.score(net, encoded, rows_ops.gather(table, every))
    above = np.asarray(scores[0, 1:]) > scores[0, rows['item'][place]]
    assert abs(np.sum(above) - rows['better'][place]) <= 1  # by rounding


def test_lists_that_differ_have_another_digest():
  data, _ = toys.log()
  events = online.held_out(data, prepared_lib.TEST)
  digest = lambda seed: candidates.digest_of_fingerprints(
    online.rank(
      online.popularity(data, prepared_lib.TEST),
      data,
      events,
      online.usual_rules(data, LISTS, seed),
    )['list']
  )
  assert digest(0) != digest(1)
  shown = _report(_trained('plain'))['online']['model']['test']
  assert shown['lists_digest'] == digest(0)
