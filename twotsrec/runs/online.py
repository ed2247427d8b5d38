"""New events of a finished 2TS run: states that follow them, and what is next.

A table of events, in the order in which they happened, is played through the
states of its users. States outlive the process in a file, so that the next
table goes on from there.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from twotsrec import models
from twotsrec import recipes
from twotsrec import types
from twotsrec.data import ids as ids_lib
from twotsrec.data import pipeline
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import gathers
from twotsrec.runs import catalogs
from twotsrec.runs import event_tables
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import recommend
from twotsrec.runs import state_files
from twotsrec.serving import online
from twotsrec.serving import recommend as recommend_lib
from twotsrec.serving import writers
from twotsrec.training import progress
from twotsrec.training import run_directory

_USERS = 4096  # recommended to at once


class Options(NamedTuple):
  """Events to play, and where the results go.

  Attributes:
    events: table of events in the order in which they happened.
    states: file of states that an earlier call wrote; '' for none.
    out_states: file for the states of its users and those of `events`.
    out: a .csv, .jsonl or .parquet file for recommendations to the users of
      `events`; '' for none.
    k: items per user.
    exclude_seen: leave out what the run and `events` know the user has. A
      state does not tell its items, so those of earlier calls may come back.
    items, exclude_items, where: which items may be recommended, see
      `catalogs.allowed`.
    columns: how to read `events`; whatever is left at its default is as in the
      training table.
  """

  events: str
  states: str
  out_states: str
  out: str = ''
  k: int = 10
  exclude_seen: bool = True
  items: str | None = None
  exclude_items: str | None = None
  where: tuple[str, ...] = ()
  columns: pipeline.TableOptions = pipeline.TableOptions()


def open_service(workdir: str) -> online.Service:
  """States of the users of a finished 2TS run, ready to move.

  Raises:
    types.UserError: no finished run, or one of another model.
  """
  return _open(workdir)[0]


def run(workdir: str, options: Options, quiet: bool = False) -> str:
  """Plays events through a finished 2TS run; a line that says what was done.

  Raises:
    types.UserError: events that go back in time, states that do not belong to
      the run, or a file that cannot be read or written.
  """
  if options.out:
    writers.check_path(options.out)
  service, prepared = _open(workdir)
  events = event_tables.read(prepared, options.events, options.columns)
  stored = (
    state_files.load(options.states, service)
    if options.states
    else state_files.nobody(service)
  )
  row = state_files.rows_of(stored, events.ids)
  last_time = event_tables.last_times(prepared, events)
  last_time[row >= 0] = stored.last_time[row[row >= 0]]
  event_tables.check_order(events, last_time, options.events)
  state = _begin(service, events, stored, row)
  with progress.reporter(
    len(events.ids), 'events', quiet=quiet, unit='users'
  ) as show:
    state = online.play(service, state, events.offsets, events.items, show=show)
  message = _message(events, row)
  if options.out:
    rows = _rows(service, prepared, events, state, options)
    count = writers.write(options.out, rows)
    message += f'; {_count(count, "row")} in {options.out}'
  # States last: a call that fails before has not played its events.
  new = state_files.Stored(
    events.ids, event_tables.now(events, last_time), state
  )
  stored = state_files.merge(stored, new)
  state_files.save(options.out_states, service, stored)
  users = _count(len(stored.ids), 'user')
  return f'{message}; states of {users} in {options.out_states}'


def _open(workdir: str) -> tuple[online.Service, prepared_lib.Prepared]:
  config = run_directory.typed_config(workdir)
  make = recipes.of(config).service
  if make is None:
    raise types.UserError(
      f'{workdir} is a run of {config.model.name}, which has no states that'
      f' move; use one with model.name={models.TWO_TIME}, or'
      ' launch/recommend.py --history'
    )
  experiment, params = experiment_lib.load(workdir)
  return make(experiment, params), experiment.prepared


def _begin(service, events, stored, row) -> online.State:
  """Stored states, or else those of the run, or else new ones."""
  mine = row >= 0

  def pick(fresh, old):
    chosen = np.array(fresh)
    chosen[mine] = np.asarray(old)[row[mine]]
    return chosen

  state = online.start(service, events.user)
  return jax.tree.map(pick, state, stored.state)


def _rows(service, prepared, events, state, options) -> Iterator[writers.Rows]:
  """Recommendations to the users of a table, in pieces."""
  seen = _seen(prepared, events) if options.exclude_seen else None
  allowed = catalogs.allowed(
    prepared, options.items, options.exclude_items, options.where
  )
  k = min(options.k, int(np.sum(allowed)))
  size = recommend_lib.chunk_size(k, service.num_items)
  size = min(_USERS, size)
  for first in range(0, len(events.ids), size):
    part = np.arange(first, min(first + size, len(events.ids)))
    best = online.recommend(
      service,
      online.State(*(leaf[part] for leaf in state)),
      k,
      None if seen is None else gathers.exclusions(seen, part),
      allowed,
    )
    yield writers.to_rows(events.ids[part], service.ids.item, *best)


def _seen(prepared, events) -> gathers.Exclusions:
  """Items of every user by the run and the table."""
  every = np.arange(len(events.ids))
  owned = gathers.exclusions(
    recommend.owned(prepared), np.maximum(events.user, 0)
  )
  row = np.repeat(every, owned.counts)
  mine, played = events.user[row] >= 0, events.items > 0
  row = np.concatenate(
    [row[mine], np.repeat(every, np.diff(events.offsets))[played]]
  )
  items = np.concatenate([owned.items[mine], events.items[played]])
  if len(events.disliked.user):
    of, disliked = _disliked(prepared, events)
    row, items = np.append(row, of), np.append(items, disliked)
  order = np.argsort(row, kind='stable')
  offsets = np.searchsorted(row[order], np.arange(len(events.ids) + 1))
  return gathers.Exclusions(offsets, items[order])


def _disliked(prepared, events) -> tuple[np.ndarray, np.ndarray]:
  """Rows of users and items that the table says they do not like."""
  row = ids_lib.encode(events.ids, events.disliked.user)
  items = ids_lib.encode_items(prepared.item_ids, events.disliked.item)
  both = (row >= 0) & (items > 0)
  return row[both], items[both]


def _message(events, row) -> str:
  """Says how many events were played."""
  new = int(np.sum((events.user < 0) & (row < 0)))
  message = (
    f'{_count(len(events.items), "event")} of'
    f' {_count(len(events.ids), "user")}, {new:,} of them new'
  )
  skipped = int(np.sum(events.items == 0))
  if skipped:
    an_item, was = ('an item', 'was') if skipped == 1 else ('items', 'were')
    message += (
      f'; {_count(skipped, "event")} with {an_item} the model does not know'
      f' {was} skipped'
    )
  return message


def _count(number, noun):
  return f'{number:,} {noun}' + ('' if number == 1 else 's')
