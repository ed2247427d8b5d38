"""The report: metrics over everybody, by activeness group, and by part.

Means, where a user may have several held-out items:
  auc       pooled over all pairs of a group (of everybody for the overall row)
  user_auc  per item against its user's negatives, mean per user, mean of users
  recall@K  the user's share of held-out items found, mean over users
  precision@K, map@K, user_ndcg@K  of the user's list with all its held-out
            items, mean over users (`user_lists`)
  hr@K, ndcg@K, mrr   mean over held-out items
Impressions with labels (`labeled`) have also
  log_loss  mean over impressions, where scores are log odds of a click
and a held-out item is a click there, ranked among what else its user was shown.
With one held-out item per user recall@K equals hr@K, and user_ndcg@K ndcg@K.
`count` says how many items (auc, hr, ndcg, mrr) or users (the others) a value
rests on. A held-out item without a rival takes no part in any of them, and
`rivals` counts such items; it also counts those with fewer than K rivals, which
are among the first K whatever the model.

A part holds the held-out items toward which their users had shown a behavior
before (see `behaviors`). Its users are in any group, so its AUC compares with
the negatives of everybody.

Intervals resample users. For the pooled AUC they resample the placements of
the positives (the share of the pooled negatives below each one) and take the
negatives as given. Where a model scores all items of some users higher than
those of others this is wider than resampling both sides, since a user's own
negatives would rise and fall with the positive; where scores of users share
their scale it is narrower, since how negatives vary is left out.
"""

from collections.abc import Iterable, Mapping, Sequence
import functools
from typing import Any, NamedTuple

import numpy as np

from twotsrec import config
from twotsrec import metrics
from twotsrec import types
from twotsrec.data import prepared as prepared_data
from twotsrec.evaluation import bootstrap
from twotsrec.evaluation import counting
from twotsrec.evaluation import user_lists

LOG_LOSS = 'log_loss'  # of impressions; lower is better
OF_LABELS = ('auc', 'user_auc', LOG_LOSS)  # metrics of a table by default


class Column(NamedTuple):
  """A metric of held-out items.

  Attributes:
    values: f64[T]; NaN takes no part.
    by_user: whether it is the mean over users of each user's mean, and not the
      mean over items.
  """

  values: np.ndarray
  by_user: bool = False


def per_target(
  targets: prepared_data.Targets,
  group: np.ndarray,
  counts: counting.Counts,
  placements: tuple[np.ndarray, np.ndarray],
  evaluation: config.EvaluationConfig,
) -> dict[str, np.ndarray]:
  """Columns of `per_target.npz`, one row per held-out item.

  `group` is i32[T], 0..G-1; `counts` are of one rule, and `placements` of
  `auc.placements`, against the own group and everybody. Metrics rest on both
  ends of a tie, better and better + tied; `rank` is the mean place.
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
  names = ('hr', 'ndcg', 'recall', 'precision', 'map', 'user_ndcg')
  at_k = [f'{name}@{k}' for name in names for k in ks]
  return ['auc', 'user_auc', *at_k, 'mrr']


def default_names(
  ks: Sequence[int], ranked_only: bool = False
) -> tuple[str, ...]:
  """Metrics of a table: at 10, or else the largest cut-off there is.

  If there are cut-offs, `ranked_only` leaves the AUCs out.
  """
  at = [10 if 10 in ks else max(ks)] if ks else []
  ranked = tuple(f'{m}@{k}' for k in at for m in ('hr', 'ndcg'))
  return ranked if ranked_only and ranked else ('auc', 'user_auc', *ranked)


def of_rows(per_target: Mapping[str, Any], ks: Sequence[int]) -> list[str]:
  """The metrics of held-out items with these columns."""
  return metric_names(ks) + [LOG_LOSS] * (LOG_LOSS in per_target)


def check_names(
  names: Iterable[str], ks: Sequence[int], labels: bool = False
) -> None:
  """Raises a UserError for a metric that reports do not have.

  `labels` is whether they are of impressions.
  """
  known = metric_names(ks) + [LOG_LOSS] * labels
  for name in names:
    if name not in known:
      raise types.UserError(
        f'unknown metric {name!r}; known: {", ".join(known)}'
      )


def selected_on_test(names: Iterable[str]) -> list[str]:
  """A line under a table for each system that was."""
  return [
    f'{name} was SELECTED ON TEST: for like-for-like checks only'
    for name in names
  ]


def columns(
  per_target: Mapping[str, np.ndarray],
  names: Iterable[str],
  placement: str = 'placement_group',
  ties: float = metrics.MEAN,
) -> dict[str, Column]:
  """Metrics of held-out items, in the order of `names`.

  Args:
    per_target: arrays [T]: user, item, better, tied, num_negatives, user_auc
      and the placement; and `list`, a kind of `user_lists`, if it is not APART.
    names: of `metric_names`.
    placement: 'placement_group' or 'placement_all'.
    ties: see `metrics`.
  """
  pair = per_target['better'], per_target['tied']
  number = per_target['num_negatives']
  lists = functools.cache(lambda: _lists(per_target))
  hits = functools.cache(lambda k: metrics.hit(*pair, k, ties))
  by_item = {
    'auc': lambda k: per_target[placement],
    'hr': hits,
    'ndcg': lambda k: metrics.ndcg(*pair, k, ties),
    'mrr': lambda k: metrics.reciprocal_rank(*pair, ties),
  }
  by_user = {'user_auc': lambda k: per_target['user_auc'], 'recall': hits}
  of_list = {
    'precision': user_lists.precision,
    'map': user_lists.average_precision,
    'user_ndcg': user_lists.ndcg,
  }
  # Pooled over users, so that a click needs no rival of its own user.
  of_impressions = {}
  if 'label' in per_target:
    of_impressions = {
      'auc': per_target[placement],
      LOG_LOSS: per_target[LOG_LOSS],
    }
  made = {}
  for name in names:
    metric, _, cut = name.partition('@')
    k = int(cut or 0)
    if name in of_impressions:
      values = np.asarray(of_impressions[name], np.float64)
    elif metric in of_list:
      values = _of_lists(lists(), of_list[metric], k, ties)
    else:
      value = by_item.get(metric) or by_user[metric]
      values = metrics.among_rivals(value(k), number)
    by_item_too = metric in by_item or name in of_impressions
    made[name] = Column(values, by_user=not by_item_too)
  return made


class _Lists(NamedTuple):
  """Held-out items in the lists of their users.

  An item that a user has several times is one item of the list; each of its
  rows has its part of the value.

  Attributes:
    ranked: bool[T], rows that have rivals and a list.
    at: places of the distinct items.
    place: i64[R], the item of each row that is ranked.
    share: f64[R], its part of the item's value.
  """

  ranked: np.ndarray
  at: user_lists.Places
  place: np.ndarray
  share: np.ndarray


def _lists(per_target) -> _Lists:
  ranked = np.asarray(per_target['num_negatives']) > 0
  kind = user_lists.APART
  if 'label' in per_target:
    kind = user_lists.NO_LIST  # histories grow from click to click
  if 'list' in per_target and ranked.size:
    kind = int(per_target['list'][0])
  if kind == user_lists.NO_LIST:
    ranked = np.zeros_like(ranked)
  names = 'user', 'item', 'better', 'tied'
  user, item, better, tied = (
    np.asarray(per_target[name])[ranked] for name in names
  )
  _, first, place, times = np.unique(
    prepared_data.pairs(user, item, item.max(initial=0)),
    return_index=True,
    return_inverse=True,
    return_counts=True,
  )
  at = user_lists.places(user[first], better[first], tied[first], kind)
  _, of_user, rows = np.unique(user, return_inverse=True, return_counts=True)
  share = rows[of_user] / (at.held * times)[place]
  return _Lists(ranked, at, place, share)


def _of_lists(lists, value, k, ties) -> np.ndarray:
  """A metric of the lists of users, f64[T]."""
  values = np.full(lists.ranked.size, np.nan)
  values[lists.ranked] = value(lists.at, k, ties)[lists.place] * lists.share
  return values


def rivals(
  number: np.ndarray, ks: Sequence[int], left_out: int = 0
) -> dict[str, Any]:
  """How many held-out items lack rivals, for the report.

  Args:
    number: i64[T], candidates beside each of them.
    ks: cut-offs.
    left_out: held-out items beside the T, which their users had before.
  Returns:
    {'held_out', 'had_before': those left out, 'without': a rival, 'fewer_than':
    {K: with some rivals but fewer than K}}.
  """
  number = np.asarray(number)
  few = {str(k): int(np.sum((number > 0) & (number < k))) for k in sorted(ks)}
  return {
    'held_out': number.size + left_out,
    'had_before': left_out,
    'without': int(np.sum(number == 0)),
    'fewer_than': few,
  }


def user_sums(
  user: np.ndarray, columns: Iterable[Column]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Sums over the held-out items of each user, for means and comparisons.

  Of M columns and users i32[T]; returns (users i64[U'], sums f64[U', M], counts
  f64[U', M]). The mean of a column is the sum of its sums over the sum of its
  counts.
  """
  users, index = np.unique(user, return_inverse=True)
  add = lambda x: np.bincount(index, weights=x, minlength=users.size)
  sums, counts = [], []
  for values, by_user in columns:
    finite = np.isfinite(values)
    total = add(np.where(finite, values, 0.0))
    number = add(finite.astype(float))
    if by_user:
      total, number = total / np.maximum(number, 1), (number > 0).astype(float)
    sums.append(total)
    counts.append(number)
  return users, np.stack(sums, axis=1), np.stack(counts, axis=1)


def means(
  sums: np.ndarray, counts: np.ndarray, resamples: int, seed: int
) -> list[dict[str, Any]]:
  """Means of M columns with 95 % intervals over users, for JSON.

  `sums` and `counts` are of `user_sums`. Returns M times {'value', 'low',
  'high', 'count'}; None where nobody is left.
  """
  low, high = bootstrap.intervals(
    sums, counts, resamples if sums.size else 0, seed
  )
  total, number = sums.sum(axis=0), counts.sum(axis=0)
  value = np.where(number > 0, total / np.maximum(number, 1), np.nan)
  bounds = zip(value, low, high, strict=True)
  return [
    dict(zip(('value', 'low', 'high'), map(metrics.or_none, bound)))
    | {'count': int(count)}
    for bound, count in zip(bounds, number, strict=True)
  ]


def build(
  per_target: Mapping[str, np.ndarray],
  activity: np.ndarray,
  num_groups: int,
  evaluation: config.EvaluationConfig,
  part_names: Sequence[str] = (),
  left_out: int = 0,
) -> dict[str, Any]:
  """One split's part of report.json.

  Args:
    per_target: arrays [T]: user, group (0..G-1), better, tied, num_negatives,
      user_auc, placement_group, placement_all; and part, if there are any.
    activity: i64[U], training interactions of each user.
    num_groups: G.
    evaluation: cut-offs, and resamples for the intervals with their seed; 0
      resamples leave the intervals null.
    part_names: in order of per_target['part']; () for no parts.
    left_out: held-out items beside the T, see `rivals`.
  Returns:
    {'overall': {metric: {value, low, high, count}}, 'rivals': as `rivals`,
    'groups': [{'group' from 1, 'users', 'without_rivals': held-out items,
    'min_activity', 'max_activity', metric: ...}]}; with parts also 'parts':
    [{'name', 'users', metric: ...}].
  """
  lacking = np.asarray(per_target['num_negatives']) == 0
  clicked = np.ones_like(lacking)
  if 'label' in per_target:
    clicked = np.asarray(per_target['label']) > 0
    lacking &= clicked
  names = of_rows(per_target, evaluation.ks)

  def summarize(chosen, placement):
    subset = {name: values[chosen] for name, values in per_target.items()}
    by_name = columns(subset, names, placement, evaluation.rank_ties)
    users, sums, counts = user_sums(subset['user'], by_name.values())
    cells = means(sums, counts, evaluation.bootstrap, evaluation.seed)
    return users, dict(zip(names, cells, strict=True))

  _, overall = summarize(slice(None), 'placement_all')
  groups, parts = [], []
  for group in range(num_groups):
    users, cells = summarize(per_target['group'] == group, 'placement_group')
    active = activity[users]
    groups.append(
      {
        'group': group + 1,
        'users': int(users.size),
        'without_rivals': int(np.sum(lacking[per_target['group'] == group])),
        'min_activity': int(active.min()) if users.size else None,
        'max_activity': int(active.max()) if users.size else None,
        **cells,
      }
    )
  for part, name in enumerate(part_names):
    users, cells = summarize(per_target['part'] == part, 'placement_all')
    parts.append({'name': name, 'users': int(users.size), **cells})
  number = np.asarray(per_target['num_negatives'])[clicked]
  told = rivals(number, evaluation.ks, left_out)
  built = {'overall': overall, 'rivals': told, 'groups': groups}
  return built | {'parts': parts} if part_names else built


def format_table(
  reports: Mapping[str, Mapping[str, Any]], names: Sequence[str]
) -> str:
  """Plain-text table by group, systems side by side under each metric.

  Parts, where all have them, stand below everybody. `reports` is {system: what
  `build` returned}, all on the same groups; `names` are metrics.
  """
  return _aligned(*cells(reports, names))


def cells(
  reports: Mapping[str, Mapping[str, Any]], names: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
  """The two heads of `format_table`, and what is below them.

  Returns:
    The metrics, each over its first system and '' elsewhere; and rows, of which
    the first has the systems.
  """
  every = list(reports.values())
  leads = [
    [str(row['group']), f'{row["users"]:,}', _span(row)]
    for row in every[0]['groups']
  ]
  rows = list(zip(*(report['groups'] for report in every), strict=True))
  total = sum(row['users'] for row in every[0]['groups'])
  leads.append(['all', f'{total:,}', ''])
  rows.append(tuple(report['overall'] for report in every))
  if all('parts' in report for report in every):
    parts = every[0]['parts']
    leads += [[part['name'], f'{part["users"]:,}', ''] for part in parts]
    rows += zip(*(report['parts'] for report in every), strict=True)
  head = ['group', 'users', 'activity']
  top = [''] * len(head)
  for name in names:
    top += [name] + [''] * (len(every) - 1)
  body = [head + list(reports) * len(names)]
  for lead, row in zip(leads, rows, strict=True):
    values = [of[name]['value'] for name in names for of in row]
    body.append(lead + ['-' if v is None else f'{v:.4f}' for v in values])
  return top, body


def _span(row: Mapping[str, Any]) -> str:
  if row['min_activity'] is None:
    return '-'
  return f'{row["min_activity"]:,}-{row["max_activity"]:,}'


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
