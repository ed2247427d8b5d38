"""The two stages of 2TS as one program, phase after phase (2TS sec. 3)."""

import dataclasses
from typing import NamedTuple

import numpy as np

from twotsrec import contracts
from twotsrec import types
from twotsrec.objectives import streams as stream_objectives
from twotsrec.recipes.two_time import jobs as jobs_lib
from twotsrec.recipes.two_time import networks as networks_lib
from twotsrec.recipes.two_time import serving
from twotsrec.recipes.two_time import shared
from twotsrec.recipes.two_time import stage1
from twotsrec.recipes.two_time import together

Phases = dict[str, contracts.Trained]  # by folder


class Trained(NamedTuple):
  """The parts of a trained 2TS.

  Attributes:
    experiment: with the threshold in force.
    players: by the name of the part.
    nets: by the name of the part, of parts with a network.
    vectors: what states start from and are compared with.
    phases: how every phase ended.
    stage1_epochs: how long stage 1 trained; 0 if there was none.
    trials: validation MRR by epochs of stage 1.
    stage1_seconds: of its training, until the epoch that was chosen.
  """

  experiment: contracts.Experiment
  players: dict[str, serving.Player]
  nets: dict[str, types.PyTree]
  vectors: stream_objectives.Vectors
  phases: Phases
  stage1_epochs: int = 0
  trials: dict[int, float] = {}
  stage1_seconds: float = 0.0


class Embedded(NamedTuple):
  """Embeddings of stage 1 after the best number of its epochs.

  Attributes:
    epochs: the number.
    params: what was trained.
    vectors: of items and users.
    nets: networks that were trained on them to choose, by part.
    trials: validation MRR by epochs.
    seconds: of training, until then.
    phases: how they ended.
  """

  epochs: int
  params: types.Params
  vectors: stream_objectives.Vectors
  nets: dict[str, types.PyTree]
  trials: dict[int, float]
  seconds: float
  phases: Phases


def train(experiment: contracts.Experiment, work: contracts.Work) -> Trained:
  """Trains all parts of the variant, with the threshold as it is.

  Raises:
    types.UserError: settings that do not go together.
  """
  options = experiment.config.two_time
  if jobs_lib.trained_together(options.variant):
    return _single_stage(experiment, work)
  jobs = _jobs(experiment)
  left_out = jobs_lib.window_events(experiment.prepared, options)
  stage = _stage1(experiment, left_out)
  embedded = _embed(experiment, work, stage, jobs)
  setting = _setting(experiment, embedded.vectors)
  nets, phases = _networks(setting, work, jobs, embedded.nets)
  phases, vectors = embedded.phases | phases, embedded.vectors
  if options.holdout == 'refit' and left_out.any():
    vectors, phases['refit'] = _refit(experiment, work, stage, embedded)
  return Trained(
    experiment=experiment,
    players=_players(setting, jobs),
    nets=nets,
    vectors=vectors,
    phases=phases,
    stage1_epochs=embedded.epochs,
    trials=embedded.trials,
    stage1_seconds=embedded.seconds,
  )


def embed(
  experiment: contracts.Experiment, work: contracts.Work
) -> stream_objectives.Vectors:
  """Stage 1 alone, on all train events."""
  stage = _stage1(experiment, _nothing(experiment))
  trained = work.fit(shared.FOLDER, *stage.parts)
  return stage1.vectors(trained.params, stage.context)


def _embed(experiment, work, stage, jobs) -> Embedded:
  """Embeddings of stage 1, or of another run's."""
  taken = shared.find(experiment.config, experiment.prepared)
  if taken is None:
    return _choose(experiment, work, stage, jobs)
  # What the other run has chosen; networks are still to be trained.
  params, vectors = _snapshot(stage, taken.folder, taken.epochs)
  return Embedded(
    epochs=taken.epochs,
    params=params,
    vectors=vectors,
    nets={},
    trials=taken.trials,
    seconds=taken.seconds,
    phases={},
  )


def _choose(experiment, work, stage, jobs) -> Embedded:
  """Trains stage 1, then the first network on every snapshot; keeps the best.

  A variant without a network of psi is judged by that of inactive users.
  """
  options, first = experiment.config.two_time, jobs[0]
  epochs = sorted(set(options.stage1_epochs))
  if first.part.reads == 'nothing' and len(epochs) > 1:
    first = _jobs(experiment, variant='one_gru')[0]
  name = first.part.name
  phases = {shared.FOLDER: work.fit(shared.FOLDER, *stage.parts)}
  folder = str(work.workdir / shared.FOLDER)
  snapshots = {epoch: _snapshot(stage, folder, epoch) for epoch in epochs}
  nets, trials = {}, {}
  for epoch, (_, vectors) in snapshots.items():
    if first.part.reads == 'nothing':
      continue
    setting = _setting(experiment, vectors)
    trained = _network(setting, work, first, f'{name}_{epoch}')
    phases[f'{name}_{epoch}'], nets[epoch] = trained, trained.params.net
    trials[epoch] = trained.progress.best[0].value
  if len(epochs) > 1 and None in trials.values():
    raise stage1.nothing_to_choose_by(epochs)
  best = max(epochs, key=trials.get) if len(epochs) > 1 else epochs[0]
  params, vectors = snapshots[best]
  progress = phases[shared.FOLDER].progress
  return Embedded(
    epochs=best,
    params=params,
    vectors=vectors,
    nets={name: nets[best]} if nets and first is jobs[0] else {},
    trials=trials,
    seconds=progress.train_seconds * best / progress.epoch,
    phases=phases,
  )


def _networks(
  setting, work, jobs, nets
) -> tuple[dict[str, types.PyTree], Phases]:
  """All networks, and plugins, by part; how their phases ended, by folder.

  Args:
    setting: with the vectors of stage 1.
    work: the run.
    jobs: of the variant.
    nets: those that are trained already, by part.
  """
  nets, phases = dict(nets), {}
  if setting.config.two_time.share_readout:
    phases['both'] = _together(setting, work, jobs)
    nets = together.networks(phases['both'].params)
  for job in jobs:
    name = job.part.name
    if job.part.reads != 'nothing' and name not in nets:
      phases[name] = _network(setting, work, job, name)
      nets[name] = phases[name].params.net
  if setting.config.plugin.name != 'none':
    name = jobs[0].part.name
    folder = f'{name}_plugins'
    phases[folder] = _network(setting, work, jobs[0], folder, nets[name])
    nets[name] = phases[folder].params.net
  return nets, phases


def _network(setting, work, job, folder, trunk=None) -> contracts.Trained:
  """One network, or plugins in it."""
  judge = serving.make_judge(setting, serving.make_player(setting, job))
  return work.fit(folder, *networks_lib.make_parts(setting, job, judge, trunk))


def _together(setting, work, jobs, embeddings=None) -> contracts.Trained:
  """Networks with a read-out or embeddings in common.

  Args:
    setting: with the vectors of stage 1, or those that training starts at.
    work: the run.
    jobs: of the variant.
    embeddings: as `together.make_parts`.
  """
  judge_all = serving.make_judge_of_all(setting, _players(setting, jobs))

  def judge(params):
    vectors = setting.vectors
    if embeddings is not None:
      vectors = together.vectors_of(params, embeddings[1])
    return judge_all(together.networks(params), vectors)

  parts = together.make_parts(
    setting, jobs, judge if judge_all else None, embeddings
  )
  return work.fit('both', *parts)


def _single_stage(experiment, work) -> Trained:
  """Embeddings and networks at once (2TS sec. 4.2)."""
  jobs = _jobs(experiment)
  stage = _stage1(experiment, _nothing(experiment))
  learner, _, how = stage.parts
  start, context = learner.init(how.keys.init), stage.context
  setting = _setting(experiment, together.vectors_of(start, context))
  trained = _together(setting, work, jobs, (start, context))
  return Trained(
    experiment=experiment,
    players=_players(setting, jobs),
    nets=together.networks(trained.params),
    vectors=together.vectors_of(trained.params, context),
    phases={'both': trained},
  )


def _refit(experiment, work, stage, embedded):
  """User vectors on all train events, items as they were (sec. 3.1, ours)."""
  refit = stage1.make_refit(experiment, embedded.params, stage.context)
  trained = work.fit('refit', *refit.parts)
  users = stage1.refitted(embedded.params, trained.params, refit.context)
  return embedded.vectors._replace(user=users), trained


def _stage1(experiment, left_out) -> stage1.Stage:
  features = stage1.load_features(experiment.config, experiment.prepared)
  return stage1.make(experiment, left_out, features)


def _snapshot(stage, folder, epochs):
  """(parameters, vectors) of stage 1 after some epochs."""
  params = stage1.snapshot(stage, folder, epochs)
  return params, stage1.vectors(params, stage.context)


def _jobs(experiment, **changes) -> tuple[jobs_lib.Job, ...]:
  options = dataclasses.replace(experiment.config.two_time, **changes)
  return jobs_lib.make(experiment.prepared, experiment.groups, options)


def _setting(experiment, vectors) -> networks_lib.Setting:
  return networks_lib.Setting(experiment.config, experiment.prepared, vectors)


def _players(setting, jobs) -> dict[str, serving.Player]:
  return {job.part.name: serving.make_player(setting, job) for job in jobs}


def _nothing(experiment) -> np.ndarray:
  return np.zeros(experiment.prepared.num_events, bool)
