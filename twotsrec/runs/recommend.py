"""Recommendations from a run directory: known users, or any raw history."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from twotsrec import types
from twotsrec.data import ids as ids_lib
from twotsrec.data import pipeline
from twotsrec.data import routing as routing_lib
from twotsrec.runs import catalogs
from twotsrec.runs import histories
from twotsrec.runs import new_events
from twotsrec.runs import opened as opened_lib
from twotsrec.runs import seen
from twotsrec.runs import similar
from twotsrec.serving import answers
from twotsrec.serving import list_rules
from twotsrec.serving import people as people_lib
from twotsrec.serving import reasons as reasons_lib
from twotsrec.serving import requests as requests_lib
from twotsrec.serving import writers
from twotsrec.training import progress


class Options(NamedTuple):
  """Whom to recommend what.

  Attributes:
    k: items per user; more than there are is all of them.
    users: file with one user id per line; None is every known user.
    unknown_users: what becomes of those whom the run does not know: 'error',
      'skip', or 'popular' for the items with most train events.
    history: table of new events, of known users and of new ones with any name;
      None uses the histories of the run.
    alone: take known users of `history` from the table alone, too; else its
      events are added to what the run knows.
    exclude_seen: leave out what the user already has; of data with behaviors
      what was bought, since a purchase often follows a view. A `history` is
      left out whole. None is as the evaluation did, see `seen`.
    items: file with the ids of items that may be recommended; None is all.
    exclude_items: file with the ids of items that may not.
    where: conditions on item features, 'name=value,value': items that have one
      of the values, for each condition.
    similar_to: a file of item ids, or ids with commas: then their nearest items
      are written, see `similar.run`, and no user takes part.
    columns: how to read `history`; whatever is left at its default is as in
      the training table.
    routing: mode in place of the configured one, for a model with plugins.
    categories: table of items and their categories, see `catalogs.categories`.
    at_most: items of a category in a list; 0 is any number.
    new_share: of the places, for what a user has not touched.
    reasons: of each item, as many columns more, see `serving.reasons`.
  """

  k: int = 20
  users: str | None = None
  unknown_users: str = 'error'
  history: str | None = None
  alone: bool = False
  exclude_seen: bool | None = None
  items: str | None = None
  exclude_items: str | None = None
  where: tuple[str, ...] = ()
  similar_to: str | None = None
  columns: pipeline.TableOptions = pipeline.TableOptions()
  routing: str = ''
  categories: str | None = None
  at_most: int = 0
  new_share: float = 0.0
  reasons: int = 0


class _Work(NamedTuple):
  """Requests of the users of whom something is known, and all ids in order."""

  user_ids: np.ndarray
  in_run: np.ndarray  # bool[n]; the others get what is popular
  requests: Iterable[requests_lib.Request]
  notes: list[str]  # for the message


def run(workdir: str, out: str, options: Options, quiet: bool = False) -> str:
  """Writes the k best items of every user to `out`.

  Args:
    workdir: run directory of a finished training; nothing else is read.
    out: a .csv, .jsonl or .parquet file; user_id, item_id, rank, score, and
      reason_1, weight_1, ... where reasons are asked for.
    options: whom and what.
    quiet: no progress display.
  Returns:
    A line that says what was written, and who has no list.
  Raises:
    types.UserError: unknown user, no usable history, unwritable file.
  """
  given = [options.users, options.history, options.similar_to]
  if sum(map(bool, given)) > 1:
    raise types.UserError(
      'give --users, --history or --similar_to, not two of them'
    )
  writers.check_path(out)
  opened = opened_lib.load(workdir, options.routing)
  prepared, people = opened.experiment.prepared, opened.people
  allowed = catalogs.allowed(
    prepared, options.items, options.exclude_items, options.where
  )
  if options.similar_to:
    k = min(options.k, int(np.sum(allowed)))
    similarity = opened.programs.similarity()
    return similar.run(
      prepared, similarity, options.similar_to, allowed, k, out, quiet
    )
  exclude_seen, note = seen.leave_out(workdir, options.exclude_seen)
  rules = list_rules.check(
    list_rules.Rules(
      category=catalogs.categories(prepared, options.categories),
      at_most=options.at_most,
      new_share=options.new_share,
      exclude_seen=exclude_seen,
    )
  )
  if options.history:
    people_lib.require_histories(people, opened.experiment.config.model.name)
  work = (_raw if options.history else _known)(opened, options)
  chunks = _lists(opened, work.requests, options, allowed, rules)
  if options.reasons:
    model = opened.experiment.config.model.name
    reasons_lib.check(opened.programs.reasons, options.reasons, model)
  popular = answers.most_popular(people.counts, allowed, options.k, rules)
  number = options.reasons
  nobody = popular, reasons_lib.none(popular.ids, number)
  without: list[str] = []
  with progress.reporter(
    len(work.user_ids), 'recommend', quiet=quiet, unit='users'
  ) as show:
    rows = _rows(work, prepared.item_ids, chunks, nobody, without, show)
    names = (*writers.COLUMNS, *writers.reasons(number))
    count = writers.write(out, rows, names)
  message = f'{count:,} rows for {len(work.user_ids):,} users in {out}'
  said = '; '.join([message, *work.notes, *writers.told(without)])
  return '\n'.join(filter(None, (said, note)))


def _lists(opened, requests, options, allowed, rules) -> Iterator[Any]:
  """Lists and the reasons of their items, a pair for each request."""
  k, number = options.k, options.reasons
  asked = requests, k, allowed, rules
  if number:
    yield from answers.explained(opened, *asked, number)
  else:
    for chunk in answers.lists(opened, *asked):
      yield chunk, reasons_lib.none(chunk.ids, 0)


def _rows(
  work, item_ids, chunks, popular, without, show
) -> Iterator[writers.Rows]:
  """Chunks with external ids; names who has no list in `without`."""
  places, done, first = np.flatnonzero(work.in_run), 0, 0
  nobody = jax.tree.map(lambda leaf: leaf[:0], popular)
  for known in chunks if len(places) else [nobody]:
    done += len(known[0].ids)
    # Up to the next one who is known, whoever stands between.
    end = int(places[done]) if done < len(places) else len(work.user_ids)
    users = work.user_ids[first:end]
    lists, reasons = _filled(known, work.in_run[first:end], popular)
    without += writers.without_list(users, lists.ids)
    yield writers.to_rows(users, item_ids, *lists, reasons=reasons)
    show(end, end - first)
    first = end


def _filled(known, in_run, popular) -> Any:
  """Lists of neighbors; whom the run does not know gets what is popular."""

  def filled(own, others):
    made = np.repeat(others, len(in_run), axis=0)
    made[in_run] = own
    return made

  return jax.tree.map(filled, known, popular)


def _known(opened, options) -> _Work:
  """Users of the run, with everything the run knows of them."""
  people, notes = opened.people, []
  users, user_ids = np.arange(len(people.user_ids)), people.user_ids
  if options.users is not None:
    user_ids, users = _listed(people, options.users, options.unknown_users)
    strange = int(np.sum(users < 0))
    if strange and options.unknown_users == 'skip':
      user_ids, users = user_ids[users >= 0], users[users >= 0]
      notes.append(f'{strange:,} users that the run does not know were skipped')
    elif strange:
      notes.append(
        f'{strange:,} users that the run does not know get what is popular'
      )
  in_run = users >= 0
  chunk = requests_lib.chunk_size(options.k, len(people.item_ids))
  asked = people_lib.requests(people, users[in_run], chunk)
  return _Work(user_ids, in_run, asked, notes)


def _listed(people, path, unknown) -> tuple[np.ndarray, np.ndarray]:
  """Ids in a file, and their users i64[n], -1 for unknown ones."""
  wanted = catalogs.read_ids(path, '--users', 'user')
  users = ids_lib.encode(people.user_ids, wanted).astype(np.int64)
  if unknown == 'error':
    for strange in wanted[users < 0][:1]:
      raise types.UserError(
        f'--users: user {str(strange)!r} in {path} is not in the training data;'
        ' recommend to new users with --history=TABLE, or choose'
        ' --unknown_users=skip or popular'
      )
    return people.user_ids[users], users
  return wanted, users


def _raw(opened, options) -> _Work:
  """Anybody, from a table of new events and from what the run knows."""
  experiment, path = opened.experiment, options.history
  prepared, groups = experiment.prepared, experiment.groups
  events = new_events.read(prepared, path, options.columns)
  mine = histories.join(prepared, events, options.alone)
  rows = len(events.table.user)
  if rows and rows == mine.unknown_items:
    raise new_events.all_unknown(path, rows)
  key, routes, ranker = experiment.config.groups.key, None, opened.ranker
  if ranker.routing:
    home = routing_lib.training_group(prepared, groups)[mine.user]
    home = np.where(mine.user < 0, routing_lib.UNKNOWN, home)
    routes = routing_lib.of_histories(
      np.diff(mine.offsets), groups, key, ranker.routing, home
    )
  requests = requests_lib.raw_histories(
    mine.items,
    mine.offsets,
    history_length=ranker.history_length,
    routes=routes,
    chunk=requests_lib.chunk_size(options.k, prepared.num_items),
    seen=mine.seen,
    users=mine.user,
    touched=mine.touched,
  )
  in_run = np.ones(len(mine.ids), bool)
  return _Work(mine.ids, in_run, requests, list(_notes(events, mine)))


def _notes(events, mine) -> Iterator[str]:
  if np.any(mine.user >= 0):
    yield f'the run knows {int(np.sum(mine.user >= 0)):,} of them'
  for cause, gone in events.table.dropped.items():
    yield f'{gone.rows:,} history rows were left out: {cause}'
  if mine.unknown_items:
    yield (
      f'{mine.unknown_items:,} history rows with items the model does not'
      ' know were left out'
    )
  if mine.repeated:
    yield f'{mine.repeated:,} history rows that the run has already count once'
  if len(events.disliked.user):
    yield (
      f"{len(events.disliked.user):,} history rows below the run's"
      ' --min_rating were taken as seen'
    )
  yield from new_events.notes(events.unrated, events.unasked, events.unlabeled)
