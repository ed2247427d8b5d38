"""Networks of 2TS at work: queries before held-out events, and their MRR."""

from collections.abc import Callable, Iterator, Sequence
import functools
from typing import Any, NamedTuple

import numpy as np

from twotsrec import contracts
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import stream_feeds
from twotsrec.data import stream_jobs
from twotsrec.data import streams
from twotsrec.evaluation import expected
from twotsrec.evaluation import online
from twotsrec.evaluation import online_states
from twotsrec.evaluation import rules
from twotsrec.evaluation import samples
from twotsrec.models import two_rnn
from twotsrec.objectives import streams as stream_objectives
from twotsrec.plugins import recurrent

# Validation events that a choice rests on; a sample of them above that.
_JUDGED = 20_000
# (networks by the name of their part, vectors) -> MRR on validation events
Judge = Callable[[dict[str, Any], stream_objectives.Vectors], float]


class Player(NamedTuple):
  """A job's network at work.

  Attributes:
    job: with the users it serves.
    play: (net, vectors, wanted bool[N]) -> steps of a walk up to the split of
      the last wanted event.
    read: (net, vectors, users, states, last items) -> queries f32[n, D].
  """

  job: stream_jobs.Job
  play: Callable[..., Iterator[online_states.Step]]
  read: Callable[..., np.ndarray]


def make(experiment: contracts.Experiment) -> tuple[Player, ...]:
  """The players of a variant."""
  jobs = stream_jobs.make(
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
    runs, users = stream_jobs.played(prepared, job, until, wanted)
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
  nets: dict[str, Any],
  vectors: stream_objectives.Vectors,
  wanted: np.ndarray,
) -> Iterator[online.Block]:
  """Queries before all wanted events, bool[N], whoever serves their users."""
  users = prepared.event_users
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
) -> Judge | None:
  """(nets, vectors) -> MRR of the players' validation events, or None.

  The expectation over lists of 499 other items (2TS sec. 4), past items among
  them; on a fixed sample where there are many events.
  """
  config, prepared = experiment.config, experiment.prepared
  users = prepared.event_users
  held = np.asarray(prepared.split) == prepared_lib.VALIDATION
  served = np.any([player.job.serves for player in players], axis=0)
  events = np.flatnonzero(held & served[users])
  if not len(events):
    return None
  seed = config.evaluation.seed
  events = events[samples.at_most(_JUDGED, len(events), seed)]
  wanted = np.zeros(prepared.num_events, bool)
  wanted[events] = True

  def judge(nets, vectors):
    queries = blocks(prepared, players, nets, vectors, wanted)
    ranks = online.rank(
      online.Queries(queries, vectors.item),
      prepared,
      events,
      [rules.everything(prepared.num_items)],
    )
    values = expected.reciprocal_rank(
      ranks['better'],
      ranks['tied'],
      ranks['num_negatives'],
      config.two_time.evaluation_lists,
    )
    return float(np.mean(values))

  return judge
