"""Public logs read from the files that their owners publish, by name."""

from collections.abc import Callable
import functools
from typing import NamedTuple

from twotsrec import types
from twotsrec.data import lastfm
from twotsrec.data import movielens
from twotsrec.data import raw_rows
from twotsrec.data import taobao


class Source(NamedTuple):
  """Functions that read a public log.

  Attributes:
    load: data_root -> raw_rows.Raw.
    load_behaviors: the same with a behavior column; None without behaviors.
    missing: what becomes of items without features, see `features.build`.
  """

  load: Callable[[str], raw_rows.Raw]
  load_behaviors: Callable[[str], raw_rows.Raw] | None = None
  missing: str = 'error'


def _lastfm(variant: str) -> Source:
  return Source(functools.partial(lastfm.load, variant=variant))


SOURCES = {
  # All four behaviors as events of one kind, unless their order is given.
  'taobao-userbehavior': Source(
    taobao.load, functools.partial(taobao.load, behaviors=True)
  ),
  'ml-25m': Source(movielens.load),
  'ml-25m-tags': Source(
    functools.partial(movielens.load, features='tags'), missing='zero'
  ),
  'lastfm-1k': _lastfm('jodie_1month'),
  'lastfm-1k-jodie-all': _lastfm('jodie_all'),
  'lastfm-1k-artists': _lastfm('full_artists'),
  'lastfm-1k-tracks': _lastfm('full_tracks'),
}


def load(
  name: str, data_root: str, behaviors: tuple[str, ...] = ()
) -> raw_rows.Raw:
  """Reads a log of `SOURCES`.

  Args:
    name: its name.
    data_root: the folder with the published files, or the folder above it.
    behaviors: told apart if any are named.
  """
  source = SOURCES[name]
  if not behaviors:
    return source.load(data_root)
  if source.load_behaviors is None:
    raise types.UserError(
      f'{name} has no behaviors, but they are {",".join(behaviors)}; leave out '
      '--behaviors'
    )
  return source.load_behaviors(data_root)
