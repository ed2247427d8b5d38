"""What a document says of settings that were tried for every system."""

from collections.abc import Iterator

from twotsrec.studies import document
from twotsrec.studies import plans
from twotsrec.studies import results
from twotsrec.studies import study as study_lib
from twotsrec.studies import tables


def sentence(page: document.Page) -> Iterator[str]:
  """What was tried and how it was chosen; nothing of presets alone."""
  study, tried = page.plan.study, page.plan.request.tried
  if tried == (study_lib.OWN,) or not plans.runs(page.plan):
    return
  fields = {
    name: ' '.join(f'{k}={v}' for k, v in study.tried[name].items())
    for name in tried
  }
  listed = ', '.join(
    f'{name} ({changed or "its preset"})' for name, changed in fields.items()
  )
  if len(tried) == 1:
    yield f'Every system is trained with the setting {listed}.'
    return
  yield (
    f'Every system is given {len(tried)} settings of the training: {listed}.'
    f' Of the first seed the one with the best {_metric(page)} on validation is'
    ' chosen, of equal ones the first; it stands for the system in all tables,'
    ' and only it is trained with further seeds.'
  )


def _metric(page) -> str:
  run = plans.runs(page.plan)[0]
  return plans.settings(page.plan, run).train.select_metric.upper()


def setting(chapter: results.Chapter) -> list[tables.Column]:
  """A column with the chosen setting, where there was a choice."""
  return _column(chapter, 'setting', lambda tuning: tuning.setting)


def seconds(chapter: results.Chapter) -> list[tables.Column]:
  """A column with the seconds of all that was tried, likewise."""
  return _column(
    chapter, 'seconds of all settings', lambda tuning: f'{tuning.seconds:,.0f}'
  )


def _column(chapter, head, text) -> list[tables.Column]:
  tuned = [
    measured
    for block in chapter.blocks.values()
    for measured in block.systems.values()
    if measured and measured.tuning
  ]
  cell = lambda of: text(of.tuning) if of.tuning else ''
  return [tables.column(head, cell)] if tuned else []


def of_runs(
  plan: plans.Plan, chapter: results.Chapter
) -> dict[study_lib.Run, list[str]]:
  """Cells of every run: its setting, its value on validation, if it is chosen.

  Nothing where there was no choice.
  """
  if len(plan.request.tried) == 1:
    return {}
  chosen = {
    plans.shared(plan, run._replace(system=system, setting=tuning.setting))
    for run in chapter.runs
    for block in [chapter.blocks[results.divided(plan.study, run.place)[1]]]
    for system, measured in block.systems.items()
    if measured and (tuning := measured.tuning)
  }
  return {
    run: [
      run.setting or 'the chosen one',
      results.plain(cost.selected_value),
      'yes' if run in chosen else '',
    ]
    for run, cost in chapter.runs.items()
  }
