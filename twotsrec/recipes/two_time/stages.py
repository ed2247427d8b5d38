"""The two stages of 2TS as one program, phase after phase (2TS sec. 3)."""

from typing import Any, NamedTuple

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import stream_jobs
from twotsrec.evaluation import players as players_lib
from twotsrec.objectives import streams as stream_objectives
from twotsrec.recipes import pin
from twotsrec.recipes.two_time import networks
from twotsrec.recipes.two_time import stage1
from twotsrec.recipes.two_time import starts

Nets = dict[str, types.PyTree]  # by the name of the part
Phases = dict[str, contracts.Trained]  # by folder


class Outcome(NamedTuple):
  """The trained parts of both stages.

  Attributes:
    experiment: with the threshold in force.
    players: of all parts.
    nets: by the name of the part, of parts with a network.
    vectors: states start from users, and are compared with items.
    phases: ends of all phases.
    choice: epochs of stage 1; 0 if there was none.
    start: what the report says of shrunk starts.
  """

  experiment: contracts.Experiment
  players: tuple[players_lib.Player, ...]
  nets: Nets
  vectors: stream_objectives.Vectors
  phases: Phases
  choice: stage1.Choice = stage1.Choice()
  start: dict[str, Any] = {}


def train(experiment: contracts.Experiment, work: contracts.Work) -> Outcome:
  """Trains all parts of the variant, with the threshold as it is."""
  options = experiment.config.two_time
  players = players_lib.make(experiment)
  if options.variant in config_lib.ONE_STAGE:
    return _single_stage(experiment, work, players)
  left_out = stream_jobs.window_events(experiment.prepared, options)
  stage = stage1.make(experiment, left_out)
  choice, nets, phases = stage1.taken(experiment, work), {}, {}
  if choice is None:
    choice, nets, phases = _choose(experiment, work, stage, players)
  vectors, fitted, start = starts.begin(experiment, work, stage, choice)
  setting = networks.Setting(experiment, vectors)
  nets, more = _networks(setting, work, players, nets)
  phases |= fitted | more
  if options.holdout == 'refit' and left_out.any():
    params, _ = stage1.snapshot(stage, choice.folder, choice.epochs)
    refit = stage1.make_refit(experiment, params, stage.learner.context)
    phases['refit'] = work.fit('refit', *refit)
    users = phases['refit'].params
    users = stage1.refitted(params, users, refit.learner.context)
    vectors = vectors._replace(user=users)
  return Outcome(
    experiment=experiment,
    players=players,
    nets=nets,
    vectors=vectors,
    phases=phases,
    choice=choice,
    start=start,
  )


def _choose(
  experiment, work, stage, players
) -> tuple[stage1.Choice, Nets, Phases]:
  """Trains stage 1, then the first network on every snapshot; the best stays.

  A variant without a network of psi is judged by that of inactive users.
  """
  config = experiment.config
  epochs = sorted(set(config.two_time.stage1_epochs))
  player = players[0]
  if player.job.part.reads == 'nothing' and len(epochs) > 1:
    one_gru = stream_jobs.changed(config, variant='one_gru')
    (player,) = players_lib.make(experiment._replace(config=one_gru))
  if len(epochs) > 1 and players_lib.make_judge(experiment, [player]) is None:
    raise stage1.nothing_to_choose_by(epochs)
  phases = {stage1.FOLDER: work.fit(stage1.FOLDER, *stage)}
  folder, name = str(work.workdir / stage1.FOLDER), player.job.part.name
  nets, trials = {}, {}
  for epoch in epochs if player.job.part.reads != 'nothing' else ():
    snapshot = stage1.Choice(folder, epoch)
    vectors, fitted, _ = starts.begin(experiment, work, stage, snapshot)
    setting = networks.Setting(experiment, vectors)
    phases |= fitted
    trained = _network(setting, work, player, f'{name}_{epoch}')
    phases[f'{name}_{epoch}'], nets[epoch] = trained, trained.params.net
    trials[epoch] = trained.progress.best[0].value
  best = epochs[0]
  if len(epochs) > 1:
    best = max(epochs, key=lambda epoch: trials[epoch])
  progress = phases[stage1.FOLDER].progress
  seconds = progress.train_seconds * best / progress.epoch
  serves = nets and player is players[0]  # or has chosen, and is done
  return (
    stage1.Choice(folder, best, trials, seconds),
    {name: nets[best]} if serves else {},
    phases,
  )


def _networks(setting, work, players, nets) -> tuple[Nets, Phases]:
  """All networks and plugins; those in `nets` are trained already."""
  nets, phases = dict(nets), {}
  if setting.config.two_time.share_readout:
    phases['both'] = _both(setting, work, players)
    nets = stream_objectives.of_both(phases['both'].params)
  for player in players:
    name = player.job.part.name
    if player.job.part.reads != 'nothing' and name not in nets:
      phases[name] = _network(setting, work, player, name)
      nets[name] = phases[name].params.net
  if pin.has_plugins(setting.config):
    name = players[0].job.part.name
    folder, trunk = f'{name}_plugins', nets[name]
    phases[folder] = _network(setting, work, players[0], folder, trunk)
    nets[name] = phases[folder].params.net
  return nets, phases


def _network(setting, work, player, folder, trunk=None) -> contracts.Trained:
  """One network, or plugins in it."""
  judge = players_lib.make_judge(setting.experiment, [player])
  parts = networks.make_parts(setting, player.job, judge, trunk)
  return work.fit(folder, *parts)


def _both(setting, work, players, embeddings=None) -> contracts.Trained:
  """Networks with a read-out or embeddings in common."""
  judge = players_lib.make_judge(setting.experiment, players)
  jobs = tuple(player.job for player in players)
  parts = networks.make_joint(setting, jobs, judge, embeddings)
  return work.fit('both', *parts)


def _single_stage(experiment, work, players) -> Outcome:
  """Embeddings and networks at once (2TS sec. 4.2)."""
  learner, _, how = stage1.make(experiment)
  start, context = learner.init(how.keys.init), learner.context
  vectors = stream_objectives.vectors_of(start, context)
  setting = networks.Setting(experiment, vectors)
  trained = _both(setting, work, players, (start, context))
  return Outcome(
    experiment=experiment,
    players=players,
    nets=stream_objectives.of_both(trained.params),
    vectors=stream_objectives.vectors_of(trained.params, context),
    phases={'both': trained},
  )
