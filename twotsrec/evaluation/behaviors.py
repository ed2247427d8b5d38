"""Held-out items apart by what their users had shown toward them before.

To bring an item back and to find it are different tasks, so a report has parts.
`again` are items that their users had, as in `prepared.Prepared.again`; where
other behaviors come before the target, there is a part for each of them; the
rest is `new`. A log without repeats and without behaviors has no parts.

With candidates='unbought' an item is a negative as long as the user has not
shown the target behavior toward it: what was merely viewed competes with the
held-out item (COPF sec. 5.1.2, authors' code).
"""

import numpy as np

from twotsrec.data import prepared as prepared_data

AGAIN, NEW = 'again', 'new'


def names(prepared: prepared_data.Prepared) -> tuple[str, ...]:
  """Names of the behaviors, the target last; () for a log without them."""
  if prepared.behaviors is None:
    return ()
  return tuple(prepared.manifest['behaviors'])


def bought(
  prepared: prepared_data.Prepared, before: int = len(prepared_data.SPLITS)
) -> prepared_data.SeenItems:
  """Distinct items with the target behavior, in the splits before `before`.

  A log without behaviors has the target's alone. Items that the user rated too
  low for an event are among them.
  """
  chosen = np.asarray(prepared.split) < before
  if prepared.behaviors is not None:
    target = len(names(prepared)) - 1
    chosen &= np.asarray(prepared.behaviors) == target
  items = prepared_data.distinct_items(prepared, chosen)
  return prepared_data.with_disliked(prepared, items)


def part_names(
  prepared: prepared_data.Prepared, event: np.ndarray
) -> tuple[str, ...]:
  """The parts of a report, most telling behavior first; () without parts.

  Args:
    prepared: the data.
    event: i64[T], the held-out events that are ranked.
  """
  shown = (AGAIN,) if np.any(prepared.again[event]) else ()
  shown += tuple(reversed(names(prepared)[:-1]))
  return (*shown, NEW) if shown else ()


def parts(
  prepared: prepared_data.Prepared, targets: prepared_data.Targets
) -> np.ndarray:
  """Part of every held-out item, i32[T], an index into `part_names`.

  It is `AGAIN` for an item that the user had, or else the last upstream
  behavior that the user shows toward it in the training events, or else `NEW`.
  Stripping such events from what is trained on does not change it.
  """
  number = lambda user, item: prepared_data.pairs(
    user, item, prepared.num_items
  )
  wanted = number(targets.user, targets.item)
  in_train = np.asarray(prepared.split) == prepared_data.TRAIN
  events = number(prepared.event_users, prepared.items)
  new = max(len(part_names(prepared, targets.event)) - 1, 0)
  part = np.full(wanted.shape, new, np.int32)
  # The later ones have the last word.
  for behavior in range(len(names(prepared)) - 1):
    chosen = in_train & (np.asarray(prepared.behaviors) == behavior)
    part[np.isin(wanted, events[chosen])] = new - 1 - behavior
  part[prepared.again[targets.event]] = 0
  return part
