"""Settings that nothing reads are refused: recorded, they would mislead."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from twotsrec import config as config_lib
from twotsrec import types


class Unread(NamedTuple):
  """Settings that some configurations do not read.

  Attributes:
    paths: of the settings, as in 'head.tower'.
    where: configuration -> whether it is such.
    why: goes on after the value; {c} is the configuration.
    harmless: values that go too, as 'none' where there is none.
  """

  paths: tuple[str, ...]
  where: Callable[[config_lib.Config], bool]
  why: str
  harmless: tuple[Any, ...] = ()


def refuse(config: config_lib.Config, table: Iterable[Unread]) -> None:
  """Refuses what is not at its default and not read.

  Args:
    config: the settings.
    table: rows, the first that applies speaks.
  Raises:
    types.UserError: the value, why nothing reads it, and the way out.
  """
  default = config_lib.Config()
  for row in table:
    for path in row.paths if row.where(config) else ():
      value, off = at(config, path), at(default, path)
      if value != off and value not in row.harmless:
        raise types.UserError(
          f'{path} {value!r} {row.why.format(c=config)}; leave it at {off!r}'
        )


def at(config: config_lib.Config, path: str) -> Any:
  """The value under a dotted name."""
  section, name = path.split('.')
  return getattr(getattr(config, section), name)
