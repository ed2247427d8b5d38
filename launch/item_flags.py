"""Flags that say which items may be recommended, for two scripts."""

from collections.abc import Callable
import sys
from typing import Any

from absl import flags


def define() -> Callable[[], dict[str, Any]]:
  """Defines the flags that tell which items may be recommended.

  Returns:
    A function that gives them as the options of a run name them.
  """
  holders = {
    'items': flags.DEFINE_string(
      'items',
      None,
      'File with the ids of items to choose from, one per line.',
      module_name=sys.argv[0],
    ),
    'exclude_items': flags.DEFINE_string(
      'exclude_items',
      None,
      'File with the ids of items to leave out.',
      module_name=sys.argv[0],
    ),
    'where': flags.DEFINE_multi_string(
      'items_where',
      [],
      'NAME=VALUE,VALUE: choose from items with one of these values of a'
      ' feature.',
      module_name=sys.argv[0],
    ),
  }
  return lambda: {
    name: tuple(holder.value) if name == 'where' else holder.value
    for name, holder in holders.items()
  }
