"""A document of each study on finished runs, made once for all tests."""

import atexit
import functools
import pathlib
import shutil
import tempfile
from typing import NamedTuple

from tests.studies import finished
from tests.studies import online_finished
from twotsrec.studies import document
from twotsrec.studies import plans

RESAMPLES = 200
SHIFTS = {'base': 0.0, 'ga': -0.05, 'ga_pn': 0.05, 'base_long': 0.1}
# Ranks below those of COPF, and below those of 2TS.
COPF_WORSE = {
  'copf': 0, 'wo_con': 6, 'wo_back': -3, 'all_sg': 0, 'copf_prior': -30
}  # fmt: skip
TWO_TIME_WORSE = {
  '2ts': 0, 'ccf': 8, '2ts_plus': -3, 'one_gru': 0, 'two_gru': 5,
  'single_stage': 4,
}  # fmt: skip


class Document(NamedTuple):
  """A document with what it is made of.

  Attributes:
    plan: of all tables with two seeds.
    done: number of runs that have finished.
    seconds: of their trainings.
    page: their numbers; the pictures have names, but are not drawn.
    text: the Markdown.
  """

  plan: plans.Plan
  done: int
  seconds: int
  page: document.Page
  text: str


@functools.cache
def of(name: str) -> Document:
  """The document of a study; leave its runs as they are."""
  folder = pathlib.Path(tempfile.mkdtemp(prefix='twotsrec-'))
  atexit.register(shutil.rmtree, folder, ignore_errors=True)
  plan, done, seconds = _WRITTEN[name](folder)
  page = document.collect(plan, RESAMPLES)
  page = page._replace(pictures=_PICTURES[name])
  return Document(plan, done, seconds, page, document.markdown(page))


def write_pin(plan, model, system, seed=0, **named) -> pathlib.Path:
  """A run of PIN with the shift of its system."""
  run = finished.run(plan.request.axes['datasets'][0], model, system, seed=seed)
  return finished.write_pin(plan, run, SHIFTS.get(system, 0.02), **named)


def _pin(folder):
  """DIN with two seeds, GRU4Rec's base with one; the rest is missing."""
  plan = finished.plan('pin', folder)
  for seed in (0, 1):
    for system in ('base', 'ga', 'pcgrad', 'ga_tau_minus1'):
      write_pin(plan, 'din', system, seed)
  longer = [(0.5, 0.3, 0.2), (0.6, 0.4, 0.1)]
  write_pin(plan, 'din', 'ga_pn', 0, curve=longer)
  write_pin(plan, 'din', 'ga_pn', 1, curve=[(0.7, 0.3, 0.2)])
  write_pin(plan, 'din', 'base_long', 1)
  write_pin(plan, 'gru4rec', 'base', 0)
  done = 2 * 5 + 1 + 1
  return plan, done, 100 * done


def _copf(folder):
  """Two seeds of five systems, one of two others; the rest is missing."""
  plan, dataset = finished.plan('copf', folder), 'taobao-copf'
  for system, worse in COPF_WORSE.items():
    for seed in (0, 1):
      run = finished.run(dataset, system, seed=seed)
      finished.write_copf(plan, run, worse)
  for system in ('wo_dfme', 'alpha_0.8'):
    finished.write_copf(plan, finished.run(dataset, system, seed=1), 4)
  done = 2 * len(COPF_WORSE) + 2
  return plan, done, 100 * done + len(COPF_WORSE) + 2


def _two_time(folder):
  """Two seeds of six systems, one of another; the rest is missing."""
  plan, place = online_finished.plan(folder), ('ml-100k', 'global_time')
  for seed in (0, 1):
    for system, worse in TWO_TIME_WORSE.items():
      run = finished.run(*place, system, seed=seed)
      online_finished.write(plan, run, worse)
  run = finished.run(*place, '2ts_paper', seed=1)
  online_finished.write(plan, run, slower=1.5)
  done = 2 * len(TWO_TIME_WORSE) + 1
  return plan, done, 100 * done + len(TWO_TIME_WORSE) + 1


_WRITTEN = {'pin': _pin, 'copf': _copf, 'two_time_scale': _two_time}
_PICTURES = {
  'pin': {'fig4': 'pin_fig4.png'},
  'copf': {'fig5': 'copf_fig5.png'},
  'two_time_scale': {'3': 'a.png', '5': 'c.png'},
}


def section(text: str, title: str, level: str = '###') -> list[list[str]]:
  """Rows of the first table below a title that starts like this."""
  after = text.split(f'\n{level} {title}', 1)[1].split('\n### ')[0]
  rows = [line for line in after.splitlines() if line.startswith('|')]
  bare = [row.removeprefix('| ').removesuffix(' |') for row in rows]
  cells = [[cell.strip() for cell in row.split(' | ')] for row in bare]
  return [cells[0], *cells[2:]]


def by_name(text: str, title: str) -> dict[str, list[str]]:
  """The rows of such a table by their first cell."""
  return {row[0]: row[1:] for row in section(text, title)[1:]}
