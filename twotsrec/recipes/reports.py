"""The report of a run."""

from collections.abc import Callable
import dataclasses
import time
from typing import Any

import numpy as np

from twotsrec import config as config_lib
from twotsrec import models
from twotsrec import types
from twotsrec.data import behaviors as behaviors_lib
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import routing as routing_lib
from twotsrec.evaluation import behaviors
from twotsrec.evaluation import evaluate as evaluate_lib
from twotsrec.evaluation import report as report_lib
from twotsrec.evaluation import tiles
from twotsrec.models import reminders
from twotsrec.recipes import experiment as experiment_lib
from twotsrec.recipes import two_time_evaluation
from twotsrec.training import files
from twotsrec.training import loop
from twotsrec.training import machine
from twotsrec.training import progress
from twotsrec.training import run_directory

SCHEMA_VERSION = 1


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

  A list of them serves each group with its own.

  The rows per held-out item go to `per_target.npz`, for paired comparisons.
  """
  begin = time.perf_counter()
  validation, _ = evaluate(
    experiment, experiment.model, fitted.params, 'validation', quiet
  )
  test, per_target = evaluate(
    experiment, experiment.model, fitted.params, 'test', quiet
  )
  baseline = {
    name: evaluate(experiment, *rule, 'test', quiet=True)[0]
    for name, rule in baselines(experiment).items()
  }
  seconds = time.perf_counter() - begin
  report = {
    'schema': SCHEMA_VERSION,
    'protocol': protocol(experiment),
    'dataset': dataset(experiment),
    'validation': validation,
    'test': test,
    'baselines': baseline,
    'training': _training(fitted, seconds),
    'versions': machine.versions(),
  }
  return save(report, per_target, workdir)


def save(
  report: dict[str, Any], per_target: dict[str, np.ndarray], workdir: str
) -> dict[str, Any]:
  """Writes the rows per held-out item and then the report; as it is on disk."""
  path = run_directory.report_path(workdir)
  target = path.with_name('per_target.npz')
  with files.explained(target, 'write'), files.replacing(target) as file:
    np.savez_compressed(file, **per_target)
  files.write_json(path, report)
  return files.read_json(path)


def baselines(
  experiment: experiment_lib.Experiment,
) -> dict[str, tuple[types.Model, types.Params]]:
  """What every table shows beside a model: nothing of it is trained.

  Popularity; with behaviors the reminder rules, on what is trained on.
  """
  if not behaviors.names(experiment.prepared):
    return {'popularity': experiment_lib.popularity(experiment)}
  trained_on = behaviors_lib.of_prepared(
    experiment.prepared, experiment.config.data.strip_heldout
  )
  return reminders.rules(trained_on)


def evaluate(
  experiment: experiment_lib.Experiment,
  model: types.Model,
  params: tiles.AnyParams,
  split: str,
  quiet: bool = False,
) -> tuple[dict[str, Any] | None, dict[str, np.ndarray]]:
  """One split's part of the report; None if nothing is held out for it.

  Args:
    experiment: of the run.
    model: the experiment's, which is then served, or another scorer.
    params: of the model, as trained.
    split: 'validation' or 'test'.
    quiet: no progress display.
  """
  index = prepared_lib.SPLITS.index(split)
  count = held_out(experiment, split)
  if not count:
    return None, {}
  config = experiment.config
  if config.model.name == models.TWO_TIME:
    served = params if model is experiment.model else None
    found = two_time_evaluation.evaluate(experiment, served, index, quiet)
    return two_time_evaluation.standard_part(experiment, found)
  # What stands beside it in the table has no plugins.
  plugged = model is experiment.model
  if plugged:
    model, params = experiment_lib.served(experiment, params)
  label = f'evaluate {split}'
  with progress.reporter(count, label, quiet=quiet, unit='users') as show:
    return evaluate_lib.evaluate(
      tiles.Scorer(model, params, experiment.context),
      experiment.prepared,
      experiment.groups,
      index,
      config.evaluation,
      config.data.history_length,
      progress=progress.of_totals(show),
      routing=routing_lib.from_config(config) if plugged else None,
      key=config.groups.key,
    )


def make_metric(
  experiment: experiment_lib.Experiment, split: str
) -> Callable[[types.Params], dict[str, Any]]:
  """params -> {metric: value, metric_by_group: values}, for selection.

  `group_auc` is the mean of the groups' AUC: every group counts the same.

  Raises:
    types.UserError: `train.select_metric` is not among them.
  """
  evaluation = dataclasses.replace(experiment.config.evaluation, bootstrap=0)
  quick = experiment._replace(
    config=dataclasses.replace(experiment.config, evaluation=evaluation)
  )
  ranked = report_lib.metric_names(evaluation.ks)
  known = [*ranked, 'group_auc']
  name = experiment.config.train.select_metric
  if name not in known:
    raise types.UserError(
      f'train.select_metric {name!r}; known: loss, none, {", ".join(known)}'
    )

  def metric(params):
    part, _ = evaluate(quick, experiment.model, params, split, quiet=True)
    values = {k: part['overall'][k]['value'] for k in ranked}
    by_group = {k: [g[k]['value'] for g in part['groups']] for k in ranked}
    values |= {f'{k}_by_group': v for k, v in by_group.items()}
    return values | _group_auc(by_group['auc'])

  return metric


def _group_auc(by_group):
  """Empty groups, without an AUC, take no part in the mean."""
  known = [value for value in by_group if value is not None]
  mean = sum(known) / len(known) if known else None
  return {'group_auc': mean, 'group_auc_by_group': by_group}


def held_out(experiment: experiment_lib.Experiment, split: str) -> int:
  """Number of events of a split."""
  index = prepared_lib.SPLITS.index(split)
  return int(np.sum(np.asarray(experiment.prepared.split) == index))


def require_selection_events(experiment: experiment_lib.Experiment) -> None:
  """Refuses to select on a split without events.

  Raises:
    types.UserError: which split, and the ways out.
  """
  select_on = experiment.config.train.select_on
  if not held_out(experiment, select_on):
    raise types.UserError(
      f'no {select_on} events to select on; prepare the data with some'
      ' (data.validation=True), or take the last epoch with'
      ' train.select_metric=none'
    )


def _ranking(experiment, split):
  """How a split is ranked; without candidate lists if it has no events."""
  evaluation = experiment.config.evaluation
  if evaluation.candidates == 'sampled' and not held_out(experiment, split):
    evaluation = dataclasses.replace(evaluation, candidates='all')
  return evaluate_lib.protocol(
    experiment.prepared, prepared_lib.SPLITS.index(split), evaluation
  )


def protocol(experiment: experiment_lib.Experiment) -> dict[str, Any]:
  """How the numbers of a report come about."""
  config = experiment.config
  routing = routing_lib.from_config(config)
  return {
    **_ranking(experiment, 'test'),
    'split': experiment.prepared.manifest['options'].get('split', ['given'])[0],
    'ks': list(config.evaluation.ks),
    **_behaviors(experiment),
    'model': config.model.name,
    'aggregator': config.aggregator.name,
    'method': config.train.method,
    'penalty': config.train.penalty,
    'plugin': config.plugin.name,
    'dataset_digest': experiment.prepared.manifest['digest'],
    'selection': _selection(config),
    'selected_on_test': selected_on_test(config),
    'routing': dataclasses.asdict(routing) if routing else None,
    'groups': dataclasses.asdict(config.groups),
    'group_thresholds': np.asarray(experiment.groups.thresholds).tolist(),
    'group_training_samples': np.asarray(experiment.groups.sizes).tolist(),
  }


def _behaviors(experiment):
  names = behaviors.names(experiment.prepared)
  if not names:
    return {}
  stripped = experiment.config.data.strip_heldout
  return {'behaviors': list(names), 'strip_heldout': stripped}


def selected_on_test(config: config_lib.Config) -> bool:
  """Whether the test items decided which epoch is taken."""
  train = config.train
  return train.select_metric != 'none' and train.select_on == 'test'


def _selection(config):
  train = config.train
  if train.select_metric == 'none':
    return 'last epoch'
  by_group = experiment_lib.selects_by_group(config)
  of_whom = ' by group' if by_group else ''
  return f'{train.select_on} {train.select_metric}{of_whom}'


def notes(experiment: experiment_lib.Experiment) -> list[str]:
  """What in the data limits a model of several behaviors, a line each."""
  if experiment.behaviors is None:
    return []
  return behaviors_lib.notes(experiment.prepared, experiment.behaviors)


def dataset(experiment: experiment_lib.Experiment) -> dict[str, Any]:
  """What the run was made of, for the report."""
  manifest = experiment.prepared.manifest
  described = {'source': manifest['source'], **manifest['counts']}
  if experiment.behaviors is not None:
    described['notes'] = notes(experiment)
  return described


_SELECTED = ('epoch', 'step', 'value')


def _training(fitted, evaluation_seconds):
  host = fitted.host
  selected = {name: [b[name] for b in host['best']] for name in _SELECTED}
  if not isinstance(fitted.params, list):
    selected = {name: values[0] for name, values in selected.items()}
  seconds = host['train_seconds']
  return {
    'epochs': host['epoch'],
    'steps': host['steps'],
    **{f'selected_{name}': value for name, value in selected.items()},
    'seconds': round(seconds, 3),
    'compile_seconds': round(host['compile_seconds'], 3),
    'evaluation_seconds': round(evaluation_seconds, 3),
    'examples_per_second': round(host['examples'] / max(seconds, 1e-9), 1),
    'input_wait_share': round(
      host['wait_seconds'] / max(seconds + host['wait_seconds'], 1e-9), 5
    ),
    'peak_rss_mb': machine.peak_rss_mb(),
  }
