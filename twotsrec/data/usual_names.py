"""What columns of logs are usually called, to tell whoever names another."""

from collections.abc import Sequence
import re

# Role -> words of its names. A name with words of two roles has the first:
# event_time is a time, user_event an event.
_WORDS = {
  'time': 'time timestamp ts date datetime created occurred when moment',
  'behavior': 'event action behavior behaviour activity interaction',
  'user': 'user customer client visitor member buyer account person',
  'item': 'item product sku article asin movie book song track good offer',
}
# What people do with an item, in the order in which they do it.
_STEPS = (
  'view click impression page detail pv visit',
  'like fav favorite favourite wish wishlist bookmark save',
  'cart basket bag',
  'buy purchase order checkout transaction payment paid sale',
)
_WORD = re.compile(r'[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]+')


def role(name: str) -> str:
  """'time', 'behavior', 'user', 'item', or '' if the name tells nothing."""
  words = _words(name)
  for one, usual in _WORDS.items():
    if words & set(usual.split()):
      return '' if one == 'behavior' and 'id' in words else one
  return ''


def find(names: Sequence[str]) -> dict[str, str]:
  """The most telling name of each role that has one."""
  found: dict[str, str] = {}
  # An id rather than another property; and the shortest.
  rank = lambda name: ('id' not in _words(name), len(_words(name)))
  for name in sorted(names, key=rank):
    found.setdefault(role(name), name)
  found.pop('', None)
  return found


def flags(names: Sequence[str]) -> str:
  """Flags that name a column for each role but behaviors; '' for none."""
  found = find(names)
  return ' '.join(
    f'--{one}_column={found[one]}'
    for one in ('user', 'item', 'time')
    if one in found
  )


def steps(names: Sequence[str], counts: Sequence[int]) -> list[str]:
  """Behaviors in their usual order, those that occur often before others."""
  rank = {
    name: number
    for name in names
    for number, usual in enumerate(_STEPS)
    if _words(name) & set(usual.split())
  }
  known = len(rank) == len(names)
  often = sorted(zip(counts, names), key=lambda pair: -pair[0])
  order = [name for _, name in often]
  return sorted(order, key=rank.__getitem__) if known else order


def _words(name: str) -> set[str]:
  """Lower case words of snake_case, CamelCase and the like."""
  return {word.lower() for word in _WORD.findall(name)}
