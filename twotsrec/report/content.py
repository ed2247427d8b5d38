"""What a report is made from: finished runs, read once."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.report import drawings
from twotsrec.report import tables
from twotsrec.runs import compare
from twotsrec.runs import compared_runs
from twotsrec.training import run_directory


class Request(NamedTuple):
  """What is asked for.

  Attributes:
    systems: {name: run directories of its seeds}, see `compare.systems`.
    base: the system that others are compared with; '' is the first.
    metrics: () takes those of a table by default.
    resamples: of users, for differences.
    seed: of the resampling.
    command: words of the one that makes the report.
  """

  systems: Mapping[str, Sequence[str]]
  base: str = ''
  metrics: tuple[str, ...] = ()
  resamples: int = compare.RESAMPLES
  seed: int = 0
  command: tuple[str, ...] = ()


class Content(NamedTuple):
  """Finished runs.

  Attributes:
    request: what was asked for.
    systems: of the request, the base first.
    beside: the same, after the rules that stand beside their models.
    results: their test metrics.
    compared: differences to the base; None of a single system.
    data: what the first run keeps; None if somebody took it away.
  """

  request: Request
  systems: dict[str, list[compared_runs.Run]]
  beside: dict[str, list[compared_runs.Run]]
  results: tables.Table
  compared: dict[str, Any] | None
  data: prepared_lib.Prepared | None

  @property
  def base(self) -> str:
    """Name of the system that the others are compared with."""
    return next(iter(self.systems))

  @property
  def metrics(self) -> list[str]:
    """Metrics of the results."""
    return [*self.results.cells]

  @property
  def first(self) -> compared_runs.Run:
    """The first run of the base."""
    return self.systems[self.base][0]

  @property
  def models(self) -> dict[str, compared_runs.Run]:
    """The first run of every system that is no rule."""
    return {
      name: runs[0] for name, runs in self.systems.items() if not runs[0].rule
    }

  @property
  def num_groups(self) -> int:
    """G."""
    return len(self.first.test['groups'])

  def styles(self) -> dict[str, drawings.Style]:
    """How systems and rules are drawn."""
    rules = [name for name in self.beside if name not in self.systems]
    return {
      **{name: drawings.style(i, soft=True) for i, name in enumerate(rules)},
      **{name: drawings.style(i) for i, name in enumerate(self.systems)},
    }


def read(request: Request) -> Content:
  """Reads the runs of a request.

  Raises:
    types.UserError: runs that are not finished, damaged, or not comparable, or
      a base that is none of them.
  """
  base = request.base or next(iter(request.systems))
  if base not in request.systems:
    raise types.UserError(
      f'--base={base} is no system; known: {", ".join(request.systems)}'
    )
  named = {base: request.systems[base], **request.systems}
  systems = compare.opened(named)
  beside = tables.with_rules(systems)
  compared = None
  if len(systems) > 1:
    compared = compare.compare(
      named, request.metrics, request.resamples, request.seed
    )
  path = run_directory.ids_path(systems[base][0].workdir)
  return Content(
    request=request,
    systems=systems,
    beside=beside,
    results=tables.results(beside, request.metrics),
    compared=compared,
    data=prepared_lib.load(str(path)) if path.exists() else None,
  )


def config_of(run: compared_runs.Run) -> config_lib.Config:
  """The configuration of a run, with the files that it keeps."""
  return run_directory.typed_config(run.workdir)
