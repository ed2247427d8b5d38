"""The report of a run, and tables of several runs."""

from collections.abc import Callable, Sequence
import dataclasses
import time
from typing import Any

import numpy as np

from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import evaluate as evaluate_lib
from twotsrec.evaluation import report as report_lib
from twotsrec.recipes import experiment as experiment_lib
from twotsrec.training import files
from twotsrec.training import loop
from twotsrec.training import machine
from twotsrec.training import progress
from twotsrec.training import run_directory

SCHEMA_VERSION = 1


def table_metrics(ks: Sequence[int]) -> tuple[str, ...]:
  """Columns of a table: at 10, or else the largest cut-off there is."""
  at = [10 if 10 in ks else max(ks)] if ks else []
  return ('auc', 'user_auc', *(f'{m}@{k}' for k in at for m in ('hr', 'ndcg')))


def check_protocol(experiment: experiment_lib.Experiment) -> None:
  """Refuses a protocol that the data cannot serve, before anything trains.

  Raises:
    types.UserError: what is wrong and the way out.
  """
  for split in ('validation', 'test'):
    _ranking(experiment, split)


def write(
  experiment: experiment_lib.Experiment,
  fitted: loop.Fitted,
  workdir: str,
  quiet: bool = False,
) -> dict[str, Any]:
  """Evaluates the selected parameters and writes `report.json`.

  The rows per held-out item go to `per_target.npz`, for paired comparisons.
  """
  begin = time.perf_counter()
  validation, _ = evaluate(
    experiment, experiment.model, fitted.params, 'validation', quiet
  )
  test, per_target = evaluate(
    experiment, experiment.model, fitted.params, 'test', quiet
  )
  popularity, _ = evaluate(
    experiment, *experiment_lib.popularity(experiment), 'test', quiet=True
  )
  seconds = time.perf_counter() - begin
  report = {
    'schema': SCHEMA_VERSION,
    'protocol': _protocol(experiment),
    'dataset': _dataset(experiment),
    'validation': validation,
    'test': test,
    'baselines': {'popularity': popularity},
    'training': _training(fitted.host, seconds),
    'versions': machine.versions(),
  }
  path = run_directory.report_path(workdir)
  target = path.with_name('per_target.npz')
  with files.explained(target, 'write'), files.replacing(target) as file:
    np.savez_compressed(file, **per_target)
  files.write_json(path, report)
  return files.read_json(path)


def evaluate(
  experiment: experiment_lib.Experiment,
  model: types.Model,
  params: types.Params,
  split: str,
  quiet: bool = False,
) -> tuple[dict[str, Any] | None, dict[str, np.ndarray]]:
  """One split's part of the report; None if nothing is held out for it."""
  index = prepared_lib.SPLITS.index(split)
  held_out = _held_out(experiment, split)
  if not held_out:
    return None, {}
  label = f'evaluate {split}'
  with progress.reporter(held_out, label, quiet=quiet, unit='users') as show:
    before = [0]

    def report_progress(done, total):
      del total
      show(done, done - before[0])
      before[0] = done

    return evaluate_lib.evaluate(
      model,
      params,
      experiment.context,
      experiment.prepared,
      experiment.groups,
      index,
      experiment.config.evaluation,
      experiment.config.data.history_length,
      report_progress,
    )


def make_metric(
  experiment: experiment_lib.Experiment, split: str
) -> Callable[[types.Params], dict[str, Any]]:
  """params -> {metric: value} over everybody, for selection.

  Raises:
    types.UserError: `train.select_metric` is not among them.
  """
  evaluation = dataclasses.replace(experiment.config.evaluation, bootstrap=0)
  quick = experiment._replace(
    config=dataclasses.replace(experiment.config, evaluation=evaluation)
  )
  known = report_lib.metric_names(evaluation.ks)
  name = experiment.config.train.select_metric
  if name not in known:
    raise types.UserError(
      f'train.select_metric {name!r}; known: loss, none, {", ".join(known)}'
    )

  def metric(params):
    part, _ = evaluate(quick, experiment.model, params, split, quiet=True)
    return {k: v['value'] for k, v in part['overall'].items()}

  return metric


def table(report: dict[str, Any]) -> str:
  """The test part of a report beside popularity, with its protocol."""
  if report['test'] is None:
    return 'no test events to evaluate on; report.json has the rest'
  parts = {
    'popularity': report['baselines']['popularity'],
    report['protocol']['model']: report['test'],
  }
  metrics = table_metrics(report['protocol']['ks'])
  return '\n'.join([report_lib.format_table(parts, metrics), _legend(report)])


def compare(
  workdirs: Sequence[str],
  names: Sequence[str],
  split: str,
  metrics: Sequence[str],
  quiet: bool = False,
) -> str:
  """Evaluates finished runs again and shows them side by side by group.

  Args:
    workdirs: run directories.
    names: of the runs in the table; () names them by directory.
    split: 'validation' or 'test'.
    metrics: columns; () takes those of `table_metrics`.
    quiet: no progress display.
  Raises:
    types.UserError: runs on different data or groups, or an unknown metric.
  """
  if names and len(names) != len(workdirs):
    raise types.UserError(
      f'{len(names)} names for {len(workdirs)} run directories'
    )
  names = ['popularity', *(names or workdirs)]
  if len(set(names)) < len(names):
    raise types.UserError(
      f'names in one table must differ: {", ".join(names)}; give others with'
      ' --names'
    )
  parts, digests = {}, set()
  for name, workdir in zip(names[1:], workdirs):
    experiment, params = experiment_lib.load(workdir)
    evaluation = experiment.config.evaluation
    known = report_lib.metric_names(evaluation.ks)
    metrics = metrics or table_metrics(evaluation.ks)
    unknown = [m for m in metrics if m not in known]
    if unknown:
      raise types.UserError(
        f'unknown metric {unknown[0]!r}; known: {", ".join(known)}'
      )
    digests.add(
      (
        experiment.prepared.manifest['digest'],
        str(experiment.config.groups),
        str(dataclasses.replace(evaluation, user_tile=1, item_tile=1)),
      )
    )
    if len(digests) > 1:
      raise types.UserError(
        f'{workdir} was trained on other data, groups or protocol than'
        f' {workdirs[0]}; such numbers cannot stand in one table'
      )
    if not _held_out(experiment, split):
      raise types.UserError(f'{workdir} has no {split} events to evaluate')
    if not parts:
      popularity = experiment_lib.popularity(experiment)
      parts['popularity'], _ = evaluate(experiment, *popularity, split, True)
    parts[name], _ = evaluate(
      experiment, experiment.model, params, split, quiet
    )
  return report_lib.format_table(parts, metrics)


def _legend(report):
  protocol = report['protocol']
  rank_ties = protocol['rank_ties']
  ties = 'mid rank for ties' if rank_ties == 0.5 else f'rank_ties {rank_ties}'
  lines = [
    f'{protocol["split"]}, {protocol["candidates"]} candidates, {ties};'
    f' selected on {protocol["selection"]}; 95 % intervals in report.json'
  ]
  if protocol['selected_on_test']:
    lines.append('SELECTED ON TEST: for like-for-like checks only')
  return '\n'.join(lines)


def _held_out(experiment, split):
  """Number of events of a split."""
  index = prepared_lib.SPLITS.index(split)
  return int(np.sum(np.asarray(experiment.prepared.split) == index))


def _ranking(experiment, split):
  """How a split is ranked; without candidate lists if it has no events."""
  evaluation = experiment.config.evaluation
  if not _held_out(experiment, split):
    evaluation = dataclasses.replace(evaluation, candidates='all')
  return evaluate_lib.protocol(
    experiment.prepared, prepared_lib.SPLITS.index(split), evaluation
  )


def _protocol(experiment):
  config = experiment.config
  selects = config.train.select_metric != 'none'
  return {
    **_ranking(experiment, 'test'),
    'split': experiment.prepared.manifest['options'].get('split', ['given'])[0],
    'ks': list(config.evaluation.ks),
    'model': config.model.name,
    'aggregator': config.aggregator.name,
    'dataset_digest': experiment.prepared.manifest['digest'],
    'selection': (
      f'{config.train.select_on} {config.train.select_metric}'
      if selects
      else 'last epoch'
    ),
    'selected_on_test': selects and config.train.select_on == 'test',
    'groups': dataclasses.asdict(config.groups),
    'group_thresholds': np.asarray(experiment.groups.thresholds).tolist(),
    'group_training_samples': np.asarray(experiment.groups.sizes).tolist(),
  }


def _dataset(experiment):
  manifest = experiment.prepared.manifest
  return {'source': manifest['source'], **manifest['counts']}


def _training(host, evaluation_seconds):
  seconds = host['train_seconds']
  return {
    'epochs': host['epoch'],
    'steps': host['steps'],
    'selected_epoch': host['best_epoch'],
    'selected_step': host['best_step'],
    'selected_value': host['best_value'],
    'seconds': round(seconds, 3),
    'compile_seconds': round(host['compile_seconds'], 3),
    'evaluation_seconds': round(evaluation_seconds, 3),
    'examples_per_second': round(host['examples'] / max(seconds, 1e-9), 1),
    'input_wait_share': round(
      host['wait_seconds'] / max(seconds + host['wait_seconds'], 1e-9), 5
    ),
    'peak_rss_mb': machine.peak_rss_mb(),
  }
