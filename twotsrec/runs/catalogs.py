"""Which items may be recommended, and files of ids that say so."""

from collections.abc import Sequence
import csv
import pathlib

import numpy as np

from twotsrec import types
from twotsrec.data import features
from twotsrec.data import ids as ids_lib
from twotsrec.data import prepared as prepared_lib
from twotsrec.serving import people as people_lib

_SHOWN = 10  # values of a feature in a message


def read_ids(path: str, flag: str, what: str) -> np.ndarray:
  """The ids of a file, one per line, text [n].

  Args:
    path: of the file; blank lines say nothing.
    flag: that names it, for messages.
    what: the ids are of.
  Raises:
    types.UserError: a file that cannot be read, or has no id.
  """
  try:
    text = pathlib.Path(path).read_text(encoding='utf-8-sig')
  except (OSError, UnicodeDecodeError) as error:
    why = getattr(error, 'strerror', None) or 'it is not UTF-8'
    raise types.UserError(
      f'{flag}: cannot read {path}: {why}; check the name of the file, and that'
      ' it is text in UTF-8'
    ) from error
  lines = [line.strip() for line in text.splitlines()]
  wanted = np.array([line for line in lines if line])
  if not wanted.size:
    raise types.UserError(f'{flag}: {path} names no {what}; one id per line')
  return wanted


def allowed(
  prepared: prepared_lib.Prepared,
  only: str | None = None,
  without: str | None = None,
  where: Sequence[str] = (),
) -> np.ndarray:
  """Items that may be recommended, bool[I + 1]; item 0 never.

  Args:
    prepared: data of the run.
    only: file of the ids of items that may; None is all.
    without: file of the ids of items that may not; unknown ones do no harm.
    where: 'feature=value,value' of items that may; those of every condition.
  Raises:
    types.UserError: no item is left, or none of `only` is known.
  """
  mask = np.ones(prepared.num_items + 1, bool)
  mask[0] = False
  if only is not None:
    wanted = read_ids(only, '--items', 'item')
    item = ids_lib.encode(prepared.item_ids, wanted) + 1
    if not np.any(item):
      raise types.UserError(
        f'--items: none of the {len(wanted):,} ids in {only} is in the training'
        f' data, whose ids are like {str(prepared.item_ids[0])!r}'
      )
    mask &= np.isin(np.arange(len(mask)), item)
  if without is not None:
    wanted = read_ids(without, '--exclude_items', 'item')
    mask[ids_lib.encode(prepared.item_ids, wanted) + 1] = False
  for condition in where:
    mask &= _having(prepared, condition)
  if not np.any(mask):
    raise people_lib.nothing_left()
  return mask


def _having(prepared, condition) -> np.ndarray:
  """Items with one of the values of a feature, bool[I + 1]."""
  name, _, values = condition.partition('=')
  of_items = features.load(prepared)
  if of_items is None:
    raise types.UserError(
      '--items_where: the run has no item features; prepare the data with'
      ' --features=FILE and train on them, or name the items in --items=FILE'
    )
  if name not in of_items.vocabularies:
    names = ', '.join(of_items.vocabularies) or 'none with values'
    raise types.UserError(
      f'--items_where={condition}: features are {names}; write NAME=VALUE'
    )
  vocabulary = of_items.vocabularies[name]
  wanted = np.array(values.split(','))
  codes = ids_lib.encode(np.asarray(vocabulary), wanted) + 1
  for strange in wanted[codes == 0][:1]:
    some = ', '.join(map(str, vocabulary[:_SHOWN]))
    raise types.UserError(
      f'--items_where={condition}: no item has {str(strange)!r} in {name};'
      f' values are {some}' + ', ...' * (len(vocabulary) > _SHOWN)
    )
  columns = {**of_items.categorical, **of_items.multivalued}
  has = np.isin(columns[name], codes)
  return has if has.ndim == 1 else np.any(has, axis=1)


def categories(
  prepared: prepared_lib.Prepared, asked: str | None
) -> np.ndarray | None:
  """Numbers of the items' categories, i32[I + 1], as `people_lib.numbered`.

  Args:
    prepared: data of the run.
    asked: a feature with one value for every item, or a .csv file of two
      columns, item and category, with or without a header; None is none.
  Raises:
    types.UserError: neither a feature nor a table that has items of the run.
  """
  if asked is None:
    return None
  of_items = features.load(prepared)
  if of_items is not None and asked in of_items.categorical:
    codes = np.asarray(of_items.categorical[asked])
    return np.where(codes > 0, codes, -1).astype(np.int32)
  if not pathlib.Path(asked).exists():
    names = ', '.join(of_items.categorical) if of_items is not None else ''
    raise types.UserError(
      f'--categories={asked} is neither a feature with one value for every item'
      f' ({names or "the run has none"}) nor a file; name a table of two'
      ' columns, item and category'
    )
  return category_table(prepared.item_ids, asked)


def category_table(item_ids: np.ndarray, path: str) -> np.ndarray:
  """Numbers of the items' categories, i32[I + 1], in a file of two columns.

  Args:
    item_ids: external ids of items 1..I.
    path: a .csv file, item and category, with or without a header.
  Raises:
    types.UserError: no table that has items of the run.
  """
  lines = read_ids(path, '--categories', 'item')
  rows = list(csv.reader(lines.tolist()))
  for number, row in enumerate(rows, 1):
    if len(row) != 2:
      raise types.UserError(
        f'--categories: line {number} of {path} has {len(row)} cells; it must'
        ' have two, an item and its category'
      )
  made = people_lib.numbered(np.asarray(item_ids), dict(rows))
  if np.all(made < 0):
    raise types.UserError(
      f'--categories: no item in {path} is in the training data, whose ids are'
      f' like {str(item_ids[0])!r}'
    )
  return made
