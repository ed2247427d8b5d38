"""New events of a finished 2TS run: states that follow them, and what is next.

A table of events is played through the states of its users, which live in a
store that outlives the process. Events that were played before are left out, so
a call that failed or was killed is simply made again.
"""

from collections.abc import Generator, Iterator
import contextlib
import os
from typing import NamedTuple

import numpy as np

from twotsrec import models
from twotsrec import recipes
from twotsrec import types
from twotsrec.data import ids as ids_lib
from twotsrec.data import pipeline
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import gathers
from twotsrec.runs import catalogs
from twotsrec.runs import event_checks
from twotsrec.runs import event_identity
from twotsrec.runs import event_tables
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import histories
from twotsrec.runs import live
from twotsrec.runs import new_events
from twotsrec.runs import online_batches
from twotsrec.runs import seen
from twotsrec.runs import state_files
from twotsrec.runs import state_sqlite
from twotsrec.runs import state_store
from twotsrec.serving import online
from twotsrec.serving import requests as requests_lib
from twotsrec.serving import writers
from twotsrec.training import progress
from twotsrec.training import run_directory

_RECOMMENDED = 4096  # users who are recommended to at once
_BATCH = 65_536  # users whose events are played wholly or not at all


class Options(NamedTuple):
  """Events to play, and where the results go.

  Attributes:
    events: table of events; '' to only copy `states` to `out_states`.
    states: a store, or a .npz file, that an earlier call wrote; '' for none.
    out_states: a .npz file that gets all states afterwards, or a store, which
      is made if there is none; '' where `states` is a store.
    out: a .csv, .jsonl or .parquet file for recommendations to the users of
      `events`; '' for none.
    k: items per user.
    exclude_seen: leave out what the run, `events` and the events that are
      stored say the user has. Older ones of earlier calls may come back. None
      is as the evaluation did, see `seen`.
    items, exclude_items, where: which items may be recommended, see
      `catalogs.allowed`.
    rules: what becomes of late events, and how many events are stored.
    columns: how to read `events`; whatever is left at its default is as in the
      training table.
  """

  events: str
  states: str
  out_states: str
  out: str = ''
  k: int = 10
  exclude_seen: bool | None = None
  items: str | None = None
  exclude_items: str | None = None
  where: tuple[str, ...] = ()
  rules: online_batches.Rules = online_batches.Rules()
  columns: pipeline.TableOptions = pipeline.TableOptions()


class _Task(NamedTuple):
  """What all batches of a table share.

  Attributes:
    prepared: data of the run.
    options: what is asked for.
    owned: items that users of the run have, where these are left out.
    allowed: bool[I + 1], items for lists, where there are lists.
  """

  prepared: prepared_lib.Prepared
  options: Options
  owned: prepared_lib.SeenItems | None
  allowed: np.ndarray | None


def open_run(workdir: str) -> tuple[online.Service, prepared_lib.Prepared]:
  """A finished 2TS run, ready to move the states of users, and its data.

  Raises:
    types.UserError: no finished run, or one of another model.
  """
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


def run(workdir: str, options: Options, quiet: bool = False) -> str:
  """Plays events through a finished 2TS run; a line that says what was done.

  A store may have several writers at once. The events of up to 65,536 users are
  played wholly or not at all, and before the next ones.

  Raises:
    types.UserError: late events where these are an error, states that do not
      belong to the run, or a file that cannot be read or written.
  """
  _check(options)
  service, prepared = open_run(workdir)
  note = ''
  if options.out:
    exclude, note = seen.leave_out(workdir, options.exclude_seen)
    options = options._replace(exclude_seen=exclude)
  task, events = _task(prepared, options), None
  if options.events:
    events = event_tables.read(prepared, options.events, options.columns)
  with _opened(options, service) as store:
    said = []
    if events is not None:
      said.append(_play(store, task, events, quiet))
      said += [note] if note else []
    out = options.out_states
    if state_files.is_archive(out):
      state_files.save(out, service, state_store.read_all(store))
    users = _count(state_store.count(store), 'user')
  place = state_store.shown(out or options.states)
  return '; '.join([*said, f'states of {users} in {place}'])


def _check(options):
  """Refuses options that do not go together."""
  if options.out:
    writers.check_path(options.out)
  if options.rules.late not in event_checks.LATE:
    raise types.UserError(
      f'--late is {options.rules.late!r}; allowed:'
      f' {", ".join(event_checks.LATE)}'
    )
  if not options.events and not (options.states and options.out_states):
    raise types.UserError(
      '--events is missing; name a table, or give --states and --out_states to'
      ' copy states'
    )
  if options.out and not options.events:
    raise types.UserError(
      '--out is for the users of --events; name a table, or leave --out out'
    )
  is_store = options.states and not state_files.is_archive(options.states)
  if not options.out_states and not is_store:
    raise types.UserError(
      '--out_states is missing: a file for the states afterwards, such as'
      ' states.db'
    )


def _task(prepared, options) -> _Task:
  owned = allowed = None
  if options.out:
    allowed = catalogs.allowed(
      prepared, options.items, options.exclude_items, options.where
    )
    owned = histories.owned(prepared) if options.exclude_seen else None
  return _Task(prepared, options, owned, allowed)


@contextlib.contextmanager
def _opened(options, service) -> Iterator[state_store.Store]:
  """The store to play in: --states, or --out_states, or one in memory."""
  states, out = options.states, options.out_states
  if states and not state_files.is_archive(states):
    with state_store.opened(states, service, create=False) as store:
      if out and not (_same(states, out) or state_files.is_archive(out)):
        given = state_store.shown(out)
        raise types.UserError(
          f'--out_states={given}: {store.path} is a store, which is updated'
          ' where it is; leave --out_states out, or name a .npz file'
        )
      yield store
    return
  in_file = state_files.is_archive(out)
  with contextlib.ExitStack() as stack:
    if in_file:
      stack.enter_context(state_files.locked(out))
    path = state_sqlite.IN_MEMORY if in_file else out
    store = stack.enter_context(state_store.opened(path, service))
    if states:
      # One with what is played: a call that fails can be made again.
      stored = state_files.load(states, service)
      stack.enter_context(state_store.writing(store))
      _import(store, states, stored)
    yield store


def _import(store, path, stored):
  """Puts the states of a file into an empty store."""
  if state_store.count(store):
    raise types.UserError(
      f'{store.path} has states already; leave --states={path} out to go on'
      ' from them, or name another --out_states'
    )
  state_store.write(store, stored)
  state_store.reach(store, float(np.max(stored.last_time, initial=-np.inf)))


def _same(path, other) -> bool:
  return os.path.realpath(path) == os.path.realpath(other)


def _play(store, task, events, quiet) -> str:
  """Plays a table; says what was done."""
  prepared, options = task.prepared, task.options
  sound, absurd, why = online_batches.sound(store, prepared, events)
  pieces = list(event_tables.slices(sound, _BATCH))
  if len(pieces) > 1 and options.rules.late == 'error':
    for piece in pieces:  # before anything is played
      online_batches.check(store, prepared, piece, options.rules)
  refused = events.ids[np.unique(events.row[absurd])]
  played = [online_batches.Played(refused=int(np.sum(absurd)))]
  without: list[str] = []
  with progress.reporter(
    len(sound.ids), 'events', quiet=quiet, unit='users'
  ) as show:
    rows = _batches(store, task, pieces, played, without, show)
    with contextlib.closing(rows):
      count = writers.write(options.out, rows) if options.out else _drain(rows)
  clauses = _message(events, online_batches.together(played), refused, why)
  if options.out:
    users = _count(len(sound.ids), 'user')
    clauses.append(f'{_count(count, "row")} for {users} in {options.out}')
  return '; '.join(clauses + writers.told(without))


def _drain(rows) -> int:
  return sum(1 for _ in rows)


def _batches(
  store, task, pieces, played, without, show
) -> Generator[writers.Rows, None, None]:
  """Plays batch after batch; recommendations, if they are asked for.

  What a batch gives is written before the batch counts as played. Adds to
  `played`, and to `without` who has no list.
  """
  done = 0
  for events in pieces:
    with state_store.writing(store):
      stored, batch = online_batches.play(
        store,
        task.prepared,
        events,
        task.options.rules,
        show=lambda users, count, done=done: show(done + users, count),
      )
      played.append(batch)
      if task.allowed is not None:
        yield from _rows(store.service, task, events, stored, without)
    done += len(events.ids)


def _rows(service, task, events, stored, without) -> Iterator[writers.Rows]:
  """Recommendations to the users of a table, in pieces."""
  owned = None if task.owned is None else _seen(task, events, stored)
  k = min(task.options.k, int(np.sum(task.allowed)))
  size = min(_RECOMMENDED, requests_lib.chunk_size(k, service.num_items))
  for first in range(0, len(events.ids), size):
    part = np.arange(first, min(first + size, len(events.ids)))
    best = online.recommend(
      service,
      online.State(*(leaf[part] for leaf in stored.state)),
      k,
      None if owned is None else gathers.exclusions(owned, part),
      task.allowed,
    )
    without += writers.without_list(events.ids[part], best.ids)
    yield writers.to_rows(events.ids[part], service.ids.item, *best)


def _seen(task, events, stored) -> gathers.Exclusions:
  """Items of every user by the run, the table and the events stored before."""
  row, items = events.row, events.items
  if events.disliked is not None:
    of, disliked = _disliked(task.prepared, events.ids, events.disliked)
    row, items = np.append(row, of), np.append(items, disliked)
  return live.owned(task.owned, events.user, stored.window, (row, items))


def _disliked(prepared, ids, table) -> tuple[np.ndarray, np.ndarray]:
  """Rows of users and items that the table says they do not like."""
  row = ids_lib.encode(ids, table.user)
  items = ids_lib.encode_items(prepared.item_ids, table.item)
  both = (row >= 0) & (items > 0)
  return row[both], items[both]


def _message(events, played, refused, why) -> list[str]:
  """Says what became of the events; `refused` are ids of users."""
  clauses = [
    f'{_count(len(events.items), "event")} of'
    f' {_count(len(events.ids), "user")}, {played.new_users:,} of them new'
  ]
  an_item = 'an item' if played.unknown == 1 else 'items'
  users = _count(len(refused), 'user')
  names = writers.named([str(name) for name in refused.tolist()])
  for number, what in (
    (
      played.unknown,
      f'with {an_item} the model does not know @ skipped',
    ),
    (played.repeated, '@ played before'),
    (played.late, 'came late and @ dropped'),
    (played.placed, 'came late and @ played in their place'),
    (played.too_late, 'came too late for the events that are stored'),
    (
      played.refused,
      f'of {users} ({names}), left out of states and lists, @ refused: {why}',
    ),
  ):
    if number:
      was = 'was' if number == 1 else 'were'
      clauses.append(f'{_count(number, "event")} {what.replace("@", was)}')
  clauses += new_events.notes(events.unrated, events.unasked)
  if np.all(events.identity == event_identity.NONE):
    clauses.append(
      'without times or --event_column they are not recognized if they come'
      ' again'
    )
  return clauses


def _count(number, noun):
  return f'{number:,} {noun}' + ('' if number == 1 else 's')
