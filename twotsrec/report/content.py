"""What a report is made from: finished runs, read once."""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any, NamedTuple

import numpy as np

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.report import drawings
from twotsrec.report import tables
from twotsrec.runs import compare
from twotsrec.runs import compared_runs
from twotsrec.training import run_directory

_SAME = 1e-9  # differences that are rounding


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


class Curve(NamedTuple):
  """A phase of a training, epoch by epoch.

  Attributes:
    name: of the phase; '' if the run has one.
    metric: what was measured on held-out items.
    split: where, 'validation' or 'test'.
    epochs: those that were judged.
    by_group: f64[E, G], or of everybody, f64[E, 1]; [0] without any.
    diagnosed: epochs with gradients by group.
    cosines: f64[D, G, G], of these gradients; [0] without any.
    norms: f64[D, G], of the same.
  """

  name: str
  metric: str
  split: str
  epochs: np.ndarray
  by_group: np.ndarray
  diagnosed: np.ndarray
  cosines: np.ndarray
  norms: np.ndarray


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


# ---- Trainings


def curves(run: compared_runs.Run) -> list[Curve]:
  """The phases of a run that judged their epochs, or looked at gradients."""
  train = config_of(run).train
  told = run.report.get('verdict', {}).get('validation', {})
  names = ['', *run.report.get('training', {}).get('phases', {})]
  read = []
  for name in names:
    selects = told.get(name, {}).get('metric', train.select_metric)
    # The mean, or the worst, of the groups says what groups are measured by.
    selects = selects.removeprefix('group_').removeprefix('worst_')
    records = run_directory.read_metrics(pathlib.Path(run.workdir) / name)
    metrics = (selects, 'loss', 'mrr')
    read.append(_curve(name, records, train.select_on, metrics))
  return [curve for curve in read if curve is not None]


def _curve(name, records, split, metrics) -> Curve | None:
  judged = [record for record in records if split in record]
  looked = [r for r in records if 'cosine' in r.get('diagnosis', {})]
  if not judged and not looked:
    return None
  known = judged[0][split] if judged else {}
  metric = next((m for m in metrics if f'{m}_by_group' in known), '')
  values = [record[split][f'{metric}_by_group'] for record in judged if metric]
  if not metric:
    metric = next((m for m in metrics if m in known), '')
    values = [[record[split][metric]] for record in judged if metric]
  seen = [record['diagnosis'] for record in looked]
  floats = lambda rows: np.array(rows, np.float64)  # None becomes NaN
  return Curve(
    name=name,
    metric=metric,
    split=split,
    epochs=np.array([record['epoch'] for record in judged if metric]),
    by_group=floats(values),
    diagnosed=np.array([record['epoch'] for record in looked]),
    cosines=floats([one['cosine'] for one in seen]),
    norms=floats([one['norm'] for one in seen]),
  )


# ---- Users


class Gains(NamedTuple):
  """Who is served better by a system than by the base, by group.

  Attributes:
    metric: that is compared.
    users: i64[G].
    better: f64[G], share of users.
    worse: f64[G], the same.
    up: f64[G], mean difference of those who are served better; NaN of nobody.
    down: f64[G], of those who are served worse.
  """

  metric: str
  users: np.ndarray
  better: np.ndarray
  worse: np.ndarray
  up: np.ndarray
  down: np.ndarray


def gains(content: Content) -> dict[str, Gains]:
  """Every system against the base; {} of a single one."""
  if content.compared is None:
    return {}
  names = [m for m in content.metrics if m != 'auc']  # has no value of a user
  if not names:
    return {}
  metric = 'user_auc' if 'user_auc' in names else names[0]
  first = compared_runs.per_target(content.first, 'groups')
  pooled = compare.pooled(content.systems, first, [metric])
  base = pooled.pop(content.base)
  return {
    name: _gains(metric, base.table, other.table)
    for name, other in pooled.items()
  }


def _gains(metric, base, other) -> Gains:
  groups = base.counts.shape[1] - 1
  made = np.full((5, groups), np.nan)
  sign = -1.0 if metric == 'log_loss' else 1.0
  for group in range(groups):
    counts = base.counts[:, group, 0]
    there = counts > 0
    sums = other.sums[there, group, 0] - base.sums[there, group, 0]
    change = sign * sums / counts[there]
    up, down = change[change > _SAME], change[change < -_SAME]
    number = max(change.size, 1)
    made[:3, group] = change.size, up.size / number, down.size / number
    made[3, group] = up.mean() if up.size else np.nan
    made[4, group] = down.mean() if down.size else np.nan
  return Gains(metric, made[0].astype(np.int64), *made[1:])
