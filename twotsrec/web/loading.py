"""A model from its folder, and the next one when the folder changes."""

from collections.abc import Callable
import contextlib
import hashlib
import os
import pathlib
import threading
from typing import Any, NamedTuple

from twotsrec import recipes
from twotsrec import types
from twotsrec.runs import catalogs
from twotsrec.runs import live as live_lib
from twotsrec.runs import opened
from twotsrec.runs import state_store
from twotsrec.serving import answers as answers_lib
from twotsrec.serving import export_folder
from twotsrec.serving import exported
from twotsrec.training import run_directory
from twotsrec.web import asking

# Of a folder that is not complete yet, or of a model that cannot be computed.
_FAULTS = (types.UserError, OSError, ValueError, RuntimeError)
_WARM = 20  # items of a list whose program is compiled before it is asked for


class Options(NamedTuple):
  """What is served.

  Attributes:
    workdir: a finished run or an exported folder; a link that is pointed
      elsewhere, or a folder with a new model in it, is taken up.
    states: of states that events move: a folder, which gets a file for each
      model, or the URL of a PostgreSQL database; '' for none.
    categories: as `catalogs.categories` takes it; '' for none.
    search: exact, or approximate in the index of an export.
  """

  workdir: str
  states: str = ''
  categories: str = ''
  search: str = 'exact'


def version(workdir: str) -> str:
  """Name of the model in a folder, which another one does not have.

  Raises:
    types.UserError: neither a finished run nor an export.
  """
  folder = pathlib.Path(workdir).resolve()
  for mark in (export_folder.MANIFEST, run_directory.report_path(folder).name):
    with contextlib.suppress(OSError):
      about = os.stat(folder / mark)
      told = f'{folder} {mark} {about.st_mtime_ns} {about.st_size}'
      return f'{folder.name}-{hashlib.sha256(told.encode()).hexdigest()[:8]}'
  raise types.UserError(
    f'{workdir} holds no finished run and no export; train one with'
    ' launch/train.py --workdir, or name its folder'
  )


def load(options: Options) -> asking.Take:
  """A model, ready to be put in place in the thread that serves.

  Raises:
    types.UserError: what cannot be opened, or states of a model without.
  """
  name = version(options.workdir)
  if export_folder.is_exported(options.workdir):
    if options.states:
      raise types.UserError(
        f'--states={state_store.shown(options.states)}: {options.workdir} is an'
        ' export, and states are stored by runs; serve the run, or leave'
        ' --states out'
      )
    answers = exported.load(options.workdir, options.search)
    asked = options.categories
    ids = answers.people.item_ids
    return _take(
      asking.Model(
        name=name,
        answers=answers,
        category=catalogs.category_table(ids, asked) if asked else None,
      )
    )
  export_folder.is_searched(options.workdir, options.search)
  run = opened.load(options.workdir)
  model = asking.Model(
    name=name,
    answers=opened.answers_of(run),
    category=catalogs.categories(
      run.experiment.prepared, options.categories or None
    ),
  )
  return _take(model, _opener(run, options) if options.states else None)


def _opener(run, options) -> Callable[..., Any]:
  """() -> an open store of the run's states, as a context."""
  experiment = run.experiment
  make = recipes.of(experiment.config).service
  if make is None:
    raise types.UserError(
      f'--states={state_store.shown(options.states)}:'
      f' {experiment.config.model.name} has no states that move; leave it out,'
      ' or serve a run of model.name=two_time_scale'
    )
  service = make(experiment, run.params)
  place = options.states
  if not state_store.is_url(place):
    place = str(pathlib.Path(place) / f'{service.digest.hex()}.db')
  return lambda: live_lib.opened(place, service, experiment.prepared)


def _take(model, open_states=None) -> asking.Take:
  """Puts a model in place; its store is opened in the thread that serves."""
  _warm(model.answers)

  def make(old: asking.Model | None) -> asking.Model:
    if open_states is None:
      return model
    with contextlib.ExitStack() as stack:
      live = stack.enter_context(open_states())
      theirs = None if old is None else old.live
      if theirs is not None and _place(theirs) != _place(live):
        live_lib.carry(theirs, live)
      return model._replace(live=live, close=stack.pop_all().close)

  return asking.Take(make)


def _place(live: live_lib.Live) -> tuple[str, bytes]:
  """Where its states are; a database has those of several runs."""
  return live.store.path, live.store.service.digest


def _warm(answers: answers_lib.Answers) -> None:
  """Compiles what the first request would wait for."""
  people = answers.people
  if len(people.user_ids):
    answers.recommend(users=people.user_ids[:1].tolist(), k=_WARM)


def watch(
  options: Options,
  current: Callable[[], str],
  take: Callable[[asking.Take], None],
  tell: Callable[[str], None],
  seconds: float,
) -> Callable[[], None]:
  """Looks for a new model again and again; gives a function that ends it.

  Args:
    options: what is served.
    current: () -> name of the model that serves.
    take: puts another in place.
    tell: a line for who runs the service.
    seconds: between two looks.
  """
  ended = threading.Event()

  def loop():
    tried = said = ''
    while not ended.wait(seconds):
      try:
        found = version(options.workdir)
        if found not in (current(), tried):
          tried = found
          take(load(options))
          tell(f'serves {found} from now on')
          said = ''
      except _FAULTS as error:  # the model until now goes on
        if str(error) != said:
          tell(f'goes on with {current()}: {error}')
        said = str(error)

  thread = threading.Thread(target=loop, name='watch', daemon=True)
  thread.start()

  def end():
    ended.set()
    thread.join()

  return end
