"""New events of anybody, read as a finished run has read its own.

Whoever recommends from a table of events, or moves states with them, reads it
here: the columns, ids and filters are those of the training table, and times,
ratings and behaviors are read where the table has them.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.data import dislikes
from twotsrec.data import ids as ids_lib
from twotsrec.data import impressions
from twotsrec.data import pipeline
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import rows as rows_lib
from twotsrec.data import tables
from twotsrec.evaluation import behaviors

_TIME = 'timestamp'  # column that is read if there is one
# Of the options of reading, how a file of the same form is read.
_FORM = ('delimiter', 'column_names', 'id_type')


class NewEvents(NamedTuple):
  """Rows of a table, in the order of the file.

  Attributes:
    table: rows that are events for the run.
    disliked: rows below its minimum rating: seen, and nothing else.
    unrated: whether the run has a minimum rating and the table no ratings.
    unasked: conditions of the run, --where, whose column the table lacks.
    unlabeled: whether the run has labels and the table none.
  """

  table: tables.Table
  disliked: tables.Table
  unrated: bool = False
  unasked: tuple[str, ...] = ()
  unlabeled: bool = False


def notes(
  unrated: bool, unasked: tuple[str, ...], unlabeled: bool = False
) -> Iterator[str]:
  """What a table does not tell, for messages; fields of `NewEvents`."""
  if unrated:
    yield 'the table has no ratings, so all of its rows count as liked'
  if unlabeled:
    yield 'the table has no labels, so all of its rows count as clicks'
  for condition in unasked:
    yield (
      f'the table has no column for --where={condition} of the run, so all of'
      ' its rows count'
    )


def read(
  prepared: prepared_lib.Prepared,
  path: str,
  given: pipeline.TableOptions,
  one_scale: bool = True,
) -> NewEvents:
  """Reads a table of new events.

  Args:
    prepared: data of the run.
    path: of the table.
    given: how to read it; what is left at its default is as in training.
    one_scale: whether a time of another scale than most is refused here.
  Raises:
    types.UserError: a file that cannot be read, or a column that is named and
      that nothing reads.
  """
  filters = prepared.manifest['options'].get('filters') or {}
  least = filters.get('min_rating')
  _refuse_unread(prepared, given.columns, least)
  options = reading(prepared, path, given)
  # What training chose by may have no row among a few new events.
  every_value = bool(given.forms.where)
  table = pipeline.read_table(path, options, one_scale, every_value)
  table = _of_behaviors(prepared, table, options.bad_rows == 'drop')
  table = table._replace(user=_like_users(prepared, table.user))
  labeled = impressions.there_are(prepared)
  unlabeled = labeled and table.label is None
  if table.label is not None:  # what was not clicked is no part of a history
    table = _some(table, table.label == impressions.CLICK)
  low = np.zeros(len(table.user), bool)
  if least is not None and table.rating is not None:
    low = table.rating < least
  return NewEvents(
    table=_some(table, ~low),
    # A run that was told to forget such rows forgets these, too.
    disliked=_some(table, low & (dislikes.rule(prepared) != 'drop')),
    unrated=least is not None and table.rating is None,
    unasked=_unasked(prepared, given.forms, options.forms),
    unlabeled=unlabeled,
  )


def _unasked(prepared, given, used) -> tuple[str, ...]:
  """Conditions of the run that are neither given anew nor used."""
  trained = (prepared.manifest['options'].get('forms') or {}).get('where', ())
  return () if given.where else tuple(w for w in trained if w not in used.where)


def reading(
  prepared: prepared_lib.Prepared, path: str, given: pipeline.TableOptions
) -> pipeline.TableOptions:
  """Options as training had them, with the columns that the table has."""
  trained = prepared.manifest['options']
  options = _like_training(prepared, given)
  names = options.column_names or tables.column_names(
    path, options.delimiter or None
  )
  wanted = {'time': True, 'order': True}
  wanted['rating'] = 'min_rating' in (trained.get('filters') or {})
  wanted['behavior'] = bool(behaviors.names(prepared))
  wanted['label'] = impressions.there_are(prepared)
  named = trained.get('columns') or {}
  columns = options.columns
  for role, is_read in wanted.items():
    if getattr(given.columns, role) is None:
      name = named.get(role) if is_read else None
      name = name if name in names else None
      columns = columns._replace(**{role: name})
  if columns.time is None and columns.order is None and _TIME in names:
    columns = columns._replace(time=_TIME)
  forms = options.forms
  if not given.forms.where:  # of training: they may lack a column of it
    where = tuple(
      w for w in forms.where if w.partition('=')[0].strip() in names
    )
    forms = forms._replace(where=where)
  return options._replace(columns=columns, forms=forms)


def all_unknown(path: str, rows: int) -> types.UserError:
  """What is said of a table that has no item of the run."""
  return types.UserError(
    f'{path}: none of its {rows:,} items is in the training data; the'
    ' ids must be those of the training table'
  )


def is_target(prepared: prepared_lib.Prepared, table: tables.Table):
  """Rows of the behavior that a user does once, bool[N]; all without any."""
  if table.behavior is None:
    return np.ones(len(table.user), bool)
  return np.asarray(table.behavior == behaviors.names(prepared)[-1])


def _of_behaviors(prepared, table, drop) -> tables.Table:
  """The rows whose behavior is one of the run; others are a fault."""
  if table.behavior is None:
    return table
  names = behaviors.names(prepared)
  found, codes = ids_lib.number(table.behavior)
  known = np.isin(np.asarray(found), names)[codes]
  if not drop and not np.all(known):
    strange = found[codes[~known][0]]
    raise types.UserError(
      f'{table.path}: behavior {str(strange)!r} is not one of the run, which'
      f' has {", ".join(names)}; --bad_rows=drop leaves such rows out'
    )
  if np.all(known):
    return table
  lines = np.arange(len(known)) if table.lines is None else table.lines
  gone = {f'behavior is not {" or ".join(names)}': lines[~known]}
  gone = {cause: rows_lib.counted(rows) for cause, rows in gone.items()}
  return _some(table, known)._replace(dropped={**table.dropped, **gone})


def _like_training(prepared, given) -> pipeline.TableOptions:
  """`given`; what is left at its default is as in the training table."""
  trained, usual = prepared.manifest['options'], pipeline.TableOptions()
  names = trained.get('columns') or {}
  columns = {
    role: names[role]
    for role in ('user', 'item')
    if names.get(role)
    and getattr(given.columns, role) == getattr(usual.columns, role)
  }
  given = given._replace(columns=given.columns._replace(**columns))
  same = {
    name: trained[name]
    for name in _FORM
    if name in trained and getattr(given, name) == getattr(usual, name)
  }
  if 'column_names' in same:
    same['column_names'] = tuple(same['column_names'])
  same['forms'] = _forms(trained.get('forms') or {}, given.forms)
  given = given._replace(**same)
  if given.id_type == 'auto':
    # Somebody new may have any name, where those of the run are numbers, too.
    given = given._replace(id_type='string')
  return given


def _forms(trained: dict[str, Any], given: tables.Forms) -> tables.Forms:
  """`given`; every field that is left at its default is as in training."""
  left = {
    name
    for name, usual in tables.Forms()._asdict().items()
    if getattr(given, name) == usual
  }
  # A unit is of numbers and a form of dates, so that one rules out the other.
  of_times = {'time_unit', 'time_format'}
  if not of_times <= left:
    left -= of_times
  forms = {
    name: tuple(value) if isinstance(value, list) else value
    for name, value in trained.items()
    if name in left
  }
  return given._replace(**forms)


def _like_users(prepared, column: ids_lib.Column) -> ids_lib.Column:
  """Users as numbers, if those of the run are and all of these can be."""
  if prepared.user_ids.dtype.kind == 'U' or not ids_lib.is_text(column):
    return column
  names, codes = ids_lib.number(column)
  numbers, able = ids_lib.integers(names)
  return numbers[codes] if np.all(able) else column


def _refuse_unread(prepared, columns, least) -> None:
  for role, is_read, why in (
    ('rating', least is not None, 'the run has no --min_rating'),
    ('behavior', behaviors.names(prepared), 'the run has no behaviors'),
    ('label', impressions.there_are(prepared), 'the run has no labels'),
    ('split', False, 'new events have no part'),
  ):
    name = getattr(columns, role)
    if name is not None and not is_read:
      raise types.UserError(
        f'--{role}_column={name}: nothing reads it, since {why}; leave it out'
      )


def _some(table: tables.Table, rows: np.ndarray) -> tables.Table:
  """Some rows of a table, bool[N]."""
  return table._replace(
    **{
      name: column[rows]
      for name, column in table._asdict().items()
      if isinstance(column, np.ndarray | ids_lib.Texts)
    }
  )
