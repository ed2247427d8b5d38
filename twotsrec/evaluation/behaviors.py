"""Held-out items of one behavior where users have shown others before.

Two things follow from it. With candidates='unbought' an item is a negative as
long as the user has not shown the target behavior toward it: what was merely
viewed competes with the held-out item (COPF sec. 5.1.2, authors' code). And a
report has parts by what the user had shown toward the held-out item itself,
since to remind of it and to find it are different tasks.
"""

import numpy as np

from twotsrec.data import prepared as prepared_data

NEW = 'new'


def names(prepared: prepared_data.Prepared) -> tuple[str, ...]:
  """Names of the behaviors, the target last; () for a log without them."""
  if prepared.behaviors is None:
    return ()
  return tuple(prepared.manifest['behaviors'])


def bought(
  prepared: prepared_data.Prepared, before: int = len(prepared_data.SPLITS)
) -> prepared_data.SeenItems:
  """Distinct items with the target behavior, in the splits before `before`."""
  chosen = np.asarray(prepared.behaviors) == len(names(prepared)) - 1
  chosen &= np.asarray(prepared.split) < before
  return prepared_data.distinct_items(prepared, chosen)


def part_names(prepared: prepared_data.Prepared) -> tuple[str, ...]:
  """The parts of a report, most telling behavior first; () without parts."""
  upstream = names(prepared)[:-1]
  return (*reversed(upstream), NEW) if upstream else ()


def parts(
  prepared: prepared_data.Prepared, targets: prepared_data.Targets
) -> np.ndarray:
  """Part of every held-out item, i32[T], an index into `part_names`.

  It is the last upstream behavior that the user shows toward the item in the
  training events, or else `NEW`. Stripping such events from what is trained on
  does not change it.
  """
  width = prepared.num_items + 1
  wanted = targets.user.astype(np.int64) * width + targets.item
  in_train = np.asarray(prepared.split) == prepared_data.TRAIN
  events = prepared_data.event_users(prepared).astype(np.int64) * width
  events += np.asarray(prepared.items)
  num_upstream = len(names(prepared)) - 1
  part = np.full(wanted.shape, num_upstream, np.int32)
  for behavior in range(num_upstream):  # the later ones have the last word
    chosen = in_train & (np.asarray(prepared.behaviors) == behavior)
    part[np.isin(wanted, events[chosen])] = num_upstream - 1 - behavior
  return part
