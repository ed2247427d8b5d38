"""Columns, sections and sentences on 2TS in Markdown."""

from collections.abc import Iterator
from typing import Any

from twotsrec.evaluation import buckets
from twotsrec.evaluation import comparison
from twotsrec.studies import document
from twotsrec.studies import online_measures as measures
from twotsrec.studies import results
from twotsrec.studies import tables


def by_bucket(rule: str, mean: str) -> tables.Columns:
  """MRR by train events of the user, as 2TS fig. 3 divides them.

  Args:
    rule: of `online_measures.RULES`.
    mean: 'by_user', as in the figure, or 'by_event'.
  """

  def column(name, number) -> tables.Column:
    key = measures.key('mrr', rule, name, mean=mean)
    text = lambda measured: document.plain(measured.cells[key].value)
    return tables.column(f'{name} ({number:,})', text)

  def columns(chapter: results.Chapter) -> list[tables.Column]:
    details = chapter.details
    unit = 'users' if mean == measures.BY_USER else 'events'
    return [
      column(name, details.test[name][unit])
      for name in buckets.names(details.options.edges)
      if details.test[name]['users']
    ]

  return columns


def training(table: str, reference: str) -> tables.Section:
  """Epochs and seconds of the finished systems, and trials of stage 1.

  Args:
    table: key of `Study.tables`, whose systems are the rows.
    reference: the system that tries several lengths of stage 1.
  """
  average = lambda field: tables.averaged(field, '{:,.1f}')
  columns = (
    tables.cost('stage-1 epochs', _stage1_epochs),
    tables.cost('stage 1 s', average('stage1_seconds')),
    tables.cost('network epochs', _network_epochs),
    tables.cost('networks s', average('network_seconds')),
    tables.cost('s per epoch', tables.averaged('epoch_seconds', '{:.2f}')),
    tables.cost('compile s', average('compile_seconds')),
    tables.cost('evaluation s', average('evaluation_seconds')),
  )
  show = tables.table(
    table, columns, title='Training', with_rules=False, with_missing=False
  )

  def section(page: document.Page, chapter: results.Chapter) -> Iterator[str]:
    yield from show(page, chapter)
    [block] = chapter.blocks.values()
    if (system := block.systems[reference]) is not None:
      yield _trials(system.trainings)

  return section


def _stage1_epochs(runs) -> str:
  return ', '.join(str(run.stage1_epochs or '-') for run in runs)


def _network_epochs(runs) -> str:
  said = [
    f'{part} {", ".join(str(run.network_epochs[part]) for run in runs)}'
    for part in runs[0].network_epochs
  ]
  return '; '.join(said) or '-'


def _trials(runs) -> str:
  """Validation MRR by epochs of stage 1, by which the reference chooses."""
  said = [
    ', '.join(f'{k}: {v:.4f}' for k, v in run.stage1_trials.items())
    + f' (chosen: {run.stage1_epochs})'
    for run in runs
  ]
  return (
    'Validation MRR of the network of inactive users by epochs of stage 1, for'
    f' each seed: {"; ".join(said)}.'
  )


def about(page: document.Page, chapter: results.Chapter) -> Iterator[str]:
  """Counts of a dataset, and how the threshold divides its users."""
  del page
  data, details, options = (
    chapter.data,
    chapter.details,
    chapter.details.two_time,
  )
  test = details.test[results.ALL]
  yield (
    f'{data["users"]:,} users, {data["items"]:,} items, {data["events"]:,}'
    f' events; {test["events"]:,} test events of {test["users"]:,} users.'
    f' t\\* = {options.threshold} divides {details.inactive:,} inactive'
    f' users ({details.new:,} without a train event) from'
    f' {details.active:,} active ones (up to {details.most:,} train'
    f' events); K = {options.window}, hold-out {options.holdout},'
    f' warm-up {options.warmup}. Of the test events'
    f' {test["share_new"]:.1%} are of users without a train event, and'
    f' {test["share_cold"]:.1%} of items without one; these items score by'
    ' nothing that was learned of them.'
  )


def claims_at_length(
  page: document.Page, chapter: results.Chapter
) -> Iterator[str]:
  """The claims of a chapter with the differences behind them."""
  del page
  [block], lines = chapter.blocks.values(), []
  for judged in block.claims:
    detail = f': {judged.detail}' if judged.detail else ''
    verdict = judged.verdict or 'not trained'
    lines.append(f'- {judged.number}, {judged.text}: **{verdict}**{detail}')
  yield '### What holds'
  yield '\n'.join(lines)


def claims(page: document.Page) -> Iterator[str]:
  """One row for each sentence, one column for each dataset and split."""
  judged = {
    name: [one for block in chapter.blocks.values() for one in block.claims]
    for name, chapter in page.chapters.items()
    if chapter
  }
  body: list[list[Any]] = []
  for of_chapters in zip(*judged.values()):
    texts = dict.fromkeys(one.text for one in of_chapters)
    verdicts = [one.verdict or '-' for one in of_chapters]
    body.append([of_chapters[0].number, ' | '.join(texts), *verdicts])
  yield "## Which of the paper's qualitative claims hold"
  yield comparison.piped([['', 'claim', *judged], *body])


def laws(page: document.Page) -> Iterator[str]:
  """Exponents by maximum likelihood, from the most frequent count on."""
  said = []
  for name, chapter in page.chapters.items():
    if chapter is None:
      continue
    law, text = chapter.details.activity, 'no power law fits'
    if law.alpha is not None:
      text = (
        f'alpha = {law.alpha:.3f} (standard error {law.standard_error:.3f})'
        f' from {law.minimum} train events on'
      )
    said.append(f'{name}: {text}')
  yield f'{"; ".join(said)}.'
