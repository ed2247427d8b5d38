"""Theorem 2.1 in the document on 2TS: simulated once, kept beside the runs."""

from collections.abc import Sequence
import pathlib
from typing import Any

from twotsrec import theory
from twotsrec.recipes.reproduction import theory_figure
from twotsrec.recipes.reproduction import theory_report
from twotsrec.training import files

NAME = 'theory.json'
PICTURE = 'two_time_scale_theory.png'


def collect(
  folder: pathlib.Path,
  spreads: Sequence[float] = theory_report.SPREADS,
  seeds: Sequence[int] = theory_report.SEEDS,
  config: theory.Config | None = None,
) -> dict[str, Any]:
  """Simulates and draws what is not there yet.

  Args:
    folder: of `NAME` and `PICTURE`.
    spreads: of the users.
    seeds: of the worlds.
    config: of everything else; None takes the defaults.
  Returns:
    {'asked', 'table': cells with their head, 'claims': {claim: in how many
    runs it holds}, 'runs': how many there are, 'picture': file name or ''}.
  """
  config = theory.Config() if config is None else config
  asked = files.jsonable(
    {'spreads': spreads, 'seeds': seeds, 'config': config._asdict()}
  )
  path = folder / NAME
  if path.is_file():
    kept = files.read_json(path)
    if kept.get('asked') == asked:
      return kept
  runs = theory_report.run(spreads, seeds, config)
  with files.explained(folder, 'write'):
    folder.mkdir(parents=True, exist_ok=True)
  drawn = theory_figure.draw([r.simulation for r in runs], folder / PICTURE)
  true = [theory_report.holds(run.simulation) for run in runs]
  found = {
    'asked': asked,
    'table': theory_report.theory_rows(runs),
    'claims': {name: sum(one[name] for one in true) for name in true[0]},
    'runs': len(runs),
    'picture': drawn.name if drawn else '',
  }
  files.write_json(path, found)
  return found
