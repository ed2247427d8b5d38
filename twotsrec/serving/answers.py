"""Answers in the ids of a table, whoever computes them: a run, or an export.

`make` gives a record of functions over what is known of users and items
(`people`) and what computes (`Programs`). No more than NumPy and JAX is
imported here, as `serving.exported` has no more.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import functools
import itertools
from typing import Any, NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.evaluation import gathers
from twotsrec.serving import list_rules
from twotsrec.serving import people as people_lib
from twotsrec.serving import reasons as reasons_lib
from twotsrec.serving import requests as requests_lib
from twotsrec.serving import similar as similar_lib
from twotsrec.serving import state_steps

Request = requests_lib.Request
Chunk = requests_lib.Chunk
Rules = list_rules.Rules
_NO_RULES = Rules()


class Programs(NamedTuple):
  """What computes, in the numbers of a run.

  Attributes:
    top: (requests, k, exclude_seen, allowed bool[I + 1]) -> a chunk for each
      request with users.
    scores: (request of n users, items i32[n, C]) -> f32[n, C].
    similarity: () -> similar.Similarity, made when it is needed.
    steps: () -> state_steps.Steps, likewise; None for a model without states.
    reasons: (request of n users, items i32[n, C]) -> f32[n, C, L], see
      `types.Model`; None for a model without.
  """

  top: Callable[..., Iterator[Chunk]]
  scores: Callable[[Request, np.ndarray], np.ndarray]
  similarity: Callable[[], similar_lib.Similarity]
  steps: Callable[[], state_steps.Steps] | None = None
  reasons: reasons_lib.Terms | None = None


class Why(NamedTuple):
  """Items of a history for which an item stands in a list.

  Attributes:
    items: external ids [r], what counts most first.
    weights: f32[r]; what they are is told in `reasons`.
  """

  items: np.ndarray
  weights: np.ndarray


class List(NamedTuple):
  """A list of items, best first; it ends where items run out.

  Attributes:
    items: external ids [m].
    scores: f32[m].
    reasons: a `Why` for each item, where they were asked for.
  """

  items: np.ndarray
  scores: np.ndarray
  reasons: tuple[Why, ...] = ()


class States(NamedTuple):
  """States of users that follow their events.

      now = states.start(['ann', 'somebody new'])
      now = states.update(now, ['tea', 'cup'])  # an event of each
      states.recommend(now, k=10)

  Attributes:
    start: (users) -> states as the run left them, see `state_steps.Now`; an id
      that is no user of the run is somebody new.
    update: (states, items) -> the states after one more event of each user; an
      unknown item leaves a state as it is and counts as skipped.
    recommend: (states, k, items, exclude, rules) -> a `List` for each, of items
      that the users may have.
  """

  start: Callable[..., state_steps.Now]
  update: Callable[..., state_steps.Now]
  recommend: Callable[..., list[List]]


class Answers(NamedTuple):
  """Functions in external ids. All raise types.UserError for an unknown id.

  Attributes:
    recommend: (*, users or history, k, items, exclude, rules, reasons) -> a
      `List` for each user or history, see `recommend`.
    similar: (items, k, among, exclude) -> a `List` for each item.
    scores: (user, items, history) -> f32[C], in the order of the items.
    popular: (k, items, exclude, rules) -> the `List` of somebody of whom
      nothing is known.
    rules: (*, categories, at_most, new_share, exclude_seen, items, exclude) ->
      rules of lists, see `rules`.
    knows: (users) -> bool[n], which ids are users.
    people: what is known of users and items.
    states: () -> `States`; None for a model without states.
  """

  recommend: Callable[..., list[List]]
  similar: Callable[..., list[List]]
  scores: Callable[..., np.ndarray]
  popular: Callable[..., List]
  rules: Callable[..., Rules]
  knows: Callable[..., np.ndarray]
  people: people_lib.People
  states: Callable[[], States] | None = None


class _Source(NamedTuple):
  """What answers: people, programs, where ids stand, and the model's name."""

  people: people_lib.People
  programs: Programs
  names: people_lib.Index
  model: str


def make(people: people_lib.People, programs: Programs, model: str) -> Answers:
  """The functions of a run, or of an export; `model` is for messages."""
  index = people_lib.index(people)
  bind = lambda function: functools.partial(
    function, _Source(people, programs, index, model)
  )
  return Answers(
    recommend=bind(recommend),
    similar=bind(similar),
    scores=bind(scores),
    popular=bind(popular),
    rules=bind(rules),
    knows=lambda users: people_lib.places(index.user, users) >= 0,
    people=people,
    states=bind(_states) if programs.steps else None,
  )


# ---- In external ids


def recommend(
  source: _Source,
  *,
  users: Sequence[Any] | None = None,
  history: Sequence[Any] | None = None,
  k: int = 20,
  items: Iterable[Any] | None = None,
  exclude: Iterable[Any] = (),
  rules: Rules = _NO_RULES,
  reasons: int = 0,
) -> list[List]:
  """The best items of every user, or of anybody with a history.

  Args:
    source: what answers; bound by `make`.
    users: ids of users of the run, or one.
    history: item ids of somebody, oldest first; or several such histories.
    k: items of a list, at most.
    items: ids of the items to choose from; None is all.
    exclude: ids of items that are in no list, such as those out of stock; ids
      that nobody knows do no harm.
    rules: of `Answers.rules`.
    reasons: items of the history for each item of a list, at most; see
      `serving.reasons`.
  Raises:
    types.UserError: an unknown id, no item to choose from, both or neither of
      users and history, a history for a model of known users, or reasons that
      a model does not have.
  """
  requests = _requests(source, users, history)
  allowed = _allowed(source, items, exclude, rules)
  if reasons:
    reasons_lib.check(source.programs.reasons, reasons, source.model)
    pairs = explained(source, requests, k, allowed, rules, reasons)
    return [one for chunk, why in pairs for one in _named(source, chunk, why)]
  chunks = lists(source, requests, k, allowed, rules)
  return [one for chunk in chunks for one in _named(source, chunk)]


def similar(
  source: _Source,
  items: Sequence[Any],
  k: int = 20,
  among: Iterable[Any] | None = None,
  exclude: Iterable[Any] = (),
) -> list[List]:
  """The items nearest to each, never itself; `among` and `exclude` choose."""
  requests_lib.check_length(k)
  wanted = people_lib.items(source.names, _several(items), 'items')
  allowed = _allowed(source, among, exclude)
  k = min(k, int(np.sum(allowed)))
  near = similar_lib.nearest(source.programs.similarity(), wanted, allowed, k)
  return [one for chunk in near for one in _named(source, chunk)]


def scores(
  source: _Source,
  user: Any,
  items: Sequence[Any],
  history: Sequence[Any] | None = None,
) -> np.ndarray:
  """Scores of items for a user, f32[C]; what the user has is scored, too.

  With `user` None they are for somebody with the history.
  """
  (request,) = _requests(
    source,
    None if user is None else [user],
    None if history is None else [list(history)],
  )
  wanted = people_lib.items(source.names, _several(items), 'items')
  return source.programs.scores(request, wanted[None].astype(np.int32))[0]


def popular(
  source: _Source,
  k: int = 20,
  items: Iterable[Any] | None = None,
  exclude: Iterable[Any] = (),
  rules: Rules = _NO_RULES,
) -> List:
  """The items with most train events, and these as scores."""
  allowed = _allowed(source, items, exclude, rules)
  chunk = most_popular(source.people.counts, allowed, k, rules)
  return _named(source, chunk)[0]


def rules(
  source: _Source,
  *,
  categories: Mapping[Any, Any] | None = None,
  at_most: int = 0,
  new_share: float = 0.0,
  exclude_seen: bool | None = None,
  items: Iterable[Any] | None = None,
  exclude: Iterable[Any] = (),
) -> Rules:
  """Rules of lists, made once and used for many.

  Args:
    source: what answers; bound by `make`.
    categories: category of items by id; those without one are not counted, and
      ids that nobody knows do no harm.
    at_most: items of a category in a list; 0 is any number.
    new_share: of the places, for what its user has not touched.
    exclude_seen: leave out what a user has; None is as the run was evaluated.
    items: ids of the items to choose from; None is all.
    exclude: ids of items that are in no list, as in `recommend`.
  Raises:
    types.UserError: no item to choose from, no share, no number of items, or
      one of two that go with each other.
  """
  category = None
  if categories is not None:
    category = people_lib.numbered(source.people.item_ids, categories)
  made = Rules(category, at_most, new_share, exclude_seen)
  allowed = _allowed(source, items, exclude)
  return list_rules.check(made)._replace(allowed=allowed)


def _states(source: _Source) -> States:
  """Functions of states; the run's own are read here."""
  programs, names = source.programs, source.names
  steps = programs.steps() if programs.steps else None
  if steps is None:
    raise ValueError('the model has no states')

  def after(now, items):
    found = 1 + people_lib.places(names.item, _several(items))
    return steps.update(now, found.astype(np.int32))

  def best(now, k=20, items=None, exclude=(), rules=_NO_RULES):
    allowed = _allowed(source, items, exclude, rules)
    chunks = state_steps.top(steps, now, k, allowed, rules)
    return [one for chunk in chunks for one in _named(source, chunk)]

  return States(
    start=lambda users: state_steps.start(
      steps, people_lib.places(names.user, _several(users))
    ),
    update=after,
    recommend=best,
  )


# ---- In the numbers of a run


def lists(
  source: Any,
  requests: Iterable[Request],
  k: int,
  allowed: np.ndarray,
  rules: Rules,
) -> Iterator[Chunk]:
  """Lists that keep to the rules, a chunk for each request with users.

  Args:
    source: with `people` and `programs`.
    requests: of `people.requests` or `requests.raw_histories`.
    k: items of a list.
    allowed: bool[I + 1], items that may be in a list.
    rules: of the lists.
  """
  exclude = rules.exclude_seen
  exclude = source.people.exclude_seen if exclude is None else exclude
  top = lambda asked, depth: source.programs.top(asked, depth, exclude, allowed)
  return list_rules.lists(top, requests, k, int(np.sum(allowed)), rules)


def explained(
  source: Any,
  requests: Iterable[Request],
  k: int,
  allowed: np.ndarray,
  rules: Rules,
  number: int,
) -> Iterator[tuple[Chunk, reasons_lib.Reasons]]:
  """`lists` with `number` reasons for each item, of a model with some."""
  terms = source.programs.reasons
  asked, told = itertools.tee(r for r in requests if len(r.history))
  chunks = lists(source, asked, k, allowed, rules)
  for request, chunk in zip(told, chunks, strict=True):
    yield chunk, reasons_lib.of_lists(terms, request, chunk.ids, number)


def most_popular(
  counts: np.ndarray, allowed: np.ndarray, k: int, rules: Rules
) -> Chunk:
  """The list of somebody of whom nothing is known, [1, K]."""
  order = np.argsort(-np.where(allowed, counts, -1), kind='stable')
  most = int(np.sum(allowed))

  def top(requests, k):
    for _ in requests:
      ids = order[:k].astype(np.int32)
      yield Chunk(ids[None], counts[ids][None].astype(np.float32))

  nothing = gathers.Exclusions(np.zeros(2, np.int64), np.zeros(0, np.int64))
  nobody = Request(np.zeros((1, 1), np.int32), nothing, touched=nothing)
  (chunk,) = list_rules.lists(top, [nobody], k, most, rules)
  return chunk


def _requests(source, users, history) -> Iterator[Request]:
  if (users is None) == (history is None):
    raise types.UserError('give users or history: one of them, and not both')
  if history is None:
    found = people_lib.users(source.names, _several(users))
    return people_lib.requests(source.people, found)
  people_lib.require_histories(source.people, source.model)
  history = _several(history)
  several = history and not np.isscalar(history[0])
  return _of_histories(source, history if several else [history])


def _of_histories(source, histories) -> Iterator[Request]:
  people = source.people
  offsets = np.cumsum([0, *map(len, histories)])
  flat = [item for one in histories for item in one]
  routes = people.stranger_routes
  if routes is not None:
    row = np.minimum(np.diff(offsets), len(routes.groups) - 1)
    routes = types.Route(*(leaf[row] for leaf in routes))
  items = people_lib.items(source.names, flat, 'history').astype(np.int32)
  return requests_lib.raw_histories(
    items,
    offsets,
    history_length=people.history_length,
    routes=routes,
    touched=gathers.Exclusions(offsets, items),
  )


def _allowed(source, items, exclude, rules=_NO_RULES) -> np.ndarray:
  """Items that may be in a list, bool[I + 1]."""
  mask = people_lib.allowed(source.names, items, exclude)
  if rules.allowed is not None:
    mask &= rules.allowed
  if not np.any(mask):
    raise people_lib.nothing_left()
  return mask


def _several(names) -> list[Any]:
  return [names] if np.isscalar(names) else list(names)


def _named(source, chunk, reasons=None) -> list[List]:
  """Lists in external ids."""
  names, made = source.people.item_ids, []
  for ids, reached in zip(*chunk, strict=True):
    there = ids > 0
    made.append(List(names[ids[there] - 1], reached[there]))
  if reasons is None:
    return made
  return [
    one._replace(
      reasons=tuple(
        Why(names[ids[ids > 0] - 1], weights[ids > 0])
        for ids, weights in zip(*own)
      )
    )
    for one, own in zip(made, _of_places(chunk, reasons), strict=True)
  ]


def _of_places(chunk, reasons) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Items and weights of the reasons of each list, as far as it goes."""
  for ids, items, weights in zip(chunk.ids, *reasons, strict=True):
    yield items[ids > 0], weights[ids > 0]
