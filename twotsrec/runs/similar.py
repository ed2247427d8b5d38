"""Items like items, from a run directory alone."""

from collections.abc import Iterator
import os
from typing import Any

import numpy as np

from twotsrec import types
from twotsrec.data import ids as ids_lib
from twotsrec.data import prepared as prepared_lib
from twotsrec.runs import catalogs
from twotsrec.serving import similar
from twotsrec.serving import writers
from twotsrec.training import progress

COLUMNS = ('similar_to', 'item_id', 'rank', 'score')


def run(
  prepared: prepared_lib.Prepared,
  similarity: similar.Similarity,
  asked: str,
  allowed: np.ndarray,
  k: int,
  out: str,
  quiet: bool = False,
) -> str:
  """Writes the k nearest items of some items to `out`.

  Args:
    prepared: data of the run.
    similarity: of its items, see `similarity`.
    asked: a file of item ids, one per line, or ids with commas between them.
    allowed: bool[I + 1], items that may stand in a list.
    k: items of a list.
    out: as `writers.write` takes it; similar_to, item_id, rank, score.
    quiet: no progress display.
  Returns:
    A line that says what was written, and which items have no list.
  Raises:
    types.UserError: an unknown item, or an unwritable file.
  """
  items = _items(prepared, asked)
  chunks = similar.nearest(similarity, items, allowed, k)
  item_ids = np.asarray(prepared.item_ids)
  without: list[str] = []
  with progress.reporter(
    len(items), 'similar items', quiet=quiet, unit='items'
  ) as show:

    def rows() -> Iterator[writers.Rows]:
      done = 0
      for chunk in chunks:
        part = items[done : done + len(chunk.ids)]
        names = item_ids[part - 1]
        without.extend(writers.without_list(names, chunk.ids))
        yield writers.to_rows(names, item_ids, *chunk)
        done += len(part)
        show(done, len(part))

    count = writers.write(out, rows(), COLUMNS)
  message = f'{count:,} rows for {len(items):,} items in {out}'
  return '; '.join([message, *writers.told(without)])


def _items(prepared, asked) -> np.ndarray:
  """Internal items i64[n] of a file of ids, or of a list of them."""
  if os.path.exists(asked):
    wanted = catalogs.read_ids(asked, '--similar_to', 'item')
  else:
    wanted = np.array([name.strip() for name in asked.split(',')])
  items = ids_lib.encode_items(prepared.item_ids, wanted)
  for strange in wanted[items == 0][:1]:
    raise types.UserError(
      f'--similar_to: {str(strange)!r} is neither a file nor an item of the'
      f' training data, whose ids are like {str(prepared.item_ids[0])!r}'
    )
  return items.astype(np.int64)


def vectors(params: Any) -> np.ndarray | None:
  """Item vectors that a model has trained, f32[I + 1, D]; None without any."""
  table = params.tables.get('item') if isinstance(params, types.Params) else {}
  if not table or {'weights', 'id'} & table.keys():
    return None
  found = [np.asarray(leaf, np.float32) for leaf in table.values()]
  return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in found], axis=1)


def pairs(prepared: prepared_lib.Prepared) -> tuple[np.ndarray, np.ndarray]:
  """Users and items of the train events, [N] each."""
  in_train = np.asarray(prepared.split) == prepared_lib.TRAIN
  users = prepared.event_users
  return users[in_train], np.asarray(prepared.items)[in_train]


def similarity(
  prepared: prepared_lib.Prepared, params: Any
) -> similar.Similarity:
  """How near items are, by the cosine of what a model has trained.

  For a model without vectors of items (EASE, item_knn, what counts pairs) it is
  that of their users in training.
  """
  of_items = vectors(params)
  if of_items is not None:
    return similar.of_vectors(of_items)
  # Weights between items are no vectors, and groups of their own share none.
  return similar.of_users(*pairs(prepared), prepared.num_items)
