"""Figs. 3 to 5 of COPF as pictures, where matplotlib is installed."""

from collections.abc import Mapping
import importlib.util
import pathlib
from typing import Any

from twotsrec.recipes.reproduction import copf
from twotsrec.recipes.reproduction import copf_tables
from twotsrec.training import files


def draw(result: Mapping[str, Any], folder: pathlib.Path) -> dict[str, str]:
  """A picture of every figure with finished runs, a column per dataset.

  Args:
    result: of `copf_results.collect`.
    folder: of the pictures, PNG.
  Returns:
    {figure: file name}; empty without anything to draw, or to draw with.
  """
  drawn = {}
  for name in copf.SWEEPS:
    panels = {
      dataset: copf_tables.points(found, name)
      for dataset, found in result['datasets'].items()
      if found and name in found['tables']
    }
    panels = {dataset: shown for dataset, shown in panels.items() if shown}
    if panels and importlib.util.find_spec('matplotlib'):
      drawn[name] = f'copf_{name}.png'
      _draw(panels, copf.SWEEPS[name], folder / drawn[name])
  return drawn


def _draw(panels, sweep, path):
  from matplotlib import figure

  # Without pyplot, so no window system is asked for.
  size = (4.5 * len(panels), 5.5)
  drawn = figure.Figure(figsize=size, layout='constrained')
  metrics = copf_tables.METRICS
  axes = drawn.subplots(len(metrics), len(panels), squeeze=False, sharex='col')
  for column, (dataset, shown) in enumerate(panels.items()):
    for row, (metric, label) in enumerate(metrics.items()):
      axis = axes[row, column]
      _panel(axis, shown, metric)
      axis.set_ylabel(label)
    axes[0, column].set_title(dataset)
    axes[-1, column].set_xlabel(sweep.name)
    axes[-1, column].set_xticks(list(sweep.values))
  with files.explained(path, 'write'), files.replacing(path) as file:
    drawn.savefig(file, format='png', dpi=150)


def _panel(axis, shown, metric):
  """Means over seeds with their 95 % intervals over users."""
  values = list(shown)
  cells = [shown[value][metric] for value in values]
  heights = [cell['value'] for cell in cells]
  # Percentile intervals need not contain the value where users are few.
  below = [max(cell['value'] - cell['low'], 0.0) for cell in cells]
  above = [max(cell['high'] - cell['value'], 0.0) for cell in cells]
  axis.errorbar(values, heights, yerr=[below, above], fmt='o-', capsize=3)
