"""Chapters of a document: the finished runs of a plan, read and measured."""

import functools

from twotsrec import types
from twotsrec.studies import offline
from twotsrec.studies import online
from twotsrec.studies import plans
from twotsrec.studies import results
from twotsrec.studies import study as study_lib
from twotsrec.studies import timings


def collect(
  plan: plans.Plan, resamples: int | None = None
) -> dict[str, results.Chapter | None]:
  """The chapters of a plan; None where no run has finished.

  Args:
    plan: with all runs.
    resamples: of users, in comparisons; None takes the usual number.
  Raises:
    types.UserError: nothing has finished, or a run that is damaged or not of
      these settings.
  """
  measures = plan.study.measures
  if isinstance(measures, study_lib.Offline):
    read = lambda run, report: offline.read(measures, report)
    measure = functools.partial(offline.measure, measures)
  else:
    read = lambda run, report: timings.read(run.seed, report)
    measure = functools.partial(online.measure, measures)
  runs: dict[str, list[study_lib.Run]] = {}
  done: dict[study_lib.Run, results.Finished] = {}
  for run in plans.runs(plan):
    name, _ = results.divided(plan.study, run.place)
    runs.setdefault(name, []).append(run)
    if (report := plans.report(plan, run)) is not None:
      done[run] = _read(plan, run, report, read)
  if runs and not done:
    raise types.UserError(
      f'no run of these settings has finished in {plan.request.out}; leave out'
      ' --report_only to train them'
    )
  made: dict[str, results.Chapter | None] = dict.fromkeys(runs)
  for name, wanted in runs.items():
    if here := {run: done[run] for run in wanted if run in done}:
      numbers = measure(plan, here, resamples)
      no_cost = results.Training()
      made[name] = results.Chapter(
        name=name,
        data=next(iter(here.values())).data,
        **numbers._asdict(),
        runs={r: here[r].training if r in here else no_cost for r in wanted},
      )
  return made


def _read(plan, run, report, read) -> results.Finished:
  with plans.reading(plan, run):
    cost = report['training'] | {'device': report['versions']['device']}
    training = results.Training(
      **{name: cost[name] for name in results.COSTS},
      selected_value=cost.get('selected_value'),
    )
    data = dict(report['dataset'])
    return results.Finished(data, training, read(run, report))
