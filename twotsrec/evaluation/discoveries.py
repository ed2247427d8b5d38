"""Gives what is new to a user its share of the places, whatever model ranks.

`models/discovery.py` says how. A new item enters the first n places of a list
as its k-th new one as soon as it gains more than v - w, where v is the score of
the touched item n + 1 - k and w its own. So the gain with which new items take
a share of all places is a quantile of these differences, over users and k.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from twotsrec import contracts
from twotsrec import types
from twotsrec.data import behaviors as behaviors_lib
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import behaviors
from twotsrec.evaluation import counting
from twotsrec.evaluation import gathers
from twotsrec.evaluation import offline
from twotsrec.evaluation import protocols
from twotsrec.evaluation import ranking
from twotsrec.evaluation import rules
from twotsrec.evaluation import samples
from twotsrec.evaluation import tiles
from twotsrec.models import discovery

_USERS = 4096  # drawn to choose the gain by, if there are more


def require_both(experiment: contracts.Experiment) -> None:
  """Refuses to share out places between kinds of which one cannot stand there.

  Raises:
    types.UserError: `discovery.by` asks for it, and the data have no behaviors,
      or what was touched is no candidate.
  """
  by, prepared = experiment.config.discovery.by, experiment.prepared
  if by == 'scores':
    return
  asked = experiment.config.evaluation.candidates
  if not behaviors.names(prepared):
    raise types.UserError(
      f'discovery.by is {by!r}, but these data have no behaviors, so nothing'
      ' says what a user touched and did not buy; prepare them with'
      ' --behaviors, or use discovery.by=scores'
    )
  both = protocols.UNBOUGHT, protocols.CATALOG
  if protocols.resolved(prepared, asked) not in both:
    raise types.UserError(
      f'discovery.by is {by!r}, but with evaluation.candidates={asked} nothing'
      ' that a user touched competes; use evaluation.candidates=unbought, or'
      ' discovery.by=scores'
    )


def around(
  experiment: contracts.Experiment, ranker: contracts.Ranker
) -> contracts.Ranker:
  """The ranker with places shared out as `discovery` asks for."""
  options = experiment.config.discovery
  if options.by == 'scores':
    return ranker
  num_items = experiment.prepared.num_items
  items, gone = touched_items(experiment), _gone(experiment)
  touched = discovery.ragged(np.diff(items.offsets), items.items)
  if options.by == 'each':
    return discovery.merged(ranker, touched, gone, options.share, num_items)
  gain = gain_of(experiment, ranker)(options.share)
  return discovery.raised(ranker, touched, gain, num_items)


def touched_items(experiment: contracts.Experiment) -> prepared_lib.SeenItems:
  """Items that every user has shown any behavior toward, in training."""
  strip = experiment.config.data.strip_heldout
  log = behaviors_lib.of_prepared(experiment.prepared, strip)
  pairs = [one.numbers(log.num_items) for one in log.train]
  every = np.unique(np.concatenate(pairs))
  return prepared_lib.items_of_pairs(every, log.num_users, log.num_items)


def _gone(experiment) -> prepared_lib.SeenItems:
  """What every user has bought in training, if that does not compete."""
  prepared = experiment.prepared
  asked = protocols.resolved(prepared, experiment.config.evaluation.candidates)
  return protocols.left_out(prepared, asked, prepared_lib.VALIDATION)


def _gain(differences: np.ndarray, share: float) -> float:
  """The gain with which new items take a share of the places, nearly."""
  finite = differences[np.isfinite(differences)]
  if not len(finite):
    return 0.0  # nobody has both kinds
  low, high = np.min(finite) - 1.0, np.max(finite) + 1.0
  ordered = np.sort(np.clip(differences, low, high))
  number = round(share * len(ordered))
  before, after = np.concatenate([[low], ordered, [high]])[number : number + 2]
  return float((before + after) / 2.0)


class Tops(NamedTuple):
  """Best scores of a list's two kinds, descending; -inf where there is none.

  Attributes:
    touched: f32[T, n].
    new: f32[T, n].
    own: f32[T], scores of the targets' items.
  """

  touched: np.ndarray
  new: np.ndarray
  own: np.ndarray


def tops(
  experiment: contracts.Experiment,
  ranker: contracts.Ranker,
  targets: prepared_lib.Targets,
  touched: prepared_lib.SeenItems,
  gone: prepared_lib.SeenItems,
) -> Tops:
  """The first `discovery.places` of both kinds for the users of targets.

  Args:
    experiment: of the run.
    ranker: the model.
    targets: whose users are asked for; their items are left out of `new`.
    touched: items of every user that are not new.
    gone: items that take no place.
  """
  places = experiment.config.discovery.places
  known = prepared_lib.joined(touched, gone, experiment.prepared.num_items)
  best, own = _best_touched(experiment, ranker, targets, touched, gone, places)
  new = _best_new(experiment, ranker, targets, known, places)
  return Tops(touched=best, new=new, own=own)


def differences(of: Tops) -> np.ndarray:
  """v - w of the first places of users, f64[users x places].

  -inf where a touched item is lacking, and inf where a new one is.
  """
  with np.errstate(invalid='ignore'):
    made = of.touched[:, ::-1].astype(np.float64) - of.new
  return np.where(np.isneginf(of.new), np.inf, made).ravel()


def gain_of(
  experiment: contracts.Experiment, ranker: contracts.Ranker
) -> Callable[[float], float]:
  """share -> the gain with which new items take it, by users of the log."""
  touched = touched_items(experiment)
  targets, gone = _users(experiment, touched), _gone(experiment)
  found = differences(tops(experiment, ranker, targets, touched, gone))
  return lambda share: _gain(found, share)


def _users(experiment, touched) -> prepared_lib.Targets:
  """Users of the log after their training, with a touched item to rank."""
  prepared, seed = experiment.prepared, experiment.config.evaluation.seed
  users = samples.at_most(_USERS, prepared.num_users, [seed, 2])
  start = np.asarray(prepared.user_offsets)[users]
  first = np.append(touched.items, 1)[touched.offsets[users]]
  return prepared_lib.Targets(
    event=start,
    user=users.astype(np.int32),
    item=first.astype(np.int32),
    history_end=start + prepared_lib.train_counts(prepared)[users],
  )


def _scored(experiment, ranker, targets, among, fold):
  """What a fold makes of the scores, and those of the targets' items."""
  routes = offline.routes_of(experiment, ranker, targets)
  order, routes = tiles.by_route(routes, targets.user.size)
  ordered = prepared_lib.Targets(*(column[order] for column in targets))
  counts = ranking.rank_targets(
    ranking.Task(ranker, experiment.prepared, ordered, routes),
    among(ordered),
    sizes=tiles.sizes_of(experiment.config.evaluation),
    fold=fold,
  )
  both = counts.folded, counts.positive_score
  back = np.argsort(order)
  return tuple(values[back] for values in both)


def _best_new(experiment, ranker, targets, touched, places) -> np.ndarray:
  """Best scores of what is new, descending, f32[T, places]; -inf of none."""
  num_items = experiment.prepared.num_items

  def step(best, rows, scores, there):
    scores = np.where(there, np.asarray(scores)[: len(rows)], -np.inf)
    every = np.concatenate([best[rows], scores], axis=1)
    best[rows] = _largest(every, places)
    return best

  fold = counting.Fold(
    init=lambda own: np.full((len(own), places), -np.inf, np.float32), step=step
  )
  among = lambda ordered: rules.without(touched, num_items)
  return _scored(experiment, ranker, targets, among, fold)[0]


def _best_touched(experiment, ranker, targets, touched, gone, places):
  """The same of what was touched and may be listed; and the targets' scores."""

  def lists(ordered):
    user = ordered.user
    own = gathers.exclusions(touched, user)
    longest = max(int(own.counts.max(initial=0)), places)
    made = np.zeros((len(user), 1 + longest), np.int32)
    row = np.repeat(np.arange(len(user)), own.counts)
    place = np.arange(len(row)) - np.repeat(own.offsets[:-1], own.counts)
    items = own.items
    width = experiment.prepared.num_items + 1
    out = gathers.exclusions(gone, user)
    left = np.repeat(np.arange(len(user)), out.counts) * width + out.items
    items = np.where(np.isin(row * width + items, left), 0, items)
    made[row, 1 + place] = items
    made[:, 0] = ordered.item
    return made

  def step(_, rows, scores, there):
    return _largest(np.where(there, scores, -np.inf), places)

  fold = counting.Fold(init=lambda own: None, step=step)
  return _scored(experiment, ranker, targets, lists, fold)


def _largest(scores, number):
  part = np.partition(scores, -number, axis=1)[:, -number:]
  return -np.sort(-part, axis=1)
