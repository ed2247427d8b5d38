"""What every way to treat the groups costs per step, beside joint training.

A row is one update as a run would make it, measured as a bare scan (see
`benchmark.bare_scan`). All rows are compiled first and then take turns in one
process. What a row is compared with is timed right before it every time, so
that a machine that slows down or is shared changes both sides of a ratio.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple

from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.recipes import benchmark
from twotsrec.runs import experiment as experiment_lib
from twotsrec.training import machine
from twotsrec.training import phases

Key = tuple[str, str, str]

# On a shared machine wall time is what others leave over. Processor time is
# that of all cores, and of no accelerator.


class Row(NamedTuple):
  """One update.

  Attributes:
    name: what it is selected by; rows with other batches share it.
    batching: 'proportional' or 'balanced'.
    form: 'fused' (one pass over a flat batch), 'explicit' (a gradient per
      group) or 'sequential' (group after group).
    settings: {section: {field: value}} of the configuration.
    stage: whether it is a second stage, compared with the first as well.
  """

  name: str
  batching: str
  form: str
  settings: Mapping[str, Mapping[str, Any]]
  stage: bool = False

  @property
  def key(self) -> Key:
    """What tells it from all other rows."""
    return self.name, self.batching, self.form


_JOINT = ('joint', 'proportional', 'fused')
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
  return [*_aggregator_rows(), *_method_rows(), *_stage_rows()]


def _aggregator_rows() -> Iterator[Row]:
  for name in _LINEAR:
    yield _aggregated(name, 'proportional', 'fused')
  for batching in ('proportional', 'balanced'):
    yield _aggregated('backdoor', batching, 'explicit')
  for name in aggregators.NAMES:
    if name not in _LINEAR:
      yield _aggregated(name, 'balanced', 'explicit')
  for name in _ALSO_PROPORTIONAL:
    yield _aggregated(name, 'proportional', 'explicit')


def _method_rows() -> Iterator[Row]:
  for name in _PENALTIES:
    batching = 'proportional'
    train = {'penalty': name, 'batching': batching}
    yield Row(name, batching, 'fused', {'train': train})
  for name in _SEQUENTIAL:
    train = {'method': name, 'batching': 'balanced'}
    yield Row(name, 'balanced', 'sequential', {'train': train})
  train = {'method': 'separate', 'batching': 'balanced'}
  yield Row('separate', 'balanced', 'explicit', {'train': train})


def _stage_rows() -> Iterator[Row]:
  yield _plugged('light', 'proportional')
  for name in _PLUGINS:
    yield _plugged(name, 'balanced')


def _aggregated(name, batching, form):
  aggregator = {'name': name, 'form': form}
  train = {'batching': batching}
  return Row(name, batching, form, {'aggregator': aggregator, 'train': train})


def _plugged(name, batching):
  settings = {
    'aggregator': {'name': 'backdoor'},
    'train': {'batching': batching},
    'plugin': _PLUGINS[name],
  }
  return Row(name, batching, 'explicit', settings, stage=True)


def select(only: Sequence[str]) -> list[Row]:
  """The rows of these names and those they are compared with.

  Args:
    only: names; () takes all rows.
  Raises:
    types.UserError: a name that no row has.
  """
  everything = rows()
  known = dict.fromkeys(row.name for row in everything)
  for name in only:
    if name not in known:
      raise types.UserError(f'no row {name!r}; known: {", ".join(known)}')
  chosen = [row for row in everything if not only or row.name in only]
  needed = {_JOINT, *(key for row in chosen for key in _turn(row))}
  return [row for row in everything if row.key in needed]


def measure(
  config: config_lib.Config,
  repeats: int,
  num_steps: int = 60,
  only: Sequence[str] = (),
  clock: str = 'wall',
  say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
  """Milliseconds per step of every row, and their ratios.

  Args:
    config: data, groups and model; a row sets how they are trained.
    repeats: measured rounds over all rows, after one that warms up.
    num_steps: of every scan; at most those of an epoch.
    only: as in `select`.
    clock: of `benchmark.CLOCKS`.
    say: told how far it has come.
  Returns:
    `rows`: name, batching, form; milliseconds per step; ratio `over_joint`,
    and `over_trunk_stage`, to the explicit back-door stage with the same
    batches, for plugins (else null); seconds of compilation.
  Raises:
    types.UserError: as `select`.
  """
  chosen = select(only)
  prepared = experiment_lib.load_data(config)
  scans, batches = {}, {}
  for number, row in enumerate(chosen, 1):
    say(f'compiling {number}/{len(chosen)}: {" ".join(row.key)}')
    experiment = experiment_lib.make(_configured(config, row), prepared)
    parts = phases.make_parts(experiment)
    kind = row.batching, row.form == 'fused'
    if kind not in batches:
      batches[kind] = benchmark.first_batches(parts.inputs, num_steps)
    scans[row.key] = benchmark.bare_scan(
      experiment, parts, batches[kind], benchmark.CLOCKS[clock]
    )
  for scan in scans.values():
    scan.measure()
  turns = {row.key: [] for row in chosen}
  for number in range(1, repeats + 1):
    say(f'round {number}/{repeats}')
    for row in chosen:
      turn = {key: scans[key].measure() for key in _turn(row)}
      turns[row.key].append(turn)
  return {
    'model': config.model.name,
    'source': prepared.manifest['source'],
    'batch_size': config.train.batch_size,
    'num_groups': config.groups.num_groups,
    'clock': clock,
    'rounds': repeats,
    'steps': scans[_JOINT].num_steps,
    'rows': [
      _shown(row, turns[row.key], scans[row.key].compile_seconds)
      for row in chosen
    ],
    'peak_rss_mb': machine.peak_rss_mb(),
    'versions': machine.versions(),
  }


def table(measured: Mapping[str, Any]) -> list[list[str]]:
  """Cells of a table with its head, from what `measure` returns."""
  head = ['update', 'batches', 'form', 'ms a step', 'over joint', '']
  head += ['over trunk stage', '', 'compile, s']
  return [head, *map(_cells, measured['rows'])]


def _turn(row: Row) -> list[Key]:
  """What is timed, in this order, when it is a row's turn."""
  keys = [_JOINT]
  if row.stage:
    keys.append(('backdoor', row.batching, 'explicit'))
  return list(dict.fromkeys([*keys, row.key]))


def _configured(config: config_lib.Config, row: Row) -> config_lib.Config:
  sections = {
    name: dataclasses.replace(getattr(config, name), **fields)
    for name, fields in row.settings.items()
  }
  return dataclasses.replace(config, **sections)


def _shown(row, turns, compile_seconds):
  """A row for JSON; `turns` are {key: milliseconds} by round."""
  *_, own = _turn(row)
  over = lambda other: benchmark.summary([t[own] / t[other] for t in turns])
  stage = over(_turn(row)[1]) if row.stage else None
  return {
    'name': row.name,
    'batching': row.batching,
    'form': row.form,
    'milliseconds_per_step': benchmark.summary([t[own] for t in turns]),
    'over_joint': over(_JOINT),
    'over_trunk_stage': stage,
    'compile_seconds': round(compile_seconds, 2),
  }


def _cells(row):
  return [
    row['name'],
    row['batching'],
    row['form'],
    f'{row["milliseconds_per_step"]["median"]:.2f}',
    *benchmark.spread(row['over_joint']),
    *benchmark.spread(row['over_trunk_stage']),
    f'{row["compile_seconds"]:.1f}',
  ]
