"""Lists of sampled candidates for held-out events, the same for every model.

A list is drawn uniformly without replacement from all items but the true one;
items of the user's past are among them. It depends on the seed and the event
alone (see `candidates`).
"""

from collections.abc import Callable
import hashlib

import numpy as np

from twotsrec import types
from twotsrec.data import prepared as prepared_data
from twotsrec.evaluation import candidates

_MULTIPLIER_SEED = 0


Source = Callable[[np.ndarray], np.ndarray]  # event i64[b] -> i32[b, n]


def list_size(prepared: prepared_data.Prepared, num: int) -> int:
  """Sampled candidates of an event, at most all other items."""
  if num < 0:
    raise types.UserError(
      f'evaluation_lists is {num}; it must be at least 0, the number of '
      'candidates beside the item'
    )
  return min(num, prepared.num_items - 1)


def drawn_as_needed(
  prepared: prepared_data.Prepared, num: int, seed: int
) -> Source:
  """Draws the lists of the events that are asked for."""
  size = list_size(prepared, num)
  nothing = prepared_data.SeenItems(
    np.zeros(prepared.num_users + 1, np.int64), np.zeros(0, np.int32)
  )

  def source(event):
    item = np.asarray(prepared.items[event])
    nobody = np.zeros(event.size, np.int32)  # their items do not matter
    targets = prepared_data.Targets(event, nobody, item, event)
    drawn = candidates.draw(targets, nothing, prepared.num_items, size, seed)
    return drawn[:, 1:]

  return source


def fingerprints(items: np.ndarray) -> np.ndarray:
  """A number for every list, u64[b]; lists that differ have different ones.

  A sum with random odd multipliers modulo 2^64: two given lists that differ
  agree by chance in one of about 2^63 cases.

  Args:
    items: i32[b, n].
  """
  stream = np.zeros(1, np.int64)
  words = candidates.random_words(stream, items.shape[1], _MULTIPLIER_SEED)
  return (items.astype(np.uint64) * (words[0] | np.uint64(1))).sum(
    axis=1, dtype=np.uint64
  )


def digest(fingerprint: np.ndarray) -> str:
  """sha256 of the fingerprints of all events in their order."""
  content = np.ascontiguousarray(fingerprint, dtype='<u8').tobytes()
  return hashlib.sha256(content).hexdigest()
