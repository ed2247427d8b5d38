"""Ranks all items by two programs of one model, in turns, beside an epoch."""

import dataclasses
import tempfile
import time
from typing import Any

import numpy as np

import timing
import training_loop
from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import offline
from twotsrec.runs import experiment as experiment_lib
from twotsrec.training import loop
from twotsrec.training import machine
from twotsrec.training import phases

_CLUSTERS = 100
# What has to be the same by both programs, for every held-out item.
_RANKS = ('event', 'better', 'tied', 'num_negatives', 'score', 'rank')


def log(num_users: int, num_items: int, seed: int = 0) -> prepared_lib.Prepared:
  """A made-up log: a mean of 17 events for a user, four fifths have three.

  Items are of clusters, and popular in them by a power law; a user likes three.
  Three in ten events are of what follows on the item before. The last two
  events of users with three or more are held out.
  """
  rng = np.random.default_rng(seed)
  counts = np.rint(rng.lognormal(2.056, 1.256, num_users)).astype(np.int64)
  user = np.repeat(np.arange(num_users), np.clip(counts, 1, 3000))
  total, clusters = user.size, min(_CLUSTERS, num_items)
  likes = rng.integers(0, clusters, (num_users, 3))
  liked = likes[user, np.minimum(rng.geometric(0.55, total) - 1, 2)]
  size = num_items // clusters
  item = liked * size + (size * rng.random(total) ** 2.5).astype(np.int64)
  anything = rng.random(total) < 0.25
  item[anything] = num_items * rng.random(anything.sum()) ** 4
  follows = (rng.random(total) < 0.3) & (np.diff(user, prepend=-1) == 0)
  item[follows] = rng.permutation(num_items)[item[np.flatnonzero(follows) - 1]]
  first, last = (
    np.searchsorted(user, user),
    np.searchsorted(user, user, 'right'),
  )
  from_end = last - 1 - np.arange(total)
  held = (last - first > 2) & (from_end < 2)
  split = np.where(held, 2 - from_end, prepared_lib.TRAIN)
  return prepared_lib.build(
    user.astype(np.int32),
    item.astype(np.int32) + 1,
    split.astype(np.int8),
    user_ids=np.arange(1, num_users + 1),
    item_ids=np.arange(1, num_items + 1),
  )


def measure(
  config: config_lib.Config,
  prepared: prepared_lib.Prepared,
  repeats: int,
  say: timing.Say = timing.say_nothing,
) -> dict[str, Any]:
  """Seconds of an epoch, and of ranking before and after.

  `before` is every pair by itself with the longest history; `after` is what a
  run does. Programs are compiled in a turn that is not measured.

  Args:
    config: of the model; `evaluation.users` may rank a sample.
    prepared: such as `log` makes.
    repeats: turns of each.
    say: gets a line about progress.
  Raises:
    ValueError: ranks differ.
  """
  train = dataclasses.replace(
    config.train, epochs=1, select_metric='none', checkpoint_every=600.0
  )
  evaluation = dataclasses.replace(config.evaluation, bootstrap=0)
  config = dataclasses.replace(config, train=train, evaluation=evaluation)
  experiment = experiment_lib.make(config, prepared)
  say('an epoch')
  epoch, params = _epoch(experiment)
  ranker = experiment_lib.ranker(experiment, params)
  plain = ranker._replace(
    model=ranker.model._replace(shared=None, any_length=False)
  )
  ways = {'before': plain, 'after': ranker}
  turns, rows = {name: [] for name in ways}, {}
  for number in range(repeats + 1):
    for name, own in ways.items():
      say(f'{name}, {number}/{repeats}' if number else f'{name}, warming up')
      seconds, rows[name] = _ranked(experiment, own)
      turns[name] += [seconds] if number else []
    _same(rows['before'], rows['after'])
  targets, pairs = len(rows['after']['event']), prepared.num_items
  ratios = [
    [b / a for b, a in zip(*both)]
    for both in zip(turns['before'], turns['after'])
  ]
  wall, processor = zip(*ratios)
  return {
    'model': config.model.name,
    'events': len(prepared.items),
    'users': prepared.num_users,
    'items': pairs,
    'held_out': offline.held_out(experiment, 'test'),
    'ranked': targets,
    'epoch': {'wall': round(epoch[0], 2), 'processor': round(epoch[1], 2)},
    **{name: _figures(own) for name, own in turns.items()},
    'before_over_after': {
      'wall': timing.summary(wall),
      'processor': timing.summary(processor),
    },
    'auc_terms_moved_at_most': _moved(rows['before'], rows['after']),
    'versions': machine.versions(),
  }


def _epoch(experiment: contracts.Experiment):
  """(wall, processor) seconds without compilation, and the parameters."""
  phase = phases.make(*training_loop.first_phase(experiment))
  with tempfile.TemporaryDirectory() as workdir:
    begin = time.perf_counter(), time.process_time()
    trained = loop.fit(phase, workdir, quiet=True)
    wall, processor = (
      time.perf_counter() - begin[0],
      time.process_time() - begin[1],
    )
  compiling = trained.progress.compile_seconds
  return (wall - compiling, processor - compiling), trained.params


def _ranked(experiment, ranker):
  """(wall, processor) seconds, and rows of the held-out items."""
  begin = time.perf_counter(), time.process_time()
  rows = offline.rank(experiment, ranker, 'test').rows
  seconds = time.perf_counter() - begin[0], time.process_time() - begin[1]
  return seconds, rows


def _same(before, after) -> None:
  for name in _RANKS:
    if not np.array_equal(before[name], after[name]):
      number = int(np.sum(before[name] != after[name]))
      raise ValueError(f'{name} of {number} held-out items differ')


def _figures(turns):
  wall, processor = zip(*turns)
  return {'wall': timing.summary(wall), 'processor': timing.summary(processor)}


def _moved(before, after) -> float:
  names = [name for name in before if name.startswith('placement')]
  return max(float(np.nanmax(np.abs(before[n] - after[n]))) for n in names)
