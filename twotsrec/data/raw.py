"""Public logs read from the files that their owners publish, by name."""

import functools

from twotsrec import types
from twotsrec.data import lastfm
from twotsrec.data import movielens
from twotsrec.data import raw_rows
from twotsrec.data import taobao

# Name -> data_root -> the log.
SOURCES = {
  # All four behaviors as events of one kind, unless their order is given.
  'taobao-userbehavior': taobao.load,
  'ml-25m': movielens.load,
  'ml-25m-tags': functools.partial(movielens.load, features='tags'),
  'lastfm-1k': functools.partial(lastfm.load, variant='jodie_1month'),
  'lastfm-1k-jodie-all': functools.partial(lastfm.load, variant='jodie_all'),
  'lastfm-1k-artists': functools.partial(lastfm.load, variant='full_artists'),
  'lastfm-1k-tracks': functools.partial(lastfm.load, variant='full_tracks'),
}


def load(
  name: str, data_root: str, behaviors: tuple[str, ...] = ()
) -> raw_rows.Raw:
  """Reads a log of `SOURCES`; behaviors are told apart if any are named.

  `data_root` is the folder with the published files, or the folder above it.
  """
  if not behaviors:
    return SOURCES[name](data_root)
  if SOURCES[name] is not taobao.load:
    raise types.UserError(
      f'{name} has no behaviors, but they are {",".join(behaviors)}; leave out '
      '--behaviors'
    )
  return taobao.load(data_root, behaviors=True)
