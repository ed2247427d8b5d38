"""The report: metrics over everybody, by activeness group, and by part.

Means, where a user may have several held-out items:
  auc       pooled over all pairs of a group (of everybody for the overall row)
  user_auc  per item against its user's negatives, mean per user, mean of users
  recall@K  the user's share of held-out items found, mean over users
  hr@K, ndcg@K, mrr   mean over held-out items
With one held-out item per user recall@K equals hr@K. `count` says how many
items (auc, hr, ndcg, mrr) or users (user_auc, recall) a value rests on.

A part holds the held-out items toward which their users had shown a behavior
before (see `behaviors`). Its users are in any group, so its AUC compares with
the negatives of everybody.

Intervals resample users. For the pooled AUC they resample the placements of
the positives (the share of the pooled negatives below each one) and take the
negatives as given; where a model scores all items of some users higher than
those of others this is wider than resampling both sides.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from twotsrec import config
from twotsrec import metrics
from twotsrec.evaluation import bootstrap
from twotsrec.evaluation import counting


class Terms(NamedTuple):
  """One metric as sums over users: its value is sum(sums) / sum(counts).

  Attributes:
    sums: f64[U'], of the users in `user`.
    counts: f64[U'].
  """

  sums: np.ndarray
  counts: np.ndarray


def per_target(
  targets: Any,
  group: np.ndarray,
  counts: counting.Counts,
  placements: tuple[np.ndarray, np.ndarray],
  evaluation: config.EvaluationConfig,
) -> dict[str, np.ndarray]:
  """Columns of `per_target.npz`, one row per held-out item.

  Args:
    targets: event, user and item [T], as `prepared.Targets`.
    group: i32[T], 0..G-1.
    counts: of one rule.
    placements: of `auc.placements`, against the own group and everybody.
    evaluation: treatment of ties.
  """
  pair = counts.better, counts.tied
  # A tie that earns the credit `auc_ties` ranks 1 - auc_ties of the way down.
  auc_rank = metrics.rank_from_counts(*pair, 1.0 - evaluation.auc_ties)
  return {
    'event': np.asarray(targets.event),
    'user': np.asarray(targets.user),
    'item': np.asarray(targets.item),
    'group': group.astype(np.int32),
    'better': counts.better,
    'tied': counts.tied,
    'num_negatives': counts.num_negatives,
    'score': counts.positive_score,
    'rank': metrics.rank_from_counts(*pair, evaluation.rank_ties),
    'user_auc': metrics.user_auc(auc_rank, counts.num_negatives),
    'placement_group': placements[0],
    'placement_all': placements[1],
  }


def metric_names(ks: Sequence[int]) -> list[str]:
  """Names in the order of the report."""
  at_k = [f'{name}@{k}' for name in ('hr', 'ndcg', 'recall') for k in ks]
  return ['auc', 'user_auc', *at_k, 'mrr']


def user_terms(
  per_target: Mapping[str, np.ndarray],
  ks: Sequence[int],
  placement: str = 'placement_group',
) -> tuple[np.ndarray, dict[str, Terms]]:
  """Sums over the held-out items of each user, for means and comparisons.

  Args:
    per_target: arrays [T]: user, rank, user_auc and the placement; a subset of
      the targets gives the terms of that subset.
    ks: cut-offs.
    placement: 'placement_group' or 'placement_all'.
  Returns:
    (users i64[U'], {metric: Terms}).
  """
  users, index = np.unique(per_target['user'], return_inverse=True)
  rank = np.asarray(per_target['rank'], np.float64)

  def over_items(values):
    finite = np.isfinite(values)
    add = lambda x: np.bincount(index, weights=x, minlength=users.size)
    return Terms(add(np.where(finite, values, 0.0)), add(finite.astype(float)))

  def over_users(values):
    sums, counts = over_items(values)
    return Terms(sums / np.maximum(counts, 1), (counts > 0).astype(float))

  terms = {
    'auc': over_items(per_target[placement]),
    'user_auc': over_users(per_target['user_auc']),
    'mrr': over_items(metrics.reciprocal_rank(rank)),
  }
  for k in ks:
    hits = metrics.hit(rank, k)
    terms[f'hr@{k}'] = over_items(hits)
    terms[f'ndcg@{k}'] = over_items(metrics.ndcg(rank, k))
    terms[f'recall@{k}'] = over_users(hits)
  return users, {name: terms[name] for name in metric_names(ks)}


def build(
  per_target: Mapping[str, np.ndarray],
  activity: np.ndarray,
  num_groups: int,
  ks: Sequence[int],
  resamples: int = 1000,
  seed: int = 0,
  part_names: Sequence[str] = (),
) -> dict[str, Any]:
  """One split's part of report.json.

  Args:
    per_target: arrays [T]: user, group (0..G-1), rank, user_auc,
      placement_group, placement_all; and part, if there are any.
    activity: i64[U], training interactions of each user.
    num_groups: G.
    ks: cut-offs.
    resamples: for the intervals; 0 leaves them null.
    seed: of the resamples.
    part_names: in order of per_target['part']; () for no parts.
  Returns:
    {'overall': {metric: {value, low, high, count}}, 'groups': [{'group' from
    1, 'users', 'min_activity', 'max_activity', metric: ...}]}; with parts also
    'parts': [{'name', 'users', metric: ...}].
  """

  def summarize(chosen, placement):
    subset = {name: values[chosen] for name, values in per_target.items()}
    users, terms = user_terms(subset, ks, placement)
    return users, _summaries(terms, resamples, seed)

  _, overall = summarize(slice(None), 'placement_all')
  groups, parts = [], []
  for group in range(num_groups):
    chosen = per_target['group'] == group
    users, summaries = summarize(chosen, 'placement_group')
    active = activity[users]
    groups.append(
      {
        'group': group + 1,
        'users': int(users.size),
        'min_activity': int(active.min()) if users.size else None,
        'max_activity': int(active.max()) if users.size else None,
        **summaries,
      }
    )
  for part, name in enumerate(part_names):
    chosen = per_target['part'] == part
    users, summaries = summarize(chosen, 'placement_all')
    parts.append({'name': name, 'users': int(users.size), **summaries})
  built = {'overall': overall, 'groups': groups}
  return built | {'parts': parts} if part_names else built


def format_table(
  reports: Mapping[str, Mapping[str, Any]], names: Sequence[str]
) -> str:
  """Plain-text table by group, systems side by side under each metric.

  Parts, where all have them, stand below everybody.

  Args:
    reports: {system: what `build` returned}, all on the same groups.
    names: metrics to show.
  """
  systems = list(reports)
  parts = list(reports.values())
  head = ['group', 'users', 'activity']
  top = [''] * len(head) + [
    name if i == 0 else '' for name in names for i in range(len(systems))
  ]
  body = [head + systems * len(names)]
  for rows in zip(*(part['groups'] for part in parts), strict=True):
    lead = [str(rows[0]['group']), f'{rows[0]["users"]:,}', _span(rows[0])]
    body.append(lead + _cells(rows, names))
  total = sum(row['users'] for row in parts[0]['groups'])
  overall = [part['overall'] for part in parts]
  body.append(['all', f'{total:,}', ''] + _cells(overall, names))
  if all('parts' in part for part in parts):
    for rows in zip(*(part['parts'] for part in parts), strict=True):
      lead = [rows[0]['name'], f'{rows[0]["users"]:,}', '']
      body.append(lead + _cells(rows, names))
  return _aligned(top, body)


def _summaries(
  terms: Mapping[str, Terms], resamples: int, seed: int
) -> dict[str, dict[str, Any]]:
  sums = np.stack([term.sums for term in terms.values()], axis=1)
  counts = np.stack([term.counts for term in terms.values()], axis=1)
  number = counts.sum(axis=0)
  cells = ratios(sums, counts, resamples, seed)
  return {
    name: {**cell, 'count': int(count)}
    for name, cell, count in zip(terms, cells, number, strict=True)
  }


def ratios(
  sums: np.ndarray, counts: np.ndarray, resamples: int, seed: int
) -> list[dict[str, float | None]]:
  """Ratios of sums over users with their 95 % intervals, for JSON.

  Args:
    sums: f64[U, M].
    counts: f64[U, M].
    resamples: of users.
    seed: of the resamples.
  Returns:
    M times {'value', 'low', 'high'}; None where nobody is left.
  """
  if not sums.size:
    resamples = 0
  low, high = bootstrap.intervals(sums, counts, resamples, seed)
  total, number = sums.sum(axis=0), counts.sum(axis=0)
  value = np.where(number > 0, total / np.maximum(number, 1), np.nan)
  columns = zip(value, low, high, strict=True)
  return [
    dict(zip(('value', 'low', 'high'), map(metrics.or_none, column)))
    for column in columns
  ]


def _span(row: Mapping[str, Any]) -> str:
  if row['min_activity'] is None:
    return '-'
  return f'{row["min_activity"]:,}-{row["max_activity"]:,}'


def _cells(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list:
  values = [row[name]['value'] for name in names for row in rows]
  return ['-' if value is None else f'{value:.4f}' for value in values]


def _aligned(top: list[str], body: list[list[str]]) -> str:
  """Columns right-aligned; a metric's name starts over its first system."""
  widths = [max(map(len, column)) for column in zip(*body)]
  starts = [i for i, cell in enumerate(top) if cell]
  for start, end in zip(starts, starts[1:] + [len(top)]):
    block = sum(widths[start:end]) + 2 * (end - start - 1)
    widths[start] += max(0, len(top[start]) - block)
  offsets = np.cumsum([0] + [width + 2 for width in widths[:-1]])
  line = ''
  for i in starts:
    line = line.ljust(offsets[i]) + top[i]
  rows = [
    '  '.join(cell.rjust(width) for cell, width in zip(row, widths))
    for row in body
  ]
  return '\n'.join([line, *rows])
