"""Queries of trained 2TS networks before held-out events, and their ranks."""

from collections.abc import Callable, Iterator, Sequence
import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from twotsrec import contracts
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import stream_feeds
from twotsrec.data import streams
from twotsrec.evaluation import expected
from twotsrec.evaluation import movement
from twotsrec.evaluation import online
from twotsrec.evaluation import online_report
from twotsrec.evaluation import online_states
from twotsrec.evaluation import rules
from twotsrec.models import two_rnn
from twotsrec.objectives import streams as stream_objectives
from twotsrec.plugins import recurrent
from twotsrec.recipes.two_time import jobs as jobs_lib
from twotsrec.recipes.two_time import networks as networks_lib
from twotsrec.training import online_rows

# Validation events that a choice rests on; a sample of them above that.
_JUDGED = 20_000


class Player(NamedTuple):
  """A job's network at work.

  Attributes:
    job: with the users it serves.
    play: (net, vectors, wanted bool[N]) -> steps of a walk up to the split of
      the last wanted event.
    read: (net, vectors, users, states, last items) -> queries f32[n, D].
  """

  job: jobs_lib.Job
  play: Callable[..., Iterator[online_states.Step]]
  read: Callable[..., np.ndarray]


def make_players(experiment: contracts.Experiment) -> tuple[Player, ...]:
  """The players of a variant."""
  jobs = jobs_lib.make(
    experiment.prepared, experiment.groups, experiment.config.two_time
  )
  return tuple(_player(experiment, job) for job in jobs)


def _player(experiment, job) -> Player:
  """Plays the events of a job's users, compiled once.

  With plugins the users of a group go through the network with its plugin on.
  """
  config, prepared = experiment.config, experiment.prepared
  width, cell = config.model.width, two_rnn.cell_of(config.two_time)
  stages = two_rnn.make_stages(config.two_time, width)
  bind = recurrent.make_bind(stages, config.plugin)
  walk = online_states.make_walk(bind, job.part.own_start, cell.states * width)
  read_out = online_states.make_read(bind)
  feed = functools.cache(lambda: stream_feeds.make_feed(prepared, job.group))

  def play(net, vectors, wanted):
    until = int(np.asarray(prepared.split)[wanted].max())
    runs, users = jobs_lib.played(prepared, job, until, wanted)
    for mine, own in _by_plugin(job, net, users):
      some = streams.Runs(*(column[mine] for column in runs))
      yield from walk(own, vectors, feed(), some, wanted)

  def read(net, vectors, users, states, items):
    queries = np.zeros((len(users), width), np.float32)
    for mine, own in _by_plugin(job, net, users):
      queries[mine] = read_out(own, vectors, states[mine], items[mine])
    return queries

  return Player(job, play, read)


def _by_plugin(job, net, users):
  """(which of the users, the network that serves them), for every plugin."""
  for g in range(len(job.sizes)) if 'plugins' in net else ():
    mine = job.group[users] == g
    if mine.any():
      yield mine, recurrent.of_group(net, g)
  if 'plugins' not in net:
    yield slice(None), net


def blocks(
  prepared: prepared_lib.Prepared,
  players: Sequence[Player],
  nets: dict[str, types.PyTree],
  vectors: stream_objectives.Vectors,
  wanted: np.ndarray,
) -> Iterator[online.Block]:
  """Queries before all wanted events, bool[N], whoever serves their users."""
  users = prepared_lib.event_users(prepared)
  for player in players:
    job, net = player.job, nets.get(player.job.part.name)
    mine = wanted & job.serves[users]
    if net is not None:
      yield from online_states.blocks(player.play(net, vectors, wanted))
    elif mine.any():
      splits = np.unique(np.asarray(prepared.split)[mine]).tolist()
      for block in online.static_blocks(prepared, splits, vectors.user):
        own = mine[block.event]
        yield online.Block(*(column[own] for column in block))


def make_judge(
  experiment: contracts.Experiment, players: Sequence[Player]
) -> networks_lib.Judge | None:
  """(nets, vectors) -> MRR of the players' validation events, or None.

  The expectation over lists of 499 other items (2TS sec. 4), past items among
  them; on a fixed sample where there are many events.
  """
  config, prepared = experiment.config, experiment.prepared
  users = prepared_lib.event_users(prepared)
  held = np.asarray(prepared.split) == prepared_lib.VALIDATION
  served = np.any([player.job.serves for player in players], axis=0)
  events = np.flatnonzero(held & served[users])
  if not len(events):
    return None
  if len(events) > _JUDGED:
    generator = np.random.default_rng(config.evaluation.seed)
    events = np.sort(generator.choice(events, _JUDGED, replace=False))
  wanted = np.zeros(prepared.num_events, bool)
  wanted[events] = True

  def judge(nets, vectors):
    ranks = online.rank(
      blocks(prepared, players, nets, vectors, wanted),
      vectors.item,
      prepared,
      prepared_lib.VALIDATION,
      [rules.everything(prepared.num_items)],
      events=events,
    )
    values = expected.reciprocal_rank(
      ranks['better'],
      ranks['tied'],
      ranks['num_negatives'],
      config.two_time.evaluation_lists,
    )
    return float(np.mean(values))

  return judge


def rank(
  experiment: contracts.Experiment,
  ranker: contracts.Ranker,
  split: str,
  show: Callable[[int, int], None] | None = None,
) -> contracts.Ranked:
  """Ranks a split's events as they come, as `contracts.Recipe.rank`.

  Popularity is ranked the same way. The part of the report ranks among all
  items without the user's past; the protocol `online` has the paper's rules.
  """
  prepared, config = experiment.prepared, experiment.config
  index = prepared_lib.SPLITS.index(split)
  queries, item = _queries(experiment, ranker, index)
  lists, seed = config.two_time.evaluation_lists, config.evaluation.seed
  ranks = online.rank(
    queries,
    jnp.asarray(item),
    prepared,
    index,
    online.usual_rules(prepared, lists, seed),
    progress=show,
  )
  part, rows = online_report.for_run_report(
    ranks, prepared, experiment.groups, config.evaluation
  )
  return contracts.Ranked(
    part=part,
    rows=rows,
    protocols={'online': _online_part(experiment, ranks)},
    events=online_rows.kept(ranks),
  )


def _queries(experiment, ranker, split):
  """Queries before all events of a split, and the vectors of items."""
  prepared, system = experiment.prepared, experiment.system
  if ranker.model is not system.model:
    return online.popularity(prepared, split)
  item, net = ranker.params.tables['item']['embedding'], ranker.params.net
  vectors = stream_objectives.Vectors(item, net['user']['start'])
  players = system.players or make_players(experiment)
  wanted = np.asarray(prepared.split) == split
  return blocks(prepared, players, net['networks'], vectors, wanted), item


def _online_part(experiment, ranks):
  """The paper's metrics by bucket, and how far states move.

  `share_left_out` of the events have an item that training has in windows left
  out of stage 1 alone: seen in training, hence `warm`, but its x_i is 0.
  """
  options, prepared = experiment.config.two_time, experiment.prepared
  parts = jobs_lib.PARTS[options.variant]
  divided = any(part.name == 'active' for part in parts)
  evaluation = experiment.config.evaluation
  section = online_report.build(
    ranks,
    online_report.Options(
      # A small catalog has fewer others than a list has places.
      lists=min(options.evaluation_lists, prepared.num_items - 1),
      threshold=options.threshold if divided else None,
      resamples=evaluation.bootstrap,
      seed=evaluation.seed,
    ),
  )
  left_out = jobs_lib.left_out_items(prepared, options)[ranks['item']]
  return section | {
    'movement': movement.curves(ranks, options.threshold),
    'share_left_out': float(np.mean(left_out)),
  }
