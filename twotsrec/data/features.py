"""Item features as arrays beside the items of prepared data (2TS sec. 3.3).

Row i belongs to internal item i, row 0 is padding. Values of categories are
numbered from 1 in ascending order, 0 is no value.
"""

from collections.abc import Sequence
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.data import choices
from twotsrec.data import directories
from twotsrec.data import feature_files
from twotsrec.data import ids
from twotsrec.data import prepared as prepared_lib

FOLDER = 'item_features'
VERSION = 1
MANIFEST = 'features.json'
MISSING = choices.MISSING_FEATURES
EXTRA = choices.EXTRA_FEATURES
_SHOWN = 3
_AGAIN = 'repeat the command that wrote it'


class ItemFeatures(NamedTuple):
  """Features of all items, in the order of their names."""

  categorical: dict[str, np.ndarray]  # name -> i32[I + 1], 1..V, 0 for no value
  # Name -> i32[I + 1, M], 1..V ascending, padded with 0.
  multivalued: dict[str, np.ndarray]
  # f32[I + 1, F], each column with mean 0 and deviation 1 over the items that
  # have a row; 0 without a row, and everywhere if it is constant.
  dense: np.ndarray
  # Name -> values [V], of categorical and multivalued features; value v is
  # vocabularies[name][v - 1].
  vocabularies: dict[str, np.ndarray]
  dense_names: tuple[str, ...]  # names of the F columns
  mean: np.ndarray  # f64[F], taken off
  deviation: np.ndarray  # f64[F], divided by; 1 where the column is constant


def read(
  path: str | os.PathLike,
  item_ids: np.ndarray,
  columns: Sequence[str],
  *,
  missing: str = 'error',
  extra: str = 'error',
  **layout: Any,
) -> ItemFeatures:
  """Reads a feature file for items [I] of prepared data.

  See `feature_files.read` for the file and `build` for `missing` and `extra`.
  """
  text_ids = item_ids.dtype.kind == 'U'
  rows = feature_files.read(path, columns, text_ids=text_ids, **layout)
  return build(rows, item_ids, missing=missing, extra=extra)


def build(
  rows: feature_files.Rows,
  item_ids: np.ndarray,
  *,
  missing: str = 'error',
  extra: str = 'error',
) -> ItemFeatures:
  """Puts rows in the order of items, numbers values and standardizes.

  Args:
    rows: features by external id.
    item_ids: external ids [I].
    missing: items without a row are an 'error', or have no values: 'zero'.
    extra: rows of other items are an 'error', or are left out: 'drop'.
  """
  item = _match(rows, item_ids, missing, extra)
  matched = item > 0
  vocabularies, categorical, multivalued = {}, {}, {}
  for name, values in sorted(rows.categorical.items()):
    table = np.zeros(len(item_ids) + 1, np.int32)
    filled = matched & (values.astype(str) != '')
    vocabularies[name], codes = ids.number(values[filled])
    table[item[filled]] = codes + 1
    categorical[name] = table
  for name, (row, values) in sorted(rows.multivalued.items()):
    pairs = np.flatnonzero(matched[row]) if len(row) else np.zeros(0, np.int64)
    vocabularies[name], codes = ids.number(values[pairs])
    multivalued[name] = _padded(item[row[pairs]], codes + 1, len(item_ids) + 1)
  names = tuple(sorted(rows.dense))
  columns = [rows.dense[name][matched] for name in names]
  values = (
    np.stack(columns, 1) if names else np.zeros((int(np.sum(matched)), 0))
  )
  mean, deviation = _moments(values)
  dense = np.zeros((len(item_ids) + 1, len(names)), np.float32)
  dense[item[matched]] = (values - mean) / deviation
  return ItemFeatures(
    categorical, multivalued, dense, vocabularies, names, mean, deviation
  )


def save(features: ItemFeatures, data: prepared_lib.Prepared) -> None:
  """Writes features into the directory of the prepared data they belong to."""
  names, arrays = {}, {}
  for kind in ('categorical', 'multivalued', 'vocabularies'):
    columns = getattr(features, kind)
    names[kind] = list(columns)
    arrays |= {f'{kind}_{n}': a for n, a in enumerate(columns.values())}
  for name in ('dense', 'mean', 'deviation'):
    arrays[name] = getattr(features, name)
  manifest = {
    'version': VERSION,
    'items': data.manifest['arrays']['item_ids'],
    'names': names,
    'dense_names': list(features.dense_names),
    'arrays': {
      name: directories.describe(array) for name, array in arrays.items()
    },
  }
  target = pathlib.Path(data.path) / FOLDER
  fill = lambda folder: directories.save(folder, arrays, MANIFEST, manifest)
  try:
    directories.write(target, fill)
  except OSError as error:
    raise directories.cannot_write(target, error) from error


def without_dense(made: ItemFeatures) -> ItemFeatures:
  """The features that have values by name."""
  return made._replace(
    dense=made.dense[:, :0],
    dense_names=(),
    mean=made.mean[:0],
    deviation=made.deviation[:0],
  )


def load(data: prepared_lib.Prepared) -> ItemFeatures | None:
  """Maps features saved beside prepared data, verified; None without any."""
  folder = pathlib.Path(data.path) / FOLDER
  if not data.path or not folder.is_dir():
    return None
  try:
    manifest, arrays = directories.load(
      folder / MANIFEST, VERSION, ('names', 'items'), _AGAIN, verify=True
    )
  except FileNotFoundError as error:
    raise directories.damaged(
      folder / MANIFEST, 'it is missing', _AGAIN
    ) from error
  if manifest['items'] != data.manifest['arrays']['item_ids']:
    raise types.UserError(
      f'{folder} is of other items than {data.path}; prepare the data again'
    )
  columns = {
    kind: {name: arrays[f'{kind}_{n}'] for n, name in enumerate(names)}
    for kind, names in manifest['names'].items()
  }
  return ItemFeatures(
    **columns,
    dense=arrays['dense'],
    dense_names=tuple(manifest['dense_names']),
    mean=np.asarray(arrays['mean']),
    deviation=np.asarray(arrays['deviation']),
  )


def _match(
  rows: feature_files.Rows, item_ids: np.ndarray, missing: str, extra: str
) -> np.ndarray:
  """Internal item of every row, i32[R]; 0 for rows of other items."""
  for name, value, allowed in (
    ('missing', missing, MISSING),
    ('extra', extra, EXTRA),
  ):
    if value not in allowed:
      raise types.UserError(
        f'{name} features are {value!r}; allowed are ' + ', '.join(allowed)
      )
  item = ids.encode_items(item_ids, rows.items)
  distinct, count = np.unique(rows.items, return_counts=True)
  again = 'launch/prepare.py --features=FILE'
  for strange, refused, why in (
    (
      distinct[count > 1],
      True,
      'have several rows; give one row per item, with all values in it',
    ),
    (
      np.setdiff1d(item_ids, rows.items),
      missing == 'error',
      'of the data have no row; add them, or let them have none: '
      f'{again} --missing_features=zero',
    ),
    (
      rows.items[item == 0],
      extra == 'error',
      'are not in the data; check the item column, or leave such rows out: '
      f'{again} --extra_features=drop',
    ),
  ):
    if len(strange) and refused:
      listed = ', '.join(map(str, strange[:_SHOWN]))
      listed += ', ...' if len(strange) > _SHOWN else ''
      raise types.UserError(
        f'{rows.path}: {len(strange):,} items ({listed}) {why}'
      )
  if not np.any(item > 0):
    raise types.UserError(
      f'{rows.path}: no item of the data has a row; check the item column'
    )
  return item


def _padded(item: np.ndarray, code: np.ndarray, rows: int) -> np.ndarray:
  """Codes of every item side by side, i32[rows, M]."""
  order = np.lexsort((code, item))
  item, code = item[order], code[order]
  place = np.arange(len(item)) - np.searchsorted(item, item)
  table = np.zeros((rows, int(np.max(place, initial=0)) + 1), np.int32)
  table[item, place] = code
  return table


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  mean = np.mean(values, axis=0)
  deviation = np.std(values, axis=0)
  # Rounding leaves a constant column with a tiny deviation.
  constant = deviation <= 1e-12 * np.abs(mean)
  return mean, np.where(constant, 1.0, deviation)
