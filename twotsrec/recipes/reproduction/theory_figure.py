"""The simulation of Theorem 2.1 as a picture, where matplotlib is installed.

A column for every spread of the users. From above: the mean excess risk J by
threshold, with the bounds; the risk after own starts against that of the
common start, which cross at the best threshold; the error of the own vectors
against the variance of the tastes, which cross there too. Counts are shown as
T + 1 on a logarithmic axis.
"""

from collections.abc import Sequence
import importlib.util
import pathlib

import numpy as np

from twotsrec import theory
from twotsrec.training import files


def draw(
  simulations: Sequence[theory.Simulation], path: pathlib.Path
) -> pathlib.Path | None:
  """Draws simulations, those of the same spread over each other.

  Args:
    simulations: of any spreads and seeds; the first of a spread is labeled,
      the others lie thin behind it.
    path: of the picture, PNG.
  Returns:
    The path; None if there is nothing to draw, or nothing to draw with.
  """
  if not simulations or not importlib.util.find_spec('matplotlib'):
    return None
  from matplotlib import figure

  columns = {}
  for found in simulations:
    columns.setdefault(found.config.spread, []).append(found)
  # Without pyplot, so no window system is asked for.
  drawn = figure.Figure(
    figsize=(5.2 * len(columns), 10.0), layout='constrained'
  )
  axes = drawn.subplots(3, len(columns), squeeze=False, sharex='col')
  for column, spread in enumerate(sorted(columns)):
    found = columns[spread]
    for row, panel in enumerate((_by_threshold, _risks, _errors)):
      axis = axes[row, column]
      for other in found[1:]:
        panel(axis, other, False)
      panel(axis, found[0], True)
      axis.set_xscale('log')
      axis.set_yscale('log')
      axis.legend(fontsize='small')
    axes[0, column].set_title(_title(spread, found))
  with files.explained(path, 'write'), files.replacing(path) as file:
    drawn.savefig(file, format='png', dpi=150)
  return path


def _title(spread, found):
  first = found[0]
  return (
    f'spread {spread:g}, seeds: {len(found)}\n'
    f'V = {first.V:.4f}, Q tail = {first.Q_tail:.3f}, '
    f'Q worst = {first.Q_worst:g}'
  )


def _by_threshold(axis, found, labeled):
  line = _liner(axis, found, labeled)
  line(found.J, 'C0', 'J(t), measured')
  line(found.bound(found.Q_worst), 'C1', 'bound, Q worst', '--')
  line(found.bound(found.Q_tail), 'C2', 'bound, Q tail', '--')
  if labeled:
    best, rule = found.best, found.t_star
    axis.plot(
      best + 1, found.J[best], 'o', color='C0', label=f'best t = {best}'
    )
    _mark(axis, rule, f'ceil(Q tail / V - 1) = {rule}')
    axis.set_xlabel('threshold t + 1')
    axis.set_ylabel('mean excess risk')


def _risks(axis, found, labeled):
  line = _liner(axis, found, labeled)
  line(found.R_act, 'C0', 'own start, R_act(T)')
  line(np.full(len(found.J), found.R_in), 'C3', 'common start, R_in')
  if labeled:
    _crossing(axis, found.risk_crossing, 'R_act < R_in')
    axis.set_xlabel('events offline T + 1')
    axis.set_ylabel('mean excess risk')


def _errors(axis, found, labeled):
  line = _liner(axis, found, labeled)
  counts = np.arange(1.0, len(found.e) + 1.0)
  line(found.e, 'C0', 'error of the own vector, e(T)')
  line(np.full(len(counts), found.V), 'C3', 'variance of the tastes, V')
  line(found.Q_tail / counts, 'C2', 'Q tail / (T + 1)', '--')
  line(found.Q_worst / counts, 'C1', 'Q worst / (T + 1)', '--')
  if labeled:
    _crossing(axis, found.error_crossing, 'e < V')
    axis.set_xlabel('events offline T + 1')
    axis.set_ylabel('mean squared distance to the taste')


def _liner(axis, found, labeled):
  """A function that draws values over all counts."""
  counts = np.arange(1, len(found.J) + 1)

  def line(values, color, label, style='-'):
    if labeled:
      axis.plot(counts, values, style, color=color, label=label)
    else:
      axis.plot(counts, values, style, color=color, linewidth=0.6, alpha=0.5)

  return line


def _crossing(axis, count, label):
  if count is not None:
    _mark(axis, count, f'{label} from T = {count}')


def _mark(axis, count, label):
  axis.axvline(count + 1, color='0.5', linestyle=':', label=label)
