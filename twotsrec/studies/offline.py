"""Numbers of finished runs that rank held-out items: means, and differences.

Intervals are over users (see `evaluation.comparison`), not over trainings; for
those the number of seeds stands beside them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from twotsrec import metrics as metrics_lib
from twotsrec import types
from twotsrec.evaluation import bootstrap
from twotsrec.evaluation import comparison
from twotsrec.runs import compare
from twotsrec.runs import compared_runs
from twotsrec.studies import claims as claims_lib
from twotsrec.studies import plans
from twotsrec.studies import results
from twotsrec.studies import study as study_lib
from twotsrec.training import run_directory

RESAMPLES = compare.RESAMPLES
_OF_A_MEAN = 1000  # resamples, as in a report
_RANKED = ('split', 'candidates', 'selection', 'ks')
_GROUP = ('group', 'users', 'min_activity', 'max_activity')


class Details(NamedTuple):
  """What is read of a report."""

  protocol: dict[str, Any]  # fields of `_RANKED`, and num_candidates
  groups: list[dict[str, int]]  # of the test, fields of `_GROUP`
  # {'groups' or 'parts': {name: users with held-out items}}
  users: dict[str, dict[str, int]]
  rules: dict[str, results.Measured]  # baselines that train nothing
  start: list[float | None]  # of the curves, a metric on validation by group


class Curve(NamedTuple):
  """A metric on validation by epoch and group, of one seed."""

  seed: int
  by_epoch: list[list[float | None]]


class Compared(NamedTuple):
  """What `compare.compare` gives of systems over the seeds that they share."""

  by: str
  seeds: list[int]
  result: dict[str, Any]


def read(measures: study_lib.Offline, report: Mapping[str, Any]) -> Details:
  """What documents show of a report besides its means; KeyError if damaged."""
  test, protocol = report['test'], report['protocol']
  users = {'groups': {_place(r['group']): r['users'] for r in test['groups']}}
  if 'parts' in measures.by:
    users['parts'] = {row['name']: row['users'] for row in test['parts']}
  return Details(
    protocol={
      **{name: protocol[name] for name in _RANKED},
      'num_candidates': protocol.get('num_candidates'),
    },
    groups=[{name: row[name] for name in _GROUP} for row in test['groups']],
    users=users,
    rules={
      rule: results.Measured(_rule_cells(measures, users, part))
      for rule, part in report['baselines'].items()
    },
    start=[
      row[metric]['value']
      for metric in measures.curve[:1]
      for row in report['validation']['groups']
    ],
  )


def _place(group: int | str) -> str:
  return f'group {group}' if isinstance(group, int) else group


def _rule_cells(measures, users, part) -> dict[results.Key, results.Cell]:
  rows = {results.ALL: part['overall']}
  for by in measures.by:
    rows |= zip(users[by], part[by], strict=True)
  return {
    (metric, place): results.Cell(
      *(row[metric][value] for value in ('value', 'low', 'high'))
    )
    for metric in measures.metrics
    for place, row in rows.items()
  }


def measure(
  measures: study_lib.Offline,
  plan: plans.Plan,
  done: Mapping[study_lib.Run, results.Finished],
  resamples: int | None = None,
) -> results.Numbers:
  """The numbers of a chapter, from its finished runs."""
  resamples = RESAMPLES if resamples is None else resamples
  [(first, finished), *_] = done.items()
  name = results.divided(plan.study, first.place)[0]
  blocks = {}
  for place in plan.systems:
    chapter, block = results.divided(plan.study, place)
    if chapter == name:
      blocks[block] = _block(measures, plan, place, done, resamples)
  return results.Numbers(finished.details, finished.details.rules, blocks)


def _block(measures, plan, place, done, resamples) -> results.Block:
  systems, same = {}, plan.same[place]
  stands = _standing(plan, place, done)
  workdirs = {
    system: {seed: plans.workdir(plan, run) for seed, run in seeds.items()}
    for system, seeds in stands.items()
  }
  compared = [
    pair
    for by in measures.by
    for reference, others in measures.pairs.items()
    for pair in compare_pairs(
      workdirs,
      same[reference],
      [*dict.fromkeys(same[k] for k in others if same[k] != same[reference])],
      resamples,
      measures.metrics,
      by,
    )
  ]
  for system, seeds in workdirs.items():
    if runs := [done[run] for run in stands[system].values()]:
      cells = {}
      for by, places in runs[0].details.users.items():
        cells |= means([*seeds.values()], [*places], measures.metrics, by)
      systems[system] = results.Measured(
        cells=cells,
        against=differences(compared, system),
        trainings=[run.training for run in runs],
        tuning=_tuning(plan, place, system, done),
      )
  named = {name: systems.get(of) for name, of in same.items() if of in workdirs}
  evidence = claims_lib.Evidence(named, same=same)
  judged = claims_lib.judge(plan.study.claims, evidence)
  return results.block(plan, place, systems, judged)._replace(
    compared=compared, curves=_curves(measures, plan, stands, done)
  )


def _standing(plan, place, done) -> dict[str, dict[int, study_lib.Run]]:
  """{system: {seed: its finished run}}, with the setting that was chosen."""
  stands = {}
  for system in plan.systems[place]:
    setting = plans.choice(plan, place, system) or ''
    of_seeds = {
      seed: plans.shared(plan, study_lib.Run(place, seed, system, setting))
      for seed in plan.request.seeds
    }
    stands[system] = {k: run for k, run in of_seeds.items() if run in done}
  return stands


def _tuning(plan, place, system, done) -> results.Tuning | None:
  """Of a system whose setting is chosen; None where nothing was to choose."""
  tried, seed = plan.request.tried, plan.request.seeds[0]
  if len(tried) == 1:
    return None
  run = lambda setting: study_lib.Run(place, seed, system, setting)
  runs = {setting: plans.shared(plan, run(setting)) for setting in tried}
  trained = {setting: done[run].training for setting, run in runs.items()}
  return results.Tuning(
    setting=plans.choice(plan, place, system) or '',
    values={k: training.selected_value for k, training in trained.items()},
    # Equal settings share a run.
    seconds=sum(done[run].training.seconds for run in {*runs.values()}),
  )


def means(
  workdirs: Sequence[str],
  places: Sequence[str],
  metrics: Sequence[str],
  by: str = 'groups',
  resamples: int = _OF_A_MEAN,
) -> dict[results.Key, results.Cell]:
  """Means over the seeds of a system by (metric, place or 'all').

  Args:
    workdirs: directories of finished runs, one per seed.
    places: names of the groups or parts.
    metrics: names in a report.
    by: of `compared_runs.BY`.
    resamples: of users, for the 95 % intervals.
  Raises:
    types.UserError: a run that is damaged or rests on other items.
  """
  runs, column = map(compared_runs.open_run, workdirs), compared_runs.BY[by]
  table = comparison.pool(
    comparison.tabulate(
      compared_runs.per_target(run, by),
      len(places),
      metrics,
      column,
      run.ties,
    )
    for run in runs
  ).table
  value = comparison.values(table)[:-1]
  flat = (len(table.users), -1)
  low, high = bootstrap.intervals(
    table.sums.reshape(flat), table.counts.reshape(flat), resamples, 0
  )
  bounds = value, low.reshape(value.shape), high.reshape(value.shape)
  return {
    (metric, place): results.Cell(
      *(metrics_lib.or_none(bound[row, column]) for bound in bounds)
    )
    for column, metric in enumerate(metrics)
    for row, place in enumerate((*places, results.ALL))
  }


def compare_pairs(
  workdirs: Mapping[str, Mapping[int, str]],
  reference: str,
  others: Sequence[str],
  resamples: int,
  metrics: Sequence[str],
  by: str = 'groups',
) -> list[Compared]:
  """`compare.compare` of others with a reference, for each set of seeds.

  Args:
    workdirs: {system: {seed: directory of a finished run}}.
    reference: of the comparisons.
    others: those that share no finished seed with it are left out.
    resamples: of users.
    metrics: names in a report.
    by: as in `compare.compare`.
  """
  by_seeds: dict[tuple[int, ...], list[str]] = {}
  for other in others:
    theirs = workdirs.get(other, {})
    if shared := tuple(s for s in workdirs.get(reference, {}) if s in theirs):
      by_seeds.setdefault(shared, []).append(other)
  made = []
  for seeds, chosen in by_seeds.items():
    runs = {s: [workdirs[s][k] for k in seeds] for s in (reference, *chosen)}
    result = compare.compare(runs, metrics, resamples, by=by)
    made.append(Compared(by, list(seeds), result))
  return made


def differences(
  compared: Iterable[Compared], system: str
) -> dict[str, dict[results.Key, results.Difference]]:
  """Differences of a system by its references."""
  made: dict[str, dict[results.Key, results.Difference]] = {}
  for pair in compared:
    for metric, rows in pair.result['comparisons'].get(system, {}).items():
      made.setdefault(pair.result['reference'], {}).update(
        {(metric, _place(r['group'])): results.difference(r) for r in rows}
      )
  return made


def renamed(pair: Compared, name: Callable[[str], str]) -> dict[str, Any]:
  """The result of a pair with other names of its systems."""
  result = pair.result
  by_name = lambda field: {name(s): value for s, value in result[field].items()}
  return {
    **result,
    'systems': by_name('systems'),
    'comparisons': by_name('comparisons'),
    'reference': name(result['reference']),
    'selected_on_test': [name(s) for s in result['selected_on_test']],
  }


def _curves(measures, plan, stands, done) -> list[Curve]:
  """Plugins begin as the bare trunk, so epoch 0 is the report of stage 1."""
  curves = []
  for seed in plan.request.seeds if measures.curve else ():
    metric, *systems = measures.curve
    trunk, plugged = (stands.get(system, {}).get(seed) for system in systems)
    if trunk and plugged:
      logged = curve(plans.workdir(plan, plugged), metric)
      curves.append(Curve(seed, [done[trunk].details.start, *logged]))
  return curves


def curve(workdir: str, metric: str) -> list[list[float | None]]:
  """A metric on validation by epoch and group, as training has logged it."""
  try:
    return [
      line['validation'][f'{metric}_by_group']
      for line in run_directory.read_metrics(workdir)
      if 'validation' in line
    ]
  except KeyError as error:
    path = run_directory.metrics_path(workdir)
    raise types.UserError(
      f'{path} has no {error.args[0]}; train again in an empty --out'
    ) from error
