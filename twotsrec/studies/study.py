"""A paper's experiments as a declaration, and what can be asked of it.

configs/papers/ holds the declarations of the three papers.
"""

from collections.abc import Callable, Iterable, Mapping
import pathlib
from typing import Any, NamedTuple

from twotsrec import config as config_lib
from twotsrec import types

Place = tuple[str, ...]  # a value of every axis


class Choice(NamedTuple):
  """A flag that names some of several things.

  Attributes:
    values: all there are.
    default: those named by default; () for all of them.
    also: values that are planned in any case, as far as they are needed.
    help: of the flag.
  """

  values: tuple[str, ...]
  default: tuple[str, ...] = ()
  also: tuple[str, ...] = ()
  help: str = ''


class Number(NamedTuple):
  """A flag with a whole number from 1."""

  default: int
  help: str


class Table(NamedTuple):
  """A table or figure of a paper.

  Attributes:
    rows: systems in order.
    title: in the document; '' if the parts have titles of their own.
    parts: (page, chapter) -> Markdown paragraphs, each.
    flag: that names it.
    picture: (chapters, path) -> whether a picture was drawn.
    picture_name: its file is STUDY_NAME.png; '' takes the table's own name.
    caption: of the picture; '' takes the title.
    first: whether its picture stands before all chapters, with parts that
      take the page alone.
    collect: folder of the runs -> a record of its own, such as a simulation.
  """

  rows: tuple[str, ...]
  title: str = ''
  parts: tuple[Callable[..., Iterable[str]], ...] = ()
  flag: str = 'table'
  picture: Callable[..., bool] | None = None
  picture_name: str = ''
  caption: str = ''
  first: bool = False
  collect: Callable[[pathlib.Path], Any] | None = None


class Run(NamedTuple):
  """One training."""

  place: Place
  seed: int
  system: str


class Request(NamedTuple):
  """The runs and tables somebody asks for, and their folders.

  Attributes:
    tables: of `Study.tables`.
    axes: values by axis, in the order of the directories.
    systems: rows to show; others are left out of the tables.
    seeds: of the training.
    numbers: of `Study.numbers`.
    data_root: folder of the datasets.
    cache_dir: folder where datasets are prepared.
    out: folder of the runs and the document.
    changes: fields of every run besides its preset.
  """

  tables: tuple[str, ...]
  axes: Mapping[str, tuple[str, ...]]
  systems: tuple[str, ...]
  seeds: tuple[int, ...]
  numbers: Mapping[str, int]
  data_root: str
  cache_dir: str
  out: str
  changes: Mapping[str, Any] = {}


class Study(NamedTuple):
  """A paper's experiments, declared.

  Attributes:
    name: of the documents and of the script in launch/reproduce.
    axes: choices by flag, in the order of the directories.
    systems: names, in the order they are trained.
    tables: tables and figures, in the order of the document.
    preset: (place, system) -> the Config in `file`.
    file: (place, system) -> the file below configs/, with its argument.
    changes: (request, run) -> fields in which a run departs from `file`.
    needed: (request, place) -> systems that have to be trained at a place.
    claims: sentences of the paper; `collect` judges them.
    printed: {table: {first part of a place: {model: {system: numbers}}}} of the
      paper; the model is '' where no axis is in `inside`.
    collect: (plan, resamples) -> {chapter: record} of the finished runs.
    title: of the document.
    head: paragraphs, or functions page -> paragraphs, before the chapters.
    sections: (page, chapter) -> paragraphs, in the order of a chapter.
    labels: names of systems and of axes' values in the tables.
    follows: (plan, run) -> fields that depend on other runs; None while it
      waits for one.
    inside: axes whose values share a chapter of the document.
    option: flag that names systems; '' if they follow from the tables.
    asked: systems that `option` names by default; () for all.
    numbers: flags of the study's own.
    seeds: by default.
  """

  name: str
  axes: Mapping[str, Choice]
  systems: tuple[str, ...]
  tables: Mapping[str, Table]
  preset: Callable[[Place, str], config_lib.Config]
  file: Callable[[Place, str], str]
  changes: Callable[[Request, Run], dict[str, Any]]
  needed: Callable[[Request, Place], Iterable[str]]
  claims: tuple[Any, ...]
  printed: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]
  collect: Callable[..., dict[str, Any]]
  title: str
  head: tuple[Any, ...]
  sections: tuple[Callable[..., Iterable[str]], ...]
  labels: Mapping[str, str] = {}
  follows: Callable[..., dict[str, Any] | None] = lambda plan, run: {}
  inside: tuple[str, ...] = ()
  option: str = ''
  asked: tuple[str, ...] = ()
  numbers: Mapping[str, Number] = {}
  seeds: tuple[int, ...] = (0,)


# ---- Asking


def choices(study: Study) -> dict[str, Choice]:
  """The flags that name things, in the order of the command line.

  Where several flags name tables, none is named by default, which asks for
  everything.
  """
  flags: dict[str, list[str]] = {}
  for name, table in study.tables.items():
    flags.setdefault(table.flag, []).append(name)
  made = {}
  for flag, names in flags.items():
    others = ', '.join(f'--{other}' for other in flags if other != flag)
    made[flag] = Choice(
      values=tuple(names),
      default=() if others else tuple(names),
      help=f'Of {", ".join(names)}'
      + (f'; without {others} too, all there is.' if others else '.'),
    )
  named = {**study.axes}
  if study.option:
    text = f'Rows of the tables: {", ".join(study.systems)}.'
    named[study.option] = Choice(study.systems, study.asked, help=text)
  return made | {
    flag: choice._replace(
      default=choice.default or choice.values,
      help=choice.help or f'Of {", ".join(choice.values)}.',
    )
    for flag, choice in named.items()
  }


def ask(
  study: Study,
  given: Mapping[str, Any],
  out: str,
  data_root: str = '',
  cache_dir: str = 'data',
  changes: Mapping[str, Any] | None = None,
) -> Request:
  """A request in the words of a command line.

  Args:
    study: of whom.
    given: values by flag: names, seeds (which may be text) and numbers; a
      missing flag takes its default. Where several flags name tables, they may
      be empty, and all of them empty ask for everything.
    out: see `Request`, as for the others.
    data_root: folder of the datasets.
    cache_dir: folder where they are prepared.
    changes: fields of every run.
  Raises:
    types.UserError: an unknown or missing name, or no seed.
  """
  named = choices(study)
  flags = dict.fromkeys(table.flag for table in study.tables.values())
  optional = flags if len(flags) > 1 else ()
  if not any(given.get(flag) for flag in flags) and optional:
    given = {**given, **{flag: named[flag].values for flag in flags}}
  names = {
    flag: _names(flag, given.get(flag, choice.default), choice.values)
    for flag, choice in named.items()
    if given.get(flag) or flag not in optional
  }
  request = Request(
    tables=tuple(name for flag in flags for name in names.get(flag, ())),
    axes={flag: names[flag] for flag in study.axes},
    systems=names[study.option] if study.option else study.systems,
    seeds=_seeds(given.get('seeds', study.seeds)),
    numbers={
      flag: given.get(flag, number.default)
      for flag, number in study.numbers.items()
    },
    data_root=data_root,
    cache_dir=cache_dir,
    out=str(out),
    changes=changes or {},
  )
  _check_rows(study, request)
  return request


def _names(flag, names, allowed) -> tuple[str, ...]:
  """Names without repetitions."""
  listed = ', '.join(allowed)
  for name in names:
    if name not in allowed:
      raise types.UserError(f'--{flag}: unknown {name!r}; known: {listed}')
  if not names:
    raise types.UserError(f'--{flag} is empty; known: {listed}')
  return tuple(dict.fromkeys(names))


def _seeds(given: Iterable[int | str]) -> tuple[int, ...]:
  written = [str(seed) for seed in given]
  for seed in written:
    if not seed.isdecimal():
      raise types.UserError(
        f'--seeds: {seed!r} is not a whole number from 0; write 0,1,2'
      )
  if not written:
    raise types.UserError('--seeds is empty; write 0,1,2')
  return tuple(dict.fromkeys(map(int, written)))


def _check_rows(study, request):
  """Refuses systems that none of the tables has."""
  have_rows = any(study.tables[table].rows for table in request.tables)
  needed = any(study.needed(request, p) for p in places(study, request))
  if have_rows and not needed:
    raise types.UserError(
      f'no --table={",".join(request.tables)} has any of'
      f' --{study.option}={",".join(request.systems)}'
    )


def places(study: Study, request: Request) -> list[Place]:
  """All combinations of the axes' values."""
  places: list[Place] = [()]
  for flag, choice in study.axes.items():
    values = dict.fromkeys((*choice.also, *request.axes[flag]))
    places = [(*place, value) for place in places for value in values]
  return places


def rows_of_tables(
  tables: Mapping[str, Table],
) -> Callable[[Request, Place], Iterable[str]]:
  """`Study.needed` of a study whose places need what their tables show."""
  return lambda request, place: [
    row
    for table in request.tables
    for row in tables[table].rows
    if row in request.systems
  ]
