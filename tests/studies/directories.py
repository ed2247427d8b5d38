"""Small prepared directories of one's own, with any number of behaviors."""

import pathlib

import numpy as np

from tests import worlds
from tests.data import behaviors_test
from twotsrec.data import prepared as prepared_lib

USERS, ITEMS = 6, 9


def make(path: pathlib.Path, number: int) -> str:
  """Random events of some behaviors, one target event of a user for the test.

  Args:
    path: of the directory.
    number: of the behaviors; 0 tells none apart.
  """
  if not number:
    prepared_lib.save(worlds.log()[0], str(path))
    return str(path)
  draw, last = np.random.default_rng(number), number - 1
  rows = [
    (user, item, int(draw.integers(0, last + 1)), prepared_lib.TRAIN)
    for user in range(USERS)
    for item in draw.integers(1, ITEMS + 1, 12).tolist()
  ]
  rows += [
    (user, user + 1, last, split)
    for user in range(USERS)
    for split in (prepared_lib.VALIDATION, prepared_lib.TEST)
  ]
  names = tuple(f'step{k}' for k in range(number))
  data = behaviors_test.log(rows, USERS, ITEMS, names)
  prepared_lib.save(data, str(path))
  return str(path)
