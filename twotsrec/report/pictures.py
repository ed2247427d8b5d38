"""The pictures of a report; each draws on one axis of matplotlib."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from twotsrec.report import curves
from twotsrec.report import drawings
from twotsrec.report import gains as gains_lib
from twotsrec.report import tables

Styles = Mapping[str, drawings.Style]


def metric_name(metric: str) -> str:
  """A metric as people write it."""
  named = {
    'auc': 'AUC',
    'user_auc': 'user AUC',
    'loss': 'loss',
    'log_loss': 'log loss',
    'mrr': 'MRR',
    'coverage': 'coverage',
    'novelty': 'novelty (bits)',
    'popular': 'share of popular items',
    'gini': 'Gini coefficient',
    'distance': 'distance within a list',
  }
  if metric in named:
    return named[metric]
  kind, at, k = metric.replace('_', ' ').partition('@')
  return (kind if kind in ('recall', 'precision') else kind.upper()) + at + k


def dots(
  axis: Any,
  rows: Sequence[str],
  cells: Mapping[str, Sequence[tables.Cell]],
  styles: Styles,
) -> None:
  """A dot with its interval for every system, rows from left to right."""
  step = 0.8 / max(len(cells), 1)
  for number, (name, of) in enumerate(cells.items()):
    shift = (number - (len(cells) - 1) / 2) * step
    there = [(i + shift, c) for i, c in enumerate(of) if c.value is not None]
    if not there:
      continue
    places, values = zip(*there)
    axis.errorbar(
      places,
      [cell.value for cell in values],
      yerr=_bars(values),
      fmt=styles[name].marker,
      color=styles[name].drawn,
      elinewidth=1.2,
      markersize=4.5 if len(cells) < 8 else 3.5,
    )
  ticks = [_tick(name) for name in rows]
  leans = {'rotation': 40, 'ha': 'right', 'rotation_mode': 'anchor'}
  crowded = sum(map(len, ticks)) > 40
  axis.set_xticks(range(len(rows)), ticks, **(leans if crowded else {}))
  axis.set_xlim(-0.5, len(rows) - 0.5)
  axis.tick_params(axis='x', length=0)
  for border in range(1, len(rows)):
    color = drawings.light('grid')
    axis.axvline(border - 0.5, color=color, linewidth=0.6)


def _tick(name: str) -> str:
  """A row in few letters: groups are known by their number."""
  name = name.removeprefix('group ')
  return name.replace(' of ', '\nof ') if len(name) > 9 else name


def _bars(cells: Sequence[tables.Cell]) -> np.ndarray | None:
  """Lengths below and above, f64[2, n]; None where there is no interval."""
  if all(cell.low is None for cell in cells):
    return None
  made = [
    (0.0, 0.0)
    if cell.low is None or cell.high is None or cell.value is None
    # Percentile intervals need not contain the value where users are few.
    else (max(cell.value - cell.low, 0.0), max(cell.high - cell.value, 0.0))
    for cell in cells
  ]
  return np.array(made).T


def difference(
  axis: Any,
  rows: Sequence[str],
  cells: Mapping[str, Sequence[tables.Cell]],
  styles: Styles,
) -> None:
  """As `dots`, around a line where a system is as good as the base."""
  axis.axhline(0.0, color=drawings.light('soft'), linewidth=1.0)
  dots(axis, rows, cells, styles)


def gained(axis: Any, gains: gains_lib.Gains, style: drawings.Style) -> None:
  """Shares of users by group: worse served left, better served right."""
  places = np.arange(len(gains.users))
  worse = drawings.light('soft')
  axis.barh(places, gains.better, color=style.drawn, height=0.66)
  axis.barh(places, -gains.worse, color=worse, height=0.66, hatch='///',
            edgecolor=drawings.light('page'), linewidth=0.0)  # fmt: skip
  axis.axvline(0.0, color=drawings.light('ink'), linewidth=0.8)
  most = max(float(np.max([gains.better, gains.worse])), 0.05) * 1.3
  for place, (better, down) in enumerate(zip(gains.better, gains.worse)):
    put = {'va': 'center', 'fontsize': 8}
    axis.text(better + 0.02 * most, place, f'{better:.0%}', ha='left', **put)
    axis.text(-down - 0.02 * most, place, f'{down:.0%}', ha='right', **put)
  axis.set_yticks(places, [f'group {j + 1}' for j in places])
  axis.invert_yaxis()
  axis.set_xlim(-most, most)
  ticks = [t for t in axis.get_xticks() if abs(t) <= most]
  axis.set_xticks(ticks, [f'{abs(t):.0%}' for t in ticks])
  axis.grid(visible=False, axis='y')
  axis.tick_params(axis='y', length=0)
  axis.set_xlabel('← worse served │ share of users │ better served →')


def curve(axis: Any, of: curves.Curve, limits: tuple[float, float]) -> None:
  """What validation saw, a line for every group, between two values."""
  several = of.by_group.shape[1] > 1
  for group, values in enumerate(of.by_group.T):
    style = drawings.style(group)
    axis.plot(
      of.epochs,
      values,
      color=style.drawn if several else drawings.light('ink'),
      marker=style.marker if len(values) <= 40 else None,
      markersize=3.5,
    )
  low, high = limits
  room = 0.05 * (high - low) or 0.01
  axis.set_ylim(low - room, high + room)
  _epochs(axis, of.epochs)
  axis.set_ylabel(f'{of.split} {metric_name(of.metric)}')


def cosines(axis: Any, of: curves.Curve) -> None:
  """Mean cosine of a group's gradient with those of the other groups."""
  number = of.cosines.shape[-1]
  others = (of.cosines.sum(axis=-1) - 1.0) / max(number - 1, 1)
  axis.axhline(0.0, color=drawings.light('soft'), linewidth=1.0)
  for group, values in enumerate(others.T):
    style = drawings.style(group)
    axis.plot(
      of.diagnosed,
      values,
      color=style.drawn,
      marker=style.marker if len(values) <= 40 else None,
      markersize=3.5,
    )
  _epochs(axis, of.diagnosed)
  axis.set_ylabel('cosine with the other groups')


def pairs(axis: Any, matrix: np.ndarray) -> None:
  """Cosines of all pairs of groups, f64[G, G], the larger the darker."""
  from matplotlib import patches  # pyright: ignore[reportMissingImports]

  number = len(matrix)
  below = np.tril_indices(number, -1)
  most = max(float(np.max(np.abs(matrix[below]))), 1e-9)
  for row, column in zip(*below):
    value = float(matrix[row, column])
    square = patches.Rectangle(
      (column - 0.48, row - 0.48),
      0.96,
      0.96,
      color=drawings.light('s0' if value >= 0 else 's1'),
      alpha=0.05 + 0.5 * abs(value) / most,
      linewidth=0,
    )
    axis.add_patch(square)
    axis.text(column, row, f'{value:+.2f}', ha='center', va='center')
  axis.set_xlim(-0.6, number - 1.4)
  axis.set_ylim(number - 0.4, 0.4)
  axis.set_xticks(range(number - 1), [str(j + 1) for j in range(number - 1)])
  axis.set_yticks(range(1, number), [str(j + 1) for j in range(1, number)])
  axis.grid(visible=False)
  axis.spines[['left', 'bottom']].set_visible(False)
  axis.tick_params(length=0)
  axis.set_xlabel('group')
  axis.set_ylabel('group')


def _epochs(axis, epochs) -> None:
  axis.set_xlabel('epoch')
  if len(epochs) <= 12:
    axis.set_xticks(epochs)
  else:
    axis.xaxis.get_major_locator().set_params(integer=True)


def activity(
  axis: Any,
  keys: np.ndarray,
  borders: Sequence[int],
  threshold: int | None,
  name: str,
) -> None:
  """How many have how much, with the borders of the groups and t*.

  Args:
    axis: to draw on.
    keys: i64[n], what groups divide.
    borders: smallest keys of groups 2 to G.
    threshold: t* of 2TS; None without one.
    name: of a key.
  """
  least, most = int(keys.min()), max(int(keys.max()), 2)
  # Whole numbers, each bar from its least key to that of the next.
  edges = np.unique(np.geomspace(max(least, 1), most + 1, 31).round())
  edges = np.concatenate([[0.0], edges]) if least == 0 else edges
  number, _ = np.histogram(keys, edges)
  color = drawings.light('s0')
  axis.stairs(number, edges, fill=True, color=color, alpha=0.45)
  axis.set_xscale('symlog', linthresh=1.0, linscale=0.25)
  axis.set_xlim(edges[0], edges[-1])
  for border in borders:
    axis.axvline(border, color=drawings.light('ink'), linewidth=1.0)
  if threshold is not None:
    color = drawings.light('s1')
    axis.axvline(threshold, color=color, linewidth=1.8, linestyle='--')
    above = axis.get_xaxis_transform()
    axis.text(threshold, 1.01, 't*', color=color, ha='center', transform=above)
  ticks = [d * 10**k for k in range(7) for d in (1, 2, 5)]
  ticks = [0] * (least == 0) + [t for t in ticks if least <= t <= most]
  if len(ticks) > 9:
    ticks = [t for t in ticks if str(t)[0] in '01']
  axis.set_xticks(ticks, [f'{t:,}' for t in ticks])
  axis.minorticks_off()
  axis.set_xlabel(name)
  axis.set_ylabel('number')


def moved(axis: Any, curves: Mapping[str, Any]) -> None:
  """How far a state moves with each event, with one standard error."""
  for number, kind in enumerate(('inactive', 'active')):
    style = drawings.style(number)
    k, mean, error = (
      np.array(curves[kind][column], np.float64)  # None becomes NaN
      for column in ('k', 'mean', 'se')
    )
    error = np.nan_to_num(error)
    axis.plot(k, mean, color=style.drawn, marker=style.marker, markevery=5)
    axis.fill_between(
      k, mean - error, mean + error, color=style.drawn, alpha=0.25, linewidth=0
    )
  axis.set_xlabel('test events of the user')
  axis.set_ylabel('movement of the state')
