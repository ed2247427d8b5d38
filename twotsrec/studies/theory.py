"""Theorem 2.1 of 2TS simulated: a table, a picture, and what holds of it.

The tastes of all users are given in these worlds, so the risk of every
threshold can be measured. The picture has a column for every spread of the
users. From above: the mean excess risk J by threshold, with the bounds, and J
of the shrunk start, which has no threshold and lies below all; the risk after
own starts against that of the common start, which cross at the best threshold,
with that of the shrunk start; the error of the own vectors against the variance
of the tastes, which cross there too, with the shrunk start's. Counts are drawn
as T + 1 on a logarithmic axis.
"""

from collections.abc import Iterable, Sequence
import functools
import math
import pathlib
import time
from typing import Any, NamedTuple

import numpy as np

from twotsrec.report import drawings
from twotsrec.studies import figures
from twotsrec.theory import bounds
from twotsrec.theory import simulation as simulation_lib
from twotsrec.theory import worlds as worlds_lib
from twotsrec.training import files

SPREADS = (1.0, 2.0, 5.0)
SEEDS = (0, 1)
NAME = 'theory.json'
PICTURE = 'two_time_scale_theory.png'


class Run(NamedTuple):
  """A simulation and the seconds it took, compilation included."""

  seed: int
  simulation: simulation_lib.Simulation
  seconds: float


def collect(
  folder: pathlib.Path,
  spreads: Sequence[float] = SPREADS,
  seeds: Sequence[int] = SEEDS,
  config: worlds_lib.Config | None = None,
) -> dict[str, Any]:
  """Simulates and draws what is not in the folder yet.

  Args:
    folder: of `NAME` and `PICTURE`.
    spreads: of the users.
    seeds: of the worlds.
    config: of everything else; None takes the defaults.
  Returns:
    {'asked': spreads, seeds and configuration, 'table': cells with their head,
    'claims': {claim: number of simulations in which it holds}, 'runs': number
    of simulations, 'picture': file name, or ''}.
  """
  config = worlds_lib.Config() if config is None else config
  asked = files.jsonable(
    {
      'spreads': spreads,
      'seeds': seeds,
      'config': config._asdict(),
      'starts': ('threshold', 'shrunk'),  # a folder of before has one
    }
  )
  path = folder / NAME
  if path.is_file():
    record = files.read_json(path)
    if record.get('asked') == asked:
      return record
  runs = simulate(spreads, seeds, config)
  with files.explained(folder, 'write'):
    folder.mkdir(parents=True, exist_ok=True)
  drawn = draw([run.simulation for run in runs], folder / PICTURE)
  true = [holds(run.simulation) for run in runs]
  record = {
    'asked': asked,
    'table': rows(runs),
    'claims': {k: sum(of_run[k] for of_run in true) for k in true[0]},
    'runs': len(runs),
    'picture': PICTURE if drawn else '',
  }
  files.write_json(path, record)
  return record


def simulate(
  spreads: Iterable[float], seeds: Iterable[int], config: worlds_lib.Config
) -> list[Run]:
  """Simulates every spread s, where a small one makes users alike, and seed."""
  seeds, runs = tuple(seeds), []
  for spread in spreads:
    for seed in seeds:
      started = time.perf_counter()
      world = simulation_lib.simulate(
        seed, config._replace(spread=float(spread))
      )
      runs.append(Run(seed, world, time.perf_counter() - started))
  return runs


def holds(world: simulation_lib.Simulation) -> dict[str, bool]:
  """The statements of the theorem, each with whether the simulation has it."""
  rule, best, J = world.t_star, world.best, world.J
  risks, errors = world.risk_crossing, world.error_crossing
  return {
    'the best threshold is that of the rule, within 2 or 10 %': (
      abs(best - rule) <= max(2.0, 0.1 * rule)
    ),
    'risks cross where errors cross, within 1': (
      risks is not None and errors is not None and abs(risks - errors) <= 1
    ),
    'a threshold beats own starts for all': bool(J[0] > J[rule]),
    'a threshold beats own starts for nobody': bool(world.R_in > J[rule]),
    'the bound holds everywhere': bool((world.bound(world.Q_worst) >= J).all()),
    'the shrunk start beats every threshold': bool(
      world.J_shrunk < min(J.min(), world.R_in)
    ),
    'the bound of the shrunk start is below that of every threshold': (
      world.J_shrunk <= world.shrunk_bound(world.Q_worst)
      and bool(
        (world.bound(world.Q_worst) > world.shrunk_bound(world.Q_worst)).all()
      )
    ),
    'active users want smaller steps': world.gamma_act < world.gamma_in,
  }


def predicted_ratio(world: simulation_lib.Simulation) -> float:
  """gamma_act / gamma_in by the formulas, at the rule's threshold."""
  alpha = world.config.alpha
  active = bounds.active_error(world.t_star, alpha, world.Q_tail)
  return math.sqrt(active / world.V)


def rows(runs: Sequence[Run]) -> list[list[str]]:
  """Cells of a table with its head, a row for every run."""
  cells = [_cells(run) for run in runs]
  return [list(cells[0]), *([*row.values()] for row in cells)]


def _cells(run: Run) -> dict[str, str]:
  world, true = run.simulation, holds(run.simulation)
  crossing = world.risk_crossing
  return {
    'spread': f'{world.config.spread:g}',
    'seed': str(run.seed),
    'V': f'{world.V:.4f}',
    'Q worst': f'{world.Q_worst:.2f}',
    'Q tail': f'{world.Q_tail:.3f}',
    't by worst': str(bounds.t_opt(world.Q_worst, world.V)),
    't by tail': str(world.t_star),
    'best t': str(world.best),
    'crossing': '-' if crossing is None else str(crossing),
    'J(0)': f'{world.J[0]:.5f}',
    'J(best)': f'{world.J[world.best]:.5f}',
    'J(inf)': f'{world.R_in:.5f}',
    'J(shrunk)': f'{world.J_shrunk:.5f}',
    'steps act / in': f'{world.gamma_act / world.gamma_in:.2f}',
    'predicted': f'{predicted_ratio(world):.2f}',
    'seconds': f'{run.seconds:.1f}',
    'holds': f'{sum(true.values())} of {len(true)}',
  }


# ---- The picture


def draw(
  worlds: Sequence[simulation_lib.Simulation], path: pathlib.Path
) -> bool:
  """Draws simulations, those of the same spread over each other.

  Args:
    worlds: of any spreads and seeds; the first of a spread is labeled, the
      others lie thin behind it.
    path: of the picture, PNG.
  Returns:
    False if there is nothing to draw, or nothing to draw with.
  """
  columns: dict[float, list[simulation_lib.Simulation]] = {}
  for world in sorted(worlds, key=lambda world: world.config.spread):
    columns.setdefault(world.config.spread, []).append(world)
  named = {
    f'spread {spread:g}, seeds: {len(of)}\nV = {of[0].V:.4f},'
    f' Q tail = {of[0].Q_tail:.3f}, Q worst = {of[0].Q_worst:g}': of
    for spread, of in columns.items()
  }
  return figures.draw(named, (_threshold, _risk, _error), path, 5.2, 10.0)


def shown(world: simulation_lib.Simulation) -> Any:
  """The panels of `draw` side by side, as a figure for a notebook.

  Raises:
    types.UserError: matplotlib is not installed.
  """

  def panel(axis, draw, title):
    draw(axis, title, [world])
    axis.set_title(title)

  panels = {
    'Risk by threshold': _threshold,
    'Risk by what is known': _risk,
    'Error of the start': _error,
  }
  made = [
    functools.partial(panel, draw=draw, title=title)
    for title, draw in panels.items()
  ]
  return drawings.shown(*made, width=5.0, height=4.6)


def _threshold(axis, title, worlds):
  level = lambda world, value: np.full(len(world.J), value)
  first, best, rule = worlds[0], worlds[0].best, worlds[0].t_star
  lines = lambda world: [
    (world.J, 'C0', 'J(t), measured', '-'),
    (world.bound(world.Q_worst), 'C1', 'bound, Q worst', '--'),
    (world.bound(world.Q_tail), 'C2', 'bound, Q tail', '--'),
    (level(world, world.J_shrunk), 'C4', 'shrunk start, measured', '-'),
    (
      level(world, world.shrunk_bound(world.Q_tail)),
      'C4',
      'its bound, Q tail',
      '--',
    ),
  ]
  _plot(axis, worlds, lines)
  label = f'best t = {best}'
  axis.plot(best + 1, first.J[best], 'o', color='C0', label=label)
  _mark(axis, rule, f'ceil(Q tail / V - 1) = {rule}')
  _finish(axis, 'threshold t + 1', 'mean excess risk')
  axis.set_title(title)


def _risk(axis, title, worlds):
  del title  # stands on the panel above
  lines = lambda world: [
    (world.R_act, 'C0', 'own start, R_act(T)', '-'),
    (np.full(len(world.J), world.R_in), 'C3', 'common start, R_in', '-'),
    (world.R_shrunk, 'C4', 'shrunk start', '-'),
  ]
  _plot(axis, worlds, lines)
  crossing = worlds[0].risk_crossing
  _mark(axis, crossing, f'R_act < R_in from T = {crossing}')
  _finish(axis, 'events offline T + 1', 'mean excess risk')


def _error(axis, title, worlds):
  del title
  counts = np.arange(1.0, len(worlds[0].e) + 1.0)
  lines = lambda world: [
    (world.e, 'C0', 'error of the own vector, e(T)', '-'),
    (np.full(len(counts), world.V), 'C3', 'variance of the tastes, V', '-'),
    (world.e_shrunk, 'C4', 'error of the shrunk start', '-'),
    (world.Q_tail / counts, 'C2', 'Q tail / (T + 1)', '--'),
    (world.Q_worst / counts, 'C1', 'Q worst / (T + 1)', '--'),
  ]
  _plot(axis, worlds, lines)
  crossing = worlds[0].error_crossing
  _mark(axis, crossing, f'e < V from T = {crossing}')
  _finish(axis, 'events offline T + 1', 'mean squared distance to the taste')


def _plot(axis, worlds, lines):
  """(values, color, label, style) of every world, the first in front."""
  first, *others = worlds
  for world in (*others, first):
    for values, color, label, style in lines(world):
      thin = {'linewidth': 0.6, 'alpha': 0.5}
      how = {'label': label} if world is first else thin
      counts = np.arange(1, len(values) + 1)
      axis.plot(counts, values, style, color=color, **how)


def _mark(axis, count, label):
  if count is not None:
    axis.axvline(count + 1, color='0.5', linestyle=':', label=label)


def _finish(axis, xlabel, ylabel):
  axis.set_xlabel(xlabel)
  axis.set_ylabel(ylabel)
  axis.set_xscale('log')
  axis.set_yscale('log')
  axis.legend(fontsize='small')
