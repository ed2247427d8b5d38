"""Settings tried one after the other, each in a run of its own, by optuna.

What was tried stands in `sweep.db`, an SQLite database of optuna, and every
trial in a run directory. A trial that was interrupted goes on, and the values
that are tried next depend on the seed, the number of the trial and what came
before alone: an interrupted sweep tries what an uninterrupted one does.

Trials are judged on validation items, and the curve of a trial is compared with
those before it after every epoch (median rule); test items choose nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import copy
import dataclasses
import pathlib
from typing import Any, NamedTuple

from twotsrec import config as config_lib
from twotsrec import extras
from twotsrec import fields
from twotsrec import recipes
from twotsrec import types
from twotsrec.data import impressions
from twotsrec.evaluation import offline
from twotsrec.evaluation import report as report_lib
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import run
from twotsrec.runs import search_space
from twotsrec.runs import sweep_result
from twotsrec.training import run_directory

# What is largest in the end; a front of two, where no setting is best.
OBJECTIVES = {
  'overall': ('overall',),
  'group1': ('group1',),
  'groups': ('groups',),
  'worst': ('worst',),
  'both': ('overall', 'group1'),
}
# How epochs are selected where the configuration leaves that to the loss.
_SELECT = {'overall': '{}', 'worst': 'worst_{}'}
_BEFORE_PRUNING = 4  # trials that end whatever their curve
_IN_VAIN = 5  # trials that fail before the first one succeeds
_DATABASE = 'sweep.db'


class Task(NamedTuple):
  """A sweep.

  Attributes:
    config: of every trial but for what varies.
    space: what varies.
    trials: how many.
    objective: of `OBJECTIVES`.
    metric: as in a report; '' takes auc of labels, else ndcg.
    seed: of what is tried.
    prune: whether trials may end early.
  """

  config: config_lib.Config
  space: search_space.Space
  trials: int
  objective: str = 'overall'
  metric: str = ''
  seed: int = 0
  prune: bool = True


def train(
  task: Task,
  workdir: str,
  should_stop: Callable[[], bool] = lambda: False,
  quiet: bool = False,
) -> dict[str, Any] | None:
  """Tries what is left and writes the best as a configuration.

  Args:
    task: what to try; the same again goes on, with more trials too.
    workdir: of the sweep, with a run directory `trialN` for each.
    should_stop: as in `run.train`.
    quiet: no progress display.
  Returns:
    What WORKDIR/sweep.json has: {'objective', 'metric', 'best': indices of the
    best trial, or of the front, 'trials': [{'index', 'state', 'workdir',
    'settings', 'overall', 'group1', 'reason'}]}; None if it was stopped.
  Raises:
    types.UserError: no optuna, another sweep in the directory, no validation
      events, or nothing but trials that fail.
  """
  optuna = _optuna()
  task = _checked(task)
  run_directory.open_run(workdir, _identity(task), run.MAY_DIFFER)
  with run_directory.locked(workdir):
    study = _opened(optuna, task, workdir)
    while len(_ended(study)) < task.trials:
      if not _one_trial(optuna, study, task, workdir, should_stop, quiet):
        return None
      _refuse_in_vain(study, task)
    result = _result(study, task, workdir)
    sweep_result.write(result, task.config, workdir)
  return result


# ---- Before the first trial


def _optuna():
  optuna = extras.load('optuna', 'tune')
  optuna.logging.set_verbosity(optuna.logging.WARNING)
  return optuna


def _checked(task) -> Task:
  """The task with its metric and selection; refuses what cannot be judged."""
  config = task.config
  fields.refuse_unknown('objective', task.objective, OBJECTIVES)
  recipes.check(config)
  experiment = experiment_lib.make(config, experiment_lib.load_data(config))
  if not offline.held_out(experiment, 'validation'):
    raise types.UserError(
      'trials are judged on validation items, and the data have none; prepare'
      ' them with data.validation=True'
    )
  ks = config.evaluation.ks
  usual = report_lib.default_names(ks, ranked_only=True)[-1]
  if impressions.there_are(experiment.prepared):
    usual = 'auc'
  metric = task.metric or usual
  fields.refuse_unknown('metric', metric, report_lib.metric_names(ks))
  return task._replace(config=_selecting(task, metric), metric=metric)


def _selecting(task, metric) -> config_lib.Config:
  """The configuration, whose epochs are selected by the metric, not the loss.

  What varies, or a recipe does not take, stays as it is.
  """
  config = copy.deepcopy(task.config)
  section = recipes.of(config).section(config)
  path = f'{section}.select_metric'
  by_loss = getattr(getattr(config, section), 'select_metric', '') == 'loss'
  if not by_loss or path in task.space:
    return config
  name = _SELECT.get(task.objective, 'group_{}').format(metric)
  changed = config_lib.changed(config, {path: name})
  return changed if _is_accepted(changed) else config


def _is_accepted(config) -> bool:
  try:
    recipes.check(config)
  except types.UserError:
    return False
  return True


def _identity(task) -> dict[str, Any]:
  """What a sweep in the same directory shares."""
  sweep = {
    'space': {path: str(part) for path, part in task.space.items()},
    'objective': task.objective,
    'metric': task.metric,
    'seed': task.seed,
    'prune': task.prune,
  }
  return {**dataclasses.asdict(task.config), 'sweep': sweep}


def _opened(optuna, task, workdir):
  """The study on disk; trials that were interrupted wait to go on."""
  path = pathlib.Path(workdir).absolute() / _DATABASE
  study = optuna.create_study(
    study_name='sweep',
    storage=f'sqlite:///{path}',
    directions=['maximize'] * len(OBJECTIVES[task.objective]),
    pruner=optuna.pruners.MedianPruner(
      n_startup_trials=_BEFORE_PRUNING,
      n_warmup_steps=task.config.train.min_epochs,
    ),
    load_if_exists=True,
  )
  state = optuna.trial.TrialState
  for trial in study.get_trials(states=[state.RUNNING]):
    study.tell(trial.number, state=state.FAIL)
  last = {}
  for trial in study.get_trials(deepcopy=False):
    if 'index' in trial.user_attrs:
      last[trial.user_attrs['index']] = trial
  for index, trial in last.items():
    if trial.state == state.FAIL and 'reason' not in trial.user_attrs:
      study.enqueue_trial(trial.params, user_attrs={'index': index})
  first = _base(task)
  if not last and first:
    study.enqueue_trial(first, user_attrs={'index': 0})
  return study


def _base(task) -> dict[str, Any] | None:
  """The configuration as it is, as a trial; None if it is outside."""
  known = {path: value for path, _, value in fields.walk(task.config)}
  named = {path: part.named(known[path]) for path, part in task.space.items()}
  return None if None in named.values() else named


# ---- Trials


def _one_trial(optuna, study, task, workdir, should_stop, quiet) -> bool:
  """Trains a trial to its end, or until it is pruned; False if stopped."""
  ended = len(_ended(study))
  study.sampler = optuna.samplers.TPESampler(seed=task.seed * 1_000_003 + ended)
  trial, state = study.ask(), optuna.trial.TrialState
  index = trial.user_attrs.get('index', ended)
  trial.set_user_attr('index', index)
  values = {
    path: part.suggest(trial, path) for path, part in task.space.items()
  }
  place = _place(workdir, index)
  config = settings(task, values)
  stop = _Stop(trial, task, place, should_stop)
  try:
    report = run.train(config, place, stop, quiet)
  except types.UserError as error:
    if isinstance(error.__cause__, OSError):
      raise  # of the disk, and not of these settings
    trial.set_user_attr('reason', str(error))
    study.tell(trial, state=state.FAIL)
    return True
  if report is None:
    if should_stop() or not stop.is_pruned:
      return False
    study.tell(trial, state=state.PRUNED)
    return True
  found = _values(*_of_report(report, task.metric))
  for name in ('overall', 'group1'):
    trial.set_user_attr(name, found[name])
  asked = [found[name] for name in OBJECTIVES[task.objective]]
  if None in asked:
    trial.set_user_attr('reason', f'no value of {task.metric} on validation')
    study.tell(trial, state=state.FAIL)
  else:
    study.tell(trial, asked)
  return True


def settings(task: Task, values: Mapping[str, Any]) -> config_lib.Config:
  """The configuration of a trial with these values of what varies."""
  return config_lib.changed(task.config, values)


class _Stop:
  """Asked by a training whether to stop: for good, or since it is pruned.

  An epoch is judged once it is saved, so a pruned run can go on by itself.
  """

  def __init__(self, trial, task, place, should_stop):
    self._trial, self._task, self._place = trial, task, place
    self._should_stop = should_stop
    self._told: set[int] = set()
    self.is_pruned = False

  def __call__(self) -> bool:
    if self._should_stop():
      return True
    task = self._task
    if not task.prune or len(OBJECTIVES[task.objective]) > 1:
      return False
    (name,) = OBJECTIVES[task.objective]
    for epoch, value in _curve(self._place, task.metric, name):
      if epoch not in self._told:
        self._trial.report(value, epoch)
        self._told.add(epoch)
        self.is_pruned |= self._trial.should_prune()
    return self.is_pruned


def _curve(place, metric, name) -> Iterator[tuple[int, float]]:
  """(epoch, value) of a run whose epochs are judged by its metrics."""
  for record in run_directory.read_metrics(place):
    judged = record.get('validation', {})
    if f'{metric}_by_group' in judged:
      by_group = judged[f'{metric}_by_group']
      value = _values(judged[metric], by_group)[name]
      if value is not None:
        yield record['epoch'], value


def _of_report(report, metric) -> tuple[float | None, list[float | None]]:
  part = report['validation']
  by_group = [group[metric]['value'] for group in part['groups']]
  return part['overall'][metric]['value'], by_group


def _values(overall, by_group: Sequence[float | None]) -> dict[str, Any]:
  """What an objective may be, of a metric overall and by group."""
  some = [value for value in by_group if value is not None]
  return {
    'overall': overall,
    'group1': by_group[0],
    'groups': sum(some) / len(some) if some else None,
    'worst': min(some, default=None),
  }


def _ended(study) -> dict[int, Any]:
  """{index: trial} of those that are finished, pruned or failed."""
  return {
    trial.user_attrs['index']: trial
    for trial in study.get_trials(deepcopy=False)
    if 'index' in trial.user_attrs
    and (
      trial.state.name in ('COMPLETE', 'PRUNED')
      or (trial.state.name == 'FAIL' and 'reason' in trial.user_attrs)
    )
  }


def _refuse_in_vain(study, task) -> None:
  """Refuses a sweep of which every trial fails."""
  ended = _ended(study).values()
  reasons = [one.user_attrs.get('reason') for one in ended]
  if None not in reasons and len(reasons) >= min(_IN_VAIN, task.trials):
    why = reasons[-1].splitlines()[0]
    raise types.UserError(
      f'all of {len(reasons)} trials failed, the last one with: {why}\n'
      'Use other values of --vary or --config, in another --workdir.'
    )


# ---- What comes out


def _result(study, task, workdir) -> dict[str, Any]:
  trials = [
    {
      'index': index,
      'state': trial.state.name.lower(),
      'workdir': _place(workdir, index),
      'settings': {
        path: part.value(trial.params[path])
        for path, part in task.space.items()
        if path in trial.params  # not where it failed before
      },
      'overall': trial.user_attrs.get('overall'),
      'group1': trial.user_attrs.get('group1'),
      'reason': trial.user_attrs.get('reason', ''),
    }
    for index, trial in sorted(_ended(study).items())
  ]
  best: list[int] = []
  if any(one['state'] == sweep_result.COMPLETE for one in trials):
    best = [one.user_attrs['index'] for one in study.best_trials]
  return {
    'objective': task.objective,
    'metric': task.metric,
    'best': sorted(best, key=lambda index: (-trials[index]['overall'], index)),
    'trials': trials,
  }


def _place(workdir, index) -> str:
  return str(pathlib.Path(workdir) / f'trial{index}')
