"""Contracts that let every part combine with every other.

A component is a NamedTuple of pure functions. Shape letters: B examples, C
candidates, L history length, G activeness groups, U users, I items, D width.
Item ids are 1..I, 0 is padding; user ids are 0..U-1; groups are 0..G-1 in
arrays and 1..G in print.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

PyTree = Any


class UserError(ValueError):
  """A wrong file, flag or value: shown as is, without a traceback.

  The message names the value, what is allowed and the way out.
  """


class Params(NamedTuple):
  """What is trained. `tables` are touched by `ops.rows` alone.

  Attributes:
    tables: {entity: {name: f32[rows, ...]}}, for example
      {'item': {'embedding': f32[I + 1, D]}}; row 0 is padding.
    net: everything else, a pytree of f32.
  """

  tables: dict[str, dict[str, jax.Array]]
  net: PyTree


class Sizes(NamedTuple):
  """Static sizes a model is initialized for."""

  num_users: int
  num_items: int
  history_length: int


class Model(NamedTuple):
  """A scorer of candidates given encoded inputs.

  Attributes:
    init: (key, context, sizes) -> Params.
    encode: (net, rows, context, inputs, *, key=None) -> encoded, leaves
      [B, ...]. `inputs` is {'history': i32[B, L], 'route': Route, 'user':
      i32[B]}, `rows` are the table rows of its history; it never sees
      candidates. A missing key means evaluation (no dropout). Only a model
      with plugins reads the route. Only a model of known users reads `user`,
      which is -1 for a row without one.
    score: (net, encoded, candidate_rows, *, key=None) -> f32[B, C]. The leaves
      of `candidate_rows` are [B, C, ...], or [C, ...] when all examples share
      the candidates.
    encode_positions: like `encode`, but leaves [B, L, ...], one encoding per
      history position that sees this position and earlier ones; None where a
      model cannot (it looks ahead, or needs the candidate).
    stages: PIN's parts of a sequence model, where plugins attach; or None.
  """

  init: Callable[..., Params]
  encode: Callable[..., PyTree]
  score: Callable[..., jax.Array]
  encode_positions: Callable[..., PyTree] | None = None
  stages: Any = None


class Features(NamedTuple):
  """What the extractor hands to the classifier.

  Attributes:
    plugged: f32[..., d], where a plugin at the second point acts.
    fixed: what the classifier needs besides (a target vector), or None.
  """

  plugged: jax.Array
  fixed: PyTree = None


class Stages(NamedTuple):
  """A sequence model cut where plugins attach (PIN sec. 3.3, eq. 12-13).

  The extractor is in two parts so that a history is read once and scored
  against any number of candidates.

  Attributes:
    init: (key, context, sizes) -> Params with
      net = {'embed': ..., 'extractor': ..., 'classifier': ...}.
    embed: (embed_net, rows, inputs) -> f32[B, L, D], embedded history.
    summarize: (extractor, embedded, mask, *, key=None) -> summary, leaves
      [B, ...]; mask bool[B, L].
    extract: (extractor, summary, candidate_rows) -> Features.
    classify: (classifier, features, candidate_rows) -> f32[B, C].
    summarize_positions: like `summarize` with leaves [B, L, ...]; or None.
  """

  init: Callable[..., Params]
  embed: Callable[..., jax.Array]
  summarize: Callable[..., PyTree]
  extract: Callable[..., Features]
  classify: Callable[..., jax.Array]
  summarize_positions: Callable[..., PyTree] | None = None


class Route(NamedTuple):
  """Which plugins a user is served by; K of them, weighted.

  K = 1 is a user's own group, K = 2 a blend of neighbors. Weights of 0 leave
  the bare trunk. Without the leading axis all examples share the plugins.

  Attributes:
    groups: i32[B, K] or i32[K].
    weights: f32[B, K] or f32[K].
  """

  groups: Any
  weights: Any


class Plugin(NamedTuple):
  """A small network per activeness group around a shared trunk (PIN sec. 3.3).

  Attributes:
    init: (key, stages, trunk, num_groups, sizes) -> plugins, leaves [G, ...];
      trunk is the Params that `stages` scores with.
    attach: (stages, plugins, weights) -> Stages, for plugins with leaves
      [K, ...] and weights f32[K]; the parameters of the new stages are those
      of the trunk.
  """

  init: Callable[..., PyTree]
  attach: Callable[[Stages, PyTree, jax.Array], Stages]


class GroupInfo(NamedTuple):
  """What an aggregator may know besides the gradients.

  Attributes:
    sizes: f32[G], training samples n_j of each group.
    counts: f32[G], samples of each group in this batch, b_j; 0 if absent.
    losses: f32[G], mean loss of each group in this batch, or None.
  """

  sizes: jax.Array
  counts: jax.Array
  losses: jax.Array | None = None


class GradientAggregator(NamedTuple):
  """One gradient from the mean gradients of the groups.

  Attributes:
    init: (num_groups, params) -> state.
    update: (group_grads, info, state, *, key=None) -> (grads, state, log);
      leaves [G, ...] become [...].
    weights: (info) -> f32[G] when the method is a weighted sum whose weights
      are known before any gradient, else None.
    post: (info_after, state) -> state when the method wants the losses of the
      same batch after the parameters have moved, else None.
  """

  init: Callable[..., PyTree]
  update: Callable[..., tuple[PyTree, PyTree, dict[str, jax.Array]]]
  weights: Callable[[GroupInfo], jax.Array] | None = None
  post: Callable[[GroupInfo, PyTree], PyTree] | None = None


class Batch(NamedTuple):
  """Training examples on the device; leaves [B, ...] or [G, B, ...].

  Attributes:
    history: i32[B, L], earlier items, oldest first, right-padded with 0.
    candidates: i32[B, C], the observed item first, then the negatives.
    user: i32[B].
    group: i32[B], 0..G-1.
    weight: f32[B], 1 for an example, 0 for filling.
  """

  history: jax.Array
  candidates: jax.Array
  user: jax.Array
  group: jax.Array
  weight: jax.Array


# ---- A run: one configuration from data to something that ranks


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
  """What scores items for users: a trained model, or a rule beside it.

  Attributes:
    model: the scorer.
    params: its parameters, or a list with those of every group.
    context: given arrays of the model.
    history_length: L, items of a history that it reads.
    routing: config.RoutingConfig of a model with plugins, or None.
    reads_history: whether it serves people whom training has not seen.
  """

  model: Model
  params: Any
  context: Any
  history_length: int = 1
  routing: Any = None
  reads_history: bool = True


class Source(NamedTuple):
  """Where the batches of a training phase come from.

  Attributes:
    feed: columns on the device.
    sizes: f32[G], training samples of each group, n_j.
    batch_of: (feed, row of a plan, key) -> batch. What a loss of `Learner`
      reads of it is the recipe's business; aggregators read its `group` i32[n]
      and `weight` f32[n], 0 for filling.
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
  by_group: Callable[[], 'Source'] | None = None
  widths: tuple[int, ...] | None = None
  stack: Callable[[Any], Any] | None = None


class Learner(NamedTuple):
  """What a training phase trains.

  Attributes:
    init: (key) -> parameters.
    context: given arrays.
    loss: (params, context, batch, key) -> f32[n], one value per example; None
      where the update brings a loss of its own.
  """

  init: Callable[[jax.Array], PyTree]
  context: Any = None
  loss: Callable[..., jax.Array] | None = None


class Trunk(NamedTuple):
  """What the plugins of a second stage stand on (PIN sec. 3.3).

  Attributes:
    stages: of the network, where plugins attach.
    learner: the network without plugins.
    loss_of: (stages) -> loss as in `Learner`, for the same parameters.
  """

  stages: Stages
  learner: Learner
  loss_of: Callable[[Stages], Callable[..., jax.Array]]


class Start(NamedTuple):
  """Parameters that a phase begins with, instead of fresh ones.

  Attributes:
    params: of the learner.
    origin: what they come from, JSON-able, the same whenever the run resumes.
  """

  params: PyTree
  origin: dict[str, Any] = {}


class Trained(NamedTuple):
  """How a phase ended.

  Attributes:
    params: the selected parameters; a list where groups select on their own.
    progress: counts and seconds, JSON-able.
  """

  params: Any
  progress: dict[str, Any]


class Served(NamedTuple):
  """What a recipe has trained.

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
  """What a run gives the program of its recipe.

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
      `ranker` or one of `rules`, `show` is called with (done, total).
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
    grows: whether a finished run can go on with more epochs: it has one phase,
      and nothing in it but its end depends on their number.
  """

  check: Callable[..., None]
  build: Callable[[Experiment], Experiment]
  train: Callable[..., Served]
  template: Callable[..., PyTree]
  rank: Callable[..., Ranked]
  ranker: Callable[..., Ranker]
  rules: Callable[..., dict[str, Ranker]]
  protocol: Callable[..., dict[str, Any]]
  systems: Callable[..., dict[str, Any]] | None = None
  notes: Callable[[Experiment], list[str] | None] = lambda experiment: None
  in_force: Callable[..., Any] = lambda config, report: config
  service: Callable[..., Any] | None = None
  grows: bool = False
