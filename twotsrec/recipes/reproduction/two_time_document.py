"""The document on 2TS, in Markdown: what holds of the paper's sentences."""

from collections.abc import Iterator, Mapping
import pathlib
from typing import Any

from twotsrec.evaluation import comparison
from twotsrec.recipes.reproduction import document
from twotsrec.recipes.reproduction import two_time
from twotsrec.recipes.reproduction import two_time_claims as claims
from twotsrec.recipes.reproduction import two_time_figures
from twotsrec.recipes.reproduction import two_time_tables as tables

_LOST = (
  "The paper's result tables are lost, and so are its sizes, rates and"
  ' thresholds: no number here can be held against one of the paper. What it'
  ' says in words can be checked, as far as the baselines are here.'
)
_READING = (
  'Every event is scored before it moves the state of its user. The item is'
  ' ranked among 499 others, as the exact expectation over all such lists, or'
  ' among all items; "without past" leaves out the items of the user\'s earlier'
  ' events, "with past" is the paper. Means are over events unless said'
  ' otherwise, with 95 % intervals over users; several seeds are averaged event'
  ' by event, and the least and the most of them stand behind. Verdicts follow'
  ' paired intervals: "holds" if all are above 0, "does not hold" if one is'
  ' below, "not decided" where they include 0. They say what other such users'
  ' would show of these trained models, not what another training would.'
)
_SHARED = (
  '2TS chooses how long stage 1 trains by the validation MRR of its network of'
  ' inactive users; all other systems with a stage 1 train as long. Systems'
  ' that leave the same events out of stage 1 share one.'
)
_FIGURES = {
  '3': ('fig3', 'Fig. 3: MRR by train events of the user, mean over users'),
  '4': ('fig4', 'Fig. 4: how far a test event moves the state, 2TS'),
  '5': ('fig5', 'Fig. 5: users by train events, and the fitted power law'),
}


def write(
  result: Mapping[str, Any], out: str, theory: Mapping[str, Any] | None = None
) -> pathlib.Path:
  """Writes OUT/two_time_scale.md and .json and, with matplotlib, the pictures.

  Args:
    result: of `two_time_results.collect`.
    out: folder.
    theory: of `two_time_theory.collect`; None leaves it out.
  Returns:
    The Markdown file.
  """
  folder = pathlib.Path(out)
  figures = two_time_figures.draw(_drawn(result), folder)
  text = markdown(result, figures, theory)
  return document.write(
    {**result, 'theory': theory}, text, folder, 'two_time_scale'
  )


def markdown(
  result: Mapping[str, Any],
  figures: Mapping[str, str] | None = None,
  theory: Mapping[str, Any] | None = None,
) -> str:
  """The whole document.

  Args:
    result: of `two_time_results.collect`.
    figures: {figure: file name of its picture, beside the document}.
    theory: of `two_time_theory.collect`.
  """
  head = ['# 2TS, reproduced', f'```\n{result["command"]}\n```', _LOST]
  if result['datasets']:
    head += [_READING, _SHARED, *_claims(result), *_pictures(result, figures)]
  if theory:
    head += _theory(theory)
  if not result['datasets']:
    return '\n\n'.join(head) + '\n'
  return document.join(head, result, _chapter)


def _drawn(result) -> dict[str, dict[str, Any]]:
  """What `two_time_figures` takes, of the figures asked for."""
  asked = result['settings']['figures']
  drawn: dict[str, dict[str, Any]] = {}
  for place, found in result['datasets'].items():
    if found is None:
      continue
    drawn[place] = {}
    if '3' in asked:
      drawn[place]['reports'] = _reports(found)
    if '4' in asked:
      drawn[place]['movement'] = found['movement']
    if '5' in asked:
      drawn[place]['activity'] = found['activity']
  return drawn


def _reports(found):
  """Reports to draw, by the name of their line."""
  shown = {s: m for s, m in found['systems'].items() if m is not None}
  compared = [s for s in two_time.COMPARED if s in shown]
  return {
    tables.name(two_time.POPULARITY): found['popularity']['report'],
    **{tables.name(s): shown[s]['report'] for s in compared},
  }


def _pictures(result, figures) -> Iterator[str]:
  for asked in result['settings']['figures']:
    name, title = _FIGURES.get(asked, ('', ''))
    if name in (figures or {}):
      yield f'## {title}'
      yield f'![{title}]({figures[name]})'
      if asked == '5':
        yield _laws(result)


def _laws(result) -> str:
  """Exponents by maximum likelihood, from the most frequent count on."""
  told = []
  for place, found in result['datasets'].items():
    law = found and found['activity']
    if not law:
      continue
    shown = 'no power law fits'
    if law['alpha'] is not None:
      shown = (
        f'alpha = {law["alpha"]:.3f} (standard error'
        f' {law["standard_error"]:.3f}) from {law["minimum"]} train events on'
      )
    told.append(f'{place}: {shown}')
  return f'{"; ".join(told)}.'


def _theory(found) -> Iterator[str]:
  yield '## Theorem 2.1, simulated'
  yield comparison.piped(found['table'])
  yield (
    'In these worlds the tastes of all users are known, so the risk of every'
    f' threshold can be measured. Of {found["runs"]} runs it holds in:'
  )
  yield '\n'.join(
    f'- {count}: {name}' for name, count in found['claims'].items()
  )
  if found['picture']:
    title = 'Risk by threshold, with the bounds and the crossing'
    yield f'![{title}]({found["picture"]})'


def _claims(result) -> Iterator[str]:
  """One row for each sentence, one column for each dataset and split."""
  yield "## Which of the paper's qualitative claims hold"
  chapters = {k: v for k, v in result['datasets'].items() if v}
  known = next(iter(chapters.values()))['claims']
  body = []
  for i, row in enumerate(known):
    judged = [chapter['claims'][i] for chapter in chapters.values()]
    texts = dict.fromkeys(one['text'] for one in judged)
    verdicts = [one['verdict'] or '-' for one in judged]
    body.append([row['claim'], ' | '.join(texts), *verdicts])
  yield comparison.piped([['', 'claim', *chapters], *body])
  yield (
    "R1 to R7 number the paper's sentences. Popularity is no baseline of the"
    ' paper; CCF is. 1-GRU is the nearest here to its GRU4Rec, and the'
    ' K-window GRU tells what the own start adds. R6 compares shops with the'
    " paper's Taobao, where active users gain more, and films with its ML-25M,"
    ' where inactive users do. A stage 1 that has seen the windows rewards the'
    ' network of active users for standing still, which is part of R7; 2TS goes'
    ' without them where hold-out is last_k, the paper does not.'
  )
  yield '\n'.join(
    f'- {number}: {text}.' for number, text in claims.NOT_CHECKABLE.items()
  )


def _chapter(place, found) -> Iterator[str]:
  del place
  yield _about(found)
  yield '### What holds'
  yield '\n'.join(_details(found))
  shown = found['tables']
  if 'comparison' in shown:
    yield from _comparison(found)
  if 'ablation' in shown:
    yield '### Ablation'
    yield tables.ablation(found)
  yield '### Training'
  yield tables.training(found)
  if said := tables.trials(found):
    yield said
  yield document.commands(found['commands'].values())


def _comparison(found) -> Iterator[str]:
  lists = found['options']['lists'] + 1
  yield f'### Comparison: 1 + {lists - 1} candidates, expected'
  yield tables.means(found, 'expected')
  yield '### Comparison: all items'
  yield tables.means(found, 'all')
  yield f'### Warm items alone: 1 + {lists - 1} candidates, expected'
  yield tables.means(found, 'expected', part='warm')
  yield '### Inactive and active users, with past'
  yield tables.kinds(found, 'expected')
  yield '### Inactive and active users, without past'
  yield tables.kinds(found, 'expected_without_past')
  yield '### MRR by train events of the user, mean over users, with past'
  yield tables.by_bucket(found, 'expected', 'by_user')
  yield '### MRR by train events of the user, mean over events, with past'
  yield tables.by_bucket(found, 'expected', 'by_event')
  yield '### MRR by train events of the user, mean over users, without past'
  yield tables.by_bucket(found, 'expected_without_past', 'by_user')


def _details(found) -> Iterator[str]:
  for row in found['claims']:
    verdict = row['verdict'] or 'not trained'
    detail = f': {row["detail"]}' if row['detail'] else ''
    yield f'- {row["claim"]}, {row["text"]}: **{verdict}**{detail}'


def _about(found) -> str:
  data, division = found['data'], found['division']
  part = found['popularity']['report']['rows'][0]['all']
  return (
    f'{data["users"]:,} users, {data["items"]:,} items, {data["events"]:,}'
    f' events; {part["events"]:,} test events of {part["users"]:,} users.'
    f' t\\* = {division["threshold"]} divides {division["inactive"]:,} inactive'
    f' users ({division["new"]:,} without a train event) from'
    f' {division["active"]:,} active ones (up to {division["most"]:,} train'
    f' events); K = {division["window"]}, hold-out {division["holdout"]},'
    f' warm-up {division["warmup"]}. Of the test events'
    f' {part["share_new"]:.1%} are of users without a train event, and'
    f' {part["share_cold"]:.1%} of items without one; these items score by'
    ' nothing that was learned of them.'
  )
