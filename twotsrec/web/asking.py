"""Jobs for the thread that has the model; those that wait are joined.

A job is a request's body (`bodies`), or `Take`, which puts another model in
place. Everything here runs in the one thread of `worker`, so a model and its
store need no locks.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.runs import live as live_lib
from twotsrec.serving import answers as answers_lib
from twotsrec.serving import list_rules
from twotsrec.serving import reasons as reasons_lib
from twotsrec.web import bodies


class Model(NamedTuple):
  """A model that serves.

  Attributes:
    name: tells it from others, in answers.
    answers: functions in external ids.
    category: i32[I + 1], numbers of the items' categories; None for none.
    live: an open store of states; None for a model without.
    close: closes the store.
  """

  name: str
  answers: answers_lib.Answers
  category: np.ndarray | None = None
  live: live_lib.Live | None = None
  close: Callable[[], None] = lambda: None


class Take(NamedTuple):
  """A job: from now on another model serves.

  Attributes:
    make: (the model until now, or None) -> the next one; called in the thread.
  """

  make: Callable[[Model | None], Model]


def make() -> tuple[Callable[[Sequence[Any]], list[Any]], Callable[[], None]]:
  """What `worker.start` takes: a function of jobs, and one that closes."""
  model: Model | None = None

  def handle(jobs):
    nonlocal model
    results: list[Any] = [None] * len(jobs)
    for at, job in enumerate(jobs):
      if isinstance(job, Take):
        try:
          old, model = model, job.make(model)
          results[at] = model.name
          if old is not None:
            old.close()
        except types.UserError as error:  # the model until now goes on
          results[at] = error
    asked = [at for at, job in enumerate(jobs) if not isinstance(job, Take)]
    if model is None:
      return [
        result or RuntimeError('no job has brought a model')
        for result in results
      ]
    for group in _groups(jobs, asked):
      answered = _answered(model, [jobs[at] for at in group])
      for at, result in zip(group, answered, strict=True):
        results[at] = result
    return results

  def close():
    if model is not None:
      model.close()

  return handle, close


def _groups(jobs, asked) -> list[list[int]]:
  """Jobs that are answered together; events come before what is asked."""
  groups: dict[Any, list[int]] = {}
  for at in asked:
    groups.setdefault(_key(jobs[at], at), []).append(at)
  return [groups[key] for key in sorted(groups, key=lambda k: k[0] != 'events')]


def _key(job, at) -> tuple:
  if isinstance(job, bodies.Events):
    return ('events',)
  if not isinstance(job, bodies.Recommend):
    return ('alone', at)
  shared = job.model_dump_json(exclude={'users', 'histories'})
  return 'lists', job.users is None, shared


def _answered(model: Model, jobs) -> list[Any]:
  """Answers of one group, an exception for each that has none."""
  of = {
    bodies.Events: _play,
    bodies.Recommend: _recommend,
    bodies.Similar: _similar,
    bodies.Scores: _scores,
  }[type(jobs[0])]
  try:
    return of(model, jobs)
  except types.Unavailable as error:
    return [error] * len(jobs)
  except types.UserError as error:
    if len(jobs) == 1:
      return [error]
  # One of several is at fault: the others get theirs.
  return [result for job in jobs for result in _answered(model, [job])]


def _recommend(model: Model, jobs) -> list[bodies.Lists]:
  """Lists for all of several requests at once."""
  first = jobs[0]
  if (first.users is None) == (first.histories is None):
    raise types.UserError('give users or histories: one of them, and not both')
  wanted = [job.histories if job.users is None else job.users for job in jobs]
  flat = [one for part in wanted for one in part]
  source = ['model'] * len(flat)
  if first.users is None:
    found = _of_histories(model, first, flat)
  else:
    found, source = _of_users(model, first, flat)
  named = [None] * len(flat) if first.users is None else flat
  lists = [
    bodies.List(
      of=of,
      items=np.asarray(one.items).tolist(),
      scores=np.asarray(one.scores).tolist(),
      source=whence,
      reasons=_reasons(one) if first.reasons else None,
    )
    for of, one, whence in zip(named, found, source, strict=True)
  ]
  ends = np.cumsum([len(part) for part in wanted])
  return [
    bodies.Lists(model=model.name, lists=lists[end - len(part) : end])
    for end, part in zip(ends, wanted, strict=True)
  ]


def _reasons(one) -> list[list[bodies.Reason]]:
  """Of each item of a list; none of what is popular."""
  return [
    [
      bodies.Reason(item=item, weight=weight)
      for item, weight in zip(why.items.tolist(), why.weights.tolist())
    ]
    for why in one.reasons
  ] or [[] for _ in one.items]


def _of_histories(model: Model, asked, histories) -> list[answers_lib.List]:
  if not histories:
    return []
  return model.answers.recommend(
    history=histories,
    k=asked.k,
    items=asked.items,
    exclude=asked.exclude,
    rules=_rules(model, asked),
    reasons=asked.reasons,
  )


def _of_users(
  model: Model, asked, users
) -> tuple[list[answers_lib.List], list[str]]:
  """Lists, and where each is from."""
  if not users:
    return [], []
  rules = _rules(model, asked)
  options = {'k': asked.k, 'items': asked.items, 'exclude': asked.exclude}
  if model.live is not None:
    if asked.reasons:
      reasons_lib.check(None, asked.reasons, 'a state that moves')
    lists = _of_states(model, model.live, asked, users)
    return lists, ['model'] * len(users)
  knows = model.answers.knows(users)
  if not asked.popular:
    for at in np.flatnonzero(~knows)[:1]:
      raise types.UserError(
        f'user {users[at]!r} is not in the training data; leave it out, send'
        ' histories, or pass popular=true for what is popular'
      )
  known = [user for user, is_known in zip(users, knows) if is_known]
  lists: list[answers_lib.List] = []
  if known:
    lists = model.answers.recommend(
      users=known, rules=rules, reasons=asked.reasons, **options
    )
  if len(known) == len(users):
    return lists, ['model'] * len(users)
  popular, left = model.answers.popular(rules=rules, **options), iter(lists)
  return (
    [next(left) if is_known else popular for is_known in knows],
    ['model' if is_known else 'popular' for is_known in knows],
  )


def _of_states(model: Model, live, asked, users) -> list[answers_lib.List]:
  """Lists of users by their states as they are now."""
  people = model.answers.people
  rules, exclude = _rules(model, asked), asked.exclude_seen
  chosen = model.answers.rules(items=asked.items, exclude=asked.exclude)
  exclude = people.exclude_seen if exclude is None else exclude
  chunk = live_lib.lists(live, users, asked.k, chosen.allowed, rules, exclude)
  return [
    answers_lib.List(people.item_ids[ids[ids > 0] - 1], scores[ids > 0])
    for ids, scores in zip(*chunk, strict=True)
  ]


def _rules(model: Model, asked) -> list_rules.Rules:
  """Rules of a request; categories are those that the service was given."""
  if asked.at_most and model.category is None:
    raise types.UserError(
      'at_most needs categories of items, and the service was started without;'
      ' leave it out, or start with --categories=FILE'
    )
  return list_rules.check(
    list_rules.Rules(
      category=model.category if asked.at_most else None,
      at_most=asked.at_most,
      new_share=asked.new_share,
      exclude_seen=asked.exclude_seen,
    )
  )


def _similar(model: Model, jobs) -> list[bodies.Lists]:
  (asked,) = jobs
  found = model.answers.similar(
    asked.items, k=asked.k, among=asked.among, exclude=asked.exclude
  )
  lists = [
    bodies.List(
      of=of,
      items=np.asarray(one.items).tolist(),
      scores=np.asarray(one.scores).tolist(),
    )
    for of, one in zip(asked.items, found, strict=True)
  ]
  return [bodies.Lists(model=model.name, lists=lists)]


def _scores(model: Model, jobs) -> list[bodies.Scored]:
  (asked,) = jobs
  if (asked.user is None) == (asked.history is None):
    raise types.UserError('give user or history: one of them, and not both')
  scores = model.answers.scores(asked.user, asked.items, history=asked.history)
  return [bodies.Scored(model=model.name, scores=scores.tolist())]


def _play(model: Model, jobs) -> list[Any]:
  """Stores events of all requests at once, then says so."""
  if model.live is None:
    error = types.UserError(
      'the model has no states that move, so events change nothing; serve a'
      ' run of model.name=two_time_scale with --states=FOLDER, or send'
      ' histories'
    )
    return [error] * len(jobs)
  parts = [
    [
      live_lib.Event(event.user, event.item, event.time, event.id)
      for event in job.events
    ]
    for job in jobs
  ]
  played = live_lib.play(model.live, parts)
  return [
    one
    if isinstance(one, Exception)
    else bodies.Played(
      model=model.name,
      accepted=len(part)
      - (one.repeated + one.late + one.too_late + one.refused),
      repeated=one.repeated,
      late=one.late + one.too_late,
      refused=one.refused,
      unknown_items=one.unknown,
      new_users=one.new_users,
    )
    for one, part in zip(played, parts, strict=True)
  ]
