"""Public logs as read from the files that their owners publish."""

import os
import pathlib
from typing import NamedTuple

from twotsrec import types
from twotsrec.data import feature_files
from twotsrec.data import ids
from twotsrec.data import rows as rows_lib
from twotsrec.data import tables


class Raw(NamedTuple):
  """A public log, cleaned."""

  table: tables.Table  # the events
  # Features of items by external id, or None.
  features: feature_files.Rows | None = None
  # What was decided about the data -> how often, for the report.
  notes: dict[str, int] | None = None
  missing: str = 'error'  # what becomes of items without features


def table(
  path: pathlib.Path, rows: rows_lib.Rows, **columns: ids.Column
) -> tables.Table:
  """A table of whole columns; an error if nothing is left of the rows."""
  if not len(rows.lines):
    raise types.UserError(
      f'{path}: no row is left of {rows.rows_read} '
      f'({rows_lib.causes(rows.dropped)}); use the file that its owner '
      'publishes'
    )
  return tables.make(str(path), rows.dropped, rows.rows_read, **columns)


def find(data_root: str | os.PathLike, folder: str, file: str) -> pathlib.Path:
  """A published file in a root or in its usual folder there, or packed.

  Packed, its name has .gz or .zip at the end.
  """
  if not os.fspath(data_root):
    raise types.UserError(
      f'the files are read from a folder; pass --data_root=DIR, where {file} '
      f'is in DIR or in DIR/{folder}'
    )
  root = pathlib.Path(data_root)
  for place in (root / folder / file, root / file):
    for packed in ('', '.gz', '.zip'):
      path = place.with_name(place.name + packed)
      if path.is_file():
        return path
  raise types.UserError(
    f'no file {root / folder / file}, nor {root / file}; pass --data_root=DIR, '
    f'where {file} is in DIR or in DIR/{folder}'
  )
