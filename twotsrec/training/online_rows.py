"""Test events of an online protocol, ranked, as a run keeps them: `online.npz`.

They are what `online_report` reads, for the model and the rules beside it:
means over several seeds and paired differences need events, not their means.
"""

from collections.abc import Mapping
import io
import os
import pathlib
from typing import Any, NamedTuple
import zipfile
import zlib

import numpy as np

from twotsrec import types
from twotsrec.training import files

NAME = 'online.npz'
_FACTS = ('event', 'user', 'position', 'train_count', 'warm')
_ADDED = ('known',)  # facts that older runs lack
_STATES = ('movement', 'norm')
_COUNTS = tuple(
  f'{name}{ending}'
  for ending in ('', '_without_past')
  for name in ('better', 'tied', 'num_negatives')
)
_SAMPLED = ('better_sampled', 'tied_sampled')  # where lists are drawn
_POPULARITY = 'popularity_'


class Rows(NamedTuple):
  """Arrays [T] of `online.rank`, without scores and lists.

  Attributes:
    model: of the trained model.
    popularity: of the count of train events.
  """

  model: dict[str, np.ndarray]
  popularity: dict[str, np.ndarray]


def _kept(ranks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The arrays of `online.rank` that means and pairs are made of."""
  names = (*_FACTS, *_ADDED, *_STATES, *_COUNTS, *_SAMPLED)
  return {name: ranks[name] for name in names if name in ranks}


def save(
  workdir: str | os.PathLike,
  model: Mapping[str, np.ndarray],
  rules: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
  """Writes ranks from `online.rank`, of a model and of rules, by event.

  Of a rule only the counts, since facts of an event are the same for all.
  """
  arrays: dict[str, Any] = _kept(model)
  for rule, ranks in rules.items():
    arrays |= {
      f'{rule}_{name}': ranks[name]
      for name in (*_COUNTS, *_SAMPLED)
      if name in ranks
    }
  path = pathlib.Path(workdir) / NAME
  with files.explained(path, 'write'), files.replacing(path) as file:
    np.savez_compressed(file, **arrays)


def read(workdir: str | os.PathLike) -> Rows:
  """Reads what `save` has written.

  Raises:
    types.UserError: it is missing or damaged.
  """
  path = pathlib.Path(workdir) / NAME
  with files.explained(path, 'read'):
    content = path.read_bytes()
  try:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
      arrays = {
        name.removesuffix('.npy'): np.load(io.BytesIO(archive.read(name)))
        for name in archive.namelist()
      }
    facts = {name: arrays[name] for name in _FACTS}
    facts |= {name: arrays[name] for name in _ADDED if name in arrays}
    states = {name: arrays[name] for name in _STATES}
    ranked = [*_COUNTS, *(name for name in _SAMPLED if name in arrays)]
    model = {name: arrays[name] for name in ranked}
    popular = {name: arrays[f'{_POPULARITY}{name}'] for name in ranked}
  except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError) as e:
    raise types.UserError(
      f'{path} is damaged or of another version ({e}); restore it from a copy,'
      ' or train again in an empty --workdir'
    ) from e
  still = {name: np.zeros_like(values) for name, values in states.items()}
  return Rows({**facts, **states, **model}, {**facts, **still, **popular})
