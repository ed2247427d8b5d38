"""How trainings went, epoch by epoch."""

import pathlib
from typing import NamedTuple

import numpy as np

from twotsrec.report import content
from twotsrec.runs import compared_runs
from twotsrec.training import run_directory


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
  """

  name: str
  metric: str
  split: str
  epochs: np.ndarray
  by_group: np.ndarray
  diagnosed: np.ndarray
  cosines: np.ndarray


def of_run(run: compared_runs.Run) -> list[Curve]:
  """The phases of a run that judged their epochs, or looked at gradients."""
  train = content.config_of(run).train
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
  )
