"""The tables of 2TS in Markdown: systems are rows."""

from collections.abc import Iterator, Mapping, Sequence
import statistics
from typing import Any

from twotsrec.evaluation import buckets
from twotsrec.evaluation import comparison
from twotsrec.evaluation import online_report
from twotsrec.recipes.reproduction import document
from twotsrec.recipes.reproduction import two_time
from twotsrec.recipes.reproduction import two_time_claims as claims
from twotsrec.recipes.reproduction import two_time_measures as measures

METRICS = {'mrr': 'MRR', 'recall@10': 'Recall@10'}
_PAST = {'': 'with past', '_without_past': 'without past'}
EVERYBODY = online_report.EVERYBODY


def name(system: str) -> str:
  """Of a system in the tables."""
  return claims.NAMES.get(system) or ' '.join(system.split('_'))


def means(
  found: Mapping[str, Any],
  rule: str,
  row: str = EVERYBODY,
  part: str = 'all',
) -> str:
  """MRR and Recall@10 over events, with the past among the candidates or not.

  Args:
    found: a chapter of `two_time_results.collect`.
    rule: 'expected' or 'all'.
    row: of the report.
    part: 'all' events or 'warm' ones.
  """
  columns = [(f'{rule}{e}', metric) for e in _PAST for metric in METRICS]
  head = ['system']
  head += [f'{m}, {past}' for past in _PAST.values() for m in METRICS.values()]
  body = []
  for label, measured in _shown(found):
    cells = [
      _cell(measured, row, part, *column, 'by_event') for column in columns
    ]
    body.append([label, *cells])
  return comparison.piped([head, *body])


def kinds(found: Mapping[str, Any], rule: str) -> str:
  """MRR and Recall@10 over events of inactive and of active users."""
  head = ['system']
  head += [
    f'{kind}, {metric}'
    for kind in measures.KINDS
    for metric in METRICS.values()
  ]
  body = [
    [
      label,
      *(
        _cell(measured, kind, 'all', rule, metric, 'by_event')
        for kind in measures.KINDS
        for metric in METRICS
      ),
    ]
    for label, measured in _shown(found)
  ]
  return comparison.piped([head, *body])


def by_bucket(found: Mapping[str, Any], rule: str, mean: str) -> str:
  """MRR by train events of the user, as Fig. 3 divides them.

  Args:
    found: a chapter of `two_time_results.collect`.
    rule: of a report.
    mean: 'by_user', as in the figure, or 'by_event'.
  """
  rows = {r['name']: r for r in found['popularity']['report']['rows']}
  edges = found['options']['edges']
  names = [n for n in buckets.names(edges) if rows[n]['all']['users']]
  unit = 'users' if mean == 'by_user' else 'events'
  head = ['system', *(f'{n} ({rows[n]["all"][unit]:,})' for n in names)]
  body = [
    [
      label,
      *(
        _cell(measured, n, 'all', rule, 'mrr', mean, plain=True) for n in names
      ),
    ]
    for label, measured in _shown(found)
  ]
  return comparison.piped([head, *body])


def ablation(found: Mapping[str, Any]) -> str:
  """What leaving something out of 2TS changes, paired, and what it costs."""
  base = name(two_time.REFERENCE)
  head = ['system', *METRICS.values()]
  head += [f'{metric} - {base}' for metric in METRICS.values()]
  head += [f'MRR - {base}, {kind}' for kind in measures.KINDS]
  head.append('s per epoch')
  body = []
  for row, system in found['tables']['ablation'].items():
    measured = found['systems'][system]
    if measured is None:
      body.append([name(row), *['-'] * (len(head) - 1)])
      continue
    against = found['against'].get(system)
    body.append(
      [
        _label(row, system),
        *(_cell(measured, EVERYBODY, 'all', claims.RULE, m, 'by_event')
          for m in METRICS),
        *(_difference(against, m, EVERYBODY) for m in METRICS),
        *(_difference(against, 'mrr', kind) for kind in measures.KINDS),
        f'{_mean(measured["timing"], "epoch_seconds"):.2f}',
      ]
    )  # fmt: skip
  return comparison.piped([head, *body])


def training(found: Mapping[str, Any]) -> str:
  """Epochs and seconds, means over the seeds."""
  head = [
    'system', 'stage-1 epochs', 'stage 1 s', 'network epochs', 'networks s',
    's per epoch', 'compile s', 'evaluation s',
  ]  # fmt: skip
  body = []
  for label, measured in _shown(found):
    if not measured or not measured['timing']:
      continue
    timing = measured['timing']
    epochs = ', '.join(str(run['stage1_epochs'] or '-') for run in timing)
    trained = {
      part: [run['network_epochs'][part] for run in timing]
      for part in timing[0]['network_epochs']
    }
    body.append(
      [
        label,
        epochs,
        f'{_mean(timing, "stage1_seconds"):,.1f}',
        '; '.join(f'{p} {", ".join(map(str, n))}' for p, n in trained.items())
        or '-',
        f'{_mean(timing, "network_seconds"):,.1f}',
        f'{_mean(timing, "epoch_seconds"):.2f}',
        f'{_mean(timing, "compile_seconds"):,.1f}',
        f'{_mean(timing, "evaluation_seconds"):,.1f}',
      ]
    )
  return comparison.piped([head, *body])


def trials(found: Mapping[str, Any]) -> str:
  """Validation MRR by epochs of stage 1, by which the reference has chosen."""
  measured = found['systems'][two_time.REFERENCE]
  if measured is None:
    return ''
  told = [
    ', '.join(f'{k}: {v:.4f}' for k, v in run['stage1_trials'].items())
    + f' (chosen: {run["stage1_epochs"]})'
    for run in measured['timing']
  ]
  return (
    'Validation MRR of the network of inactive users by epochs of stage 1, for'
    f' each seed: {"; ".join(told)}.'
  )


def _shown(found) -> Iterator[tuple[str, Any]]:
  """Labels and measures of popularity and of the rows asked for."""
  yield name(two_time.POPULARITY), found['popularity']
  # Without a table, such as for a figure alone, all there is.
  rows = found['tables'].get('comparison') or {s: s for s in found['systems']}
  for row, system in rows.items():
    yield _label(row, system), found['systems'][system]


def _label(row, system) -> str:
  if row == system:
    return name(row)
  return f'{name(row)} (the run of {name(system)})'


def _cell(
  measured: Mapping[str, Any] | None,
  row: str,
  part: str,
  rule: str,
  metric: str,
  mean: str,
  plain: bool = False,
) -> str:
  """A mean with its interval over users, and what single seeds say."""
  if measured is None:
    return '-'
  rows = {r['name']: r for r in measured['report']['rows']}
  cell = rows[row][part][rule][metric][mean]
  if cell['value'] is None:
    return '-'
  text = f'{cell["value"]:.4f}'
  if plain:
    return text
  if cell['low'] is not None:
    text = f'{text} ({cell["low"]:.4f} to {cell["high"]:.4f})'
  if len(measured['timing']) < 2:
    return text
  seeds = measured['spread'][row][part][rule][metric]
  return f'{text}, seeds {min(seeds):.4f} to {max(seeds):.4f}'


def _difference(against, metric, kind) -> str:
  """Of a system to the reference, with its paired interval."""
  if against is None:
    return ''
  rows = {row['group']: row for row in against[claims.RULE][metric]}
  return document.difference(rows[kind])


def _mean(timing: Sequence[Mapping[str, Any]], field: str) -> float:
  return statistics.fmean(run[field] for run in timing)
