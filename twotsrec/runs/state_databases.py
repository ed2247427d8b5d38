"""What a store of states needs of a database: SQLite and PostgreSQL give it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
import contextlib
from typing import Any, NamedTuple

from twotsrec import types

PATIENCE = 600.0  # seconds that others may keep a store to themselves
AT_ONCE = 65_536  # users read in one piece

# A user: key, last time, floor, state, start, events. The last two may be None.
Row = tuple[
  int | str, float | None, float | None, bytes, bytes | None, bytes | None
]


class Database(NamedTuple):
  """A table with a row for each user, and a few values by name.

  Functions raise errors of a package, which `explained` makes those of a user.

  Attributes:
    name: of the place, for messages; without a password.
    explained: () -> a context.
    writing: () -> a context in which nobody else writes. What is written inside
      is there wholly or not at all, and for good when it ends; what others have
      written before it began is seen. Inside of another it is a part of that.
    find: (keys) -> (place in keys, *row) of those that are there, in one step.
    every: () -> pieces of all rows; numbers before texts, each ascending.
    put: (rows) -> None; rows go in the place of those with the same key.
    count: () -> rows.
    about: (name) -> a value, None for none.
    tell: (name, value) -> None.
    run: (statement, parameters) -> a cursor; a statement of its own language.
  """

  name: str
  explained: Callable[[], contextlib.AbstractContextManager[None]]
  writing: Callable[[], contextlib.AbstractContextManager[None]]
  find: Callable[[Sequence[int | str]], list[tuple]]
  every: Callable[[], Iterator[list[tuple]]]
  put: Callable[[Iterable[Row]], None]
  count: Callable[[], int]
  about: Callable[[str], str | float | None]
  tell: Callable[[str, str | float], None]
  run: Callable[..., Any]


def busy(name: str) -> types.UserError:
  """What is said of a place that another process keeps for itself."""
  return types.Unavailable(
    f'{name}: another process has been writing for more than'
    f' {PATIENCE:.0f} seconds; wait for it, or end it'
  )
