"""Weights of a history prior, fitted on validation events; and what it counts.

A validation event is a choice among the items that compete with it: its item,
those that the user had, and a sample of the others, each of which stands for
I / n items. The weights maximize the likelihood of the choices with a ridge
toward the model alone, by Newton's method; that has one maximum.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import counting
from twotsrec.evaluation import fitted
from twotsrec.evaluation import gathers
from twotsrec.evaluation import offline
from twotsrec.evaluation import protocols
from twotsrec.evaluation import ranking
from twotsrec.evaluation import samples
from twotsrec.evaluation import tiles
from twotsrec.models import closed_form
from twotsrec.models import history_prior
from twotsrec.ops import rows as rows_ops

_EVENTS = 4096  # validation events, at most
_DRAWN = 500  # items beside those of the history
_CHUNK = 256  # events at once
_RIDGE = 1.0  # of the squared distance from the model alone
_MAX_STEPS = 50
_SOON = 3  # events within which an item comes after another


class Choices(NamedTuple):
  """Events with what their items were chosen from.

  Attributes:
    x: f32[M, C, F], the chosen item first.
    offset: f32[M, C], log of how many items a candidate stands for; -inf where
      there is none.
  """

  x: np.ndarray
  offset: np.ndarray


def memory(experiment: contracts.Experiment) -> history_prior.Memory:
  """What train events say of pairs of items, for the terms of the run."""
  prepared, options = experiment.prepared, experiment.config.closed_form
  make = {
    history_prior.NEIGHBORS: lambda: (fitted.train_pairs(prepared),) * 2,
    history_prior.SUCCESSORS: lambda: _one_after_another(prepared),
  }
  made = {}
  for term in experiment.config.prior.terms:
    if term in make:
      left, right = make[term]()
      made[term] = history_prior.nearest(
        *closed_form.nearest(left, right, options.neighbors, options.shrinkage)
      )
  return history_prior.Memory(jnp.zeros(prepared.num_items + 1), made)


def _one_after_another(prepared):
  """Pairs of near train events of a user, as two matrices of pairs x I.

  A pair of events that are d apart counts 1 / d.
  """
  items = np.asarray(prepared.items)
  train = np.asarray(prepared.split) == prepared_lib.TRAIN
  user = prepared.event_users
  former, later, weight = [], [], []
  for apart in range(1, _SOON + 1):
    first = np.arange(max(items.size - apart, 0))
    second = first + apart
    near = train[first] & train[second] & (user[first] == user[second])
    former.append(items[first[near]] - 1)
    later.append(items[second[near]] - 1)
    weight.append(np.full(np.sum(near), 1.0 / apart))
  count = sum(map(len, weight))
  shape, row = (count, prepared.num_items), np.arange(count)
  root = np.sqrt(np.concatenate(weight))
  matrix = lambda column: scipy.sparse.csr_matrix(
    (root, (row, np.concatenate(column))), shape
  )
  return matrix(former), matrix(later)


def add(
  served: contracts.Served,
  ranker: Callable[[contracts.Experiment, Any], contracts.Ranker],
) -> contracts.Served:
  """What was trained, with weights fitted to it where the run asks for them.

  Args:
    served: what a recipe has trained.
    ranker: `contracts.Recipe.ranker`, which ends in `around`.
  """
  experiment, params, training, *_ = served
  if not _lacks_weights(experiment.config):
    return served
  fitted = fit(experiment, ranker(experiment, params))
  training = {**training, 'prior': fitted}
  config = in_force(experiment.config, {'training': training})
  experiment = experiment._replace(config=config)
  return served._replace(experiment=experiment, training=training)


def in_force(
  config: config_lib.Config, report: Mapping[str, Any]
) -> config_lib.Config:
  """The configuration with the weights that a run has fitted."""
  fitted = report['training'].get('prior')
  if not fitted:
    return config
  prior = dataclasses.replace(config.prior, weights=(*fitted['weights'],))
  return dataclasses.replace(config, prior=prior)


def around(
  alone: contracts.Ranker, experiment: contracts.Experiment
) -> contracts.Ranker:
  """A model with what histories say, once that has weights."""
  prior = experiment.config.prior
  if not prior.terms or not prior.weights:
    return alone
  length = _history_length(experiment)
  return history_prior.around(
    alone, prior.terms, memory(experiment), prior.weights, length
  )


def _lacks_weights(config) -> bool:
  return bool(config.prior.terms) and not config.prior.weights


def _history_length(experiment: contracts.Experiment) -> int:
  """Events that the prior looks at, no more than the longest history has."""
  longest = np.max(np.diff(experiment.prepared.user_offsets), initial=1)
  return min(experiment.config.prior.history_length, int(longest))


def fit(
  experiment: contracts.Experiment, ranker: contracts.Ranker
) -> dict[str, Any]:
  """Weights of the prior that `prior.terms` names, for the report.

  Args:
    experiment: of the run.
    ranker: the trained model alone.
  Returns:
    {'terms', 'names', 'weights', 'events': number, 'loss': of a choice, by the
    model alone and with the prior}.
  Raises:
    types.UserError: no validation event that is ranked.
  """
  terms = tuple(experiment.config.prior.terms)
  choices = _choices(experiment, ranker)
  weights, losses = maximize(choices)
  return {
    'terms': list(terms),
    'names': list(history_prior.names(terms)),
    'weights': [float(np.float32(weight)) for weight in weights],
    'events': len(choices.x),
    'loss': losses,
  }


def require_events(experiment: contracts.Experiment) -> None:
  """Refuses to fit weights without validation events.

  Raises:
    types.UserError: weights are asked for, and there are none; the ways out.
  """
  if not _lacks_weights(experiment.config):
    return
  if not offline.held_out(experiment, 'validation'):
    raise types.UserError(
      'prior.terms has weights that are fitted on validation events, and there'
      ' are none; prepare the data with some (data.validation=True), or use'
      ' --config.prior.terms="()"'
    )
  _events(experiment)


def _events(experiment) -> prepared_lib.Targets:
  """Validation events that are ranked, at most `_EVENTS` drawn from them."""
  prepared, evaluation = experiment.prepared, experiment.config.evaluation
  asked = protocols.resolved(prepared, evaluation.candidates)
  targets, _ = protocols.targets(prepared, asked, prepared_lib.VALIDATION)
  drawn = samples.at_most(_EVENTS, targets.user.size, evaluation.seed)
  return prepared_lib.Targets(*(column[drawn] for column in targets))


def _choices(experiment, ranker) -> Choices:
  """Validation events with the columns of their candidates."""
  config, prepared = experiment.config, experiment.prepared
  asked = protocols.resolved(prepared, config.evaluation.candidates)
  targets = _events(experiment)
  history = gathers.histories(
    prepared.items,
    np.asarray(prepared.user_offsets)[targets.user],
    targets.history_end,
    max(ranker.history_length, _history_length(experiment)),
  )
  left_out = protocols.left_out(prepared, asked, prepared_lib.VALIDATION)
  rng = np.random.default_rng([config.evaluation.seed, 1])
  lists, offset = _lists(targets, history, left_out, prepared.num_items, rng)
  counted, parts = memory(experiment), []
  for first in range(0, len(lists), _CHUNK):
    part = slice(first, first + _CHUNK)
    parts.append(
      _columns(tuple(config.prior.terms), counted, history[part], lists[part])
    )
  scores = _scores(experiment, ranker, targets, lists)
  x = np.concatenate([scores[..., None], np.concatenate(parts)], axis=2)
  return Choices(x, offset)


def _scores(experiment, ranker, targets, lists) -> np.ndarray:
  """Scores of the lists by the model, f32[M, C]; 0 in the place of none."""
  routes = offline.routes_of(experiment, ranker, targets)
  order, routes = tiles.by_route(routes, len(lists))
  ordered = prepared_lib.Targets(*(column[order] for column in targets))
  evaluation = experiment.config.evaluation
  counts = ranking.rank_targets(
    ranking.Task(ranker, experiment.prepared, ordered, routes),
    lists[order],
    sizes=tiles.sizes_of(evaluation),
    fold=counting.Fold(
      init=lambda own: own,
      step=lambda own, rows, scores, there: np.column_stack([own, scores]),
    ),
  )
  scores = np.empty_like(counts.folded)
  scores[order] = counts.folded
  return np.where(lists > 0, scores, 0.0)


def _columns(terms, counted, history, lists) -> np.ndarray:
  """f32[b, C, F - 1]."""
  size = len(history)
  history, lists = (gathers.pad_rows(x, _CHUNK) for x in (history, lists))
  return np.asarray(_columns_of(terms, counted, history, lists))[:size]


@functools.partial(jax.jit, static_argnums=0)
def _columns_of(terms, counted, history, lists):
  seen = history_prior.evidence(counted, history)
  of_lists = lambda values: rows_ops.of_candidates(values, lists)
  made = history_prior.columns(terms, jax.tree.map(of_lists, seen))
  return jnp.stack(made, axis=-1)


def _lists(targets, history, left_out, num_items, rng):
  """Candidates i32[M, C], the chosen item first, and their offsets.

  Args:
    targets: M events.
    history: i32[M, L], what the user had before them.
    left_out: items of every user that do not compete.
    num_items: I.
    rng: draws the others, of which all are there if they are few.
  """
  size, every = len(history), num_items <= _DRAWN
  drawn = np.broadcast_to(np.arange(1, num_items + 1), (size, num_items))
  if not every:
    drawn = rng.integers(1, num_items + 1, (size, _DRAWN))
  had = np.sort(history, axis=1)
  had = np.where(np.diff(had, axis=1, prepend=0) > 0, had, 0)
  chosen = targets.item[:, None].astype(np.int64)
  width = num_items + 1
  code = lambda ids: np.arange(size)[:, None] * width + ids
  out = gathers.exclusions(left_out, targets.user)
  barred = np.repeat(np.arange(size), out.counts) * width + out.items
  had = np.where((had == chosen) | np.isin(code(had), barred), 0, had)
  taken = np.concatenate([barred, code(chosen).ravel(), code(had).ravel()])
  drawn = np.where(np.isin(code(drawn), taken), 0, drawn)
  lists = np.concatenate([chosen, had, drawn], axis=1).astype(np.int32)
  stands_for = np.ones(lists.shape[1])
  if not every:
    stands_for[-_DRAWN:] = num_items / _DRAWN
  offset = np.where(lists > 0, np.log(stands_for), -np.inf)
  return lists, offset.astype(np.float32)


def maximize(choices: Choices) -> tuple[np.ndarray, list[float]]:
  """Weights f64[F] of the choices, and their mean loss before and after."""
  count, _, size = choices.x.shape
  alone = np.eye(size)[0]
  weights, (now, gradient, curvature) = alone, _moments(choices, alone)
  before = now
  penalty = lambda w: 0.5 * _RIDGE * np.sum((w - alone) ** 2)
  for _ in range(_MAX_STEPS):
    slope = gradient + _RIDGE * (weights - alone)
    step = np.linalg.solve(curvature + _RIDGE * np.eye(size), slope)
    limit = now + penalty(weights)
    while True:
      moved = weights - step
      made = _moments(choices, moved)
      small = np.max(np.abs(step)) < 1e-6
      if small or made[0] + penalty(moved) <= limit:
        break
      step = step / 2.0
    weights, (now, gradient, curvature) = moved, made
    if small:
      break
  return weights, [float(before / count), float(now / count)]


def _moments(choices: Choices, weights: np.ndarray):
  """Loss, its gradient f64[F] and its curvature f64[F, F], summed."""
  loss, gradient, curvature = 0.0, 0.0, 0.0
  for first in range(0, len(choices.x), _CHUNK):
    x = choices.x[first : first + _CHUNK].astype(np.float64)
    logits = x @ weights + choices.offset[first : first + _CHUNK]
    top = logits.max(axis=1, keepdims=True)
    chance = np.exp(logits - top)
    total = chance.sum(axis=1, keepdims=True)
    chance /= total
    loss += np.sum(np.log(total) + top) - np.sum(logits[:, 0])
    mean = np.einsum('mc,mcf->mf', chance, x)
    gradient += np.sum(mean - x[:, 0], axis=0)
    flat = x.reshape(-1, x.shape[2])
    curvature += (flat * chance.reshape(-1, 1)).T @ flat - mean.T @ mean
  return loss, gradient, curvature
