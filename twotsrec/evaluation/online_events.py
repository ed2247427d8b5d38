"""Model-independent columns of held-out events."""

from collections.abc import Sequence

import numpy as np

from twotsrec import types
from twotsrec.data import prepared as prepared_data


def held_out(
  prepared: prepared_data.Prepared,
  split: int | Sequence[int],
  events: np.ndarray | None = None,
) -> np.ndarray:
  """Events to rank, i64[T] ascending.

  Args:
    prepared: the data.
    split: VALIDATION or TEST, or several.
    events: some of them; None for all.
  Raises:
    types.UserError: the data hold none out.
  """
  splits = np.atleast_1d(split)
  wanted = np.flatnonzero(np.isin(prepared.split, splits))
  if not wanted.size:
    names = ' and '.join(prepared_data.SPLITS[s] for s in splits)
    raise types.UserError(
      f'no events are held out for {names}; prepare the data with a split that '
      'has them'
    )
  if events is None:
    return wanted
  chosen = np.unique(np.asarray(events, np.int64))
  if not chosen.size or not np.isin(chosen, wanted).all():
    raise ValueError('events to rank must be some of those held out')
  return chosen


def describe(
  prepared: prepared_data.Prepared, event: np.ndarray
) -> dict[str, np.ndarray]:
  """Columns of events i64[T] that no model changes.

  Returns:
    Arrays [T]: event, user, item, split, position (k = 1 for the first event
    of the user in its split), train_count of the user, warm (whether the item
    occurs in training; a model may have left some of it out).
  """
  users, split = prepared_data.event_users(prepared), np.asarray(prepared.split)
  starts = (np.diff(users, prepend=-1) > 0) | (np.diff(split, prepend=-1) > 0)
  starts = np.flatnonzero(starts)
  first = starts[np.searchsorted(starts, event, side='right') - 1]
  items = np.asarray(prepared.items)
  trained = np.zeros(prepared.num_items + 1, np.bool_)
  trained[items[split == prepared_data.TRAIN]] = True
  return {
    'event': event,
    'user': users[event],
    'item': items[event],
    'split': split[event],
    'position': event - first + 1,
    'train_count': prepared_data.train_counts(prepared)[users[event]],
    'warm': trained[items[event]],
  }
