"""Paired differences between systems on the same held-out items.

A system is one trained model, or several that differ in their seed; its value
is then the mean over the seeds, taken per user before users are paired.
Metrics and their means are those of `report`; rows are the G activeness
groups, everybody, and the unweighted mean over the groups that have items. The
parts of a report (see `behaviors`) can stand in place of the groups.

Users are what varies: they are drawn with replacement from everybody, with all
their held-out items, and one draw serves all systems, metrics and rows.
Intervals and p-values thus say what other such users would show of these
trained models. They do not say what another training would show; for that the
differences of the single seeds stand beside them. The pooled AUC resamples the
placements of the positives and takes the negatives as given (see `report`).
"""

from collections.abc import Iterable, Mapping, Sequence
import io
import itertools
from typing import Any, NamedTuple
import zipfile
import zlib

import chex
import numpy as np

from twotsrec import metrics as metrics_lib
from twotsrec import types
from twotsrec.evaluation import bootstrap
from twotsrec.evaluation import report

ALPHA = 0.05  # level of the marks, as of the 95 % intervals

# Arrays of a run by held-out item: what says which it is, and what is compared.
KEYS = ('event', 'user', 'item', 'group', 'num_negatives')
COUNTS = ('better', 'tied')
VALUES = ('user_auc', 'placement_group', 'placement_all')
# What reading an .npz file ends in that is cut off, altered (RuntimeError: it
# seems encrypted), or another file.
UNREADABLE = (
  zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError, ValueError
)  # fmt: skip
OF_RULES = (*COUNTS, *VALUES)  # what differs between systems
_LOG_LOSS = report.LOG_LOSS  # the same, where there are labels


class Table(NamedTuple):
  """One run as sums over users; a value is sum(sums) / sum(counts).

  Attributes:
    users: i64[U], ascending.
    sums: f64[U, G + 1, M], of the G groups and of everybody.
    counts: f64[U, G + 1, M], what the sums rest on.
  """

  users: np.ndarray
  sums: np.ndarray
  counts: np.ndarray


class System(NamedTuple):
  """The mean of the seeds of a system.

  Attributes:
    table: their mean sums.
    values: f64[K, G + 2, M], of each seed: groups, everybody, mean of groups.
  """

  table: Table
  values: np.ndarray


class Comparison(NamedTuple):
  """A system against the reference; f64[G + 2, M] unless said otherwise.

  Attributes:
    reference: value of the reference.
    other: value of the system.
    difference: other - reference.
    low: of the 95 % interval of the difference.
    high: of the same.
    p: two-sided p-value, see `bootstrap.p_values`.
    holm: f64[G, M], p of the groups after Holm's correction over the groups of
      a metric.
    by_seed: f64[K, G + 2, M], difference of the runs with the same position.
  """

  reference: np.ndarray
  other: np.ndarray
  difference: np.ndarray
  low: np.ndarray
  high: np.ndarray
  p: np.ndarray
  holm: np.ndarray
  by_seed: np.ndarray


def of_rules(
  rows: Mapping[str, Mapping[str, np.ndarray]],
) -> dict[str, np.ndarray]:
  """What differs between the rows of several rules, {'rule/array': [T]}."""
  return {
    f'{rule}/{name}': values[name]
    for rule, values in rows.items()
    for name in (*OF_RULES, *({_LOG_LOSS} & values.keys()))
  }


def read_targets(
  content: bytes,
  num_groups: int,
  by: str = 'group',
  of_rule: tuple[bytes, str] | None = None,
) -> dict[str, np.ndarray]:
  """Arrays of `KEYS`, `COUNTS` and `VALUES`, [T], in the bytes of an .npz file.

  Args:
    content: of the file.
    num_groups: G, or how many parts there are.
    by: array that tells the rows, 'group' or 'part'; it is read too.
    of_rule: content of a file of `of_rules` and the name of a rule, to read
      what is its own of that rule.
  Raises:
    ValueError: why they are not what `evaluate` has written.
  """
  names = [*dict.fromkeys((*KEYS, by, *COUNTS, *VALUES))]
  arrays = _members(content, names, ['list', 'label', _LOG_LOSS])
  if of_rule:
    beside, rule = of_rule
    differ = [*OF_RULES, *({_LOG_LOSS} & arrays.keys())]
    own = _members(beside, [f'{rule}/{name}' for name in differ])
    arrays |= dict(zip(differ, own.values(), strict=True))
  targets = arrays['event'].shape
  for name, array in arrays.items():
    is_float = name in (*VALUES, _LOG_LOSS)
    right_kind = array.dtype.kind in ('f' if is_float else 'iu')
    if not right_kind or len(targets) != 1 or not targets[0]:
      raise ValueError(f'{name} is {array.dtype}{list(array.shape)}')
    if array.shape != targets:
      raise ValueError(f'{name} has another length than event')
  first, last = arrays[by].min(), arrays[by].max()
  if first < 0 or last >= num_groups:
    raise ValueError(f'{by}s {first}..{last} where there are {num_groups}')
  for name in COUNTS:
    if arrays[name].min() < 0:
      raise ValueError(f'{name} is {arrays[name].min()}')
  return arrays


def _members(
  content: bytes, names: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
  """Arrays in the bytes of an .npz file, the optional ones if they are there.

  Members are read whole before NumPy sees them: that verifies checksums.
  """
  try:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
      names = [
        *names,
        *(n for n in optional if f'{n}.npy' in archive.namelist()),
      ]
      return {
        name: np.load(io.BytesIO(archive.read(f'{name}.npy'))) for name in names
      }
  except UNREADABLE as error:
    raise ValueError('its arrays cannot be read') from error


def tabulate(
  per_target: Mapping[str, np.ndarray],
  num_groups: int,
  metrics: Sequence[str],
  by: str = 'group',
  ties: float = metrics_lib.MEAN,
) -> Table:
  """Sums over the held-out items of each user, by group and overall.

  Args:
    per_target: arrays [T]: user, group (0..G-1), num_negatives, and those of
      `COUNTS` and `VALUES`.
    num_groups: G.
    metrics: M of `report.metric_names`.
    by: array that tells the rows; parts share the negatives of everybody.
    ties: `evaluation.rank_ties` of the run.
  """
  own_placement = 'placement_group' if by == 'group' else 'placement_all'
  everybody = np.unique(per_target['user'])
  shape = (everybody.size, num_groups + 1, len(metrics))
  table = Table(everybody, np.zeros(shape), np.zeros(shape))
  for row in range(num_groups + 1):
    part, placement = per_target, 'placement_all'
    if row < num_groups:
      chosen, placement = per_target[by] == row, own_placement
      part = {name: values[chosen] for name, values in per_target.items()}
    columns = report.columns(part, metrics, placement, ties)
    users, sums, counts = report.user_sums(part['user'], columns.values())
    index = np.searchsorted(everybody, users)
    table.sums[index, row], table.counts[index, row] = sums, counts
  return table


def values(table: Table) -> np.ndarray:
  """Metrics f64[G + 2, M]: groups, everybody, mean of groups."""
  counts = table.counts.sum(axis=0)
  undefined = np.full(counts.shape, np.nan)
  ratios = np.divide(
    table.sums.sum(axis=0), counts, out=undefined, where=counts > 0
  )
  return _with_mean(ratios, counts)


def pool(tables: Iterable[Table]) -> System:
  """One system of runs that differ in their seed; reads one at a time.

  Raises:
    types.UserError: they do not rest on the same users and items.
  """
  tables = iter(tables)
  first, total, by_seed = next(tables), 0.0, []
  for table in itertools.chain([first], tables):
    _check_paired(first, table)
    total = total + table.sums
    by_seed.append(values(table))
  return System(first._replace(sums=total / len(by_seed)), np.stack(by_seed))


def compare(
  systems: Sequence[System], resamples: int, seed: int
) -> list[Comparison]:
  """Every system against the first.

  Args:
    systems: two or more with equal numbers of seeds.
    resamples: of users.
    seed: of the draws.
  Raises:
    types.UserError: they do not rest on the same users and items.
  """
  reference, *others = systems
  for other in others:
    chex.assert_equal_shape([reference.values, other.values])
    _check_paired(reference.table, other.table)
  base, compared = reference.table, []
  sums = np.stack([other.table.sums - base.sums for other in others], axis=1)
  ratios = _resampled(sums, base.counts, resamples, seed)
  for i, other in enumerate(others):
    difference = values(base._replace(sums=sums[:, i]))
    flat = ratios[:, i].reshape(resamples, difference.size)
    low, high = bootstrap.percentiles(flat)
    p = bootstrap.p_values(flat).reshape(difference.shape)
    compared.append(
      Comparison(
        reference=reference.values.mean(axis=0),
        other=other.values.mean(axis=0),
        difference=difference,
        low=low.reshape(difference.shape),
        high=high.reshape(difference.shape),
        p=p,
        holm=np.apply_along_axis(holm, 0, p[:-2]),
        by_seed=other.values - reference.values,
      )
    )
  return compared


def holm(p: np.ndarray) -> np.ndarray:
  """Holm's step-down adjustment of a family of p-values, f64[n].

  The j-th smallest becomes max_{i <= j} (n - i + 1) p_(i), at most 1: what is
  below alpha is rejected with a family-wise error of at most alpha. NaN is not
  in the family.

  Reference: Holm 1979.
  """
  defined = np.flatnonzero(~np.isnan(p))
  order = defined[np.argsort(p[defined], kind='stable')]
  steps = p[order] * np.arange(order.size, 0, -1)
  adjusted = np.full(p.shape, np.nan)
  adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
  return adjusted


def rows(
  comparison: Comparison,
  column: int,
  users: Sequence[int],
  parts: Sequence[str] = (),
) -> list[dict[str, Any]]:
  """One metric of a comparison for JSON, which has null for NaN.

  Args:
    comparison: of one system.
    column: of the metric.
    users: number of users in each group, and of all.
    parts: names, where the rows are not groups.
  Returns:
    Groups 1 to G, 'all' and 'mean of groups', each {'group', 'users',
    'reference', 'other', 'difference', 'low', 'high', 'p', 'holm' (null unless
    it is a group), 'by_seed': [differences]}.
  """
  num_groups = len(comparison.holm)
  names = [*(parts or range(1, num_groups + 1)), 'all']
  names.append(f'mean of {"parts" if parts else "groups"}')
  number = metrics_lib.or_none
  fields = ('reference', 'other', 'difference', 'low', 'high', 'p')
  nothing = np.full((2, comparison.holm.shape[1]), np.nan)
  holms = np.concatenate([comparison.holm, nothing])
  return [
    {
      'group': name,
      'users': int(users[min(row, num_groups)]),
      **{f: number(getattr(comparison, f)[row, column]) for f in fields},
      'holm': number(holms[row, column]),
      'by_seed': [number(d) for d in comparison.by_seed[:, row, column]],
    }
    for row, name in enumerate(names)
  ]


def table(
  reference: str, name: str, by_metric: Mapping[str, Sequence[Mapping]]
) -> list[list[str]]:
  """Cells of a table with its head, a star where a row is significant.

  The names are those of the reference and of the other system; `by_metric` is
  {metric: `rows`}.
  """
  head = ['metric', 'group', 'users', reference, name, 'difference', '']
  head += ['95 % interval', 'p', 'Holm p', 'over seeds']
  body = [
    [metric if i == 0 else '', *_cells(row)]
    for metric, lines in by_metric.items()
    for i, row in enumerate(lines)
  ]
  several = any(len(r['by_seed']) > 1 for rs in by_metric.values() for r in rs)
  return [cells if several else cells[:-1] for cells in (head, *body)]


def aligned(table: Sequence[Sequence[str]]) -> str:
  """Plain text; all columns but the first are right-aligned."""
  widths = [max(map(len, column)) for column in zip(*table)]
  lines = []
  for first, *others in table:
    cells = [cell.rjust(width) for cell, width in zip(others, widths[1:])]
    lines.append('  '.join([first.ljust(widths[0]), *cells]).rstrip())
  return '\n'.join(lines)


def piped(table: Sequence[Sequence[str]]) -> str:
  """A Markdown table, aligned likewise."""
  head, *body = table
  rule = ['---', *['---:'] * (len(head) - 1)]
  lines = [map(escaped, head), rule, *(map(escaped, cells) for cells in body)]
  return '\n'.join(f'| {" | ".join(cells)} |' for cells in lines)


def escaped(text: str) -> str:
  """Text whose stars and bars Markdown takes for what they are."""
  return text.replace('|', r'\|').replace('*', r'\*')


def _cells(row: Mapping[str, Any]) -> list[str]:
  plain = lambda value: '-' if value is None else f'{value:.4f}'
  signed = lambda value: '-' if value is None else f'{value:+.4f}'
  # Groups are one family; everybody and the mean stand by themselves.
  decisive = row['p'] if row['holm'] is None else row['holm']
  seeds = [d for d in row['by_seed'] if d is not None]
  return [
    str(row['group']),
    f'{row["users"]:,}',
    plain(row['reference']),
    plain(row['other']),
    signed(row['difference']),
    '*' if decisive is not None and decisive < ALPHA else '',
    f'{signed(row["low"])} to {signed(row["high"])}',
    plain(row['p']),
    plain(row['holm']),
    f'{signed(min(seeds))} to {signed(max(seeds))}' if seeds else '-',
  ]


def _resampled(sums, counts, resamples: int, seed: int) -> np.ndarray:
  """Values in the same resamples of sums [U, S, G + 1, M], [R, S, G + 2, M]."""
  repeated = np.repeat(counts[:, None], sums.shape[1], axis=1)
  ratios = bootstrap.resampled_ratios(
    sums.reshape(len(sums), -1),
    repeated.reshape(len(sums), -1),
    resamples,
    seed,
  )
  ratios = ratios.reshape(resamples, *sums.shape[1:])
  return _with_mean(ratios, counts.sum(axis=0))


def _with_mean(ratios: np.ndarray, counts: np.ndarray) -> np.ndarray:
  """Appends the mean of the groups that have items, f64[..., G + 2, M].

  `ratios` f64[..., G + 1, M] are of groups and everybody; of `counts`
  f64[G + 1, M], a group with items that a resample missed is NaN.
  """
  some = counts[:-1] > 0
  total = np.where(some, ratios[..., :-1, :], 0.0).sum(axis=-2, keepdims=True)
  number = np.where(some.any(axis=0), some.sum(axis=0), np.nan)
  return np.concatenate([ratios, total / number], axis=-2)


def _check_paired(a: Table, b: Table) -> None:
  if not all(map(np.array_equal, (a.users, a.counts), (b.users, b.counts))):
    raise types.UserError(
      'runs with values for different users or items cannot be paired; both '
      'need the same held-out items, ranked among the same candidates'
    )
