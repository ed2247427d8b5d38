"""2TS: embeddings first, then two recurrent networks (2TS sec. 3).

Stage 1 trains a vector per user and item; stage 2 trains, on frozen vectors, a
network that starts at one common vector and serves inactive users, and another
that starts at the user's own vector and serves active ones. The ablations of
sec. 4.2 leave something out of this; `two_time_jobs.PARTS` says what.
"""

from collections.abc import Callable
import dataclasses
import pathlib
from typing import Any, NamedTuple

import numpy as np

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import groups as groups_lib
from twotsrec.data import prepared as prepared_lib
from twotsrec.objectives import streams as stream_objectives
from twotsrec.recipes import two_time_jobs as jobs_lib
from twotsrec.recipes import two_time_phases as phases
from twotsrec.recipes import two_time_serving as serving
from twotsrec.recipes import two_time_shared as shared
from twotsrec.recipes import two_time_single as single
from twotsrec.recipes import two_time_stage1 as stage1
from twotsrec.training import loop


class Work(NamedTuple):
  """What a run goes about, and where.

  Attributes:
    config: of the run, with the threshold that is in force.
    prepared: the data.
    groups: activeness groups.
    workdir: of the run; every phase has a folder of its own in it.
    should_stop: asked about once a second.
    quiet: no progress display.
  """

  config: config_lib.Config
  prepared: prepared_lib.Prepared
  groups: groups_lib.Groups
  workdir: pathlib.Path
  should_stop: Callable[[], bool]
  quiet: bool


class Trained(NamedTuple):
  """The parts of a trained 2TS.

  Attributes:
    config: with the threshold in force.
    players: by the name of the part.
    nets: by the name of the part, of parts with a network.
    vectors: what states start from and are compared with.
    hosts: progress of every phase, by folder.
    stage1_epochs: how long stage 1 trained; 0 if there was none.
    trials: validation MRR by epochs of stage 1.
    stage1_seconds: of its training, until the epoch that was chosen.
  """

  config: config_lib.Config
  players: dict[str, serving.Player]
  nets: dict[str, types.PyTree]
  vectors: stream_objectives.Vectors
  hosts: dict[str, dict[str, Any]]
  stage1_epochs: int
  trials: dict[int, float]
  stage1_seconds: float = 0.0


class _Stopped(Exception):
  """The run was asked to stop, and is saved."""


def fit(work: Work) -> Trained | None:
  """Trains all parts of the variant; None if it was stopped.

  Raises:
    types.UserError: settings that do not go together.
  """
  try:
    if jobs_lib.trained_together(work.config.two_time.variant):
      return _single_stage(work)
    return _two_stages(work)
  except _Stopped:
    return None


def _two_stages(work):
  config = work.config
  jobs = jobs_lib.make(work.prepared, work.groups, config.two_time)
  left_out = jobs_lib.window_events(work.prepared, config.two_time)
  features = stage1.load_features(config, work.prepared)
  stage = stage1.make(config, work.prepared, work.groups, left_out, features)
  chosen, hosts = _embeddings(work, stage, jobs)
  setting = phases.Setting(config, work.prepared, chosen.vectors)
  nets, more = _networks(work, setting, jobs, chosen.nets)
  hosts, vectors = hosts | more, chosen.vectors
  if config.two_time.holdout == 'refit' and left_out.any():
    vectors, hosts['refit'] = _refit(work, chosen, stage.context)
  players = {j.part.name: serving.make_player(setting, j) for j in jobs}
  return Trained(
    config,
    players,
    nets,
    vectors,
    hosts,
    chosen.epochs,
    chosen.trials,
    chosen.seconds,
  )


def embed(work: Work) -> stream_objectives.Vectors | None:
  """Stage 1 alone, on all train events; None if it was stopped."""
  nothing = np.zeros(work.prepared.num_events, bool)
  features = stage1.load_features(work.config, work.prepared)
  stage = stage1.make(
    work.config, work.prepared, work.groups, nothing, features
  )
  try:
    params, _ = _run(work, 'stage1', stage.phase, stage.state, stage.config)
  except _Stopped:
    return None
  return stage1.vectors(params, stage.context)


class _Chosen(NamedTuple):
  """Embeddings after the best number of epochs."""

  epochs: int
  params: types.Params
  vectors: stream_objectives.Vectors
  nets: dict[str, types.PyTree]
  trials: dict[int, float]
  seconds: float


def _embeddings(work, stage, jobs):
  """Those of stage 1, or of another run's: (_Chosen, {folder: progress})."""
  taken = shared.find(work.config, work.prepared)
  if taken is not None:  # what it has chosen; networks are still to be trained
    params, vectors = _snapshot(stage, taken.folder, taken.epochs)
    chosen = _Chosen(
      taken.epochs, params, vectors, {}, taken.trials, taken.seconds
    )
    return chosen, {}
  _, host = _run(work, shared.FOLDER, stage.phase, stage.state, stage.config)
  return _choose(work, stage, jobs, host)


def _choose(work, stage, jobs, host):
  """Trains the first network on every snapshot and keeps the best.

  A variant without a network of psi is judged by that of inactive users.
  """
  options, first = work.config.two_time, jobs[0]
  epochs = sorted(set(options.stage1_epochs))
  if first.part.reads == 'nothing' and len(epochs) > 1:
    probe = dataclasses.replace(options, variant='one_gru')
    first = jobs_lib.make(work.prepared, work.groups, probe)[0]
  folder, name = _folder(work, shared.FOLDER), first.part.name
  hosts, found, nets, trials = {shared.FOLDER: host}, {}, {}, {}
  for epoch in epochs:
    found[epoch] = _, vectors = _snapshot(stage, folder, epoch)
    if first.part.reads == 'nothing':
      continue
    setting = phases.Setting(work.config, work.prepared, vectors)
    of_epoch = f'{name}_{epoch}'
    nets[epoch], hosts[of_epoch] = _network(work, setting, first, of_epoch)
    trials[epoch] = hosts[of_epoch]['best'][0]['value']
  if len(epochs) > 1 and None in trials.values():
    raise stage1.nothing_to_choose_by(epochs)
  best = max(epochs, key=trials.get) if len(epochs) > 1 else epochs[0]
  kept = {name: nets[best]} if nets and first is jobs[0] else {}
  seconds = host['train_seconds'] * best / host['epoch']
  return _Chosen(best, *found[best], kept, trials, seconds), hosts


def _snapshot(stage, folder, epochs):
  """(parameters, vectors) of stage 1 after some epochs."""
  params = stage1.snapshot(stage, folder, epochs)
  return params, stage1.vectors(params, stage.context)


def _networks(work, setting, jobs, nets):
  """All networks, and plugins: (by name, {folder: progress}).

  Args:
    work: the run.
    setting: with the vectors of stage 1.
    jobs: of the variant.
    nets: those that are trained already, by name.
  """
  nets, hosts = dict(nets), {}
  if work.config.two_time.share_readout:
    params, hosts['both'] = _together(work, setting, jobs)
    nets = single.networks(params)
  for job in jobs:
    name = job.part.name
    if job.part.reads != 'nothing' and name not in nets:
      nets[name], hosts[name] = _network(work, setting, job, name)
  if work.config.plugin.name != 'none':
    name = jobs[0].part.name
    folder = f'{name}_plugins'
    nets[name], hosts[folder] = _network(
      work, setting, jobs[0], folder, nets[name]
    )
  return nets, hosts


def _network(work, setting, job, folder, trunk=None):
  """One network: (what is trained, progress)."""
  judge = serving.make_judge(setting, serving.make_player(setting, job))
  phase, state = phases.make_phase(setting, job, judge, trunk)
  train = phases.train_config(work.config, trunk is not None)
  params, host = _run(work, folder, phase, state, train)
  return params.net, host


def _together(work, setting, jobs, embeddings=None):
  """Networks with a read-out or embeddings in common: (parameters, progress).

  Args:
    work: the run.
    setting: with the vectors of stage 1, or those that training starts at.
    jobs: of the variant.
    embeddings: as `single.make_phase`.
  """
  players = {j.part.name: serving.make_player(setting, j) for j in jobs}
  judge_all = serving.make_judge_of_all(setting, players)

  def judge(params):
    vectors = setting.vectors
    if embeddings is not None:
      vectors = single.vectors_of(params, embeddings[1])
    return judge_all(single.networks(params), vectors)

  phase, state = single.make_phase(
    setting, jobs, judge if judge_all else None, embeddings
  )
  return _run(work, 'both', phase, state, single.train_config(work.config))


def _single_stage(work):
  """Embeddings and networks at once (2TS sec. 4.2)."""
  config = work.config
  jobs = jobs_lib.make(work.prepared, work.groups, config.two_time)
  features = stage1.load_features(config, work.prepared)
  nothing = np.zeros(work.prepared.num_events, bool)
  stage = stage1.make(config, work.prepared, work.groups, nothing, features)
  context, start = stage.context, stage.state.params
  setting = phases.Setting(
    config, work.prepared, single.vectors_of(start, context)
  )
  params, host = _together(work, setting, jobs, (start, context))
  return Trained(
    config,
    {j.part.name: serving.make_player(setting, j) for j in jobs},
    single.networks(params),
    single.vectors_of(params, context),
    {'both': host},
    stage1_epochs=0,
    trials={},
  )


def _refit(work, chosen, context):
  """User vectors on all train events, items as they were (sec. 3.1, ours)."""
  stage = stage1.make_refit(
    work.config, work.prepared, work.groups, chosen.params, context
  )
  params, host = _run(work, 'refit', stage.phase, stage.state, stage.config)
  users = stage1.refitted(chosen.params, params, stage.context)
  return chosen.vectors._replace(user=users), host


def _run(work, folder, phase, state, train):
  """A phase in its folder: (selected parameters, progress)."""
  where = _folder(work, folder)
  pathlib.Path(where).mkdir(parents=True, exist_ok=True)
  fitted = loop.fit(phase, state, train, where, work.should_stop, work.quiet)
  if fitted.params is None or work.should_stop():
    raise _Stopped
  return fitted.params, fitted.host


def _folder(work, name):
  return str(work.workdir / name)
