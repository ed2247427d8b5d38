"""Contracts that let every part combine with every other.

A component is a NamedTuple of pure functions. Shape letters: B examples, C
candidates, L history length, G activeness groups, U users, I items, D width.
Item ids are 1..I, 0 is padding; user ids are 0..U-1; groups are 0..G-1 in
arrays and 1..G in print.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # errors and names are needed where no array is
  import jax

PyTree = Any


class UserError(ValueError):
  """A wrong file, flag or value: shown as is, without a traceback.

  The message names the value, what is allowed and the way out.
  """


class Unavailable(UserError):
  """What a program needs does not answer now; later the same may succeed."""


def printable(name: object) -> str:
  """A name from a file, for a message; in quotes if it has a line end, say."""
  text = str(name)
  return text if text.isprintable() else repr(text)


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
    shared: a model with the same parameters that gives the same scores, up to
      rounding, with less work for candidates that all examples share; or None.
    any_length: whether histories may be cut after their last item: padding
      changes a score by no more than rounding does.
    cloze: whether `encode_positions` looks ahead, and a position sees all
      others but those that inputs['masked'], bool[B, L], hides (BERT4Rec).
    auxiliary: (net, rows, inputs, others) -> f32[B], a loss beside the ranking
      (`objectives.beside`); `others` are rows as those of the history, of items
      that did not come there; or None.
    factors: (net, encoded, candidate_rows) -> f32[B, Q] of who is encoded and
      f32[C, Q] or f32[B, C, Q] of the items alone, whose inner products are the
      scores; or None where scores are none.
    reasons: (net, encoded, history, candidate_rows) -> f32[B, C, L], what each
      item of the history counts for a candidate, 0 for padding: the terms of a
      score that is a sum over them, or the weights of an attention; or None.
  """

  init: Callable[..., Params]
  encode: Callable[..., PyTree]
  score: Callable[..., jax.Array]
  encode_positions: Callable[..., PyTree] | None = None
  stages: Any = None
  shared: Model | None = None
  any_length: bool = False
  cloze: bool = False
  auxiliary: Callable[..., jax.Array] | None = None
  factors: Callable[..., tuple[jax.Array, jax.Array]] | None = None
  reasons: Callable[..., jax.Array] | None = None


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
    embed: (embed_net, rows, inputs) -> f32[B, L, D], embedded history; or what
      `summarize` takes of a user without one.
    summarize: (extractor, embedded, mask, *, key=None) -> summary, leaves
      [B, ...]; mask bool[B, L].
    extract: (extractor, summary, candidate_rows) -> Features.
    classify: (classifier, features, candidate_rows) -> f32[B, C].
    summarize_positions: like `summarize` with leaves [B, L, ...]; or None.
    any_length: as in `Model`.
    cloze: as in `Model`; `embed` reads inputs['masked'].
    auxiliary: (extractor, embedded, mask, others f32[B, L, D]) -> f32[B], a
      loss beside the ranking, `others` embedded like the history; or None.
    factors: (classifier, features, candidate_rows) -> the two of
      `Model.factors`, whose products are what `classify` gives; or None.
    attention: (extractor, summary, candidate_rows) -> f32[B, C, L], weights of
      the history's items for each candidate; or None.
  """

  init: Callable[..., Params]
  embed: Callable[..., PyTree]
  summarize: Callable[..., PyTree]
  extract: Callable[..., Features]
  classify: Callable[..., jax.Array]
  summarize_positions: Callable[..., PyTree] | None = None
  any_length: bool = False
  cloze: bool = False
  auxiliary: Callable[..., jax.Array] | None = None
  factors: Callable[..., tuple[jax.Array, jax.Array]] | None = None
  attention: Callable[..., jax.Array] | None = None


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


class NodeSizes(NamedTuple):
  """Static sizes of a model of several behaviors; n = U + I nodes.

  User u is node u, item i node U + i - 1. The target is the last behavior.
  """

  num_behaviors: int
  num_users: int
  num_items: int
  width: int


class Fused(NamedTuple):
  """Representations of all nodes, from `Fusion.encode`.

  Attributes:
    behaviors: K times f32[n, D'], e^{k,*} of every node (COPF sec. 4.2).
    extra: what else a head or a loss reads, such as the tables of a second
      stream: arrays under the names of `Fusion.extra`, or () without any.
  """

  behaviors: tuple[jax.Array, ...]
  extra: PyTree = ()


class Fusion(NamedTuple):
  """Makes a table of all nodes for every behavior from the graphs of all.

  Attributes:
    init: key -> net, a pytree of f32; {} where nothing is trained. Leaves under
      a name `bias` or `relation` are not regularized (behavior.l2_scope).
    context: ops.graph.Edges -> given arrays: graphs, degrees, lists.
    encode: (net, nodes f32[n, D], context, *, key=None) -> Fused. A missing
      key means evaluation (no dropout).
    width: D', of the tables.
    merged: whether one table stands in for all behaviors; heads that read the
      same input for every task need that.
    reads: settings under `fusion` that it reads, besides its name; others may
      not be changed.
    least_behaviors: how many behaviors it needs; a log with fewer is refused.
    upstream_only: whether it promises that the table of a behavior depends on
      no edge of a later one (COPF sec. 4.2: downstream must not leak upstream).
    extra: names in `Fused.extra`. A loss beside the ranking that reads another
      is refused (`objectives.auxiliaries`).
  """

  init: Callable[[jax.Array], PyTree]
  context: Callable[[Any], PyTree]
  encode: Callable[..., Fused]
  width: int
  merged: bool = False
  reads: tuple[str, ...] = ()
  least_behaviors: int = 1
  upstream_only: bool = False
  extra: tuple[str, ...] = ()


class Nodes(NamedTuple):
  """The rows a head prepares: all nodes, or the users of a batch and all items.

  Attributes:
    num_users: how many rows are users'; they come first.
    pick: f32[n, D] -> f32[m, D], these rows of a table of all nodes.
    neighbors: (task, f32[n, D]) -> f32[m, D], for these rows the mean over a
      node's neighbors in the graph of the task's behavior.
    walk: the same for all nodes, f32[n, D] -> f32[n, D].
  """

  num_users: int
  pick: Callable[[jax.Array], jax.Array]
  neighbors: Callable[[int, jax.Array], jax.Array]
  walk: Callable[[int, jax.Array], jax.Array]


class Head(NamedTuple):
  """Turns representations of nodes into scores of K behaviors.

  Attributes:
    init: key -> net.
    prepare: (net, Fused, Nodes, task) -> table of these nodes, leaves [m, ...].
    score: (net, user rows, item rows, task) -> f32[P], rows of the table with
      leaves [P, ...].
    serve: (net, user table, item table) of the target -> the two as
      {name: f32[U, ...]} and {name: f32[I, ...]}; any rows of them likewise.
    rank: (net, user rows [B, ...], item rows [C, ...] or [B, C, ...]) ->
      f32[B, C], the same scores.
    scorer: names in net that scores of prepared rows depend on, where a table
      is f32[n, S * D'], the vectors of a node that the head reads; None for a
      head that keeps no such vectors, to which no plugin can be attached.
    walks: whether `prepare` asks for neighbors, so that the graph of each
      behavior alone is laid out for it.
  """

  init: Callable[[jax.Array], PyTree]
  prepare: Callable[..., PyTree]
  score: Callable[..., jax.Array]
  serve: Callable[..., tuple[dict[str, jax.Array], dict[str, jax.Array]]]
  rank: Callable[..., jax.Array]
  scorer: tuple[str, ...] | None = None
  walks: bool = False


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
    candidates: i32[B, C], the observed item first, then its negatives; where
      every position is trained, i32[B, L, C].
    user: i32[B].
    group: i32[B], 0..G-1.
    weight: f32[B], 1 for an example, 0 for filling.
    shared: i32[B, S], negatives of all observed items of an example; or None.
    log_chance: f32[B, S], or as the negatives of `candidates`: logarithm of how
      probable each negative was, where negatives are drawn by popularity or a
      loss asks for it; or None.
    masked: bool[B, L], the items of the history that are hidden, and which the
      candidates are of; or None.
    label: f32[B], of impressions: whether the only candidate was clicked, 1 or
      0; None where the first candidate was observed.
  """

  history: jax.Array
  candidates: jax.Array
  user: jax.Array
  group: jax.Array
  weight: jax.Array
  shared: jax.Array | None = None
  log_chance: jax.Array | None = None
  masked: jax.Array | None = None
  label: jax.Array | None = None
