"""Theorem 2.1 of 2TS simulated: a table, a picture, and what holds of it.

The tastes of all users are given in these worlds, so the risk of every
threshold can be measured. The picture has a column for every spread of the
users. From above: the mean excess risk J by threshold, with the bounds; the
risk after own starts against that of the common start, which cross at the best
threshold; the error of the own vectors against the variance of the tastes,
which cross there too. Counts are drawn as T + 1 on a logarithmic axis.
"""

from collections.abc import Iterable, Iterator, Sequence
import math
import pathlib
import time
from typing import Any, NamedTuple

import numpy as np

from twotsrec.evaluation import comparison
from twotsrec.studies import document
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


class Simulated(NamedTuple):
  """The record of all simulations, beside the runs.

  Attributes:
    asked: spreads, seeds and configuration they were made with.
    table: cells with their head.
    claims: {claim: number of simulations in which it holds}.
    runs: number of simulations.
    picture: file name, or ''.
  """

  asked: dict[str, Any]
  table: list[list[str]]
  claims: dict[str, int]
  runs: int
  picture: str


def collect(
  folder: pathlib.Path,
  spreads: Sequence[float] = SPREADS,
  seeds: Sequence[int] = SEEDS,
  config: worlds_lib.Config | None = None,
) -> Simulated:
  """Simulates and draws what is not in the folder yet.

  Args:
    folder: of `NAME` and `PICTURE`.
    spreads: of the users.
    seeds: of the worlds.
    config: of everything else; None takes the defaults.
  """
  config = worlds_lib.Config() if config is None else config
  asked = files.jsonable(
    {'spreads': spreads, 'seeds': seeds, 'config': config._asdict()}
  )
  path = folder / NAME
  if path.is_file():
    record = files.read_json(path)
    if record.get('asked') == asked:
      return Simulated(**record)
  runs = simulate(spreads, seeds, config)
  with files.explained(folder, 'write'):
    folder.mkdir(parents=True, exist_ok=True)
  drawn = draw([run.simulation for run in runs], folder / PICTURE)
  true = [holds(run.simulation) for run in runs]
  record = Simulated(
    asked=asked,
    table=rows(runs),
    claims={claim: sum(of_run[claim] for of_run in true) for claim in true[0]},
    runs=len(runs),
    picture=PICTURE if drawn else '',
  )
  files.write_json(path, record._asdict())
  return record


def section(page: document.Page) -> Iterator[str]:
  """The theorem in the head of the document, where it is asked for."""
  record = page.records.get('theory')
  if record is None:
    return
  yield '## Theorem 2.1, simulated'
  yield comparison.piped(record.table)
  yield (
    'In these worlds the tastes of all users are known, so the risk of every'
    f' threshold can be measured. Of {record.runs} runs it holds in:'
  )
  claims = record.claims.items()
  yield '\n'.join(f'- {count}: {claim}' for claim, count in claims)
  if record.picture:
    title = 'Risk by threshold, with the bounds and the crossing'
    yield f'![{title}]({record.picture})'


def simulate(
  spreads: Iterable[float], seeds: Iterable[int], config: worlds_lib.Config
) -> list[Run]:
  """Simulates every spread with every seed.

  Args:
    spreads: of the users, s; a small one makes them alike.
    seeds: of the worlds.
    config: of everything else.
  """
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
  named = {_title(spread, of): of for spread, of in columns.items()}
  return figures.draw(named, _PANELS, path, 5.2, 10.0)


def _title(spread, worlds) -> str:
  first = worlds[0]
  return (
    f'spread {spread:g}, seeds: {len(worlds)}\n'
    f'V = {first.V:.4f}, Q tail = {first.Q_tail:.3f}, '
    f'Q worst = {first.Q_worst:g}'
  )


def _panel(lines, mark, xlabel, ylabel):
  """A panel that draws (values, color, label, style) of every world."""

  def panel(axis, title, worlds):
    first = worlds[0]
    for world in (*worlds[1:], first):
      for values, color, label, style in lines(world):
        thin = {'linewidth': 0.6, 'alpha': 0.5}
        how = {'label': label} if world is first else thin
        counts = np.arange(1, len(values) + 1)
        axis.plot(counts, values, style, color=color, **how)
    mark(axis, first)
    axis.set_xlabel(xlabel)
    axis.set_ylabel(ylabel)
    axis.set_xscale('log')
    axis.set_yscale('log')
    axis.legend(fontsize='small')
    if lines is _risk_by_threshold:  # the panel above
      axis.set_title(title)

  return panel


def _risk_by_threshold(world):
  return [
    (world.J, 'C0', 'J(t), measured', '-'),
    (world.bound(world.Q_worst), 'C1', 'bound, Q worst', '--'),
    (world.bound(world.Q_tail), 'C2', 'bound, Q tail', '--'),
  ]


def _risks(world):
  return [
    (world.R_act, 'C0', 'own start, R_act(T)', '-'),
    (np.full(len(world.J), world.R_in), 'C3', 'common start, R_in', '-'),
  ]


def _errors(world):
  counts = np.arange(1.0, len(world.e) + 1.0)
  return [
    (world.e, 'C0', 'error of the own vector, e(T)', '-'),
    (np.full(len(counts), world.V), 'C3', 'variance of the tastes, V', '-'),
    (world.Q_tail / counts, 'C2', 'Q tail / (T + 1)', '--'),
    (world.Q_worst / counts, 'C1', 'Q worst / (T + 1)', '--'),
  ]


def _mark_best(axis, world):
  best, rule = world.best, world.t_star
  axis.plot(best + 1, world.J[best], 'o', color='C0', label=f'best t = {best}')
  _mark(axis, rule, f'ceil(Q tail / V - 1) = {rule}')


def _mark_crossing(axis, count, label):
  if count is not None:
    _mark(axis, count, f'{label} from T = {count}')


def _mark(axis, count, label):
  axis.axvline(count + 1, color='0.5', linestyle=':', label=label)


_PANELS = (
  _panel(_risk_by_threshold, _mark_best, 'threshold t + 1', 'mean excess risk'),
  _panel(
    _risks,
    lambda axis, w: _mark_crossing(axis, w.risk_crossing, 'R_act < R_in'),
    'events offline T + 1',
    'mean excess risk',
  ),
  _panel(
    _errors,
    lambda axis, w: _mark_crossing(axis, w.error_crossing, 'e < V'),
    'events offline T + 1',
    'mean squared distance to the taste',
  ),
)
