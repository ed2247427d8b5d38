"""What a section of a report is."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from twotsrec.report import drawings


class Figure(NamedTuple):
  """A picture with its title."""

  title: str
  svg: str


class Section(NamedTuple):
  """A part of the page.

  Attributes:
    key: its name in addresses.
    title: in words.
    lead: sentences: what is seen, and how to read it.
    legend: [(name, style)] of what is drawn.
    figures: pictures.
    grids: tables as text, [rows of cells, the head first].
    notes: lines below.
    text: shown as it is typed.
  """

  key: str
  title: str
  lead: str
  legend: Sequence[tuple[str, drawings.Style]] = ()
  figures: Sequence[Figure] = ()
  grids: Sequence[Sequence[Sequence[str]]] = ()
  notes: Sequence[str] = ()
  text: str = ''


def listed(names: Iterable[str]) -> str:
  """Names as people list them."""
  *before, last = names
  return f'{", ".join(before)} and {last}' if before else last
