"""Sections of a document in Markdown, besides those of its tables."""

from collections.abc import Iterator
import pathlib
from typing import Any

from twotsrec.studies import claims as claims_lib
from twotsrec.studies import document
from twotsrec.studies import plans
from twotsrec.studies import results
from twotsrec.studies import study as study_lib
from twotsrec.studies import tables
from twotsrec.studies import tuning

# ---- Rankings of held-out items


def about(with_selection: bool = False) -> tables.Section:
  """Counts of a dataset, how it is ranked, and its groups."""

  def section(page: document.Page, chapter: results.Chapter) -> Iterator[str]:
    del page
    data, protocol = chapter.data, chapter.details.protocol
    number = protocol['num_candidates']
    candidates = f'{number} sampled' if number else protocol['candidates']
    ranked = f'{protocol["split"]}, {candidates} candidates'
    if with_selection:
      ranked = f'{ranked}, selected on {protocol["selection"]}'
    counted, unit = f'{data["events"]:,} interactions', 'interactions'
    if shown := data.get('impressions'):
      unit = 'impressions'
      counted = f'{shown:,} impressions, {data["events"]:,} of them clicked'
    spans = ', '.join(
      f'{group["users"]:,} ({group["min_activity"]}-{group["max_activity"]})'
      for group in chapter.details.groups
    )
    yield (
      f'{data["users"]:,} users, {data["items"]:,} items, {counted}; {ranked}.'
      f' Users by group, with their training {unit}: {spans}.'
    )

  return section


def claims(block: str = '') -> tables.Section:
  """The study's claims with their verdicts.

  Args:
    block: head of the column that names the block; '' where there is one.
  """

  def section(page: document.Page, chapter: results.Chapter) -> Iterator[str]:
    said = [
      (page.plan.study.labels.get(name, name), judged)
      for name, of_block in chapter.blocks.items()
      for judged in of_block.claims
    ]
    if not said:
      return
    places = [
      place
      for place in (*chapter.details.users['groups'], results.ALL)
      if any(place in judged.rows for _, judged in said)
    ]
    rows = []
    for name, judged in said:
      true, number = claims_lib.seeds(judged)
      cells = {k: results.signed(row) for k, row in judged.rows.items()}
      rows.append(
        [
          *([name] if block else []),
          judged.text,
          judged.verdict or '-',
          f'{true} of {number}' if number else '-',
          *(cells.get(place, '') for place in places),
        ]
      )
    first = [block] if block else []
    yield '### What holds'
    head = [*first, 'claim', 'verdict', 'true in seeds', *places]
    yield document.piped(head, rows)

  return section


def paired(page: document.Page, chapter: results.Chapter) -> Iterator[str]:
  """All paired differences, under the names of the tables."""
  from twotsrec.runs import compare
  from twotsrec.studies import offline

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
  costs = [
    'seed', 'epochs', 'selected', 'training seconds', 'evaluation seconds'
  ]  # fmt: skip
  tried = ['setting', 'on validation', 'chosen']
  shown = lambda value, form='': '-' if value is None else f'{value:{form}}'

  def section(page: document.Page, chapter: results.Chapter) -> Iterator[str]:
    study = page.plan.study
    values = [choice.values for choice in study.axes.values()]

    def inside(run: study_lib.Run) -> list[tuple[tuple[str, ...], str]]:
      return list(zip(values, run.place))[len(values) - len(axes) :]

    order = lambda run: (
      [values.index(value) for values, value in inside(run)],
      study.systems.index(run.system),
    )
    of_tried = tuning.of_runs(page.plan, chapter)
    rows = [
      [
        *(study.labels.get(value, value) for _, value in inside(run)),
        run.system,
        *of_tried.get(run, ()),
        str(run.seed),
        shown(cost.epochs),
        shown(cost.selected_epoch),
        shown(cost.seconds, ',.0f'),
        shown(cost.evaluation_seconds, ',.0f'),
      ]
      for run in sorted(chapter.runs, key=order)
      for cost in [chapter.runs[run]]
    ]
    yield '### Runs'
    head = [*axes, 'system', *(tried if of_tried else ()), *costs]
    yield document.piped(head, rows)
    yield from document.commands(page, chapter)

  return section


# ---- 2TS


def _event_milliseconds(runs) -> str:
  """The mean over the runs that tell it."""
  given = [r.event_milliseconds for r in runs if r.event_milliseconds]
  return f'{sum(given) / len(given):.3g}' if given else '-'


# Columns: what a system costs, and how much it ranks.
COSTS = (
  tables.cost('s per epoch', tables.averaged('epoch_seconds', '{:.2f}')),
  tables.cost('ms per test event', _event_milliseconds),
  tables.cost('test events', lambda runs: f'{runs[0].events:,}'),
)


def about_users(page: document.Page, chapter: results.Chapter) -> Iterator[str]:
  """Counts of a dataset, and how the threshold of 2TS divides its users."""
  del page
  data, details = chapter.data, chapter.details
  options, test = details.two_time, details.test[results.ALL]
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


def claims_of_chapters(page: document.Page) -> Iterator[str]:
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
  yield document.piped(['', 'claim', *judged], body)


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


def training(table: str, reference: str) -> tables.Section:
  """Epochs and seconds of the finished systems, and trials of stage 1.

  Args:
    table: key of `Study.tables`, whose systems are the rows.
    reference: the system that tries several lengths of stage 1.
  """
  average = lambda field: tables.averaged(field, '{:,.1f}')
  columns = (
    tables.cost(
      'stage-1 epochs',
      lambda runs: ', '.join(str(run.stage1_epochs or '-') for run in runs),
    ),
    tables.cost('stage 1 s', average('stage1_seconds')),
    tables.cost('network epochs', _network_epochs),
    tables.cost('networks s', average('network_seconds')),
    COSTS[0],
    tables.cost('compile s', average('compile_seconds')),
    tables.cost('evaluation s', average('evaluation_seconds')),
    *COSTS[1:],
  )
  show = tables.table(
    table, columns, title='Training', with_rules=False, with_missing=False
  )

  def section(page: document.Page, chapter: results.Chapter) -> Iterator[str]:
    yield from show(page, chapter)
    [block] = chapter.blocks.values()
    if (system := block.systems[reference]) is not None:
      trials = [
        ', '.join(f'{k}: {v:.4f}' for k, v in run.stage1_trials.items())
        + f' (chosen: {run.stage1_epochs})'
        for run in system.trainings or ()
      ]
      yield (
        'Validation MRR of the network of inactive users by epochs of stage 1,'
        f' for each seed: {"; ".join(trials)}.'
      )
    yield from _lists(chapter)
    yield from _refused(page.plan, chapter)

  return section


def _refused(plan, chapter) -> Iterator[str]:
  """Systems that the data of a chapter cannot serve, and why."""
  for place in plan.systems:
    if results.divided(plan.study, place)[0] == chapter.name:
      for system, why in plans.refusals(plan, place).items():
        yield f'{plan.study.labels[system]} has no row here: {why}.'


def _lists(chapter) -> Iterator[str]:
  """What all rows have ranked, and which have ranked a sample of users."""
  digest, every = chapter.details.digest, chapter.details.test[results.ALL]
  if digest:
    yield (
      f'All systems rank the same sampled lists: of {every["events"]:,} test'
      f' events they have the digest `{digest}`.'
    )
  [block] = chapter.blocks.values()
  if any(
    runs[0].events < every['events']
    for system in block.systems.values()
    if system and (runs := system.trainings)
  ):
    yield (
      'Systems with fewer test events than that rank a fixed sample of users'
      ' (evaluation.users); differences are of the users that both systems'
      ' rank.'
    )


def _network_epochs(runs) -> str:
  said = [
    f'{part} {", ".join(str(run.network_epochs[part]) for run in runs)}'
    for part in runs[0].network_epochs
  ]
  return '; '.join(said) or '-'


def theorem(page: document.Page) -> Iterator[str]:
  """Theorem 2.1 of 2TS in the head of the document, where it is asked for."""
  record = page.records.get('theory')
  if record is None:
    return
  yield '## Theorem 2.1, simulated'
  head, *rows = record['table']
  yield document.piped(head, rows)
  yield (
    'In these worlds the tastes of all users are known, so the risk of every'
    f' threshold can be measured. Of {record["runs"]} runs it holds in:'
  )
  claims = record['claims'].items()
  yield '\n'.join(f'- {count}: {claim}' for claim, count in claims)
  if record['picture']:
    title = 'Risk by threshold, with the bounds, and of the shrunk start'
    yield f'![{title}]({record["picture"]})'


def simulated(folder: pathlib.Path) -> dict[str, Any]:
  """`Table.collect` of the theorem: `theory.collect`."""
  from twotsrec.studies import theory

  return theory.collect(folder)
