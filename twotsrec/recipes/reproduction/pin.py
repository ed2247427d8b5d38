"""The runs behind PIN's Tables 2 to 4, its Fig. 4 and the ablation of tau.

A run lies in OUT/DATASET/MODEL/seedK/SYSTEM and is that of launch/train.py with
the flags of `flags`. Two systems of the tables are one: joint training is
eq. 7 with tau = 1, whose prior is n_j / N, but for the rounding of the groups'
places in a batch. So `base` stands for both.
"""

import dataclasses
import pathlib
from typing import Any, NamedTuple

from twotsrec import config as config_lib
from twotsrec.recipes.reproduction import choices
from twotsrec.recipes.reproduction import commands
from twotsrec.recipes.reproduction import training

# Settings of each system, in the order they are trained: stage 2 starts from
# the run of `ga`. What depends on the numbers of epochs is in `changes`.
SYSTEMS = {
  'base': {},
  'ga': {'aggregator.name': 'backdoor'},
  'ga_pn': {'aggregator.name': 'backdoor', 'plugin.name': 'light'},
  'pcgrad': {'aggregator.name': 'pcgrad'},
  'agr_rand': {'aggregator.name': 'agr_rand'},
  # Its tasks are users drawn with equal chances (Yin et al. 2020, the
  # "resample"). Groups hold equally many users, so each fills an equal part of
  # a batch; proportional batches would draw clicks, not users.
  'grad_transfer': {
    'train.method': 'grad_transfer',
    'train.batching': 'balanced',
  },
  'base_long': {},
  'ga_long': {'aggregator.name': 'backdoor'},
  'ga_tau_minus1': {'aggregator.name': 'backdoor', 'aggregator.tau': -1.0},
}

# The configs of a dataset are configs/pin/FILE_MODEL.py.
FILES = {
  'ml-1m': 'ml1m',
  'ml-100k': 'ml100k',
  'amazon-beauty-5core': 'beauty',
}
# PIN sec. 4.1.1: Amazon is evaluated against 99 negatives.
_PROTOCOL = {
  'amazon-beauty-5core': {
    'evaluation.candidates': 'sampled',
    'evaluation.num_candidates': 99,
  },
}
# Trained for the epochs of both stages: controls of +GA+PN.
LONG = ('base_long', 'ga_long')
MODELS = {'din': 'DIN', 'gru4rec': 'GRU4Rec', 'sasrec': 'SASRec'}
_COMPARED = ('base', 'agr_rand', 'grad_transfer', 'pcgrad', 'ga', 'ga_pn')
TABLES = {
  '2': (*_COMPARED, *LONG),
  '3': (*_COMPARED, *LONG),
  '4': ('base', 'ga', 'ga_pn', *LONG),
  'fig4': ('ga', 'ga_pn'),
  'tau': ('base', 'ga', 'ga_tau_minus1'),
}


class Settings(NamedTuple):
  """What is reproduced, and where.

  Attributes:
    tables: of `TABLES`.
    datasets: of `FILES`.
    models: of Table 4; everything else is DIN.
    seeds: of the training.
    epochs: of stage 1 and of systems with one stage.
    stage2_epochs: of stage 2; `LONG` are trained for both together.
    data_root: folder of the datasets.
    cache_dir: where they are prepared.
    out: folder of the runs and the document.
    start: configuration that all runs change.
  """

  tables: tuple[str, ...]
  datasets: tuple[str, ...]
  models: tuple[str, ...]
  seeds: tuple[int, ...]
  epochs: int
  stage2_epochs: int
  data_root: str
  cache_dir: str
  out: str
  start: config_lib.Config = config_lib.Config()


class Run(NamedTuple):
  """One training."""

  dataset: str
  model: str
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
      'models': (settings.models, MODELS),
    }
  )
  seeds = choices.seeds(settings.seeds)
  return settings._replace(
    tables=names['table'],
    datasets=names['datasets'],
    models=names['models'],
    seeds=seeds,
  )


def systems(settings: Settings) -> dict[str, list[str]]:
  """Systems of each model, in the order they are trained."""
  needed: dict[str, set[str]] = {}
  for table in settings.tables:
    for model in settings.models if table == '4' else ('din',):
      needed.setdefault(model, set()).update(TABLES[table])
  return {
    model: [system for system in SYSTEMS if system in names]
    for model, names in needed.items()
  }


def runs(settings: Settings) -> list[Run]:
  """All runs, in the order they are trained: all there is of a seed first."""
  return [
    Run(dataset, model, seed, system)
    for seed in settings.seeds
    for dataset in settings.datasets
    for model, names in systems(settings).items()
    for system in names
  ]


def plans(settings: Settings) -> dict[Run, training.Planned]:
  """All runs with what is trained and where."""
  return {run: plan(settings, run) for run in runs(settings)}


def plan(settings: Settings, run: Run) -> training.Planned:
  """What is trained for a run, and where."""
  return training.Planned(workdir(settings, run), config(settings, run))


def workdir(settings: Settings, run: Run) -> str:
  """The directory of a run."""
  place = pathlib.Path(settings.out) / run.dataset / run.model
  return str(place / f'seed{run.seed}' / run.system)


def changes(settings: Settings, run: Run) -> dict[str, Any]:
  """Fields in which a run departs from the config of its model and dataset."""
  made = {
    **_PROTOCOL.get(run.dataset, {}),
    'train.epochs': settings.epochs,
    'train.seed': run.seed,
    **SYSTEMS[run.system],
  }
  if run.system == 'ga_pn':
    made['plugin.epochs'] = settings.stage2_epochs
    made['plugin.trunk'] = workdir(settings, run._replace(system='ga'))
  if run.system in LONG:
    made['train.epochs'] = settings.epochs + settings.stage2_epochs
  return made


def config(settings: Settings, run: Run) -> config_lib.Config:
  """The configuration of a run."""
  made = {
    'data.dataset': run.dataset,
    'data.data_root': settings.data_root,
    'data.cache_dir': settings.cache_dir,
    'model.name': run.model,
    **changes(settings, run),
  }
  sections: dict[str, dict[str, Any]] = {}
  for path, value in made.items():
    section, name = path.split('.')
    sections.setdefault(section, {})[name] = value
  replaced = {
    section: dataclasses.replace(getattr(settings.start, section), **values)
    for section, values in sections.items()
  }
  return dataclasses.replace(settings.start, **replaced)


def flags(settings: Settings, run: Run) -> list[str]:
  """What launch/train.py takes for the same run."""
  file = FILES.get(run.dataset, run.dataset)
  return commands.train_flags(
    f'pin/{file}_{run.model}.py',
    settings,
    workdir(settings, run),
    changes(settings, run),
  )


def train_command(settings: Settings, run: Run) -> str:
  """The line that trains one run."""
  return commands.train(flags(commands.named_root(settings), run))


def command(settings: Settings) -> str:
  """The line that trains and writes all of it."""
  settings = commands.named_root(settings)
  given = {
    'table': settings.tables,
    'datasets': settings.datasets,
    'models': settings.models,
    'seeds': settings.seeds,
    'epochs': settings.epochs,
    'stage2_epochs': settings.stage2_epochs,
    'data_root': settings.data_root,
    'cache_dir': settings.cache_dir,
    'out': settings.out,
  }
  return commands.reproduce('pin.py', given)
