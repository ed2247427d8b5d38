"""Stage 1 of 2TS, trained once for all systems that see the same events."""

from collections.abc import Callable
from typing import Any

from twotsrec import config as config_lib
from twotsrec.data import stream_jobs
from twotsrec.studies import plans
from twotsrec.studies import study as study_lib

_EPOCHS = 'two_time.stage1_epochs'


def shared(
  reference: str,
) -> Callable[[plans.Plan, study_lib.Run], dict[str, Any] | None]:
  """`Study.follows` of systems with the stage 1 of 2TS.

  The reference tries several lengths of stage 1 and chooses one, which all
  others take over. Of the systems that see the same events in stage 1 the
  first trains it, and the others name its run.

  Args:
    reference: the system that chooses, first in its study.
  """

  def follows(plan: plans.Plan, run: study_lib.Run) -> dict[str, Any] | None:
    trained_by = source(plan, run)
    if trained_by is None:
      return {}
    fields = {}
    if trained_by != reference:
      report = plans.report(plan, run._replace(system=reference))
      if report is None:
        return None
      fields[_EPOCHS] = (report['two_time']['stage1_epochs'],)
    if trained_by != run.system:
      place = plans.workdir(plan, run._replace(system=trained_by))
      fields['two_time.stage1'] = place
    return fields

  return follows


def source(plan: plans.Plan, run: study_lib.Run) -> str | None:
  """The system whose stage 1 a run has; None without stage 1."""
  events = _events(plan, run)
  if events is None:
    return None
  return next(
    system
    for system in (*plan.systems[run.place], run.system)
    if _events(plan, run._replace(system=system)) == events
  )


def _events(plan, run) -> str | None:
  """The train events that stage 1 sees; None without stage 1."""
  options = plans.settings(plan, run).two_time
  if options.variant in config_lib.ONE_STAGE:
    return None
  return 'no windows' if stream_jobs.leaves_windows(options) else 'all'
