"""Figs. 3 to 5 of 2TS as pictures, where matplotlib is installed."""

from collections.abc import Callable, Mapping, Sequence
import importlib.util
import pathlib
from typing import Any

import numpy as np

from twotsrec.evaluation import buckets
from twotsrec.evaluation import online_report
from twotsrec.training import files

METRIC, RULE = 'mrr', 'expected'
# Fig. 3 averages over users.
MEAN = 'by_user'


def draw(
  result: Mapping[str, Mapping[str, Any]], folder: pathlib.Path
) -> dict[str, str]:
  """A picture of every figure there is something for, a panel per dataset.

  Args:
    result: {dataset: {'reports': {system: of `online_report.build`},
      'movement': of `movement.curves`, 'activity': of `buckets.histogram` with
      'alpha', 'minimum' and 'zeta' (of alpha and minimum + 1) of the fitted
      law}}; what is missing or None is not drawn.
    folder: of the pictures, PNG.
  Returns:
    {figure: file name}; empty without anything to draw, or to draw with.
  """
  drawn = {}
  for name, (key, panel) in _FIGURES.items():
    shown = {
      dataset: found[key] for dataset, found in result.items() if found.get(key)
    }
    if shown and importlib.util.find_spec('matplotlib'):
      drawn[name] = f'two_time_scale_{name}.png'
      _draw(shown, panel, folder / drawn[name])
  return drawn


def _draw(
  panels: Mapping[str, Any], panel: Callable[..., None], path: pathlib.Path
) -> None:
  from matplotlib import figure

  # Without pyplot, so no window system is asked for.
  size = (5.0 * len(panels), 4.0)
  drawn = figure.Figure(figsize=size, layout='constrained')
  axes = drawn.subplots(1, len(panels), squeeze=False)[0]
  for axis, (dataset, shown) in zip(axes, panels.items(), strict=True):
    panel(axis, shown)
    axis.set_title(dataset)
  with files.explained(path, 'write'), files.replacing(path) as file:
    drawn.savefig(file, format='png', dpi=150)


def _buckets(axis, reports):
  """Fig. 3: a metric by the users' training events, and the threshold."""
  options = next(iter(reports.values()))['options']
  names = buckets.names(options['edges'])
  for i, (system, report) in enumerate(reports.items()):
    rows = {row['name']: row['all'] for row in report['rows']}
    cells = [rows[name][RULE][METRIC][MEAN] for name in names]
    places = [x for x, cell in enumerate(cells) if cell['value'] is not None]
    heights = [cells[x]['value'] for x in places]
    # Side by side, so that the intervals of systems do not hide each other.
    shift = (i - (len(reports) - 1) / 2.0) * 0.5 / len(reports)
    axis.errorbar(
      np.array(places) + shift,
      heights,
      yerr=_bars([cells[x] for x in places]),
      fmt='o-',
      capsize=2,
      label=system,
    )
  if options['threshold'] is not None:
    place = threshold_place(options['threshold'], options['edges'])
    axis.axvline(place, color='0.4', linestyle='--', label='threshold')
  axis.set_xlim(-0.5, len(names) - 0.5)
  axis.set_xticks(range(len(names)), names)
  axis.set_xlabel('training events of the user')
  axis.set_ylabel(f'{METRIC.upper()}, mean over users')
  axis.legend(fontsize='small')


def threshold_place(threshold: float, edges: Sequence[int]) -> float:
  """Where t* lies on an axis of buckets, each from -1/2 to 1/2 of its number.

  An edge is the border behind its bucket; between two edges the place is
  proportional. Beyond the last edge it is in the middle of the open bucket.
  """
  if threshold > edges[-1]:
    return float(len(edges) + 1)
  borders = np.arange(len(edges) + 1) + 0.5
  return float(np.interp(threshold, [0, *edges], borders))


def _bars(cells: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
  """Lengths below and above, f64[2, n]; None without intervals."""
  if any(cell['low'] is None for cell in cells):
    return None
  value, low, high = (
    np.array([cell[name] for cell in cells])
    for name in ('value', 'low', 'high')
  )
  # Percentile intervals need not contain the value where users are few.
  return np.maximum(np.stack([value - low, high - value]), 0.0)


def _movement(axis, curves):
  """Fig. 4: how far states move, with one standard error."""
  for name in (online_report.INACTIVE, online_report.ACTIVE):
    curve = curves[name]
    k, mean, error = (
      np.array([np.nan if x is None else x for x in curve[column]], np.float64)
      for column in ('k', 'mean', 'se')
    )
    [line] = axis.plot(k, mean, label=f'{name} users')
    color = line.get_color()
    error = np.nan_to_num(error)
    axis.fill_between(
      k, mean - error, mean + error, color=color, alpha=0.25, linewidth=0
    )
  axis.set_xlabel('test events of the user, k')
  axis.set_ylabel('movement of the state, ||h^k - h^(k-1)||')
  axis.legend()


def _activity(axis, activity):
  """Fig. 5: users by training events, and the power law fitted to them."""
  values = np.array(activity['values'], np.float64)
  users = np.array(activity['users'], np.float64)
  axis.loglog(values + 1.0, users, '.', markersize=3, label='users')
  if activity.get('alpha') is not None:
    fitted = values >= activity['minimum']
    law = (values[fitted] + 1.0) ** -activity['alpha'] / activity['zeta']
    label = f'power law, alpha = {activity["alpha"]:.2f}'
    axis.loglog(values[fitted] + 1.0, users[fitted].sum() * law, label=label)
    # Counts end at one user; the law goes on below.
    axis.set_ylim(bottom=0.5)
  axis.set_xlabel('training events of a user + 1')
  axis.set_ylabel('users')
  axis.legend()


_FIGURES = {
  'fig3': ('reports', _buckets),
  'fig4': ('movement', _movement),
  'fig5': ('activity', _activity),
}
