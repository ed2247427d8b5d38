"""A 2TS run from its threshold to its report."""

from collections.abc import Callable
import pathlib
import time
from typing import Any

from twotsrec.data import prepared as prepared_lib
from twotsrec.recipes import experiment as experiment_lib
from twotsrec.recipes import reports
from twotsrec.recipes import two_time_evaluation as evaluation_lib
from twotsrec.recipes import two_time_jobs as jobs_lib
from twotsrec.recipes import two_time_phases as phases
from twotsrec.recipes import two_time_rows
from twotsrec.recipes import two_time_scale
from twotsrec.recipes import two_time_serving as serving
from twotsrec.recipes import two_time_shared as shared
from twotsrec.recipes import two_time_stage1 as stage1
from twotsrec.recipes import two_time_threshold as threshold_lib
from twotsrec.training import checkpoints
from twotsrec.training import machine
from twotsrec.training import run_directory

_SPLITS = ('validation', 'test')


def verify(experiment: experiment_lib.Experiment) -> None:
  """Refuses settings before the first file is written.

  Raises:
    types.UserError: what no phase can be made of.
  """
  config = experiment.config
  threshold_lib.check(config, experiment.prepared)
  stage1.load_features(config, experiment.prepared)
  tried = set(config.two_time.stage1_epochs)
  if jobs_lib.trained_together(config.two_time.variant):
    tried = set()
  if len(tried) > 1 and not reports.held_out(experiment, 'validation'):
    raise stage1.nothing_to_choose_by(tried)
  shared.find(config, experiment.prepared)


def train(
  experiment: experiment_lib.Experiment,
  workdir: str,
  should_stop: Callable[[], bool] = lambda: False,
  quiet: bool = False,
) -> dict[str, Any] | None:
  """Trains, evaluates and writes the report; None if it was stopped.

  Repeating the call resumes: every phase has its own folder in the run.

  Raises:
    types.UserError: settings that do not go together.
  """
  work = two_time_scale.Work(
    experiment.config,
    experiment.prepared,
    experiment.groups,
    pathlib.Path(workdir),
    should_stop,
    quiet,
  )
  found = threshold_lib.fit(work)
  if found is None:
    return None
  trained, choice = found
  experiment = experiment._replace(config=trained.config)
  setting = phases.Setting(trained.config, work.prepared, trained.vectors)
  params = serving.serve(
    setting, trained.players, trained.nets, trained.vectors
  )
  # Step 0: what is served is put together once, when all has been trained.
  best = run_directory.best_path(workdir)
  checkpoints.save(best, 0, {'params': params}, {}, keep=1)
  return _report(experiment, params, trained, choice, workdir, quiet)


def _report(experiment, params, trained, choice, workdir, quiet):
  begin = time.perf_counter()
  parts, rows, ranked = _parts(experiment, params, quiet, trained.players)
  popular, _, by_popularity = _parts(experiment, None, quiet=True)
  if ranked:
    two_time_rows.save(workdir, ranked, by_popularity)
  report = {
    'schema': reports.SCHEMA_VERSION,
    'protocol': _protocol(experiment),
    'dataset': reports.dataset(experiment),
    'validation': parts['validation'],
    'test': parts['test'],
    'baselines': {'popularity': popular['test']},
    'online': {
      'model': parts['online'],
      'popularity': popular['online'],
    },
    'two_time': {
      **choice,
      'variant': trained.config.two_time.variant,
      'threshold': trained.config.two_time.threshold,
      'window': trained.config.two_time.window,
      'stage1_epochs': trained.stage1_epochs,
      'stage1_trials': {str(k): v for k, v in trained.trials.items()},
      'stage1_seconds': round(trained.stage1_seconds, 3),
      'stage1_taken': bool(trained.config.two_time.stage1),
    },
    'training': _training(trained, time.perf_counter() - begin),
    'versions': machine.versions(),
  }
  return reports.save(report, rows, workdir)


def _parts(experiment, params, quiet, players=None):
  """Parts by split; standard rows and `online.rank`'s arrays of the test."""
  told: dict[str, Any] = {'online': {}}
  rows, per_target = {}, {}
  for name in _SPLITS:
    told[name] = None
    if not reports.held_out(experiment, name):
      continue
    split = prepared_lib.SPLITS.index(name)
    per_target = evaluation_lib.evaluate(
      experiment, params, split, quiet, players
    )
    told[name], rows = evaluation_lib.standard_part(experiment, per_target)
    told['online'][name] = evaluation_lib.online_part(experiment, per_target)
  if told['test'] is None:
    return told, {}, {}
  return told, rows, per_target


def _protocol(experiment):
  """How the numbers come about."""
  evaluation = experiment.config.evaluation
  return {
    **reports.protocol(experiment),
    'variant': experiment.config.two_time.variant,
    'candidates': 'all',
    'negatives': 'items that are not among the earlier events of the user',
    'order': 'online: an event is scored, then it moves the state',
    'candidate_lists': experiment.config.two_time.evaluation_lists,
    'lists_seed': evaluation.seed,
    'selection': 'validation mrr of each network',
  }


def _training(trained, seconds):
  """Epochs and seconds of every phase, and their sums."""
  by_phase = {name: _phase(host) for name, host in trained.hosts.items()}
  total = lambda name: sum(phase[name] for phase in by_phase.values())
  hosts = trained.hosts.values()
  spent = max(sum(host['train_seconds'] for host in hosts), 1e-9)
  waited = sum(host['wait_seconds'] for host in hosts)
  examples = sum(host['examples'] for host in hosts)
  return {
    'phases': by_phase,
    'epochs': total('epochs'),
    'steps': total('steps'),
    'selected_step': 0,
    'selected_epoch': trained.stage1_epochs or None,
    'seconds': round(spent, 3),
    'compile_seconds': round(total('compile_seconds'), 3),
    'evaluation_seconds': round(seconds, 3),
    'examples_per_second': round(examples / spent, 1),
    'input_wait_share': round(waited / (spent + waited), 5),
    'peak_rss_mb': machine.peak_rss_mb(),
  }


def _phase(host):
  best = host['best'][0]
  seconds = host['train_seconds']
  return {
    'epochs': host['epoch'],
    'steps': host['steps'],
    'selected_epoch': best['epoch'],
    'validation_mrr': best['value'],
    'seconds': round(seconds, 3),
    'compile_seconds': round(host['compile_seconds'], 3),
    'examples_per_second': round(host['examples'] / max(seconds, 1e-9), 1),
  }
