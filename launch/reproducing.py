"""What the scripts in reproduce/ share: a study's flags, and their frame."""

from collections.abc import Callable
import functools
import importlib.util
import pathlib
from typing import Any, NamedTuple

from absl import flags

import cli
from twotsrec.studies import document
from twotsrec.studies import plans
from twotsrec.studies import study as study_lib

_PAPERS = pathlib.Path(__file__).resolve().parents[1] / 'configs' / 'papers'


def load(name: str) -> study_lib.Study:
  """`STUDY` of configs/papers/NAME.py."""
  path = _PAPERS / f'{name}.py'
  spec = importlib.util.spec_from_file_location(f'papers_{name}', path)
  assert spec and spec.loader
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.STUDY


class Flags(NamedTuple):
  """Flag holders: those of the study by name, and those of all studies."""

  own: dict[str, Any]
  data_root: Any
  cache_dir: Any
  out: Any
  report_only: Any
  quiet: Any


def define(study: study_lib.Study) -> Flags:
  """Defines the flags.

  For --help to show them, the script adopts the key flags of this module.
  """
  own = {}
  for name, choice in study_lib.choices(study).items():
    own[name] = flags.DEFINE_list(name, list(choice.default), choice.help)
  own['seeds'] = flags.DEFINE_list(
    'seeds', list(map(str, study.seeds)), 'Of the training.'
  )
  for name, number in study.numbers.items():
    own[name] = flags.DEFINE_integer(
      name, number.default, number.help, lower_bound=1
    )
  if study.directories:
    own['prepared'] = flags.DEFINE_list(
      'prepared',
      [],
      'Prepared directories of your own, in place of --datasets by default.',
    )
  return Flags(
    own=own,
    data_root=flags.DEFINE_string('data_root', '', 'Folder of the datasets.'),
    cache_dir=flags.DEFINE_string('cache_dir', 'data', 'Prepared datasets.'),
    out=flags.DEFINE_string(
      'out', None, 'Folder of the runs and the document.'
    ),
    report_only=flags.DEFINE_bool(
      'report_only', False, 'Train nothing; what is missing is shown as -.'
    ),
    quiet=flags.DEFINE_bool('quiet', False, 'No progress display.'),
  )


def run(study: study_lib.Study, given: Flags) -> int:
  """Trains what is missing and writes the document; 143 or 130 if stopped."""
  request = study_lib.ask(
    study,
    {k: holder.value for k, holder in given.own.items() if holder.present},
    out=cli.required(given.out),
    data_root=given.data_root.value,
    cache_dir=given.cache_dir.value,
  )
  plan, trains = plans.plan(study, request), not given.report_only.value
  reads = any(study.tables[name].data for name in request.tables)
  has_runs = any(plan.systems.values())
  if trains and (has_runs or reads) and study_lib.reads_files(request):
    cli.required(given.data_root)
  if trains and has_runs:
    stop = cli.stop_on_signal()
    tell = functools.partial(print, flush=True)
    if not plans.train(plan, stop, given.quiet.value, tell):
      return cli.stopped(request.out, stop)
  print(f'written to {document.write(plan)}')
  return 0


def main_of(name: str) -> Callable[[], int]:
  """Defines the flags of a study and returns what its script runs."""
  study = load(name)
  return functools.partial(run, study, define(study))
