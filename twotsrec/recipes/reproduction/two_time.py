"""The runs behind 2TS' comparison, its ablation and Figs. 3 to 5.

A run lies in OUT/DATASET/SPLIT/seedK/SYSTEM and is that of launch/train.py with
the flags of `flags`. The reference, 2TS itself, comes first: it chooses how
long stage 1 trains, and all other systems take that number over. Systems that
leave the same events out of stage 1 share it, so only the first trains it.
"""

import functools
import pathlib
from typing import Any, NamedTuple

from twotsrec import config as config_lib
from twotsrec.recipes.reproduction import choices
from twotsrec.recipes.reproduction import commands
from twotsrec.recipes.reproduction import training
from twotsrec.recipes.two_time import jobs as jobs_lib
from twotsrec.recipes.two_time import presets as presets

REFERENCE = '2ts'  # chooses stage 1; what everything else is compared with
POPULARITY = 'popularity'  # is in every run, nothing of it is trained

# The configs of a dataset are configs/two_time_scale/FILE.py:VARIANT.
FILES = {
  'ml-1m': 'ml1m',
  'ml-100k': 'ml100k',
  'amazon-beauty-5core': 'beauty',
  'retailrocket-mb': 'retailrocket',
  'tmall-mbgmn-noview': 'tmall_mbgmn',
}
COMPARED = (
  'ccf', 'one_gru', 'two_gru', 'window_gru', '2ts', '2ts_plus', 'single_stage'
)  # fmt: skip
# Without being told: R7 is of a 2TS whose stage 1 sees everything.
ASKED = (*COMPARED, '2ts_paper')
# In the order they are trained: who trains stage 1 for others comes first.
SYSTEMS = (
  REFERENCE,
  *(system for system in COMPARED if system != REFERENCE),
  *(v for v in presets.VARIANTS if v not in COMPARED),
)
# Rows in order; of a table those that are asked for.
TABLES = {
  'comparison': (*COMPARED, *(s for s in SYSTEMS if s not in COMPARED)),
  'ablation': (
    '2ts', '2ts_plus', 'single_stage', 'two_gru', 'one_gru', 'window_gru',
    'frozen_user', 'single_stage_plus', '2ts_paper', '2ts_plus_paper',
    '2ts_shared_w',
  ),
}  # fmt: skip
FIGURES = ('theory', '3', '4', '5')


class Settings(NamedTuple):
  """What is reproduced, and where.

  Attributes:
    tables: of `TABLES`.
    figures: of `FIGURES`.
    datasets: of `FILES`.
    splits: of `presets.SPLITS`.
    systems: of `SYSTEMS`; the reference is trained in any case.
    seeds: of the training.
    data_root: folder of the datasets.
    cache_dir: where they are prepared.
    out: folder of the runs and the document.
    changes: (field, value) of every run, besides the presets.
  """

  tables: tuple[str, ...]
  figures: tuple[str, ...]
  datasets: tuple[str, ...]
  splits: tuple[str, ...]
  systems: tuple[str, ...]
  seeds: tuple[int, ...]
  data_root: str
  cache_dir: str
  out: str
  changes: tuple[tuple[str, Any], ...] = ()


class Run(NamedTuple):
  """One training."""

  dataset: str
  split: str
  seed: int
  system: str


def check(settings: Settings) -> Settings:
  """The settings without repetitions, if they name what is known.

  Without tables and figures both are all there is.

  Args:
    settings: seeds may be text, as a command line gives them.
  Raises:
    types.UserError: an unknown or missing name, or no seed.
  """
  nothing = not (settings.tables or settings.figures)
  tables = settings.tables or (tuple(TABLES) if nothing else ())
  figures = settings.figures or (FIGURES if nothing else ())
  given = {
    'table': (tables, TABLES),
    'figure': (figures, FIGURES),
    'datasets': (settings.datasets, FILES),
    'splits': (settings.splits, presets.SPLITS),
    'systems': (settings.systems, SYSTEMS),
  }
  asked = {
    flag: names
    for flag, names in given.items()
    if names[0] or flag not in ('table', 'figure')
  }
  names = choices.known(asked)
  return settings._replace(
    tables=names.get('table', ()),
    figures=names.get('figure', ()),
    datasets=names['datasets'],
    splits=names['splits'],
    systems=names['systems'],
    seeds=choices.seeds(settings.seeds),
  )


# ---- Which runs there are


def rows(settings: Settings, table: str) -> list[str]:
  """Systems that a table shows."""
  return [
    name
    for name in TABLES[table]
    if name in settings.systems or name == REFERENCE
  ]


def trained_as(settings: Settings, dataset: str, system: str) -> str:
  """The system whose run stands for this one: the first of equal settings."""
  return _first_equal(dataset, settings.changes)[system]


@functools.cache
def _first_equal(dataset, changes) -> dict[str, str]:
  made = {system: _preset(dataset, system, changes) for system in SYSTEMS}
  return {
    system: next(name for name in SYSTEMS if made[name] == made[system])
    for system in SYSTEMS
  }


def systems(settings: Settings, dataset: str) -> list[str]:
  """Systems of a dataset that have a run, in the order they are trained."""
  if settings.tables or '3' in settings.figures:
    needed = {REFERENCE, *settings.systems}
  else:
    needed = {REFERENCE} if {'4', '5'} & set(settings.figures) else set()
  needed = {trained_as(settings, dataset, system) for system in needed}
  return [system for system in SYSTEMS if system in needed]


def runs(settings: Settings) -> list[Run]:
  """All runs, in the order they are trained: all there is of a seed first."""
  return [
    Run(dataset, split, seed, system)
    for seed in settings.seeds
    for dataset in settings.datasets
    for split in settings.splits
    for system in systems(settings, dataset)
  ]


# ---- What is trained


def plans(settings: Settings) -> dict[Run, training.Planned | None]:
  """All runs with what is trained and where; see `plan`."""
  return {run: plan(settings, run) for run in runs(settings)}


def plan(settings: Settings, run: Run) -> training.Planned | None:
  """What is trained for a run, and where.

  None as long as the reference has not chosen how long stage 1 trains.

  Raises:
    types.UserError: the reference's directory holds another run.
  """
  epochs = None
  if _own_length(settings, run):
    epochs = chosen_epochs(settings, run)
    if epochs is None:
      return None
  return training.Planned(workdir(settings, run), config(settings, run, epochs))


def workdir(settings: Settings, run: Run) -> str:
  """The directory of a run."""
  place = pathlib.Path(settings.out) / run.dataset / run.split
  return str(place / f'seed{run.seed}' / run.system)


def chosen_epochs(settings: Settings, run: Run) -> int | None:
  """Epochs of stage 1 that the reference of a run has chosen, if it has."""
  reference = run._replace(system=REFERENCE)
  report = training.finished(plan(settings, reference))
  return None if report is None else report['two_time']['stage1_epochs']


def config(
  settings: Settings, run: Run, epochs: int | None = None
) -> config_lib.Config:
  """The configuration of a run.

  Args:
    settings: where things are.
    run: which.
    epochs: of stage 1; None leaves what is tried.
  """
  made = _preset(run.dataset, run.system, settings.changes)
  made.data.data_root = settings.data_root
  made.data.cache_dir = settings.cache_dir
  config_lib.change(made, _common(settings, run, epochs))
  return made


def _common(settings, run, epochs) -> dict[str, Any]:
  """Fields of a run besides its preset."""
  given = {'data.split': run.split, 'train.seed': run.seed}
  if epochs is not None:
    given['two_time.stage1_epochs'] = (epochs,)
  source = stage1_source(settings, run)
  if source not in (None, run.system):
    given['two_time.stage1'] = workdir(settings, run._replace(system=source))
  return given


def stage1_source(settings: Settings, run: Run) -> str | None:
  """The system whose stage 1 a run has; None if it has none."""
  wanted = _sees(settings, run.dataset, run.system)
  if wanted is None:
    return None
  return next(
    system
    for system in (*systems(settings, run.dataset), run.system)
    if _sees(settings, run.dataset, system) == wanted
  )


def _sees(settings, dataset, system) -> str | None:
  """Which train events stage 1 sees; None without stage 1."""
  options = _preset(dataset, system, settings.changes).two_time
  if jobs_lib.trained_together(options.variant):
    return None
  return 'no windows' if jobs_lib.leaves_windows(options) else 'all'


def _own_length(settings, run) -> bool:
  """Whether stage 1 is another than the reference's, of equal length."""
  source = stage1_source(settings, run)
  return source not in (None, REFERENCE)


def _preset(dataset, system, changes) -> config_lib.Config:
  made = presets.preset(dataset, variant=system)
  config_lib.change(made, dict(changes))
  return made


# ---- Commands


def flags(settings: Settings, run: Run) -> list[str]:
  """What launch/train.py takes for the same run."""
  argument = '' if run.system == REFERENCE else f':{run.system}'
  file = FILES.get(run.dataset, run.dataset)
  epochs = None
  if _own_length(settings, run):
    epochs = chosen_epochs(settings, run)
  changes = dict(settings.changes) | _common(settings, run, epochs)
  return commands.train_flags(
    f'two_time_scale/{file}.py{argument}',
    settings,
    workdir(settings, run),
    changes,
  )


def train_command(settings: Settings, run: Run) -> str:
  """The line that trains one run."""
  return commands.train(flags(commands.named_root(settings), run))


def command(settings: Settings) -> str:
  """The line that trains and writes all of it."""
  settings = commands.named_root(settings)
  given = {
    'table': settings.tables,
    'figure': settings.figures,
    'datasets': settings.datasets,
    'splits': settings.splits,
    'systems': settings.systems,
    'seeds': settings.seeds,
    'data_root': settings.data_root,
    'cache_dir': settings.cache_dir,
    'out': settings.out,
  }
  return commands.reproduce('two_time_scale.py', given)
