"""The sections of a report; each is there if its runs have what it shows."""

from collections.abc import Callable

from twotsrec.report import content as content_lib
from twotsrec.report import rests_on
from twotsrec.report import section
from twotsrec.report import served
from twotsrec.report import trained

SECTIONS: tuple[
  Callable[[content_lib.Content], section.Section | None], ...
] = (
  served.results,
  served.verdict,
  served.differences,
  served.gains,
  served.parts,
  served.online,
  served.lists,
  trained.curves,
  trained.cosines,
  trained.movement,
  rests_on.activity,
  rests_on.data,
  rests_on.protocol,
  rests_on.versions,
  rests_on.commands,
)


def build(content: content_lib.Content) -> list[section.Section]:
  """All that the runs have, in order."""
  made = (make(content) for make in SECTIONS)
  return [one for one in made if one is not None]
