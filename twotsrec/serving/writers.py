"""Recommendations to CSV, JSONL or Parquet: user_id, item_id, rank, score.

Rows are written chunk by chunk under a temporary name, which becomes the file
only when everything is written.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import contextlib
import json
import os
import pathlib
import re
import shutil
from typing import Any, NamedTuple

import numpy as np
import polars

from twotsrec import types
from twotsrec.serving import reasons as reasons_lib

# What Polars says around the reason of the system.
_SYSTEM = re.compile(r'^.*?error: (?=[^:]* \(os error)| \(os error \d+\)$')
COLUMNS = ('user_id', 'item_id', 'rank', 'score')
_FLOATS = ('score', 'weight_')
_NAMED = 5  # ids in a message


class Rows(NamedTuple):
  """One chunk of the output, columns [M]; places of `more` may be empty."""

  user_id: np.ndarray
  item_id: np.ndarray
  rank: np.ndarray
  score: np.ndarray
  more: tuple[polars.Series, ...] = ()


def to_rows(
  user_ids: np.ndarray,
  item_ids: np.ndarray,
  ids: np.ndarray,
  scores: np.ndarray,
  reasons: reasons_lib.Reasons | None = None,
) -> Rows:
  """Long form with external ids; places without an item are dropped.

  Args:
    user_ids: external ids of the chunk's users, [n].
    item_ids: external ids of all items, [I]; item i is item_ids[i - 1].
    ids: i32[n, k], best first, 0 where items ran out.
    scores: f32[n, k].
    reasons: of the places, or None; R of them are the columns of `reasons`.
  """
  row, place = np.nonzero(ids)
  more: list[polars.Series] = []
  for one in range(0 if reasons is None else reasons.items.shape[2]):
    items, weights = (leaf[row, place, one] for leaf in reasons or ())
    there = polars.Series(items > 0)
    names = np.asarray(item_ids)[np.maximum(items, 1) - 1]
    more += [
      polars.Series(column).zip_with(there, _nothing(column))
      for column in (names, weights)
    ]
  return Rows(
    user_id=np.asarray(user_ids)[row],
    item_id=np.asarray(item_ids)[ids[row, place] - 1],
    rank=(place + 1).astype(np.int32),
    score=np.asarray(scores)[row, place],
    more=tuple(more),
  )


def _nothing(column) -> polars.Series:
  """No values, in the type of a column."""
  like = polars.Series(column)
  return polars.Series([None] * len(like), dtype=like.dtype)


def reasons(number: int) -> tuple[str, ...]:
  """Names of the columns of so many reasons: reason_1, weight_1, ..."""
  return tuple(
    f'{part}_{place + 1}'
    for place in range(number)
    for part in ('reason', 'weight')
  )


def without_list(names: np.ndarray, ids: np.ndarray) -> list[str]:
  """Whose list has no item; `names` are external ids, [n], ids i32[n, k]."""
  return [str(name) for name in names[~np.any(ids > 0, axis=1)].tolist()]


def named(names: Sequence[str]) -> str:
  """The first few of them, for a message."""
  return ', '.join(map(types.printable, names[:_NAMED])) + ', ...' * (
    len(names) > _NAMED
  )


def told(names: Sequence[str]) -> list[str]:
  """A clause about those without a list; none where there are none."""
  if not names:
    return []
  return [
    f'{len(names):,} of them have no list, as no item is left for them:'
    f' {named(names)}'
  ]


def write(
  path: str, chunks: Iterable[Rows], names: Sequence[str] = COLUMNS
) -> int:
  """Writes all chunks; the format is that of the file's ending.

  Args:
    path: FILE.csv, FILE.jsonl or FILE.parquet; an old file is replaced.
    chunks: of `to_rows`.
    names: of the columns.
  Returns:
    The number of rows written.
  """
  target = pathlib.Path(path)
  writer = _writer_for(target)
  temporary = target.with_name(f'.{target.name}.{os.getpid()}.tmp')
  count = 0

  def counted() -> Iterator[Rows]:
    nonlocal count
    for rows in chunks:
      count += rows.rank.size
      yield rows

  try:
    target.parent.mkdir(parents=True, exist_ok=True)
    writer(temporary, counted(), names)
    os.replace(temporary, target)
  except (OSError, polars.exceptions.PolarsError) as error:
    reason = getattr(error, 'strerror', None) or _SYSTEM.sub('', str(error))
    raise types.UserError(
      f'cannot write {target}: {reason}; choose a folder with room and write'
      ' permission'
    ) from error
  finally:
    with contextlib.suppress(OSError):
      temporary.unlink(missing_ok=True)
  return count


def check_path(path: str) -> None:
  """A user error, before any work is done, if `write` could not take it."""
  target = pathlib.Path(path)
  _writer_for(target)
  if target.is_dir():
    raise types.UserError(
      f'{target} is a folder; name a file in it, such as'
      f' {target / ("top" + target.suffix)}'
    )
  above = next(
    folder for folder in target.absolute().parents if folder.exists()
  )
  if not (above.is_dir() and os.access(above, os.W_OK)):
    raise types.UserError(
      f'cannot write {target}: {above} is no folder that can be written;'
      ' choose one with write permission'
    )


def _writer_for(path: pathlib.Path) -> Callable[..., None]:
  if path.suffix not in _WRITERS:
    raise types.UserError(
      f'cannot tell the format of {path.name!r}; the name must end in '
      + ', '.join(_WRITERS)
    )
  return _WRITERS[path.suffix]


def _write_csv(path, chunks, names) -> None:
  with path.open('wb') as file:
    file.write(','.join(names).encode() + b'\n')
    for rows in chunks:
      columns = [*rows[:3], _shortest(rows.score), *rows.more]
      frame = polars.DataFrame(dict(zip(names, columns, strict=True)))
      frame.write_csv(file, include_header=False)


def _write_jsonl(path, chunks, names) -> None:
  with path.open('w', encoding='utf-8') as file:
    for rows in chunks:
      columns = [column.tolist() for column in rows[:3]]
      columns.append([float(score) for score in _shortest(rows.score)])
      columns += [_plain(column) for column in rows.more]
      for row in zip(*columns, strict=True):
        named = dict(zip(names, row, strict=True))
        file.write(json.dumps(named, ensure_ascii=False) + '\n')


def _write_parquet(path, chunks, names) -> None:
  """One part per chunk, then one file streamed from the parts."""
  folder = path.with_name(path.name + '.parts')
  folder.mkdir()
  try:
    parts = []
    for rows in chunks:
      parts.append(folder / f'{len(parts)}.parquet')
      columns = [*rows[:4], *rows.more]
      frame = polars.DataFrame(dict(zip(names, columns, strict=True)))
      frame.write_parquet(parts[-1])
    if not parts:
      nothing = {
        name: np.zeros(0, np.float32 if name.startswith(_FLOATS) else np.int64)
        for name in names
      }
      parts.append(folder / '0.parquet')
      polars.DataFrame(nothing).write_parquet(parts[-1])
    polars.scan_parquet(parts).sink_parquet(path)
  finally:
    shutil.rmtree(folder, ignore_errors=True)


def _plain(column: polars.Series) -> list[Any]:
  """Values as JSON has them."""
  if column.dtype != polars.Float32:
    return column.to_list()
  texts = _shortest(column.fill_null(0.0).to_numpy())
  missing = column.is_null().to_list()
  return [
    None if is_none else float(text) for is_none, text in zip(missing, texts)
  ]


def _shortest(scores: np.ndarray) -> list[str]:
  """Nine digits tell any two float32 apart."""
  return [f'{score:.9g}' for score in scores.tolist()]


_WRITERS = {
  '.csv': _write_csv,
  '.jsonl': _write_jsonl,
  '.parquet': _write_parquet,
}
