"""The document on COPF: our numbers beside the paper's, in Markdown."""

from collections.abc import Iterator, Mapping
import pathlib
from typing import Any

from twotsrec.evaluation import comparison
from twotsrec.recipes import copf as copf_lib
from twotsrec.recipes.reproduction import copf
from twotsrec.recipes.reproduction import copf_figure
from twotsrec.recipes.reproduction import copf_numbers
from twotsrec.recipes.reproduction import copf_tables
from twotsrec.recipes.reproduction import document

TITLES = {
  '2': 'Table 2: COPF, LightGCN and the rules',
  '3': 'Table 3: parts of COGCN and DFME taken away',
  '4': 'Table 4: aggregation schemes on COGCN',
  '5': 'Table 5: heads on COGCN',
  'fig3': 'Fig. 3: layers',
  'fig4': 'Fig. 4: temperature',
  'fig5': 'Fig. 5: alpha, the scale of a fitted expert',
}

_READING = (
  'Cells are means over seeds with 95 % intervals over users; "- COPF" is the'
  ' paired difference to COPF with its interval. Verdicts follow HR@10 of all'
  ' users: "holds" if the interval has COPF above, "does not hold" if below,'
  ' "not decided" where it includes 0. Intervals say what other such users'
  ' would show of these trained models, not what another training would.'
)
_RULES = (
  'The rules train nothing: buy_popularity ranks by purchases; cart_reminder'
  ' puts first what the user had in the last behavior before a purchase,'
  ' view_reminder what the user had in the first, each without what was bought'
  ' and by conversion rate, then popularity. Their intervals are not paired.'
)
_BUDGET = (
  'Every system is trained for {epochs} epochs at most, evaluated every'
  ' {every}, and stopped after {patience} evaluations without a gain. The epoch'
  ' is selected on validation HR@10, one drawn training purchase of a user,'
  ' which costs training data. The paper trains 200 epochs, takes the epoch'
  " with the best HR@10 on the TEST items (authors' code) and tells means of 5"
  ' runs, so its level is no target: compare orders.'
)


def write(result: Mapping[str, Any], out: str) -> pathlib.Path:
  """Writes OUT/copf.md, OUT/copf.json and, with matplotlib, the pictures.

  Args:
    result: of `copf_results.collect`.
    out: folder.
  Returns:
    The Markdown file.
  """
  folder = pathlib.Path(out)
  text = markdown(result, copf_figure.draw(result, folder))
  return document.write(result, text, folder, 'copf')


def markdown(
  result: Mapping[str, Any], figures: Mapping[str, str] | None = None
) -> str:
  """The whole document.

  Args:
    result: of `copf_results.collect`.
    figures: {figure: file name of its picture, beside the document}.
  """
  head = [
    '# COPF, reproduced',
    f'```\n{result["command"]}\n```',
    _budget(result),
    _READING,
    _RULES,
  ]
  return document.join(
    head, result, lambda name, found: _dataset(name, found, figures or {})
  )


def _dataset(name, found, figures) -> Iterator[str]:
  yield _about(found)
  yield _paper(name)
  for table, rows in found['tables'].items():
    if not rows:
      continue
    yield f'### {TITLES[table]}'
    yield copf_tables.of_table(found, name, table)
    if table in copf.SWEEPS:
      yield copf_tables.best(found, table)
      if table in figures:
        yield f'![{TITLES[table]}]({figures[table]})'
    elif said := copf_tables.below_reference(found, table):
      yield said
  yield from _places(found)
  yield '### Runs'
  yield from _runs(found)


def _places(found) -> Iterator[str]:
  """Every system by part and by group."""
  titles = {
    'parts': 'By what the user had shown toward the held-out item',
    'groups': 'By activeness group',
  }
  notes = {
    'parts': (
      'A part holds the held-out items by the last behavior that their user had'
      ' shown toward them in training; "new" is none at all.'
    ),
    'groups': 'Group 1 has the users with the fewest training interactions.',
  }
  for by, title in titles.items():
    for metric, label in copf_tables.METRICS.items():
      yield f'### {title}: {label}'
      yield copf_tables.by_rows(found, by, metric)
    yield (
      f'{notes[by]} A cell ends in > where it is above COPF and in < where it'
      ' is below, by the paired interval; the head counts users.'
    )


def _budget(result) -> str:
  # These are the same for all systems.
  train = copf_lib.preset(next(iter(copf.FILES))).train
  return _BUDGET.format(
    epochs=result['settings']['epochs'],
    every=train.evaluate_every,
    patience=train.patience,
  )


def _about(found) -> str:
  protocol = found['protocol']
  return document.about(
    found,
    f'{protocol["split"]}, {protocol["candidates"]} candidates, selected on'
    f' {protocol["selection"]}',
  )


def _paper(name) -> str:
  column = copf_numbers.DATASETS.get(name)
  if column is None:
    return 'The paper has no numbers on this dataset.'
  if name in copf_numbers.WITHOUT_VIEWS:
    return (
      f"The paper's numbers are those on its {column}, whose views no public"
      ' copy has. OUR DATA ARE WITHOUT VIEWS, so they stand side by side for'
      ' orientation only.'
    )
  return f"The paper's numbers are those on its {column}."


def _runs(found) -> Iterator[str]:
  head = ['system', 'seed', *document.RUN_HEAD]
  place = lambda row: copf.SYSTEMS.index(row['system'])
  shown = [
    [row['system'], str(row['seed']), *document.run_cells(row)]
    for row in sorted(found['runs'], key=place)
  ]
  yield comparison.piped([head, *shown])
  yield document.commands(found['commands'].values())
