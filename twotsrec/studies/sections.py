"""Sections of a chapter on rankings of held-out items, in Markdown."""

from collections.abc import Iterator

from twotsrec.evaluation import comparison
from twotsrec.runs import compare
from twotsrec.studies import claims as claims_lib
from twotsrec.studies import document
from twotsrec.studies import offline
from twotsrec.studies import results
from twotsrec.studies import tables


def about(with_selection: bool = False) -> tables.Section:
  """Counts of a dataset, how it is ranked, and its groups."""

  def section(page: document.Page, chapter: results.Chapter) -> Iterator[str]:
    del page
    data, protocol = chapter.data, chapter.details.protocol
    number = protocol.num_candidates
    candidates = f'{number} sampled' if number else protocol.candidates
    ranked = f'{protocol.split}, {candidates} candidates'
    if with_selection:
      ranked = f'{ranked}, selected on {protocol.selection}'
    spans = ', '.join(
      f'{group.users:,} ({group.min_activity}-{group.max_activity})'
      for group in chapter.details.groups
    )
    yield (
      f'{data["users"]:,} users, {data["items"]:,} items, {data["events"]:,}'
      f' interactions; {ranked}. Users by group, with their training'
      f' interactions: {spans}.'
    )

  return section


def claims(block: str) -> tables.Section:
  """The study's claims with their verdicts; `block` heads the first column."""

  def section(page: document.Page, chapter: results.Chapter) -> Iterator[str]:
    places = [*chapter.details.users['groups'], results.ALL]
    head = [block, 'claim', 'verdict', 'true in seeds', *places]
    rows = []
    for name, of_block in chapter.blocks.items():
      for judged in of_block.claims:
        true, number = claims_lib.seeds(judged)
        cells = {k: document.difference(row) for k, row in judged.rows.items()}
        rows.append(
          [
            page.plan.study.labels.get(name, name),
            judged.text,
            judged.verdict or '-',
            f'{true} of {number}' if number else '-',
            *(cells.get(place, '') for place in places),
          ]
        )
    yield '### What holds'
    yield comparison.piped([head, *rows])

  return section


def paired(page: document.Page, chapter: results.Chapter) -> Iterator[str]:
  """All paired differences, under the names of the tables."""
  study = page.plan.study
  for block, of_block in chapter.blocks.items():
    name = lambda system, block=block: document.name(study, system, block)
    if of_block.compared:
      yield f'### Paired differences, {study.labels.get(block, block)}'
    for pair in of_block.compared:
      yield compare.markdown(offline.renamed(pair, name))
      yield f'seeds: {", ".join(map(str, pair.seeds))}'


def runs(*axes: str) -> tables.Section:
  """Every run with its cost, and the lines that train them.

  Args:
    *axes: heads of the last values of a place, before the system.
  """
  head = [
    *axes, 'system', 'seed', 'epochs', 'selected', 'training seconds',
    'evaluation seconds',
  ]  # fmt: skip
  count = lambda value: '-' if value is None else str(value)
  seconds = lambda value: '-' if value is None else f'{value:,.0f}'

  def section(page: document.Page, chapter: results.Chapter) -> Iterator[str]:
    study = page.plan.study
    inside = [choice.values for choice in study.axes.values()][-len(axes) :]
    place = lambda run: run.place[-len(axes) :] if axes else ()
    order = lambda run: (
      [values.index(value) for values, value in zip(inside, place(run))],
      study.systems.index(run.system),
    )
    rows = [
      [
        *(study.labels.get(value, value) for value in place(run)),
        run.system,
        str(run.seed),
        count(cost.epochs),
        count(cost.selected_epoch),
        seconds(cost.seconds),
        seconds(cost.evaluation_seconds),
      ]
      for run in sorted(chapter.runs, key=order)
      for cost in [chapter.runs[run]]
    ]
    yield '### Runs'
    yield comparison.piped([head, *rows])
    yield from document.commands(page, chapter)

  return section
