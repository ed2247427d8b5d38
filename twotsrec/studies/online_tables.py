"""Sections on 2TS in Markdown: tables of systems, and sentences."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from twotsrec.evaluation import buckets
from twotsrec.evaluation import comparison
from twotsrec.evaluation import online_report
from twotsrec.studies import document
from twotsrec.studies import online

_NO_RUN = '-'
EVERYBODY = online_report.EVERYBODY

Section = Callable[[document.Page, online.Chapter], Iterable[str]]


class Row(NamedTuple):
  """A line of a table.

  Attributes:
    label: its first cell.
    system: None if no run has finished.
    against: {(rule, metric): differences to the reference}.
  """

  label: str
  system: online.System | None
  against: Mapping[tuple[str, str], Sequence[Any]] = {}


# ---- Columns


def mean(
  head: str,
  metric: str,
  rule: str = 'expected',
  row: str = EVERYBODY,
  part: str = 'all',
) -> document.Column:
  """A mean over events, its interval over users, and the span of the seeds.

  Args:
    head: of the column.
    metric: 'mrr' or 'recall@10'.
    rule: of `online.RULES`.
    row: 'all', 'inactive' or 'active' users, or a bucket.
    part: 'all' events or 'warm' ones.
  """

  def text(line: Row) -> str:
    cell = online.cell(line.system, rule, metric, row, part)
    if cell.value is None or len(line.system.timing) < 2:
      return document.cell(cell)
    seeds = line.system.spread[row, part, rule, metric]
    return f'{document.cell(cell)}, seeds {min(seeds):.4f} to {max(seeds):.4f}'

  return _column(head, text)


def minus(head: str, metric: str, row: str = EVERYBODY) -> document.Column:
  """The paired difference to the reference; '' for the reference itself."""

  def text(line: Row) -> str:
    rows = {r.row: r for r in line.against.get(('expected', metric), ())}
    return document.difference(rows[row]) if rows else ''

  return _column(head, text)


def seconds(head: str, field: str, form: str = '{:,.1f}') -> document.Column:
  """The mean over the seeds of a field of `online.Timing`."""
  return _column(
    head, lambda line: form.format(online.mean_timing(line.system, field))
  )


def _column(head, text) -> document.Column:
  return document.Column(
    head, lambda line: _NO_RUN if line.system is None else text(line)
  )


# ---- Tables


def table(
  title: str, columns: Sequence[document.Column], popularity: bool = True
) -> Section:
  """All systems of a table.

  Args:
    title: '{lists}' in it is the number of sampled candidates.
    columns: behind the first.
    popularity: whether it is the first row.
  """

  def section(page: document.Page, chapter: online.Chapter) -> Iterator[str]:
    rows = _rows(page, chapter, 'comparison' if popularity else 'ablation')
    if title:
      yield f'### {title.format(lists=chapter.options["lists"])}'
    rows = rows if popularity else rows[1:]
    yield document.piped('system', columns, rows)

  return section


def by_bucket(title: str, rule: str, mean: str) -> Section:
  """MRR by train events of the user, as 2TS fig. 3 divides them.

  Args:
    title: of the table.
    rule: of `online.RULES`.
    mean: 'by_user', as in the figure, or 'by_event'.
  """

  def column(name, count) -> document.Column:
    cell = lambda line: online.cell(line.system, rule, 'mrr', name, mean=mean)
    return _column(
      f'{name} ({count:,})', lambda line: document.plain(cell(line).value)
    )

  def section(page: document.Page, chapter: online.Chapter) -> Iterator[str]:
    unit = 'users' if mean == 'by_user' else 'events'
    rows = {r['name']: r['all'] for r in chapter.popularity.report['rows']}
    columns = [
      column(name, rows[name][unit])
      for name in buckets.names(chapter.options['edges'])
      if rows[name]['users']
    ]
    yield f'### {title}'
    lines = _rows(page, chapter, 'comparison')
    yield document.piped('system', columns, lines)

  return section


def _rows(page, chapter, table) -> list[Row]:
  """Popularity and the systems of a table, or all without the table."""
  study, [block] = page.plan.study, chapter.blocks.values()
  rows = block.tables.get(table) or {s: s for s in block.systems}
  label = document.name(study, online.POPULARITY)
  return [
    Row(label, chapter.popularity),
    *(
      Row(
        document.label(study, row, system),
        block.systems[system],
        chapter.against.get(system, {}),
      )
      for row, system in rows.items()
    ),
  ]


def training(reference: str) -> Section:
  """Epochs and seconds of the finished systems, and trials of stage 1."""

  def networks(line: Row) -> str:
    timing = line.system.timing
    return '; '.join(
      f'{part} {", ".join(str(run.network_epochs[part]) for run in timing)}'
      for part in timing[0].network_epochs
    )

  stage1 = lambda line: ', '.join(
    str(run.stage1_epochs or '-') for run in line.system.timing
  )
  columns = [
    document.Column('stage-1 epochs', stage1),
    seconds('stage 1 s', 'stage1_seconds'),
    document.Column('network epochs', lambda line: networks(line) or '-'),
    seconds('networks s', 'network_seconds'),
    seconds('s per epoch', 'epoch_seconds', '{:.2f}'),
    seconds('compile s', 'compile_seconds'),
    seconds('evaluation s', 'evaluation_seconds'),
  ]

  def section(page: document.Page, chapter: online.Chapter) -> Iterator[str]:
    rows = _rows(page, chapter, 'comparison')
    yield '### Training'
    yield document.piped(
      'system', columns, [r for r in rows if r.system and r.system.timing]
    )
    [block] = chapter.blocks.values()
    if (system := block.systems[reference]) is not None:
      yield _trials(system.timing)

  return section


def _trials(timing) -> str:
  """Validation MRR by epochs of stage 1, by which the reference chooses."""
  said = [
    ', '.join(f'{k}: {v:.4f}' for k, v in run.stage1_trials.items())
    + f' (chosen: {run.stage1_epochs})'
    for run in timing
  ]
  return (
    'Validation MRR of the network of inactive users by epochs of stage 1, for'
    f' each seed: {"; ".join(said)}.'
  )


# ---- Sentences


def about(page: document.Page, chapter: online.Chapter) -> Iterator[str]:
  """Counts of a dataset, and how the threshold divides its users."""
  del page
  data, division = chapter.data, chapter.division
  part = chapter.popularity.report['rows'][0]['all']
  yield (
    f'{data["users"]:,} users, {data["items"]:,} items, {data["events"]:,}'
    f' events; {part["events"]:,} test events of {part["users"]:,} users.'
    f' t\\* = {division.threshold} divides {division.inactive:,} inactive'
    f' users ({division.new:,} without a train event) from'
    f' {division.active:,} active ones (up to {division.most:,} train'
    f' events); K = {division.window}, hold-out {division.holdout},'
    f' warm-up {division.warmup}. Of the test events'
    f' {part["share_new"]:.1%} are of users without a train event, and'
    f' {part["share_cold"]:.1%} of items without one; these items score by'
    ' nothing that was learned of them.'
  )


def details(page: document.Page, chapter: online.Chapter) -> Iterator[str]:
  """The claims of a chapter with the differences behind them."""
  del page
  lines = []
  for judged in chapter.claims:
    detail = f': {judged.detail}' if judged.detail else ''
    verdict = judged.verdict or 'not trained'
    lines.append(f'- {judged.number}, {judged.text}: **{verdict}**{detail}')
  yield '### What holds'
  yield '\n'.join(lines)


def claims(page: document.Page) -> Iterator[str]:
  """One row for each sentence, one column for each dataset and split."""
  chapters = {name: c for name, c in page.chapters.items() if c}
  body = []
  for judged in zip(*(chapter.claims for chapter in chapters.values())):
    texts = dict.fromkeys(one.text for one in judged)
    verdicts = [one.verdict or '-' for one in judged]
    body.append([judged[0].number, ' | '.join(texts), *verdicts])
  yield "## Which of the paper's qualitative claims hold"
  yield comparison.piped([['', 'claim', *chapters], *body])


def laws(page: document.Page) -> Iterator[str]:
  """Exponents by maximum likelihood, from the most frequent count on."""
  said = []
  for name, chapter in page.chapters.items():
    if chapter is None:
      continue
    law = chapter.activity
    text = 'no power law fits'
    if law.alpha is not None:
      text = (
        f'alpha = {law.alpha:.3f} (standard error {law.standard_error:.3f})'
        f' from {law.minimum} train events on'
      )
    said.append(f'{name}: {text}')
  yield f'{"; ".join(said)}.'


def reports(
  systems: Sequence[str], labels: Mapping[str, str]
) -> Callable[[online.Chapter], dict[str, Any]]:
  """The reports of popularity and of finished systems, by their labels."""

  def content(chapter: online.Chapter) -> dict[str, Any]:
    [block] = chapter.blocks.values()
    shown = {online.POPULARITY: chapter.popularity, **block.systems}
    return {
      labels[name]: shown[name].report
      for name in (online.POPULARITY, *systems)
      if shown.get(name) is not None
    }

  return content
