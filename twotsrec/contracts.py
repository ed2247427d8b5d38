"""Contracts of a run: one configuration, from data to something that ranks.

A recipe is a program over records: an `Experiment` goes in, `Served` comes out,
and `Work.fit` trains one phase of a `Learner` on a `Source`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from twotsrec import types

if TYPE_CHECKING:
  import jax


class Experiment(NamedTuple):
  """One configuration with its data and what its recipe built from them.

  Attributes:
    config: config.Config.
    prepared: data.prepared.Prepared.
    groups: data.groups.Groups, activeness groups of the users.
    system: models, contexts and programs; only the recipe looks inside.
  """

  config: Any
  prepared: Any
  groups: Any
  system: Any = None


class Ranker(NamedTuple):
  """A scorer of items for users: a trained model, or a rule beside it.

  Attributes:
    model: the scorer.
    params: its parameters, or a list with those of every group.
    context: given arrays of the model.
    history_length: L, items of a history that it reads.
    routing: config.RoutingConfig of a model with plugins, or None.
    reads_history: whether it serves people whom training has not seen.
    log_odds: whether scores are log odds of a click, of data with labels.
  """

  model: types.Model
  params: Any
  context: Any
  history_length: int = 1
  routing: Any = None
  reads_history: bool = True
  log_odds: bool = False


class Source(NamedTuple):
  """Where the batches of a training phase come from.

  Attributes:
    feed: columns on the device.
    sizes: f32[G], training samples of each group, n_j.
    batch_of: (feed, row of a plan, key) -> batch. Losses read of it
      what their recipe put there; aggregators its `group` i32[n] and `weight`
      f32[n], 0 for filling.
    plan_of: epoch -> i32[S, ...] on the host, the same shape every epoch.
    by_group: () -> the same source with a row per group, batches [G, n, ...];
      None where batches cannot be cut by group.
    widths: places that each group fills at most in such a row, or None.
    stack: plan i32[S, B] -> i32[S, G, M], the same examples with a row per
      group; None where a plan does not name examples.
  """

  feed: Any
  sizes: jax.Array
  batch_of: Callable[..., Any]
  plan_of: Callable[[int], Any]
  by_group: Callable[[], Source] | None = None
  widths: tuple[int, ...] | None = None
  stack: Callable[[Any], Any] | None = None


class Learner(NamedTuple):
  """A model as a training phase trains it.

  Attributes:
    init: (key) -> parameters.
    context: given arrays.
    loss: (params, context, batch, key) -> f32[n], one value per example; None
      where the update brings a loss of its own.
  """

  init: Callable[[jax.Array], types.PyTree]
  context: Any = None
  loss: Callable[..., jax.Array] | None = None


class Trunk(NamedTuple):
  """The trained network that plugins of a second stage stand on (PIN sec. 3.3).

  Attributes:
    stages: of the network, where plugins attach.
    learner: the network without plugins.
    loss_of: (stages) -> loss as in `Learner`, for the same parameters.
  """

  stages: types.Stages
  learner: Learner
  loss_of: Callable[[types.Stages], Callable[..., jax.Array]]


class Start(NamedTuple):
  """Parameters that a phase begins with, instead of fresh ones.

  Attributes:
    params: of the learner.
    origin: what they come from, JSON-able, the same whenever the run resumes.
  """

  params: types.PyTree
  origin: dict[str, Any] = {}


class Trained(NamedTuple):
  """The end of a phase.

  Attributes:
    params: the selected parameters; a list where groups select on their own;
      None if it was interrupted.
    progress: training.loop.Progress.
  """

  params: Any
  progress: Any


class Served(NamedTuple):
  """A trained recipe.

  Attributes:
    experiment: with the settings in force.
    params: as `Recipe.template` has them; a list by group where groups select
      on their own.
    training: section of the report.
    sections: further sections of the report.
    saved: whether `params` are those that the only phase selected, and hence
      in its folder; else the run saves them.
  """

  experiment: Experiment
  params: Any
  training: dict[str, Any]
  sections: dict[str, Any] = {}
  saved: bool = False


class Work(NamedTuple):
  """Functions and folder of a run, which the program of its recipe is given.

  Attributes:
    fit: (name, learner, source, how, start=None) -> Trained. One phase, in a
      folder of its own in the run, which resumes; '' is the run's own folder.
      The first call opens the run: what is refused before has written nothing.
      `start` is a function that gives a `Start`.
    load: (workdir) -> (Experiment, parameters) of another finished run.
    workdir: pathlib.Path of the run.
  """

  fit: Callable[..., Trained]
  load: Callable[[str], tuple[Experiment, Any]]
  workdir: Any


class Ranked(NamedTuple):
  """Held-out events of a split, ranked.

  Attributes:
    part: of report.json, overall and by group.
    rows: {name: [T]}, one row per held-out event.
    protocols: {name: section}, where a paper has a protocol of its own too.
    events: {name: [T]}, rows of that protocol.
  """

  part: dict[str, Any]
  rows: dict[str, Any]
  protocols: dict[str, Any] = {}
  events: dict[str, Any] = {}


class Recipe(NamedTuple):
  """One way from data to something that ranks: a paper, or one's own.

  Attributes:
    check: (config) refuses settings, before anything is read.
    build: (experiment without a system) -> Experiment; trains and writes
      nothing.
    train: (experiment, work) -> Served; a straight program that calls
      `work.fit` once for each phase.
    template: (experiment) -> parameters to reload; traced for their shapes.
    rank: (experiment, ranker, split, show) -> Ranked; `ranker` is from
      `ranker` or one of `rules`, `show` is called with (done, total), at first
      with what was done before.
    ranker: (experiment, parameters) -> Ranker.
    rules: (experiment) -> {name: Ranker}, untrained, to stand in every table.
    protocol: (experiment, split) -> how `rank` ranks, for the report; refuses
      what the data cannot serve.
    systems: (config, workdir) -> {folder: config} of PIN's base, +GA, +GA+PN;
      None where a model has no such systems.
    notes: (experiment) -> what in the data limits the model, a line each; None
      where nothing is looked for.
    in_force: (config, report) -> the configuration that a finished run chose.
    service: (experiment, parameters) -> serving.online.Service, states of users
      that follow new events; None where a model has none.
    section: (config) -> the section of the settings that has the epochs and the
      patience of the last phase; by default that of plugins, if there are any.
    grows: whether a finished run can go on with more epochs: it has one phase,
      and nothing in it but its end depends on their number.
  """

  check: Callable[..., None]
  build: Callable[[Experiment], Experiment]
  train: Callable[..., Served]
  template: Callable[..., types.PyTree]
  rank: Callable[..., Ranked]
  ranker: Callable[..., Ranker]
  rules: Callable[..., dict[str, Ranker]]
  protocol: Callable[..., dict[str, Any]]
  systems: Callable[..., dict[str, Any]] | None = None
  notes: Callable[[Experiment], list[str] | None] = lambda experiment: None
  in_force: Callable[..., Any] = lambda config, report: config
  service: Callable[..., Any] | None = None
  section: Callable[[Any], str] = lambda config: (
    'train' if config.plugin.name == 'none' else 'plugin'
  )
  grows: bool = False
