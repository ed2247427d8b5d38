"""A paper's experiments as a declaration, and requests for some of them.

configs/papers/ holds the declarations of the three papers. A script reads one
to define its flags, so what a declaration is made of imports no arrays.
"""

from collections.abc import Callable, Iterable, Mapping
import os
import pathlib
from typing import Any, NamedTuple

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import choices as data_choices

Place = tuple[str, ...]  # a value of every axis
OWN = 'own'  # the setting of `Study.tried` that changes nothing


class Choice(NamedTuple):
  """A flag that names some of several things."""

  values: tuple[str, ...]
  default: tuple[str, ...] = ()  # () for all of them
  also: tuple[str, ...] = ()  # planned in any case, as far as needed
  help: str = ''


class Number(NamedTuple):
  """A flag with a whole number from 1."""

  default: int
  help: str


class Table(NamedTuple):
  """A table or figure of a paper."""

  rows: tuple[str, ...]  # systems in order
  title: str = ''  # in the document; '' if the parts have titles
  # (page, chapter) -> Markdown paragraphs, each
  parts: tuple[Callable[..., Iterable[str]], ...] = ()
  flag: str = 'table'  # that names it
  # (chapters, or the records of `data`; path) -> whether a picture was drawn
  picture: Callable[..., bool] | None = None
  picture_name: str = ''  # its file is STUDY_NAME.png; '' is the table's name
  caption: str = ''  # of the picture; '' takes the title
  # Whether it stands before all chapters, if there is a picture or a record,
  # with parts that take the page alone.
  first: bool = False
  # Folder of the runs -> a record of its own, such as a simulation.
  collect: Callable[[pathlib.Path], Any] | None = None
  # Prepared data of a chapter -> a record of its own; no run is needed.
  data: Callable[[Any], Any] | None = None


class Offline(NamedTuple):
  """What is measured in runs that rank held-out items."""

  metrics: tuple[str, ...]  # names in a report
  pairs: Mapping[str, tuple[str, ...]]  # {reference: compared with it}
  by: tuple[str, ...] = ('groups',)  # and 'parts'
  curve: tuple[str, ...] = ()  # of validation: metric, trunk, plugged


class Online(NamedTuple):
  """What is measured in runs of 2TS, which rank events before they happen."""

  references: tuple[str, ...]  # the settings of the first divide users for all


class Run(NamedTuple):
  """One training."""

  place: Place
  seed: int
  system: str
  setting: str = OWN  # of `Study.tried`; '' while it waits for the choice


class Directory(NamedTuple):
  """A prepared directory of one's own, as launch/prepare.py writes it."""

  path: str
  behaviors: tuple[str, ...]  # the target last; () where none are told apart


class OnDirectories(NamedTuple):
  """How a study takes prepared directories, in place of `Study`'s functions."""

  preset: Callable[[Directory, Place, str], config_lib.Config]
  file: Callable[[Directory, Place, str], str]
  least_behaviors: int = 0
  most_behaviors: int | None = None  # None for any number


class Request(NamedTuple):
  """The runs and tables somebody asks for, and their folders."""

  tables: tuple[str, ...]
  axes: Mapping[str, tuple[str, ...]]  # values, in the order of directories
  systems: tuple[str, ...]  # rows to show; tables leave out others
  seeds: tuple[int, ...]
  numbers: Mapping[str, int]  # of `Study.numbers`
  data_root: str
  cache_dir: str  # where datasets are prepared
  out: str  # of the runs and the document
  changes: Mapping[str, Any] = {}  # fields of every run besides its preset
  tried: tuple[str, ...] = (OWN,)  # of `Study.tried`
  # By their last part, which is a value of the axis `datasets`.
  prepared: Mapping[str, Directory] = {}


class Study(NamedTuple):
  """A paper's experiments, declared."""

  name: str  # of the documents and of the script in launch/reproduce
  axes: Mapping[str, Choice]  # by flag, in the order of the directories
  systems: tuple[str, ...]  # names, in the order they are trained
  tables: Mapping[str, Table]  # and figures, in the order of the document
  # (place, system) -> the Config in `file`
  preset: Callable[[Place, str], config_lib.Config]
  # (place, system) -> the file below configs/, with its argument
  file: Callable[[Place, str], str]
  # (request, run) -> fields in which a run departs from `file`
  changes: Callable[[Request, Run], dict[str, Any]]
  # (request, place) -> systems that have to be trained at a place
  needed: Callable[[Request, Place], Iterable[str]]
  claims: tuple[Any, ...]  # sentences of the paper to judge; see `claims`
  # {table: {first part of a place: {model: {system: numbers}}}} of the paper;
  # the model is '' where no axis is in `inside`
  printed: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]
  measures: Offline | Online
  title: str  # of the document
  # Paragraphs, or functions page -> paragraphs, before the chapters.
  head: tuple[Any, ...]
  # (page, chapter) -> paragraphs, in the order of a chapter
  sections: tuple[Callable[..., Iterable[str]], ...]
  labels: Mapping[str, str] = {}  # of systems and of axes' values in tables
  # (plan, run) -> fields that depend on other runs; None while it waits for one
  follows: Callable[..., dict[str, Any] | None] = lambda plan, run: {}
  inside: tuple[str, ...] = ()  # axes whose values share a chapter
  option: str = ''  # flag that names systems; '' if they follow from the tables
  asked: tuple[str, ...] = ()  # systems it names by default; () for all
  # Systems that some data cannot serve: what refuses them is told and shown,
  # and the others are trained.
  optional: tuple[str, ...] = ()
  numbers: Mapping[str, Number] = {}  # flags of the study's own
  seeds: tuple[int, ...] = (0,)  # by default
  # {setting: fields} that every system may be trained with, `OWN` first. Where
  # several are asked for, each system has the one with the highest value of its
  # train.select_metric on validation, of the first seed. Of studies measured
  # `Offline`, whose runs follow no others.
  tried: Mapping[str, Mapping[str, Any]] = {OWN: {}}
  directories: OnDirectories | None = None  # if it takes any (--prepared)


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
    end = f'; without {others} too, all there is.' if others else '.'
    default = () if others else tuple(names)
    listed = f'Of {", ".join(names)}{end}'
    made[flag] = Choice(tuple(names), default, help=listed)
  named = {**study.axes}
  if study.option:
    text = f'Rows of the tables: {", ".join(study.systems)}.'
    named[study.option] = Choice(study.systems, study.asked, help=text)
  if len(study.tried) > 1:
    text = (
      f'Settings of the training, of {", ".join(study.tried)}; of several each'
      ' system has the best on validation.'
    )
    named['tried'] = Choice(tuple(study.tried), (OWN,), help=text)
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
    given: values by flag: names, seeds (which may be text), numbers and paths;
      a missing flag takes its default. Where several flags name tables, they
      may be empty, and all of them empty ask for everything. With `prepared`
      directories only the `datasets` that are given are asked for.
    out: see `Request`, as for the others.
    data_root: folder of the datasets.
    cache_dir: folder where they are prepared.
    changes: fields of every run.
  Raises:
    types.UserError: an unknown or missing name, no seed, or a directory that
      the study cannot take.
  """
  named = choices(study)
  flags = dict.fromkeys(table.flag for table in study.tables.values())
  optional = flags if len(flags) > 1 else ()
  if optional and not any(given.get(flag) for flag in flags):
    given = {**given, **{flag: named[flag].values for flag in flags}}
  names = {
    flag: _names(flag, given.get(flag, choice.default), choice.values)
    for flag, choice in named.items()
    if given.get(flag) or flag not in optional
  }
  axes = {flag: names[flag] for flag in study.axes}
  directories = _directories(study, given.get('prepared', ()))
  if directories:
    asked = axes['datasets'] if 'datasets' in given else ()
    axes['datasets'] = (*asked, *directories)
  request = Request(
    tables=tuple(name for flag in flags for name in names.get(flag, ())),
    axes=axes,
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
    tried=names.get('tried', (OWN,)),
    prepared=directories,
  )
  if any(study.tables[table].rows for table in request.tables) and not any(
    study.needed(request, place) for place in places(study, request)
  ):
    tables = (f'--{f}={",".join(names[f])}' for f in flags if f in names)
    raise types.UserError(
      f'no {" ".join(tables)} has any of'
      f' --{study.option}={",".join(request.systems)}; leave one of them out'
    )
  return request


def _names(flag, names, allowed) -> tuple[str, ...]:
  listed = ', '.join(allowed)
  for name in names:
    if name not in allowed:
      raise types.UserError(f'--{flag}: unknown {name!r}; known: {listed}')
  if not names:
    raise types.UserError(f'--{flag} is empty; known: {listed}')
  return tuple(dict.fromkeys(names))


def _directories(study, paths) -> dict[str, Directory]:
  from twotsrec.data import prepared as prepared_lib  # brings arrays

  found: dict[str, Directory] = {}
  for path in paths:
    behaviors = tuple(prepared_lib.load(path).manifest['behaviors'])
    if len(behaviors) < study.directories.least_behaviors:
      listed = ', '.join(behaviors) or 'none'
      raise types.UserError(
        f'--prepared: the behaviors of {path} are {listed}, but the study needs'
        f' {study.directories.least_behaviors} or more; prepare the log with'
        ' --behavior_column and --behaviors'
      )
    most = study.directories.most_behaviors
    if most is not None and len(behaviors) > most:
      raise types.UserError(
        f'--prepared: {path} tells {", ".join(behaviors)} apart, but the study'
        f' takes {most} behavior at most; prepare the log with'
        ' --where=COLUMN=VALUE for one of them'
      )
    name = pathlib.Path(os.path.abspath(path)).name
    if name in found or name in study.axes['datasets'].values:
      raise types.UserError(
        f'--prepared: {path} would be called {name}, as another dataset is;'
        ' rename it'
      )
    found[name] = Directory(path, behaviors)
  return found


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


def directory(study: Study, request: Request, place: Place) -> Directory | None:
  """The prepared directory of a place; None on a named dataset."""
  dataset = dict(zip(study.axes, place, strict=True)).get('datasets', '')
  return request.prepared.get(dataset)


def named_datasets(request: Request) -> tuple[str, ...]:
  """Those that are no directory of one's own."""
  asked = request.axes.get('datasets', ())
  return tuple(name for name in asked if name not in request.prepared)


def reads_files(request: Request) -> bool:
  """Whether a dataset is read from `data_root`."""
  return not {*named_datasets(request)} <= {*data_choices.BUILT_IN}


def is_built_in(study: Study, place: Place) -> bool:
  """Whether the dataset of a place is made when it is needed."""
  dataset = dict(zip(study.axes, place, strict=True)).get('datasets', '')
  return dataset in data_choices.BUILT_IN


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
