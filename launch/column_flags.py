"""Flags that tell how to read a table, for three scripts."""

from __future__ import annotations

from collections.abc import Callable
import sys
from typing import TYPE_CHECKING

from absl import flags

if TYPE_CHECKING:
  from twotsrec.data import pipeline
  from twotsrec.data import tables


def define() -> Callable[[], pipeline.TableOptions]:
  """Defines the flags that tell how to read a table.

  For --help to show them, the script adopts the key flags of this module.

  Returns:
    A function that gives the options, to call after the flags are parsed.
  """
  holders = {
    role: flags.DEFINE_string(
      f'{role}_column', default, f'Column of the {what}.'
    )
    for role, default, what in (
      ('user', 'user_id', 'user ids'),
      ('item', 'item_id', 'item ids'),
      ('time', '', 'times'),
      ('rating', '', 'ratings'),
      ('behavior', '', 'behaviors'),
      ('split', '', 'labels train, validation and test'),
      ('order', '', 'positions inside a user'),
      ('label', '', 'labels of impressions: 1 for a click, 0 for none'),
    )
  }
  delimiter = flags.DEFINE_string(
    'delimiter', '', 'Between fields; default: told by the file.'
  )
  names = flags.DEFINE_list(
    'column_names',
    [],
    'Names of all columns, for a file without a header line.',
  )
  id_type = flags.DEFINE_enum(
    'id_type', 'auto', ['auto', 'int', 'string'], 'What ids are.'
  )
  bad_rows = flags.DEFINE_enum(
    'bad_rows', 'error', ['error', 'drop'], 'Stop at a bad row, or count it.'
  )
  forms = _form_flags()

  def options():
    from twotsrec.data import pipeline
    from twotsrec.data import tables

    return pipeline.TableOptions(
      columns=tables.Columns(
        **{role: holder.value or None for role, holder in holders.items()}
      ),
      delimiter=delimiter.value,
      column_names=tuple(names.value),
      id_type=id_type.value,
      bad_rows=bad_rows.value,
      forms=forms(),
    )

  return options


def _form_flags() -> Callable[[], tables.Forms]:
  """The flags that tell how cells are written, as `define`."""
  unit = flags.DEFINE_enum(
    'time_unit',
    'auto',
    ['auto', 's', 'ms', 'us', 'ns'],
    'What times that are numbers count; default: told by all of them.',
  )
  form = flags.DEFINE_string(
    'time_format', '', 'How dates are written, as for strptime; default: ISO.'
  )
  decimal = flags.DEFINE_enum(
    'decimal', '.', ['.', ','], 'The decimal sign of ratings.'
  )
  spared = flags.DEFINE_list(
    'keep_ids', [], 'Names such as NA that are ids, not missing values.'
  )
  where = flags.DEFINE_multi_string(
    'where',
    [],
    'COLUMN=VALUE[,VALUE] of the rows to read; the others are as if not there.',
  )

  def given():
    from twotsrec.data import tables

    return tables.Forms(
      time_unit=unit.value,
      time_format=form.value,
      decimal=decimal.value,
      keep_ids=tuple(spared.value),
      where=tuple(where.value),
    )

  return given


def names(*but: str) -> list[str]:
  """Names of the flags of `define`, without some."""
  own = flags.FLAGS.get_flags_for_module(sys.modules[__name__])
  return sorted(flag.name for flag in own if flag.name not in but)
