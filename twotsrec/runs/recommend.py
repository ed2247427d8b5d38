"""Recommendations from a run directory: known users, or any raw history."""

from collections.abc import Iterable, Iterator
import pathlib
from typing import Any, NamedTuple

import numpy as np

from twotsrec import contracts
from twotsrec import types
from twotsrec.data import ids as ids_lib
from twotsrec.data import pipeline
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import routing as routing_lib
from twotsrec.data import tables
from twotsrec.evaluation import behaviors
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import seen
from twotsrec.serving import recommend as recommend_lib
from twotsrec.serving import writers
from twotsrec.training import progress


class Options(NamedTuple):
  """Whom to recommend what.

  Attributes:
    k: items per user.
    users: file with one known user id per line; None is every known user.
    history: table of interactions to recommend from, with its own users; None
      uses the histories of the run.
    exclude_seen: leave out what the user already has; of data with behaviors
      what was bought, since a purchase often follows a view. A `history` is
      left out whole. None is as the evaluation did, see `seen`.
    columns: how to read `history`; whatever is left at its default is as in
      the training table.
    routing: mode in place of the configured one, for a model with plugins.
  """

  k: int = 20
  users: str | None = None
  history: str | None = None
  exclude_seen: bool | None = None
  columns: pipeline.TableOptions = pipeline.TableOptions()
  routing: str = ''


class _Work(NamedTuple):
  """Requests with the external ids of their users, in order."""

  user_ids: np.ndarray
  requests: Iterable[recommend_lib.Request]
  unknown_items: int = 0


def run(workdir: str, out: str, options: Options, quiet: bool = False) -> str:
  """Writes the k best items of every user to `out`.

  Args:
    workdir: run directory of a finished training; nothing else is read.
    out: a .csv, .jsonl or .parquet file; user_id, item_id, rank, score.
    options: whom and what.
    quiet: no progress display.
  Returns:
    A line that says what was written.
  Raises:
    types.UserError: unknown user, no usable history, unwritable file.
  """
  if options.users and options.history:
    raise types.UserError('give --users or --history, not both')
  writers.check_path(out)
  experiment, params = experiment_lib.load(workdir)
  prepared = experiment.prepared
  routing_lib.check_mode(options.routing, [experiment.config])
  config = routing_lib.override(experiment.config, options.routing)
  experiment = experiment._replace(config=config)
  ranker = experiment_lib.ranker(experiment, params)
  exclude_seen, note = seen.leave_out(workdir, options.exclude_seen)
  if options.history and not ranker.reads_history:
    raise types.UserError(
      f'--history: {config.model.name} knows the users of its training data'
      ' only; leave it out, or name some of them with --users'
    )
  if options.history:
    work = _raw(experiment, ranker, options.history, options.columns)
  else:
    work = _known(experiment, ranker, options.users)
  chunks = recommend_lib.recommend(
    ranker,
    work.requests,
    num_items=prepared.num_items,
    k=options.k,
    exclude_seen=exclude_seen,
  )
  with progress.reporter(
    len(work.user_ids), 'recommend', quiet=quiet, unit='users'
  ) as show:
    rows = _rows(work.user_ids, prepared.item_ids, chunks, show)
    count = writers.write(out, rows)
  message = f'{count:,} rows for {len(work.user_ids):,} users in {out}'
  if work.unknown_items:
    message += (
      f'; {work.unknown_items:,} history rows with items the model does not'
      ' know were left out'
    )
  return '\n'.join(filter(None, (message, note)))


def _rows(user_ids, item_ids, chunks, show) -> Iterator[writers.Rows]:
  """Chunks with external ids."""
  done = 0
  for chunk in chunks:
    users = user_ids[done : done + len(chunk.ids)]
    yield writers.to_rows(users, item_ids, *chunk)
    done += len(users)
    show(done, len(users))


def _known(experiment, ranker, path: str | None) -> _Work:
  """Users of the run, with everything the run knows of them."""
  prepared = experiment.prepared
  users = np.arange(prepared.num_users)
  if path is not None:
    users = _listed(prepared, path)
  user_ids = np.asarray(prepared.user_ids)[users]
  return _Work(user_ids, requests(experiment, ranker, users))


def requests(
  experiment: contracts.Experiment,
  ranker: contracts.Ranker,
  users: np.ndarray,
) -> Iterable[recommend_lib.Request]:
  """Requests for users i64[n] of the run, in pieces."""
  prepared = experiment.prepared
  key, routes = experiment.config.groups.key, None
  if ranker.routing:
    routes = routing_lib.of_users(
      prepared, experiment.groups, users, key, ranker.routing
    )
  return recommend_lib.known_users(
    prepared,
    owned(prepared),
    users,
    history_length=ranker.history_length,
    routes=routes,
  )


def owned(prepared: prepared_lib.Prepared) -> prepared_lib.SeenItems:
  """Items that every user already has."""
  if behaviors.names(prepared):
    return behaviors.bought(prepared)
  return prepared_lib.seen_items(prepared, 'all')


def _listed(prepared: prepared_lib.Prepared, path: str) -> np.ndarray:
  """Internal users of the ids in a file, i64[n]."""
  try:
    text = pathlib.Path(path).read_text(encoding='utf-8-sig')
  except (OSError, UnicodeDecodeError) as error:
    raise types.UserError(f'--users: cannot read {path}: {error}') from error
  lines = [line.strip() for line in text.splitlines()]
  wanted = np.array([line for line in lines if line])
  if not wanted.size:
    raise types.UserError(f'--users: {path} names no user; one id per line')
  users = ids_lib.encode(prepared.user_ids, wanted)
  for unknown in wanted[users < 0][:1]:
    raise types.UserError(
      f'--users: user {str(unknown)!r} in {path} is not in the training data;'
      ' recommend to new users with --history=TABLE'
    )
  return users.astype(np.int64)


def like_training(
  prepared: prepared_lib.Prepared, reading: pipeline.TableOptions
) -> pipeline.TableOptions:
  """`reading`; what is left at its default is as in the training table."""
  trained, usual = prepared.manifest['options'], pipeline.TableOptions()
  names = trained.get('columns') or {}
  # A history needs no rating, behavior or split.
  columns = {
    role: names[role]
    for role in ('user', 'item', 'time', 'order')
    if names.get(role)
    and getattr(reading.columns, role) == getattr(tables.Columns(), role)
  }
  reading = reading._replace(columns=reading.columns._replace(**columns))
  same = {
    name: trained[name]
    for name in ('delimiter', 'column_names', 'id_type')
    if name in trained and getattr(reading, name) == getattr(usual, name)
  }
  if 'column_names' in same:
    same['column_names'] = tuple(same['column_names'])
  if 'forms' in trained and reading.forms == usual.forms:
    forms: dict[str, Any] = {
      name: tuple(value) if isinstance(value, list) else value
      for name, value in trained['forms'].items()
    }
    same['forms'] = tables.Forms(**forms)
  reading = reading._replace(**same)
  if reading.id_type == 'auto' and prepared.item_ids.dtype.kind == 'U':
    reading = reading._replace(id_type='string')
  return reading


def _raw(experiment, ranker, path: str, columns) -> _Work:
  """Anybody, from a table of interactions."""
  prepared = experiment.prepared
  table = pipeline.read_table(path, like_training(prepared, columns))
  item = ids_lib.encode_items(prepared.item_ids, table.item)
  in_catalog = item > 0
  if not np.any(in_catalog):
    raise types.UserError(
      f'{path}: none of its {len(item):,} items is in the training data; the'
      ' ids must be those of the training table'
    )
  user_ids, user = ids_lib.number(table.user)
  when = np.zeros(len(user)) if table.time is None else table.time
  when = when if table.order is None else table.order
  # A stable sort: rows of equal time keep the order of the table.
  order = np.lexsort((when, user))
  order = order[in_catalog[order]]
  offsets = np.searchsorted(user[order], np.arange(len(user_ids) + 1))
  key, routes = experiment.config.groups.key, None
  if ranker.routing:
    routes = routing_lib.of_histories(
      np.diff(offsets), experiment.groups, key, ranker.routing
    )
  requests = recommend_lib.raw_histories(
    item[order],
    offsets.astype(np.int64),
    history_length=ranker.history_length,
    routes=routes,
  )
  return _Work(user_ids, requests, int(np.sum(~in_catalog)))
