"""Fixed lists of sampled candidates: a held-out item and negatives drawn once.

The draw knows no model, and a counter-based generator keyed by the event makes
the list of a target independent of which other targets are evaluated. So every
model ranks the same lists, and a digest in the report proves it.

Hit rates among 100 candidates cannot be compared with those among all items;
the user AUC can (it is linear in the rank).
"""

from collections.abc import Sequence
import hashlib

import numpy as np

from twotsrec import types
from twotsrec.data import prepared as prepared_data
from twotsrec.evaluation import gathers

_MULTIPLIER_SEED = 0
_ROWS_AT_ONCE = 256  # their lists stay in the cache
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def draw(
  targets: prepared_data.Targets,
  seen: prepared_data.SeenItems,
  num_items: int,
  num: int,
  seed: int,
) -> np.ndarray:
  """Uniform distinct negatives for every target.

  Args:
    targets: T held-out items.
    seen: items of each user that are not drawn.
    num_items: I.
    num: negatives per target.
    seed: of the lists.
  Returns:
    i32[T, 1 + num], the target first; 0 beside a target without any negative.
  Raises:
    types.UserError: a target with some negatives, but too few.
  """
  total = targets.item.size
  lists = np.zeros((total, 1 + num), np.int32)
  lists[:, 0] = targets.item
  for first in range(0, total, _ROWS_AT_ONCE):
    rows = np.arange(first, min(first + _ROWS_AT_ONCE, total))
    unseen, excluded = _unseen(targets, seen, num_items, rows)
    if not unseen.all():
      rows = rows[unseen > 0]
      unseen, excluded = _unseen(targets, seen, num_items, rows)
    if np.any(unseen < num):
      raise _too_few(targets, seen, num_items, num)
    ranks = distinct_ranks(targets.event[rows], unseen, num, seed)
    lists[rows, 1:] = complement(ranks, excluded)
  return lists


def _unseen(targets, seen, num_items, rows):
  """Number of negatives of these targets, i64[b], and what is none of them."""
  user, item = targets.user[rows], targets.item[rows]
  excluded = gathers.exclusions(seen, user, item)
  return num_items - excluded.counts, excluded


def _too_few(targets, seen, num_items, num) -> types.UserError:
  pieces = np.array_split(
    np.arange(targets.item.size), -(-targets.item.size // _ROWS_AT_ONCE)
  )
  unseen = np.concatenate(
    [_unseen(targets, seen, num_items, rows)[0] for rows in pieces]
  )
  short = np.unique(targets.user[(unseen > 0) & (unseen < num)])
  return types.UserError(
    f'{len(short):,} users have fewer than num_candidates={num} items never'
    ' interacted with; set evaluation.num_candidates to at most'
    f" {unseen[unseen > 0].min()}, or use evaluation.candidates='all'"
  )


def digest(lists: np.ndarray) -> str:
  """sha256 of the lists, the same on every machine."""
  content = np.ascontiguousarray(lists, dtype='<i4')
  shape = 'x'.join(str(size) for size in content.shape)
  return hashlib.sha256(shape.encode() + content.tobytes()).hexdigest()


def fingerprints(lists: np.ndarray) -> np.ndarray:
  """A number for every list, u64[b]; lists that differ have different ones.

  A sum with random odd multipliers modulo 2^64: two given lists i32[b, n] that
  differ agree by chance in one of about 2^63 cases.
  """
  stream = np.zeros(1, np.int64)
  [words] = random_words(stream, lists.shape[1], _MULTIPLIER_SEED)
  products = lists.astype(np.uint64) * (words | np.uint64(1))
  return products.sum(axis=1, dtype=np.uint64)


def digest_of_fingerprints(fingerprint: np.ndarray) -> str:
  """sha256 of the fingerprints u64[T] of all lists in their order."""
  content = np.ascontiguousarray(fingerprint, dtype='<u8').tobytes()
  return hashlib.sha256(content).hexdigest()


def distinct_ranks(
  events: np.ndarray, unseen: np.ndarray, num: int, seed: int
) -> np.ndarray:
  """Draws without replacement from 0..unseen-1, i64[T, num].

  The first `num` distinct values of an endless uniform sequence are a uniform
  draw without replacement; a row that does not have them yet gets a longer
  piece of its own sequence. `events` i64[T] are the streams of the rows, and
  `unseen` i64[T] is at least `num`.
  """
  ranks = np.zeros((events.size, num), np.int64)
  rows = np.arange(events.size)
  length = num + num // 4 + 8
  while num and rows.size:
    words = random_words(events[rows], length, seed)
    # 64 bits modulo a catalogue: the bias is below I / 2^64.
    drawn = (words % unseen[rows, None].astype(np.uint64)).astype(np.int64)
    fresh = _first_occurrences(drawn)
    place = np.cumsum(fresh, axis=1) - 1
    done = place[:, -1] >= num - 1
    wanted = fresh & (place < num) & done[:, None]
    ranks[rows[done]] = drawn[wanted].reshape(-1, num)
    rows, length = rows[~done], 2 * length
  return ranks


def complement(ranks: np.ndarray, excluded: gathers.Exclusions) -> np.ndarray:
  """The r-th item that is not excluded, for every rank r from 0.

  With the excluded items p_0 < p_1 < ... of a row, p_j - 1 - j items before
  p_j are free; so r becomes item r + 1 + #{j: p_j - 1 - j <= r}. The ranks
  i64[T, n] become items 1..I.
  """
  num_rows = ranks.shape[0]
  row = np.repeat(np.arange(num_rows), excluded.counts)
  place = np.arange(row.size) - excluded.offsets[row]
  free_before = excluded.items - 1 - place
  # One sorted search for all rows: the row is the leading digit.
  span = max(ranks.max(initial=0), free_before.max(initial=0)) + 1
  sorted_keys = row * span + free_before
  queries = np.arange(num_rows)[:, None] * span + ranks
  skipped = np.searchsorted(sorted_keys, queries.ravel(), side='right')
  return ranks + 1 + skipped.reshape(ranks.shape) - excluded.offsets[:-1, None]


def random_words(streams: np.ndarray, length: int, seed: int) -> np.ndarray:
  """Uniform 64-bit words, u64[T, length], a prefix of the stream's sequence.

  The counter holds (stream, position), the key is the seed.
  """
  num_blocks = -(-length // 2)
  streams = np.asarray(streams).astype(np.uint64)[:, None]
  block = np.arange(num_blocks, dtype=np.uint64)[None]
  counter = np.broadcast_arrays(
    streams & _LOW, streams >> _HALF, block, np.uint64(0)
  )
  key = np.uint64(seed % 2**64)
  words = philox(counter, (key & _LOW, key >> _HALF))
  pairs = np.stack(
    [words[0] | words[1] << _HALF, words[2] | words[3] << _HALF], axis=-1
  )
  return pairs.reshape(streams.shape[0], -1)[:, :length]


def philox(
  counter: Sequence[np.ndarray], key: tuple[np.uint64, np.uint64]
) -> list[np.ndarray]:
  """Philox4x32-10, 32-bit words held in uint64 (Salmon et al. 2011, sec. 3.3).

  The counter is four u64[...] below 2^32, as is what it becomes; the key is two
  such words.
  """
  words = list(counter)
  for round_ in range(10):
    # In 64 bits, since NumPy warns where a scalar product wraps.
    round_key = [
      np.uint64((int(k) + round_ * int(step)) & int(_LOW))
      for k, step in zip(key, _KEY_STEPS)
    ]
    first, second = words[0] * _MULTIPLIERS[0], words[2] * _MULTIPLIERS[1]
    words = [
      (second >> _HALF) ^ words[1] ^ round_key[0],
      second & _LOW,
      (first >> _HALF) ^ words[3] ^ round_key[1],
      first & _LOW,
    ]
  return words


def _first_occurrences(values: np.ndarray) -> np.ndarray:
  """Whether no earlier value of the row i64[T, m] is the same, bool[T, m]."""
  # The place in the low bits: one sort of numbers is a stable argsort, and
  # several times as fast.
  bits = max(values.shape[1] - 1, 1).bit_length()
  packed = np.sort((values << bits) | np.arange(values.shape[1]), axis=1)
  fresh = np.ones(values.shape, np.bool_)
  fresh[:, 1:] = np.diff(packed >> bits, axis=1) > 0
  result = np.empty_like(fresh)
  place = packed & ((1 << bits) - 1)
  np.put_along_axis(result, place, fresh, axis=1)
  return result
