"""Impressions: what users were shown, with a label that tells the clicks.

In prepared data clicks are the events, so that histories, rules and
recommendations are made of them as of any other log. What was shown and not
clicked stands beside them (`Prepared.shown_items`), and a model learns and is
judged by both: an impression is a sample of binary classification (PIN sec.
4.1.1, Alipay).

Impressions have numbers: a click has that of its event, 0..N-1, and what is
m-th of the others N + m. The history of an impression is the clicks of its user
before it. What was shown at the same moment is no history, whatever its label
or the order of the rows: a page is shown before anything on it is clicked.
"""

from typing import Any, NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.data import prepared as prepared_lib

CLICK = 1


class Impressions(NamedTuple):
  """Impressions of a split in the order of their numbers."""

  number: np.ndarray  # i64[E]
  user: np.ndarray  # i32[E]
  item: np.ndarray  # i32[E], 1..I
  # i64[E]; the history is items[user_offsets[user] : end].
  history_end: np.ndarray
  label: np.ndarray  # bool[E], whether it is a click


def there_are(data: prepared_lib.Prepared) -> bool:
  """Whether the data have impressions, and not events alone."""
  return data.shown_items is not None


def refuse(data: prepared_lib.Prepared, reader: str) -> None:
  """Raises UserError for labels where nothing reads them."""
  if there_are(data):
    raise types.UserError(
      f'{data.path or "the log"} has labels of impressions, which {reader} does'
      ' not read; use a sequence model (din, gru4rec, sasrec), or prepare the'
      ' clicks alone with --where'
    )


def of_split(data: prepared_lib.Prepared, split: int) -> Impressions:
  """All impressions of a split, with or without a history."""
  clicks = np.flatnonzero(np.asarray(data.split) == split)
  others = np.flatnonzero(np.asarray(data.shown_split) == split)
  first = np.asarray(data.user_offsets)
  user = np.concatenate([data.event_users[clicks], _users(data)[others]])
  before = np.concatenate(
    [
      np.asarray(data.clicked_before)[clicks],
      np.asarray(data.shown_before)[others],
    ]
  )
  return Impressions(
    number=np.concatenate([clicks, data.num_events + others]),
    user=user,
    item=all_items(data)[np.concatenate([clicks, data.num_events + others])],
    history_end=first[user] + before,
    label=np.arange(len(user)) < len(clicks),
  )


def targets(shown: Impressions) -> prepared_lib.Targets:
  """The same without labels, numbers in the place of events."""
  return prepared_lib.Targets(
    event=shown.number,
    user=shown.user,
    item=shown.item,
    history_end=shown.history_end,
  )


def all_items(data: prepared_lib.Prepared) -> np.ndarray:
  """Item of every impression by its number, i32[N + M]."""
  return np.concatenate([np.asarray(data.items), np.asarray(data.shown_items)])


def counts(data: prepared_lib.Prepared) -> np.ndarray:
  """Impressions by split and label, i64[3, 2]."""
  both = np.asarray(data.shown_split), np.asarray(data.split)
  return np.stack([prepared_lib.split_counts(part) for part in both], axis=1)


def train_counts(data: prepared_lib.Prepared) -> np.ndarray:
  """Training impressions of every user, i64[U]."""
  trained = np.asarray(data.shown_split) == prepared_lib.TRAIN
  others = np.bincount(_users(data)[trained], minlength=data.num_users)
  return prepared_lib.train_counts(data) + others


def totals(data: prepared_lib.Prepared) -> np.ndarray:
  """Impressions of every user, i64[U]."""
  return np.diff(data.user_offsets) + np.diff(np.asarray(data.shown_offsets))


def _users(data: prepared_lib.Prepared) -> np.ndarray:
  """User of everything that was not clicked, i32[M]."""
  numbers = np.diff(np.asarray(data.shown_offsets))
  return np.repeat(np.arange(data.num_users, dtype=np.int32), numbers)


# ---- Preparing


def divided(
  user: np.ndarray,
  item: np.ndarray,
  label: np.ndarray,
  split: np.ndarray,
  moment: np.ndarray | None,
  num_users: int,
  fixed: bool,
) -> tuple[np.ndarray, dict[str, Any]]:
  """The rows that are clicks, and arrays of `Prepared` about the others.

  Args:
    user: i32[R], ascending.
    item: i32[R], 1..I.
    label: i8[R].
    split: i8[R], never falls inside a user.
    moment: [R], ascending inside a user and split; equal ones are one moment.
      None gives every row a moment of its own.
    num_users: U.
    fixed: whether the order inside a held-out split means nothing, so that the
      history ends where the split begins.
  Raises:
    types.UserError: a split lacks clicks, or has nothing else.
  """
  click = np.asarray(label) == CLICK
  _check(click, split)
  begins = np.ones(len(user), bool)
  begins[1:] = np.diff(user) != 0
  starts = begins.copy()
  starts[1:] |= np.diff(split) != 0
  if moment is not None:
    held = (split != prepared_lib.TRAIN) & fixed
    starts[1:] |= (np.diff(moment) != 0) & ~held[1:]
  else:
    starts |= ~(fixed & (split != prepared_lib.TRAIN))
  earlier = np.cumsum(click) - click
  rows = np.arange(len(user))
  place = lambda first: np.maximum.accumulate(np.where(first, rows, 0))
  before = (earlier[place(starts)] - earlier[place(begins)]).astype(np.int32)
  others = user[~click]
  offsets = np.searchsorted(others, np.arange(num_users + 1))
  return click, {
    'shown_offsets': offsets.astype(np.int64),
    'shown_items': np.asarray(item[~click], np.int32),
    'shown_split': np.asarray(split[~click], np.int8),
    'shown_before': before[~click],
    'clicked_before': before[click],
  }


def _check(click, split) -> None:
  """Raises UserError where nothing can be learned or judged."""
  whole = click.all() or not click.any()
  for code, name in enumerate(prepared_lib.SPLITS):
    labels = click[split == code]
    if not labels.size or (labels.any() and not labels.all()):
      continue
    lacks = 'no 1, so there is no click to learn or to judge by'
    if labels.any():
      lacks = 'no 0, so there is nothing that clicks differ from'
    if whole:
      raise types.UserError(
        f'the label column has {lacks}; name another --label_column, or leave'
        ' it out where every row is a click'
      )
    raise types.UserError(
      f'the labels of the {name} split have {lacks}; choose another --split'
    )
