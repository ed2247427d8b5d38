"""Figures as pictures, PNG, where matplotlib is installed.

A figure has a column for each dataset; a panel draws on one axis what a column
holds.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import hashlib
import importlib.util
import json
import pathlib
from typing import Any

import numpy as np

from twotsrec.evaluation import buckets
from twotsrec.studies import results
from twotsrec.studies import tables
from twotsrec.training import files

# Okabe and Ito: told apart by people who do not see all colors, too.
COLORS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#56b4e9', '#e69f00')

Panel = Callable[[Any, str, Any], None]  # axis, name of the column, content
Picture = Callable[[Mapping[str, Any], pathlib.Path], bool]


def draw(
  columns: Mapping[str, Any],
  panels: Sequence[Panel],
  path: pathlib.Path,
  width: float = 5.0,
  height: float = 4.0,
  numbers: Any = None,
) -> bool:
  """Draws a figure; False without anything to draw, or to draw with.

  Args:
    columns: content by name; empty ones are left out.
    panels: of a column, from above.
    path: of the picture.
    width: of a column, in inches.
    height: of the figure.
    numbers: that an SVG names, see `save`.
  Raises:
    types.UserError: the picture cannot be written.
  """
  columns = {name: content for name, content in columns.items() if content}
  if not columns or not importlib.util.find_spec('matplotlib'):
    return False
  from matplotlib import figure  # pyright: ignore[reportMissingImports]

  # Without pyplot, so no window system is asked for.
  size = (width * len(columns), height)
  drawn = figure.Figure(figsize=size, layout='constrained')
  drawn.set_facecolor('white')  # a page may be dark, the picture is not
  axes = drawn.subplots(len(panels), len(columns), squeeze=False, sharex='col')
  for column, (name, content) in enumerate(columns.items()):
    for row, panel in enumerate(panels):
      panel(axes[row, column], name, content)
  save(drawn, path, numbers)
  return True


def save(drawn: Any, path: pathlib.Path, numbers: Any = None) -> None:
  """Writes a figure of matplotlib as its suffix says, .png or .svg.

  Args:
    drawn: the figure.
    path: of the picture; the same numbers give the same bytes.
    numbers: what was drawn; an SVG says so by `digest`.
  Raises:
    types.UserError: the picture cannot be written.
  """
  import matplotlib  # pyright: ignore[reportMissingImports]

  # Text stays text, which is small.
  settings: dict[Any, Any] = {
    'svg.fonttype': 'none',
    'svg.hashsalt': 'twotsrec',
    'font.sans-serif': ['DejaVu Sans', 'Helvetica'],
  }
  kind = path.suffix[1:]
  about = {'Date': None, 'Creator': None, 'Description': digest(numbers)}
  with (
    matplotlib.rc_context(settings),
    files.explained(path, 'write'),
    files.replacing(path) as file,
  ):
    metadata = about if kind == 'svg' else None
    drawn.savefig(file, format=kind, dpi=150, metadata=metadata)


def digest(numbers: Any) -> str:
  """What a picture says of the numbers that it was drawn from."""
  text = json.dumps(numbers, sort_keys=True)
  return f'drawn from {hashlib.sha256(text.encode()).hexdigest()}'


def of_chapters(
  content: Callable[[Any], Any], *panels: Panel, **size: float
) -> Picture:
  """`Table.picture` with a column a chapter, of which `content` is drawn."""
  return lambda chapters, path: draw(
    {name: content(chapter) for name, chapter in chapters.items()},
    panels,
    path,
    **size,
  )


def curves(block: str, xlabel: str, ylabel: str, title: str) -> Picture:
  """Validation curves, a line per group; `title` is behind the dataset."""

  def panel(axis, name, seeds):
    """Means over seeds; single seeds lie thin behind them."""
    shortest = min(len(curve.by_epoch) for curve in seeds)
    values = np.array([c.by_epoch[:shortest] for c in seeds], np.float64)
    epochs = np.arange(shortest)
    for group in range(values.shape[-1]):
      of_group, color = values[..., group], f'C{group}'
      mean = of_group.mean(axis=0)
      axis.plot(epochs, mean, 'o-', color=color, label=f'group {group + 1}')
      for one in of_group if len(of_group) > 1 else ():
        axis.plot(epochs, one, color=color, linewidth=0.6, alpha=0.5)
    axis.set_xticks(epochs)
    axis.set_xlabel(xlabel)
    axis.set_ylabel(ylabel)
    axis.set_title(f'{name}, {title}, seeds: {len(seeds)}')
    axis.legend(loc='upper left', bbox_to_anchor=(1.0, 1.0))  # beside it

  content = lambda chapter: (
    chapter.blocks[block].curves if block in chapter.blocks else []
  )
  return of_chapters(content, panel, width=6.0)


def sweep(
  table: str, axis: str, values: Mapping[str, float], metrics: Mapping[str, str]
) -> Picture:
  """Metrics by the value of a setting, a panel for each.

  Args:
    table: key of `Study.tables`.
    axis: name of the setting.
    values: of the setting by system.
    metrics: {metric: its name}, from above.
  """
  first, last = [*metrics][0], [*metrics][-1]

  def panel(metric: str) -> Panel:
    """Means over seeds with their 95 % intervals over users."""

    def on(drawn, name, points):
      cells = [point.cells[metric, results.ALL] for point in points.values()]
      heights = [cell.value for cell in cells]
      drawn.errorbar([*points], heights, yerr=bars(cells), fmt='o-', capsize=3)
      drawn.set_ylabel(metrics[metric])
      if metric == first:
        drawn.set_title(name)
      if metric == last:
        drawn.set_xlabel(axis)
        drawn.set_xticks([*values.values()])

    return on

  content = lambda chapter: tables.sweep(chapter, table, values)
  return of_chapters(content, *map(panel, metrics), width=4.5, height=5.5)


def bars(cells: Iterable[results.Cell]) -> np.ndarray | None:
  """Lengths below and above, f64[2, n]; None without intervals."""
  cells = [*cells]
  if any(cell.low is None for cell in cells):
    return None
  value, low, high = np.array(cells, np.float64).T
  # Percentile intervals need not contain the value where users are few.
  return np.maximum(np.stack([value - low, high - value]), 0.0)


# ---- 2TS


def by_bucket(systems: Sequence[str], labels: Mapping[str, str]) -> Picture:
  """2TS fig. 3: MRR by the users' training events, and the threshold.

  Args:
    systems: those that have finished are drawn, popularity first.
    labels: their names.
  """

  def content(chapter: results.Chapter) -> Any:
    [block] = chapter.blocks.values()
    measured = {**chapter.rules, **block.systems}
    named = {labels[s]: measured.get(s) for s in (results.POPULARITY, *systems)}
    drawn = {name: of for name, of in named.items() if of is not None}
    return chapter.details.options, drawn

  return of_chapters(content, buckets_panel)


def buckets_panel(axis: Any, name: str, content: Any) -> None:
  """Draws (options of the online reports, {label: `Measured`}) by bucket."""
  options, systems = content
  names = buckets.names(options.edges)
  for i, (system, measured) in enumerate(systems.items()):
    keys = [results.key('mrr', place=n, mean=results.BY_USER) for n in names]
    cells = {x: measured.cells[key] for x, key in enumerate(keys)}
    cells = {x: c for x, c in cells.items() if c.value is not None}
    # Side by side, so that the intervals of systems do not hide each other.
    shift = (i - (len(systems) - 1) / 2.0) * 0.5 / len(systems)
    axis.errorbar(
      np.array([*cells]) + shift,
      [cell.value for cell in cells.values()],
      yerr=bars(cells.values()),
      fmt='o-',
      capsize=2,
      label=system,
    )
  if options.threshold is not None:
    place = threshold_place(options.threshold, options.edges)
    axis.axvline(place, color='0.4', linestyle='--', label='threshold')
  axis.set_xlim(-0.5, len(names) - 0.5)
  axis.set_xticks(range(len(names)), names)
  _finish(axis, name, 'training events of the user', 'MRR, mean over users')


def threshold_place(threshold: float, edges: Sequence[int]) -> float:
  """The place of t* on an axis of buckets, each from -1/2 to 1/2 of its number.

  An edge is the border behind its bucket; between two edges the place is
  proportional. Beyond the last edge it is in the middle of the open bucket.
  """
  if threshold > edges[-1]:
    return float(len(edges) + 1)
  borders = np.arange(len(edges) + 1) + 0.5
  return float(np.interp(threshold, [0, *edges], borders))


def movement_panel(axis: Any, name: str, curves: Mapping[str, Any]) -> None:
  """2TS fig. 4: how far states move (`movement.curves`), one standard error."""
  for kind in results.KINDS:
    k, mean, error = (
      np.array(curves[kind][column], np.float64)  # None becomes NaN
      for column in ('k', 'mean', 'se')
    )
    [line] = axis.plot(k, mean, label=f'{kind} users')
    error = np.nan_to_num(error)
    low, high, color = mean - error, mean + error, line.get_color()
    axis.fill_between(k, low, high, color=color, alpha=0.25, linewidth=0)
  ylabel = 'movement of the state, ||h^k - h^(k-1)||'
  _finish(axis, name, 'test events of the user, k', ylabel, 'medium')


def activity_panel(axis: Any, name: str, law: Any) -> None:
  """2TS fig. 5: users by training events, and the law of `online.Activity`."""
  values = np.array(law.values, np.float64)
  users = np.array(law.users, np.float64)
  axis.loglog(values + 1.0, users, '.', markersize=3, label='users')
  if law.alpha is not None:
    fitted = values >= law.minimum
    share = (values[fitted] + 1.0) ** -law.alpha / law.zeta
    label = f'power law, alpha = {law.alpha:.2f}'
    axis.loglog(values[fitted] + 1.0, users[fitted].sum() * share, label=label)
    # Counts end at one user; the law goes on below.
    axis.set_ylim(bottom=0.5)
  _finish(axis, name, 'training events of a user + 1', 'users', 'medium')


def _finish(axis, title, xlabel, ylabel, size='small'):
  axis.set_xlabel(xlabel)
  axis.set_ylabel(ylabel)
  axis.legend(fontsize=size)
  axis.set_title(title)


movement = of_chapters(lambda chapter: chapter.details.movement, movement_panel)
activity = of_chapters(lambda chapter: chapter.details.activity, activity_panel)
