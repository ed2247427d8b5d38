"""Times a step of every way to treat the groups beside one of joint training.

A row is one update as a run would make it, as a bare scan over batches made
before. All rows are compiled first and then take turns in one process.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple

import timing
import training_loop
from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.runs import experiment as experiment_lib


class Row(NamedTuple):
  """One update.

  Attributes:
    name: what it is selected by; rows with other batches share it.
    batching: 'proportional' or 'balanced'.
    form: 'fused' (one pass over a flat batch), 'explicit' (a gradient per
      group) or 'sequential' (group after group).
    settings: {section: {field: value}} of the configuration, batching apart.
    stage: whether it is a second stage, compared with the first as well.
  """

  name: str
  batching: str
  form: str
  settings: Mapping[str, Mapping[str, Any]]
  stage: bool = False

  @property
  def labels(self) -> dict[str, str]:
    """What tells it from all other rows."""
    return _labels(self.name, self.batching, self.form)

  @property
  def bases(self) -> dict[str, dict[str, str] | None]:
    """The rows it is compared with, by the name of the ratio."""
    trunk = _labels('backdoor', self.batching, 'explicit')
    joint = _labels('joint', 'proportional', 'fused')
    return {
      'over_joint': joint,
      'over_trunk_stage': trunk if self.stage else None,
    }


_LINEAR = ('joint', 'backdoor', 'class_balanced')
_ALSO_PROPORTIONAL = ('pcgrad', 'agr_rand')
_PENALTIES = ('vrex', 'irm', 'fishr')
_SEQUENTIAL = ('fish', 'grad_transfer')
_PLUGINS = {
  'light': {'name': 'light'},
  'light_bare': {'name': 'light', 'trunk_gradient': 'bare'},
  'light_frozen': {'name': 'light', 'trunk_learning_rate': 0.0},
  'naive': {'name': 'naive'},
  'film': {'name': 'film'},
}


def rows() -> list[Row]:
  """All there are; the first is what the others are compared with."""
  fused, explicit = ('proportional', 'fused'), ('balanced', 'explicit')
  others = [name for name in aggregators.NAMES if name not in _LINEAR]
  aggregated = [
    *((name, *fused) for name in _LINEAR),
    ('backdoor', 'proportional', 'explicit'),
    ('backdoor', *explicit),
    *((name, *explicit) for name in others),
    *((name, 'proportional', 'explicit') for name in _ALSO_PROPORTIONAL),
  ]
  trunk = {'name': 'backdoor'}
  plugged = [
    ('light', 'proportional'),
    *((name, 'balanced') for name in _PLUGINS),
  ]
  return [
    *(
      Row(name, batching, form, {'aggregator': {'name': name, 'form': form}})
      for name, batching, form in aggregated
    ),
    *(Row(name, *fused, {'train': {'penalty': name}}) for name in _PENALTIES),
    *(
      Row(name, 'balanced', 'sequential', {'train': {'method': name}})
      for name in _SEQUENTIAL
    ),
    Row('separate', *explicit, {'train': {'method': 'separate'}}),
    *(
      Row(
        name,
        batching,
        'explicit',
        {'aggregator': trunk, 'plugin': _PLUGINS[name]},
        stage=True,
      )
      for name, batching in plugged
    ),
  ]


def select(only: Sequence[str]) -> list[Row]:
  """The rows of these names and those they are compared with.

  Args:
    only: names; () takes all rows.
  Raises:
    types.UserError: a name that no row has.
  """
  everything = rows()
  names = dict.fromkeys(row.name for row in everything)
  for name in only:
    if name not in names:
      raise types.UserError(f'no row {name!r}; known: {", ".join(names)}')
  chosen = [row for row in everything if not only or row.name in only]
  needed = [row.labels for row in chosen]
  needed += [base for row in chosen for base in row.bases.values()]
  return [row for row in everything if row.labels in needed]


def measure(
  config: config_lib.Config,
  repeats: int,
  num_steps: int = 60,
  only: Sequence[str] = (),
  clock: str = 'wall',
  say: timing.Say = timing.say_nothing,
) -> dict[str, Any]:
  """Milliseconds per step of every row, and their ratios.

  Args:
    config: data, groups and model; a row sets how they are trained.
    repeats: as `timing.measure`, and so `clock` and `say`.
    num_steps: of every scan; at most those of an epoch.
    only: as in `select`.
  Returns:
    `rows`: name, batching, form; milliseconds per step; ratio `over_joint`,
    and `over_trunk_stage`, to the explicit back-door stage with the same
    batches, for plugins (else null); seconds of compilation.
  Raises:
    types.UserError: as `select`.
  """
  chosen = select(only)
  prepared = experiment_lib.load_data(config)
  works, batches = [], {}
  for number, row in enumerate(chosen, 1):
    say(f'compiling {number}/{len(chosen)}: {" ".join(row.labels.values())}')
    experiment = experiment_lib.make(_configured(config, row), prepared)
    parts = training_loop.first_phase(experiment)
    kind = row.batching, row.form == 'fused'
    if kind not in batches:
      batches[kind] = training_loop.first_batches(parts, num_steps)
    work = training_loop.bare_scan(parts, batches[kind])
    works.append(work._replace(labels=row.labels, bases=row.bases))
  return {
    'model': config.model.name,
    'source': prepared.manifest['source'],
    'batch_size': config.train.batch_size,
    'num_groups': config.groups.num_groups,
    'steps': works[0].amount,
    **timing.measure(works, timing.PER_STEP, repeats, clock, say),
  }


def _labels(name, batching, form):
  return {'name': name, 'batching': batching, 'form': form}


def _configured(config: config_lib.Config, row: Row) -> config_lib.Config:
  sections = {
    name: dataclasses.replace(getattr(config, name), **fields)
    for name, fields in row.settings.items()
  }
  config = dataclasses.replace(config, **sections)
  train = dataclasses.replace(config.train, batching=row.batching)
  return dataclasses.replace(config, train=train)
