"""Recommendations from a trained model.

    from twotsrec import serving

    shop = serving.open('runs/mine')
    shop.recommend(users=['ann', 'bob'], k=10)
    shop.recommend(history=['tea', 'cup'], k=10, exclude=['sold out'])
    shop.recommend(users=['ann'], reasons=3)  # and why, of some models
    shop.similar(['tea'], k=5)
    shop.scores('ann', ['tea', 'cup'])

This file is a door to higher layers: it imports nothing of the package before
a function is called.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from twotsrec.serving import answers


def open(path: str | os.PathLike, search: str = 'exact') -> answers.Answers:
  """A finished run or an exported one, ready to answer in its table's ids.

  Programs are compiled when they are met for the first time, for numbers of
  users and items of a list in powers of two; later calls take milliseconds.

  Args:
    path: run directory of any kind of model, or a folder of launch/export.py.
    search: exact; or approximate, by the index of a folder that has one.
  Raises:
    types.UserError: neither, training that has not finished, a damaged
      folder, or no index.
  """
  from twotsrec.serving import export_folder

  if export_folder.is_exported(os.fspath(path)):
    return load_exported(path, search)
  export_folder.is_searched(os.fspath(path), search)
  from twotsrec.runs import opened

  return opened.open_run(os.fspath(path))


def load_exported(
  path: str | os.PathLike, search: str = 'exact'
) -> answers.Answers:
  """The answers of a folder of launch/export.py; JAX and NumPy are enough.

  Args:
    path: of the folder.
    search: as in `open`; approximate needs faiss besides.
  Raises:
    types.UserError: a file that is missing, damaged or of another version, or
      no index.
  """
  from twotsrec.serving import exported

  return exported.load(os.fspath(path), search)
