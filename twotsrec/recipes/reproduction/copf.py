"""The runs behind COPF's Tables 2 to 5 and its Figs. 3 to 5.

A run lies in OUT/DATASET/seedK/SYSTEM and is that of launch/train.py with the
flags of `flags`. A system is a variant of `recipes.copf`, or a point of a sweep
over one of its settings. Where two systems of a dataset have the same settings
(Table 3's w/o DFME is Table 5's Bilinear, and every sweep passes COPF itself),
one run stands for both.
"""

import functools
import pathlib
from typing import Any, NamedTuple

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import datasets as datasets_lib
from twotsrec.data import synthetic_behaviors
from twotsrec.recipes import copf as copf_lib
from twotsrec.recipes.reproduction import choices
from twotsrec.recipes.reproduction import commands
from twotsrec.recipes.reproduction import training

REFERENCE = 'copf'  # what everything else is compared with

# The configs of a dataset are configs/copf/FILE.py:VARIANT.
FILES = {
  'taobao-copf': 'taobao',
  'beibei-copf-noview': 'beibei',
  'tmall-copf-noview': 'tmall',
  'retailrocket-mb': 'retailrocket',
  'tmall-mbgmn-noview': 'tmall_mbgmn',
}


class Sweep(NamedTuple):
  """A figure: COPF with one setting at several values.

  Attributes:
    name: of the axis, and of the points with their value.
    field: of the configuration.
    values: the paper's.
  """

  name: str
  field: str
  values: tuple[float, ...]


SWEEPS = {
  'fig3': Sweep('layers', 'fusion.num_layers', (1, 2, 3, 4)),
  'fig4': Sweep(
    'temperature',
    'behavior.temperature',
    (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8),
  ),
  'fig5': Sweep('alpha', 'head.alpha', (0.1, 0.2, 0.4, 0.8)),
}


def point(sweep: Sweep, value: float) -> str:
  """Name of the system at a value."""
  return f'{sweep.name}_{value:g}'


_POINTS = {
  point(sweep, value): (sweep, value)
  for sweep in SWEEPS.values()
  for value in sweep.values
}
SYSTEMS = (*copf_lib.VARIANTS, *_POINTS)  # in the order they are trained
# Rows of the tables in the paper's order, the reference last.
TABLES = {
  '2': ('lightgcn', 'copf_released', 'copf_prior', 'copf'),
  '3': (
    'wo_cogcn', 'copf_p', 'copf_a', 'copf_d', 'copf_f', 'copf_c', 'copf_b',
    'copf_h', 'wo_dfme', 'wo_con', 'wo_for', 'wo_back', 'all_sg', 'wo_fit',
    'copf',
  ),
  '4': (
    'no_aggregation', 'summation', 'linear', 'attention', 'projection', 'copf',
  ),
  '5': ('shared_bottom', 'mmoe', 'ple', 'bilinear', 'mesi', 'pme', 'copf'),
  **{
    figure: tuple(point(sweep, value) for value in sweep.values)
    for figure, sweep in SWEEPS.items()
  },
}  # fmt: skip


class Settings(NamedTuple):
  """What is reproduced, and where.

  Attributes:
    tables: of `TABLES`.
    datasets: of `FILES`.
    variants: of `SYSTEMS`; other rows of the tables are left out.
    seeds: of the training.
    epochs: at most, of every run.
    data_root: folder of the datasets.
    cache_dir: where they are prepared.
    out: folder of the runs and the document.
    changes: (field, value) of every run, besides the presets.
  """

  tables: tuple[str, ...]
  datasets: tuple[str, ...]
  variants: tuple[str, ...]
  seeds: tuple[int, ...]
  epochs: int
  data_root: str
  cache_dir: str
  out: str
  changes: tuple[tuple[str, Any], ...] = ()


class Run(NamedTuple):
  """One training."""

  dataset: str
  seed: int
  system: str


def check(settings: Settings) -> Settings:
  """The settings without repetitions, if they name what is known.

  Args:
    settings: seeds may be text, as a command line gives them.
  Raises:
    types.UserError: an unknown or missing name, or no seed.
  """
  names = choices.known(
    {
      'table': (settings.tables, TABLES),
      'datasets': (settings.datasets, FILES),
      'variants': (settings.variants, SYSTEMS),
    }
  )
  seeds = choices.seeds(settings.seeds)
  if not any(rows(settings, table) for table in settings.tables):
    raise types.UserError(
      f'no --table={",".join(settings.tables)} has any of'
      f' --variants={",".join(settings.variants)}'
    )
  return settings._replace(
    tables=names['table'],
    datasets=names['datasets'],
    variants=names['variants'],
    seeds=seeds,
  )


def rows(settings: Settings, table: str) -> list[str]:
  """Systems that a table shows."""
  return [name for name in TABLES[table] if name in settings.variants]


def trained_as(dataset: str, system: str) -> str:
  """The system whose run stands for this one: the first of equal settings."""
  return _first_equal(dataset)[system]


@functools.cache
def _first_equal(dataset: str) -> dict[str, str]:
  presets = {system: _preset(dataset, system) for system in SYSTEMS}
  return {
    system: next(name for name in SYSTEMS if presets[name] == presets[system])
    for system in SYSTEMS
  }


def systems(settings: Settings, dataset: str) -> list[str]:
  """Systems of a dataset that have a run, in the order they are trained."""
  needed = {
    trained_as(dataset, system)
    for table in settings.tables
    for system in rows(settings, table)
  }
  return [system for system in SYSTEMS if system in needed]


def runs(settings: Settings) -> list[Run]:
  """All runs, in the order they are trained: all there is of a seed first."""
  return [
    Run(dataset, seed, system)
    for seed in settings.seeds
    for dataset in settings.datasets
    for system in systems(settings, dataset)
  ]


def plans(settings: Settings) -> dict[Run, training.Planned]:
  """All runs with what is trained and where."""
  return {run: plan(settings, run) for run in runs(settings)}


def plan(settings: Settings, run: Run) -> training.Planned:
  """What is trained for a run, and where."""
  return training.Planned(workdir(settings, run), config(settings, run))


def workdir(settings: Settings, run: Run) -> str:
  """The directory of a run."""
  place = pathlib.Path(settings.out) / run.dataset / f'seed{run.seed}'
  return str(place / run.system)


def config(settings: Settings, run: Run) -> config_lib.Config:
  """The configuration of a run."""
  made = _preset(run.dataset, run.system)
  made.data.data_root = settings.data_root
  made.data.cache_dir = settings.cache_dir
  config_lib.change(made, _common(settings, run))
  return made


def flags(settings: Settings, run: Run) -> list[str]:
  """What launch/train.py takes for the same run."""
  variant = _variant(run.system)
  argument = '' if variant == REFERENCE else f':{variant}'
  file = FILES.get(run.dataset, run.dataset)
  changes = _swept(run.dataset, run.system) | _common(settings, run)
  return commands.train_flags(
    f'copf/{file}.py{argument}', settings, workdir(settings, run), changes
  )


def train_command(settings: Settings, run: Run) -> str:
  """The line that trains one run."""
  return commands.train(flags(commands.named_root(settings), run))


def command(settings: Settings) -> str:
  """The line that trains and writes all of it."""
  settings = commands.named_root(settings)
  every = set(settings.variants) == set(SYSTEMS)
  given = {
    'table': settings.tables,
    'datasets': settings.datasets,
    'variants': () if every else settings.variants,
    'seeds': settings.seeds,
    'epochs': settings.epochs,
    'data_root': settings.data_root,
    'cache_dir': settings.cache_dir,
    'out': settings.out,
  }
  return commands.reproduce('copf.py', given)


def _preset(dataset, system) -> config_lib.Config:
  made = copf_lib.preset(dataset, _variant(system))
  config_lib.change(made, _swept(dataset, system))
  return made


def _variant(system):
  return REFERENCE if system in _POINTS else system


def _swept(dataset, system) -> dict[str, Any]:
  """The field in which a point of a sweep departs from COPF."""
  if system not in _POINTS:
    return {}
  sweep, value = _POINTS[system]
  if sweep.name == 'layers':
    # One layer each is what an empty setting means.
    value = (value,) * _num_behaviors(dataset) if value > 1 else ()
  return {sweep.field: value}


def _num_behaviors(dataset):
  named = datasets_lib.DATASETS.get(dataset)
  return len(named.behaviors if named else synthetic_behaviors.NAMES)


def _common(settings, run) -> dict[str, Any]:
  """Fields that all systems change."""
  given = {'train.epochs': settings.epochs, 'train.seed': run.seed}
  return given | dict(settings.changes)
