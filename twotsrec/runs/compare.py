"""Finished runs compared in pairs by activeness group, or by part.

Nothing is evaluated again: `per_target.npz` holds what is paired, `report.json`
what it means. What varies in the intervals is told in `evaluation.comparison`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import os
import pathlib
from typing import Any

import numpy as np

from twotsrec import types
from twotsrec.evaluation import comparison
from twotsrec.evaluation import protocols
from twotsrec.evaluation import report as report_lib
from twotsrec.runs import compared_runs
from twotsrec.runs import footing
from twotsrec.training import files
from twotsrec.training import run_directory

RESAMPLES = 10_000


# ---- Comparing


def run(
  systems: Mapping[str, Sequence[str]],
  metrics: Sequence[str] = (),
  resamples: int = RESAMPLES,
  seed: int = 0,
  by: str = 'groups',
  out: str = '',
) -> str:
  """Compares and returns text; `out` is a .json or .md file to write, or ''."""
  _check_out(out)
  result = compare(systems, metrics, resamples, seed, by)
  if out:
    write(result, out)
  return format(result)


def systems(
  runs: Sequence[str], names: Sequence[str] = ()
) -> dict[str, list[str]]:
  """{name: run directories of its seeds}, the reference first.

  Args:
    runs: one directory per system, or several that are joined by '+'. An
      existing directory with a '+' in its name is taken as it is. DIR:RULE is
      a rule that stands beside the model of a run, as in DIR:popularity.
    names: of the systems; () names them by their directories.
  """
  if names and len(names) != len(runs):
    raise types.UserError(
      f'{len(names)} names for {len(runs)} systems; give one for each'
    )
  split = [[one] if os.path.isdir(one) else one.split('+') for one in runs]
  if not all(map(all, split)):
    raise types.UserError(
      f'a run without a name in {",".join(runs)!r}; write DIR_A,DIR_B, or'
      ' A0+A1,B0+B1 for two seeds each'
    )
  _check_once(one for dirs in split for one in dirs)
  if not names:
    names = ['+'.join(map(_short, dirs)) for dirs in split]
    names = names if len(set(names)) == len(names) else runs
  repeated = [name for name in names if list(names).count(name) > 1]
  if repeated:
    raise types.UserError(
      f'two systems are named {repeated[0]!r}; give others with --names'
    )
  return dict(zip(names, split))


def _short(name: str) -> str:
  """The name of a rule, or of a directory without those above it."""
  workdir, rule = compared_runs.parse(name)
  return rule or pathlib.Path(workdir).name


def compare(
  systems: Mapping[str, Sequence[str]],
  metrics: Sequence[str] = (),
  resamples: int = RESAMPLES,
  seed: int = 0,
  by: str = 'groups',
) -> dict[str, Any]:
  """Every system against the first, by group or part.

  Args:
    systems: {name: run directories, one per seed}; the first is the reference.
    metrics: to compare; () takes those of `report.default_names` that any run
      has a value of.
    resamples: of users.
    seed: of the resampling.
    by: a key of `compared_runs.BY`; parts are there for data with behaviors.
  Returns:
    {'reference', 'systems', 'metrics', 'protocol', 'users', 'resamples',
    'seed', 'by', 'selected_on_test': names, 'comparisons': {name: {metric:
    [row]}}}. Rows are groups 1 to G (or the parts by name), 'all' and 'mean of
    groups' (or of parts), each {'group', 'users', 'reference', 'other',
    'difference', 'low', 'high', 'p', 'holm' (null where it is no group),
    'by_seed': differences of the runs by position}.
  Raises:
    types.UserError: runs that are not finished, damaged, or not comparable.
  """
  _check_systems(systems)
  runs = opened(systems)
  everyone = [run for system in runs.values() for run in system]
  metrics = known(metrics, everyone)
  parts = compared_runs.part_names(everyone[0], by)
  num_groups = len(everyone[0].test[by])
  _check_resamples(resamples, num_groups)
  first = compared_runs.per_target(everyone[0], by)
  every = pooled(runs, first, metrics, by)
  compared = comparison.compare([*every.values()], resamples, seed)
  users = _users(first, num_groups, compared_runs.BY[by])
  reference, *others = systems
  return {
    'reference': reference,
    'systems': {name: list(dirs) for name, dirs in systems.items()},
    'metrics': list(metrics),
    'protocol': footing.of(everyone[0]),
    'users': users[-1],
    'resamples': resamples,
    'seed': seed,
    'by': by,
    'selected_on_test': [
      name
      for name, system in runs.items()
      if any(run.protocol.get('selected_on_test') for run in system)
    ],
    'comparisons': {
      name: {
        metric: comparison.rows(result, column, users, parts)
        for column, metric in enumerate(metrics)
      }
      for name, result in zip(others, compared)
    },
  }


def opened(
  systems: Mapping[str, Sequence[str]],
) -> dict[str, list[compared_runs.Run]]:
  """The runs of systems, whose numbers can stand in one table.

  Raises:
    types.UserError: runs that are not finished, damaged, or not comparable.
  """
  _check_once(one for dirs in systems.values() for one in dirs)
  runs = {
    name: [compared_runs.open_run(workdir) for workdir in workdirs]
    for name, workdirs in systems.items()
  }
  footing.check(runs)
  return runs


def pooled(
  runs: Mapping[str, Sequence[compared_runs.Run]],
  first: Mapping[str, np.ndarray],
  metrics: Sequence[str],
  by: str = 'groups',
) -> dict[str, comparison.System]:
  """Metrics of every system by user, the mean over its seeds.

  `first` has the arrays of the very first run, whose held-out items are those
  of all; for the others see `compare`.

  Raises:
    types.UserError: runs with other held-out items, or damaged.
  """
  reference = next(iter(runs.values()))[0]
  return {
    name: comparison.pool(_tables(system, reference, first, metrics, by))
    for name, system in runs.items()
  }


def _users(per_target, num_groups, by) -> list[int]:
  """Users with held-out items in each group or part, and all of them."""
  groups = [per_target[by] == group for group in range(num_groups)]
  parts = [per_target['user'][chosen] for chosen in groups]
  return [np.unique(users).size for users in (*parts, per_target['user'])]


def _tables(
  seeds: Sequence[compared_runs.Run],
  first: compared_runs.Run,
  expected: Mapping[str, np.ndarray],
  metrics: Sequence[str],
  by: str,
) -> Iterator[comparison.Table]:
  """One table per seed, on the held-out items of the first run."""
  num_groups, array = len(first.test[by]), compared_runs.BY[by]
  for run in seeds:
    compared_runs.part_names(run, by)  # says so if it has none
    per_target = expected if run is first else compared_runs.per_target(run, by)
    for name in (*comparison.KEYS, array):
      if not np.array_equal(per_target[name], expected[name]):
        raise types.UserError(
          f'{run.workdir} and {first.workdir} hold out other items ({name}'
          ' differs), so they cannot be paired; choose runs on the same data'
        )
    table = comparison.tabulate(
      per_target, num_groups, metrics, array, run.ties
    )
    _check_report(run, table, metrics, by)
    yield table


# ---- What is refused


def _check_systems(systems: Mapping[str, Sequence[str]]) -> None:
  if len(systems) < 2:
    raise types.UserError(
      f'{len(systems)} system to compare ({", ".join(systems)}); name two or'
      ' more, the reference first: DIR_A,DIR_B, or DIR:popularity,DIR'
    )
  number = {name: len(dirs) for name, dirs in systems.items()}
  if len(set(number.values())) > 1 or not all(number.values()):
    counts = ', '.join(f'{name} {count}' for name, count in number.items())
    raise types.UserError(
      f'unequal numbers of seeds ({counts}), and runs are paired by position;'
      ' name as many for each'
    )


def _check_once(workdirs: Iterable[str]) -> None:
  named = set()
  for workdir in workdirs:
    folder, rule = compared_runs.parse(workdir)
    path = os.path.realpath(folder), rule
    if path in named:
      raise types.UserError(f'{workdir} is named twice; name each run once')
    named.add(path)


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


def known(
  metrics: Sequence[str], runs: Sequence[compared_runs.Run]
) -> tuple[str, ...]:
  """The metrics asked for, or those of a table by default.

  Raises:
    types.UserError: one that some run does not report.
  """
  ks = [
    k
    for k in runs[0].protocol['ks']
    if all(k in run.protocol['ks'] for run in runs)
  ]
  labels = all(run.protocol['candidates'] == protocols.SHOWN for run in runs)
  report_lib.check_names(metrics, ks, labels)
  defaults = report_lib.default_names(ks)
  if labels:
    defaults = report_lib.OF_LABELS
  there = tuple(name for name in defaults if not _is_absent(name, runs))
  return tuple(dict.fromkeys(metrics)) or there or defaults


def _is_absent(metric: str, runs: Sequence[compared_runs.Run]) -> bool:
  """Whether no run could measure it, as a pooled AUC of 2TS's queries."""
  try:
    parts = [part for run in runs for part in run.test['groups']]
    return all(part[metric]['value'] is None for part in parts)
  except (KeyError, TypeError):
    return False  # damaged, and said so when it is read


def _check_report(
  run: compared_runs.Run,
  table: comparison.Table,
  metrics: Sequence[str],
  by: str,
) -> None:
  """The arrays give the numbers of the report they lie beside."""
  parts = [*run.test[by], run.test.get('overall')]
  path = run_directory.report_path(run.workdir)
  try:
    written = [[part[name]['value'] for name in metrics] for part in parts]
    written = np.array(written, np.float64)  # null becomes NaN
  except (KeyError, TypeError, ValueError) as error:
    raise compared_runs.damaged(
      path, f'it lacks {", ".join(metrics)}'
    ) from error
  values = comparison.values(table)[:-1]
  if written.shape != values.shape:
    raise compared_runs.damaged(path, f'it has {len(written) - 1} {by}')
  if not run.is_current:
    return
  close = np.isclose(values, written, rtol=0, atol=1e-6, equal_nan=True)
  for row, column in np.argwhere(~close)[:1]:
    raise types.UserError(
      f'{run.workdir}: per_target.npz gives {metrics[column]}'
      f' {values[row, column]:.6f} where report.json has'
      f' {written[row, column]:.6f}, so one of them is of another run; restore'
      ' it from a copy, or train again in an empty --workdir'
    )


# ---- Showing


def format(result: Mapping[str, Any]) -> str:
  """Plain text of what `compare` returned."""
  blocks = [
    f'{title}\n{comparison.aligned(table)}' for title, table in _blocks(result)
  ]
  return '\n'.join([*blocks, *legend(result)])


def markdown(result: Mapping[str, Any]) -> str:
  """Markdown of what `compare` returned."""
  blocks = [
    f'**{comparison.escaped(title)}**\n\n{comparison.piped(table)}'
    for title, table in _blocks(result)
  ]
  below = [comparison.escaped(line) for line in legend(result)]
  return '\n\n'.join([*blocks, *below])


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


def legend(result: Mapping[str, Any]) -> list[str]:
  """What the numbers rest on, a line each."""
  protocol, names = result['protocol'], list(result['systems'])
  rows = next(iter(next(iter(result['comparisons'].values())).values()))
  sizes = ' + '.join(f'{row["users"]:,}' for row in rows[:-2])
  by, first, last = result['by'], rows[0]['group'], rows[-3]['group']
  seeds = len(result['systems'][result['reference']])
  covered = (
    f'each system the mean of {seeds} seeds, whose spread stands beside'
    if seeds > 1
    else 'one training each, whose variation is not in the intervals'
  )
  return [
    f'intervals: {result["resamples"]:,} resamples of the {result["users"]:,}'
    f' users ({sizes} in {by} {first} to {last}), the same for both systems; *'
    f' is p < {comparison.ALPHA}, in {by} after Holm over the {by} of a metric;'
    f' {covered}',
    f'{protocol["split"]}, {protocol["candidates"]} candidates',
    *report_lib.selected_on_test(
      name for name in names if name in result['selected_on_test']
    ),
  ]
