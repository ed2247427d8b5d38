"""Fig. 4 of PIN as a picture, where matplotlib is installed."""

from collections.abc import Mapping
import importlib.util
import pathlib
from typing import Any

import numpy as np

from twotsrec.training import files


def draw(result: Mapping[str, Any], path: pathlib.Path) -> pathlib.Path | None:
  """Hit@1 on validation by epoch of stage 2, a line per group.

  Args:
    result: of `pin_results.collect`.
    path: of the picture, PNG.
  Returns:
    The path; None if there is nothing to draw, or nothing to draw with.
  """
  panels = {
    name: found['models']['din']['curves']
    for name, found in result['datasets'].items()
    if found and 'din' in found['models']
  }
  panels = {name: curves for name, curves in panels.items() if curves}
  wanted = 'fig4' in result['settings']['tables']
  if not wanted or not panels or not importlib.util.find_spec('matplotlib'):
    return None
  from matplotlib import figure

  # Without pyplot, so no window system is asked for.
  drawn = figure.Figure(figsize=(6.0 * len(panels), 4.0), layout='constrained')
  axes = drawn.subplots(1, len(panels), squeeze=False)[0]
  for axis, (name, curves) in zip(axes, panels.items()):
    _panel(axis, name, curves)
  with files.explained(path, 'write'), files.replacing(path) as file:
    drawn.savefig(file, format='png', dpi=150)
  return path


def _panel(axis, name, curves):
  """Means over seeds; single seeds lie thin behind them."""
  shortest = min(len(curve['by_epoch']) for curve in curves)
  values = np.array([c['by_epoch'][:shortest] for c in curves], np.float64)
  epochs = np.arange(shortest)
  for group in range(values.shape[-1]):
    of_group, color = values[..., group], f'C{group}'
    mean = of_group.mean(axis=0)
    axis.plot(epochs, mean, 'o-', color=color, label=f'group {group + 1}')
    for seed in of_group if len(of_group) > 1 else ():
      axis.plot(epochs, seed, color=color, linewidth=0.6, alpha=0.5)
  axis.set_xticks(epochs)
  axis.set_xlabel('epoch of stage 2 (0: the trunk)')
  axis.set_ylabel('Hit@1 on validation')
  axis.set_title(f'{name}, DIN +GA+PN, seeds: {len(curves)}')
  axis.legend(loc='upper left', bbox_to_anchor=(1.0, 1.0))  # beside it
