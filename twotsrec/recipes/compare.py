"""Finished runs compared in pairs by activeness group.

Nothing is evaluated again: `per_target.npz` holds what is paired, `report.json`
what it means. What varies in the intervals is told in `evaluation.comparison`.
"""

from collections.abc import Iterator, Mapping, Sequence
import json
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.evaluation import comparison
from twotsrec.evaluation import report as report_lib
from twotsrec.recipes import tables
from twotsrec.training import files
from twotsrec.training import run_directory

RESAMPLES = 10_000

# Fields of report['protocol'] that runs on one footing share. The model, its
# training and its selection are what a comparison is about.
_FOOTING = (
  'dataset_digest',
  'split',
  'groups',
  'group_thresholds',
  'candidates',
  'num_candidates',
  'negatives_digest',
  'negatives',
  'auc_ties',
  'rank_ties',
)
# What the runs of a system share; its seeds are all that differs.
_SYSTEM = (
  'model', 'aggregator', 'method', 'penalty', 'plugin', 'routing', 'selection',
)  # fmt: skip


class _Run(NamedTuple):
  """What is known of a run before its arrays are read."""

  workdir: str
  protocol: dict[str, Any]
  test: dict[str, Any]


# ---- Comparing


def run(
  runs: Sequence[str],
  names: Sequence[str] = (),
  metrics: Sequence[str] = (),
  resamples: int = RESAMPLES,
  seed: int = 0,
  out: str = '',
) -> str:
  """Compares as the command line names it; the plain-text table.

  Args:
    runs: see `systems`.
    names: see `systems`.
    metrics: see `compare`.
    resamples: see `compare`.
    seed: see `compare`.
    out: a .json or .md file to write; '' writes none.
  """
  _check_out(out)
  result = compare(systems(runs, names), metrics, resamples, seed)
  if out:
    write(result, out)
  return format(result)


def systems(
  runs: Sequence[str], names: Sequence[str] = ()
) -> dict[str, list[str]]:
  """{name: run directories of its seeds}, the reference first.

  Args:
    runs: one directory per system, or several that are joined by '+'. An
      existing directory with a '+' in its name is taken as it is.
    names: of the systems; () names them by their directories.
  """
  if names and len(names) != len(runs):
    raise types.UserError(f'{len(names)} names for {len(runs)} systems')
  split = [[one] if os.path.isdir(one) else one.split('+') for one in runs]
  if not all(map(all, split)):
    raise types.UserError(
      f'a run without a name in {",".join(runs)!r}; write DIR_A,DIR_B, or'
      ' A0+A1,B0+B1 for two seeds each'
    )
  if not names:
    names = ['+'.join(pathlib.Path(d).name for d in dirs) for dirs in split]
    names = names if len(set(names)) == len(names) else runs
  repeated = [name for name in names if list(names).count(name) > 1]
  if repeated:
    raise types.UserError(
      f'two systems are named {repeated[0]!r}; give others with --names'
    )
  return dict(zip(names, split))


def compare(
  systems: Mapping[str, Sequence[str]],
  metrics: Sequence[str] = (),
  resamples: int = RESAMPLES,
  seed: int = 0,
) -> dict[str, Any]:
  """Every system against the first, by group.

  Args:
    systems: {name: run directories, one per seed}; the first is the reference.
    metrics: to compare; () takes those of `tables.default_metrics`.
    resamples: of users.
    seed: of the resampling.
  Returns:
    {'reference', 'systems', 'metrics', 'protocol', 'users', 'resamples',
    'seed', 'selected_on_test': names, 'comparisons': {name: {metric: [row]}}}.
    Rows are groups 1 to G, 'all' and 'mean of groups', each {'group', 'users',
    'reference', 'other', 'difference', 'low', 'high', 'p', 'holm' (null where
    it is no group), 'by_seed': differences of the runs by position}.
  Raises:
    types.UserError: runs that are not finished, damaged, or not comparable.
  """
  _check_systems(systems)
  runs = {n: [_open(d) for d in dirs] for n, dirs in systems.items()}
  everyone = [run for system in runs.values() for run in system]
  _check_same_footing(everyone)
  for name, system in runs.items():
    _check_seeds(name, system)
  metrics = _known(metrics, everyone)
  num_groups = len(everyone[0].test['groups'])
  _check_resamples(resamples, num_groups)
  first = _per_target(everyone[0])
  pooled = [
    comparison.pool(_tables(system, everyone[0], first, metrics))
    for system in runs.values()
  ]
  compared = comparison.compare(pooled, resamples, seed)
  users = _users(first, num_groups)
  reference, *others = systems
  return {
    'reference': reference,
    'systems': {name: list(dirs) for name, dirs in systems.items()},
    'metrics': list(metrics),
    'protocol': _footing(everyone[0]),
    'users': users[-1],
    'resamples': resamples,
    'seed': seed,
    'selected_on_test': [
      name
      for name, system in runs.items()
      if any(run.protocol.get('selected_on_test') for run in system)
    ],
    'comparisons': {
      name: {
        metric: comparison.rows(result, column, users)
        for column, metric in enumerate(metrics)
      }
      for name, result in zip(others, compared)
    },
  }


def _users(per_target, num_groups) -> list[int]:
  """Users with held-out items in each group, and all of them."""
  groups = [per_target['group'] == group for group in range(num_groups)]
  parts = [per_target['user'][chosen] for chosen in groups]
  return [np.unique(users).size for users in (*parts, per_target['user'])]


# ---- Reading runs


def _open(workdir: str) -> _Run:
  run_directory.read_config(workdir)  # says so if it is no run directory
  path = run_directory.report_path(workdir)
  if not path.is_file():
    raise types.UserError(
      f'{workdir}: training has not finished (no {path.name}); run'
      ' launch/train.py with the same --workdir to finish it'
    )
  report = files.read_json(path)
  missing = _missing(report)
  if missing:
    raise types.UserError(
      f'{path} lacks {missing}, so it is damaged or of another version; train'
      ' again in an empty --workdir'
    )
  if report['test'] is None:
    raise types.UserError(f'{workdir} has no test events to compare on')
  return _Run(workdir, report['protocol'], report['test'])


def _missing(report: Any) -> str | None:
  """The first of the fields read here that is not there."""
  if not isinstance(report, dict) or 'test' not in report:
    return 'test'
  protocol, test = report.get('protocol'), report['test']
  if not isinstance(protocol, dict):
    return 'protocol'
  for name in ('dataset_digest', 'split', 'candidates'):
    if name not in protocol:
      return f'protocol.{name}'
  ks = protocol.get('ks')
  if not isinstance(ks, list) or not all(isinstance(k, int) for k in ks):
    return 'protocol.ks'
  whole = isinstance(test, dict) and isinstance(test.get('groups'), list)
  return None if test is None or whole else 'test.groups'


def _per_target(run: _Run) -> dict[str, np.ndarray]:
  path = pathlib.Path(run.workdir) / 'per_target.npz'
  with files.explained(path, 'read'):
    content = path.read_bytes()
  try:
    return comparison.read_targets(content, len(run.test['groups']))
  except ValueError as error:
    raise _damaged(path, str(error)) from error


def _tables(
  seeds: Sequence[_Run],
  first: _Run,
  expected: Mapping[str, np.ndarray],
  metrics: Sequence[str],
) -> Iterator[comparison.Table]:
  """One table per seed, on the held-out items of the first run."""
  num_groups = len(first.test['groups'])
  for run in seeds:
    per_target = expected if run is first else _per_target(run)
    for name in comparison.KEYS:
      if not np.array_equal(per_target[name], expected[name]):
        raise types.UserError(
          f'{run.workdir} and {first.workdir} hold out other items ({name}'
          ' differs), so they cannot be paired'
        )
    ks = run.protocol['ks']
    table = comparison.tabulate(per_target, num_groups, ks, metrics)
    _check_report(run, table, metrics)
    yield table


def _damaged(path: str | os.PathLike, reason: str) -> types.UserError:
  return types.UserError(
    f'{path} is damaged: {reason}; restore it from a copy, or train again in'
    ' an empty --workdir'
  )


# ---- What is refused


def _check_systems(systems: Mapping[str, Sequence[str]]) -> None:
  if len(systems) < 2:
    raise types.UserError(
      f'{len(systems)} system to compare ({", ".join(systems)}); name two or'
      ' more, the reference first: DIR_A,DIR_B'
    )
  number = {name: len(dirs) for name, dirs in systems.items()}
  if len(set(number.values())) > 1 or not all(number.values()):
    shown = ', '.join(f'{name} {count}' for name, count in number.items())
    raise types.UserError(
      f'unequal numbers of seeds ({shown}); runs are paired by position'
    )
  known = set()
  for workdir in (d for dirs in systems.values() for d in dirs):
    path = os.path.realpath(workdir)
    if path in known:
      raise types.UserError(f'{workdir} is named twice; name each run once')
    known.add(path)


def _check_out(out: str) -> None:
  if out and pathlib.Path(out).suffix not in ('.json', '.md'):
    raise types.UserError(f'--out={out} must end in .json or .md')


def _check_resamples(resamples: int, num_groups: int) -> None:
  # The smallest p is 2 / (R + 1), and Holm multiplies it by G.
  least = round(2 * num_groups / comparison.ALPHA)
  if resamples < least:
    raise types.UserError(
      f'{resamples} resamples are too few for {num_groups} groups: no p-value'
      f' could fall below {comparison.ALPHA}; use {least} or more'
    )


def _check_same_footing(runs: Sequence[_Run]) -> None:
  expected = _footing(runs[0])
  for run in runs[1:]:
    actual = _footing(run)
    for name in expected | actual:
      here, there = actual.get(name), expected.get(name)
      if here != there:
        raise types.UserError(
          f'{name} is {_shown(here)} in {run.workdir} and {_shown(there)} in'
          f' {runs[0].workdir}; runs on other data, groups or protocol cannot'
          ' be compared'
        )


def _check_seeds(name: str, system: Sequence[_Run]) -> None:
  """A mean over different models would be of no system."""
  for run in system[1:]:
    for field in _SYSTEM:
      here, there = run.protocol.get(field), system[0].protocol.get(field)
      if here != there:
        raise types.UserError(
          f'{name} joins runs that are no seeds of one system: {field} is'
          f' {_shown(here)} in {run.workdir} and {_shown(there)} in'
          f' {system[0].workdir}'
        )


def _footing(run: _Run) -> dict[str, Any]:
  """The fields that must be equal, with those of a section by themselves."""
  flat = {}
  for name in _FOOTING:
    value = run.protocol.get(name)
    inner = value if isinstance(value, dict) else {}
    flat |= {f'{name}.{key}': entry for key, entry in inner.items()}
    flat |= {} if inner or value is None else {name: value}
  return flat


def _shown(value: Any) -> str:
  text = 'absent' if value is None else json.dumps(value)
  return text if len(text) <= 40 else f'{text[:13]}...{text[-4:]}'


def _known(metrics: Sequence[str], runs: Sequence[_Run]) -> tuple[str, ...]:
  """The metrics asked for, if every run reports them."""
  ks = [
    k
    for k in runs[0].protocol['ks']
    if all(k in run.protocol['ks'] for run in runs)
  ]
  known = report_lib.metric_names(ks)
  for name in metrics:
    if name not in known:
      raise types.UserError(
        f'unknown metric {name!r}; known: {", ".join(known)}'
      )
  return tuple(dict.fromkeys(metrics)) or tables.default_metrics(ks)


def _check_report(
  run: _Run, table: comparison.Table, metrics: Sequence[str]
) -> None:
  """The arrays give the numbers of the report they lie beside."""
  parts = [*run.test['groups'], run.test.get('overall')]
  path = run_directory.report_path(run.workdir)
  try:
    written = [[part[name]['value'] for name in metrics] for part in parts]
    written = np.array(written, np.float64)  # null becomes NaN
  except (KeyError, TypeError, ValueError) as error:
    raise _damaged(path, f'it lacks {", ".join(metrics)}') from error
  values = comparison.values(table)[:-1]
  if written.shape != values.shape:
    raise _damaged(path, f'it has {len(written) - 1} groups')
  close = np.isclose(values, written, rtol=0, atol=1e-6, equal_nan=True)
  for row, column in np.argwhere(~close)[:1]:
    raise types.UserError(
      f'{run.workdir}: per_target.npz gives {metrics[column]}'
      f' {values[row, column]:.6f} where report.json has'
      f' {written[row, column]:.6f}; one of them is of another run'
    )


# ---- Showing


def format(result: Mapping[str, Any]) -> str:
  """Plain text of what `compare` returned."""
  blocks = [
    f'{title}\n{comparison.aligned(table)}' for title, table in _blocks(result)
  ]
  return '\n'.join([*blocks, *_legend(result)])


def markdown(result: Mapping[str, Any]) -> str:
  """Markdown of what `compare` returned."""
  blocks = [
    f'**{comparison.escaped(title)}**\n\n{comparison.piped(table)}'
    for title, table in _blocks(result)
  ]
  legend = [comparison.escaped(line) for line in _legend(result)]
  return '\n\n'.join([*blocks, *legend])


def write(result: Mapping[str, Any], out: str) -> None:
  """Writes JSON, or Markdown where the name ends in .md."""
  _check_out(out)
  if pathlib.Path(out).suffix == '.json':
    files.write_json(out, result)
    return
  with files.explained(out, 'write'), files.replacing(out) as file:
    file.write(markdown(result).encode() + b'\n')


def _blocks(
  result: Mapping[str, Any],
) -> Iterator[tuple[str, list[list[str]]]]:
  """A title and a table for every system but the reference."""
  reference = result['reference']
  for name, by_metric in result['comparisons'].items():
    title = f'{name} against {reference}'
    yield title, comparison.table(reference, name, by_metric)


def _legend(result: Mapping[str, Any]) -> list[str]:
  protocol, names = result['protocol'], list(result['systems'])
  rows = next(iter(next(iter(result['comparisons'].values())).values()))
  sizes = [f'{row["users"]:,}' for row in rows[:-2]]
  seeds = len(result['systems'][result['reference']])
  covered = (
    f'each system the mean of {seeds} seeds, whose spread stands beside'
    if seeds > 1
    else 'one training each, whose variation is not in the intervals'
  )
  return [
    f'intervals: {result["resamples"]:,} resamples of the {result["users"]:,}'
    f' users ({" + ".join(sizes)} in groups 1 to {len(sizes)}), the same for'
    f' both systems; * is p < {comparison.ALPHA}, in groups after Holm over the'
    f' groups of a metric; {covered}',
    f'{protocol["split"]}, {protocol["candidates"]} candidates',
    *(
      f'{name} was SELECTED ON TEST: for like-for-like checks only'
      for name in names
      if name in result['selected_on_test']
    ),
  ]
