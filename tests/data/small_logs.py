"""Small prepared logs for tests."""

import numpy as np

from twotsrec.data import prepared
from twotsrec.data import splits
from twotsrec.data import tables


def make(counts, *, validation=True, num_items=50, seed=0):
  """Prepared leave-last-out data in which user u has counts[u] events."""
  counts = np.asarray(counts)
  user = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
  rng = np.random.default_rng(seed)
  return prepared.build(
    user,
    rng.integers(1, num_items + 1, len(user)).astype(np.int32),
    splits.leave_last_out(user, validation),
    user_ids=np.arange(len(counts)) + 100,
    item_ids=np.arange(num_items) + 1000,
    times=np.arange(len(user)),
    source='small',
  )


def table(user, item, **columns):
  """A table of these columns, as if read from a file."""
  return tables.make(
    'log', user=np.asarray(user), item=np.asarray(item), **columns
  )
