"""A log as a graph that grows: in which snapshot an edge came (dynAERNN)."""

import numpy as np

from twotsrec.data import prepared as prepared_lib
from twotsrec.data import timelines


def first(prepared: prepared_lib.Prepared, number: int) -> np.ndarray:
  """The first snapshot with each edge, i8[n, n] of the n = U + I nodes.

  Snapshots are cumulative, and each has as many edges more than the one before,
  in order of time of their first train events. Users come before items; item i
  is node U + i - 1.

  Args:
    prepared: the log.
    number: of the snapshots, which are 0 to number - 1; an edge that never
      comes has `number`.
  Raises:
    types.UserError: data without times.
  """
  line = timelines.in_order(prepared, prepared_lib.TRAIN)
  users, nodes = prepared.num_users, prepared.num_users + prepared.num_items
  user = prepared.event_users[line]
  item = users - 1 + np.asarray(prepared.items)[line]
  pair = user.astype(np.int64) * nodes + item
  _, place = np.unique(pair, return_index=True)  # of the first event
  place.sort()
  came = np.arange(place.size) * number // place.size
  matrix = np.full((nodes, nodes), number, np.int8)
  matrix[user[place], item[place]] = came
  matrix[item[place], user[place]] = came
  return matrix
