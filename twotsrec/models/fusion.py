"""Fusions by name: what makes representations of nodes from several graphs.

A fusion is a `types.Fusion`. Heads (`behavior_heads`), the ranking form, the
plugins on it, losses and aggregators take whatever it gives.
"""

from twotsrec import config as config_lib
from twotsrec import fields
from twotsrec import own
from twotsrec import types
from twotsrec.models import cogcn

_MAKERS = {
  'cogcn': cogcn.make,
}
NAMES = tuple(_MAKERS)


def make(config: config_lib.Config, sizes: types.NodeSizes) -> types.Fusion:
  """The fusion that a configuration names.

  Raises:
    types.UserError: an unknown name, or settings that name nothing.
  """
  name = config.fusion.name
  if fields.is_own(name):
    return own.make(name, 'fusion.name', types.Fusion, config, sizes)
  if name not in _MAKERS:
    raise types.UserError(
      f'fusion.name {name!r}; known: {", ".join(_MAKERS)}, or one of your own'
      ' as my_file.py:make'
    )
  return _MAKERS[name](config, sizes)
