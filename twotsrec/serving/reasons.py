"""Why an item stands in a list: what the items of a history count for it.

EASE and item_knn score by a sum over the items of a history, and its terms are
the reasons: together they are the score. DIN, the original DIN and DIEN look
at a history with the weights of an attention; these are the reasons, and they
say where a model looked, not by how much an item raised a score.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.serving import requests as requests_lib

# The models that have `types.Model.reasons`.
NAMES = ('din', 'din_original', 'dien', 'ease', 'item_knn')
# (request of n users, items i32[n, C]) -> f32[n, C, L].
Terms = Callable[[requests_lib.Request, np.ndarray], np.ndarray]
_ROWS = 16  # users at once
_CELLS = 1 << 22  # items of lists times items of histories at once, at most


class Reasons(NamedTuple):
  """Items of a history for every item of a list, what counts most first.

  Attributes:
    items: i32[n, K, R], 0 where there are no more.
    weights: f32[n, K, R], 0 there.
  """

  items: np.ndarray
  weights: np.ndarray


def check(terms: Terms | None, number: int, model: str) -> Terms:
  """The terms of a model that has some.

  Raises:
    types.UserError: it has none, or a number below 1.
  """
  if number < 0:
    raise types.UserError(
      f'reasons is {number}; it must be at least 0, where 0 is none'
    )
  if terms is None:
    raise types.UserError(
      f'{model} has no reasons, as its score is not made of the items of a'
      f' history; leave reasons out, or train one of {", ".join(NAMES)}'
      ' without a prior'
    )
  return terms


def of_lists(
  terms: Terms, request: requests_lib.Request, ids: np.ndarray, number: int
) -> Reasons:
  """Reasons for the items of lists.

  Args:
    terms: of the model.
    request: n users.
    ids: i32[n, K], 0 where a list ends.
    number: R, reasons of an item, at most.
  """
  cells = max(1, ids.shape[1] * request.history.shape[1])
  size, made = max(1, min(_ROWS, _CELLS // cells)), []
  for first in range(0, len(ids), size):
    rows = np.arange(first, min(first + size, len(ids)))
    own = requests_lib.some(request, rows)
    found = np.where(ids[rows, :, None] > 0, terms(own, ids[rows]), 0.0)
    made.append(largest(own.history, found, number))
  return Reasons(*map(np.concatenate, zip(*made, strict=True)))


def none(ids: np.ndarray, number: int) -> Reasons:
  """Of lists [n, K] for whose items there are none."""
  shape = *ids.shape, number
  return Reasons(np.zeros(shape, np.int32), np.zeros(shape, np.float32))


def largest(history: np.ndarray, terms: np.ndarray, number: int) -> Reasons:
  """What counts most; several places of an item are one, with their sum.

  Args:
    history: i32[n, L].
    terms: f32[n, K, L].
    number: R; of equal ones the lower item stands first, and 0 is no reason.
  """
  size, k, length = terms.shape
  order = np.argsort(history, axis=1, kind='stable')
  items = np.take_along_axis(history, order, axis=1)
  is_new = np.diff(items, axis=1, prepend=-1) != 0
  start = np.flatnonzero(is_new)
  row, place = start // length, (np.cumsum(is_new, axis=1) - 1)[is_new]
  by_place = np.moveaxis(np.take_along_axis(terms, order[:, None], 2), 1, 2)
  width = max(int(np.max(place)) + 1, number)
  total = np.zeros((size, k, width), np.float32)
  total[row, :, place] = np.add.reduceat(by_place.reshape(-1, k), start, axis=0)
  own = np.zeros((size, 1, width), np.int32)
  own[row, 0, place] = items[is_new]
  total = np.where(own > 0, total, 0.0).astype(np.float32)
  ranked = np.where(total != 0, -total, np.inf)
  best = np.argsort(ranked, axis=2, kind='stable')[..., :number]
  weights = np.take_along_axis(total, best, axis=2)
  named = np.take_along_axis(np.broadcast_to(own, total.shape), best, axis=2)
  return Reasons(np.where(weights != 0, named, 0), weights)
