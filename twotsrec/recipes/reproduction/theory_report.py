"""Theorem 2.1 of 2TS against a world where all of it is known, as a table."""

from collections.abc import Iterable, Sequence
import math
import time
from typing import NamedTuple

from twotsrec import theory

SPREADS = (1.0, 2.0, 5.0)
SEEDS = (0, 1)

HEAD = (
  'spread',
  'seed',
  'V',
  'Q worst',
  'Q tail',
  't by worst',
  't by tail',
  'best t',
  'crossing',
  'J(0)',
  'J(best)',
  'J(inf)',
  'steps act / in',
  'predicted',
  'seconds',
  'holds',
)


class Run(NamedTuple):
  """A simulation and how long it took, compilation included."""

  seed: int
  simulation: theory.Simulation
  seconds: float


def run(
  spreads: Iterable[float] = SPREADS,
  seeds: Iterable[int] = SEEDS,
  config: theory.Config | None = None,
) -> list[Run]:
  """Simulates every spread with every seed.

  Args:
    spreads: of the users, s; a small one makes them alike.
    seeds: of the worlds.
    config: of everything else; None takes the defaults.
  """
  config = theory.Config() if config is None else config
  seeds = tuple(seeds)
  runs = []
  for spread in spreads:
    for seed in seeds:
      started = time.perf_counter()
      found = theory.simulate(seed, config._replace(spread=float(spread)))
      runs.append(Run(seed, found, time.perf_counter() - started))
  return runs


def theory_rows(runs: Sequence[Run]) -> list[list[str]]:
  """Cells of a table with its head, a row for every run."""
  return [list(HEAD), *(_cells(run) for run in runs)]


def holds(found: theory.Simulation) -> dict[str, bool]:
  """What the theorem says of a simulation, {claim: whether it is so}."""
  rule, best, J = found.t_star, found.best, found.J
  return {
    'the best threshold is that of the rule, within 2 or 10 %': (
      abs(best - rule) <= max(2.0, 0.1 * rule)
    ),
    'risks cross where errors cross, within 1': (
      None not in (found.risk_crossing, found.error_crossing)
      and abs(found.risk_crossing - found.error_crossing) <= 1
    ),
    'a threshold beats own starts for all': bool(J[0] > J[rule]),
    'a threshold beats own starts for nobody': bool(found.J_inf > J[rule]),
    'the bound holds everywhere': bool((found.bound(found.Q_worst) >= J).all()),
    'active users want smaller steps': found.gamma_act < found.gamma_in,
  }


def predicted_ratio(found: theory.Simulation) -> float:
  """gamma_act / gamma_in by the formulas, at the rule's threshold."""
  alpha = found.config.alpha
  active = theory.active_error(found.t_star, alpha, found.Q_tail)
  return math.sqrt(active / found.V)


def _cells(run):
  found = run.simulation
  true = holds(found)
  crossing = found.risk_crossing
  return [
    f'{found.config.spread:g}',
    str(run.seed),
    f'{found.V:.4f}',
    f'{found.Q_worst:.2f}',
    f'{found.Q_tail:.3f}',
    str(theory.t_opt(found.Q_worst, found.V)),
    str(found.t_star),
    str(found.best),
    '-' if crossing is None else str(crossing),
    f'{found.J[0]:.5f}',
    f'{found.J[found.best]:.5f}',
    f'{found.J_inf:.5f}',
    f'{found.gamma_act / found.gamma_in:.2f}',
    f'{predicted_ratio(found):.2f}',
    f'{run.seconds:.1f}',
    f'{sum(true.values())} of {len(true)}',
  ]
