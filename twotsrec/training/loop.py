"""Epochs on the host around compiled updates on the device.

Killed at any moment and started again, a run ends with the same bits on a CPU,
and elsewhere with those that its order of sums allows: plans and negatives are
functions of (seed, epoch), and everything else an update reads is in the
checkpoint.
"""

from collections.abc import Callable
import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types
from twotsrec.training import checkpoints
from twotsrec.training import phases
from twotsrec.training import progress as progress_lib
from twotsrec.training import run_directory
from twotsrec.training import steps


class Best(NamedTuple):
  """A selected epoch.

  Attributes:
    value: of the metric that selects; None if nothing is judged.
    epoch: from 1.
    step: updates made until then, the name of its checkpoint.
  """

  value: float | None
  epoch: int
  step: int


class Progress(NamedTuple):
  """Counters and times of a phase, beside the arrays in a checkpoint.

  Attributes:
    epoch: whole epochs.
    steps: updates that were made.
    step_in_epoch: updates of the epoch under way.
    metrics_bytes: length of metrics.jsonl.
    best: the best epoch so far, or that of every group.
    stale: evaluations since the last better one.
    train_seconds: in compiled updates.
    wait_seconds: for plans.
    compile_seconds: of the updates.
    examples: summed weights.
  """

  epoch: int = 0
  steps: int = 0
  step_in_epoch: int = 0
  metrics_bytes: int = 0
  best: tuple[Best, ...] = ()
  stale: int = 0
  train_seconds: float = 0.0
  wait_seconds: float = 0.0
  compile_seconds: float = 0.0
  examples: float = 0.0


class _Run(NamedTuple):
  """A phase, and where and for how long it trains."""

  phase: phases.Phase
  workdir: str
  should_stop: Callable[[], bool]
  quiet: bool
  tell: Callable[[int, float, int, int], None]

  @property
  def config(self) -> config_lib.TrainConfig:
    return self.phase.how.train


class _Live(NamedTuple):
  """Arrays on the device, and progress; both change."""

  train: steps.TrainState
  totals: steps.Totals
  progress: Progress


def fit(
  phase: phases.Phase,
  workdir: str,
  should_stop: Callable[[], bool] = lambda: False,
  quiet: bool = False,
  finish: bool = False,
  then: Callable[[], str] = str,
) -> contracts.Trained:
  """Trains until early stopping or the last epoch, resuming if it can.

  Args:
    phase: what is trained, and how.
    workdir: run directory.
    should_stop: asked between calls; saves and returns when true.
    quiet: no progress display.
    finish: trains no more, and takes the best epoch so far, or the last
      checkpoint where none was judged.
    then: gives what follows and how long it takes, '' for nothing, to stand in
      the estimate that is shown after the first steps.
  Returns:
    The selected parameters, a list by group if groups select on their own, or
    None if it was interrupted; and Progress.
  Raises:
    types.UserError: a loss or gradient is not finite; nothing to finish.
  """
  run = _Run(phase, workdir, should_stop, quiet, _make_tell(phase, quiet, then))
  live = _resumed(run)
  run_directory.truncate_metrics(workdir, live.progress.metrics_bytes)
  if finish and not has_ended(phase, live.progress):
    live = _as_it_is(run, live)
  elif not has_ended(phase, live.progress):
    live = _epochs(run, *_compile(phase, live))
  if not finish and not has_ended(phase, live.progress):
    return contracts.Trained(params=None, progress=live.progress)
  selected = [
    checkpoints.restore_step(path, {'params': params}, best.step)
    for (path, params), best in zip(
      _parts(run, live), live.progress.best, strict=True
    )
  ]
  params = [restored.state['params'] for restored in selected]
  return contracts.Trained(
    params=params if phase.how.by_group else params[0], progress=live.progress
  )


def _resumed(run) -> _Live:
  """The state of the newest checkpoint, or the first one."""
  first = _Live(
    train=run.phase.init_state(),
    totals=steps.init_totals(run.phase.num_losses),
    progress=Progress(),
  )
  path = run_directory.latest_path(run.workdir)
  restored = checkpoints.restore(path, _arrays(first))
  if restored is None:
    return first
  host = restored.host
  best = tuple(Best(**one) for one in host['best'])
  return _Live(**restored.state, progress=Progress(**{**host, 'best': best}))


def _arrays(live):
  return {'train': live.train, 'totals': live.totals}


def _host(progress):
  """Progress as JSON values."""
  return progress._asdict() | {'best': [b._asdict() for b in progress.best]}


def has_ended(phase: phases.Phase, progress: Progress) -> bool:
  """By the configuration in force, which may ask for more than the last."""
  config = phase.how.train
  out_of_patience = 0 < config.patience <= progress.stale
  enough = progress.epoch >= config.min_epochs
  return progress.epoch >= config.epochs or (out_of_patience and enough)


def _as_it_is(run, live) -> _Live:
  """What can be served of a phase under way; its checkpoints stay."""
  progress = live.progress
  if not progress.steps:
    raise types.UserError(
      f'nothing has been trained in {run.workdir}, so there is nothing to'
      ' finish; run the same command without --finish'
    )
  if progress.best:
    return live
  epoch = progress.epoch + (progress.step_in_epoch > 0)
  return _keep_best(run, live, [None] * len(_parts(run, live)), epoch=epoch)


def _make_tell(phase, quiet, then):
  """Returns a function that says once how long the phase takes.

  It takes (steps, seconds, epochs done, steps of an epoch), and waits for a
  second of updates after the first call, which is slow.
  """
  steps, seconds, calls, waits = 0, 0.0, 0, not quiet

  def tell(done, took, epoch, num_steps):
    nonlocal steps, seconds, calls, waits
    calls += 1
    if not waits or calls == 1:
      return
    steps, seconds = steps + done, seconds + took
    if seconds < 1.0:
      return
    waits, left = False, phase.how.train.epochs - epoch
    each = seconds / steps * num_steps
    one, all_left = map(progress_lib.duration, (each, each * left))
    text = (
      f'training: about {one} an epoch without its validation, {all_left} for'
      f' the {left} to come'
    )
    text += ', less if patience ends it' if phase.how.train.patience else ''
    following = then()
    progress_lib.say(text + (f'; then {following}' if following else ''))

  return tell


def compiled(
  phase: phases.Phase, train: steps.TrainState, totals: steps.Totals, plan: Any
) -> Any:
  """The runner of a phase, compiled.

  Args:
    phase: what is trained.
    train: state, or its shapes.
    totals: sums, or their shapes.
    plan: of an epoch.
  """
  live = _Live(train, totals, Progress())
  return _call(phase.runner.lower, phase, live, plan, 0, 0, 0).compile()


def _call(runner, phase, live, plan, epoch, start, stop):
  """`runner` on the steps [start, stop) of a plan."""
  bounds = (jnp.asarray(bound, jnp.int32) for bound in (start, stop))
  rate = phase.how.rate
  return runner(
    live.train,
    live.totals,
    phase.learner.context,
    phase.source.feed,
    plan,
    phase.how.keys.negatives(epoch),
    *bounds,
    None if rate is None else jnp.asarray(rate, jnp.float32),
  )


def _compile(phase, live):
  """(compiled runner, live), so that the cost is shown apart."""
  begin = time.perf_counter()
  plan = jnp.asarray(phase.source.plan_of(live.progress.epoch))
  runner = compiled(phase, live.train, live.totals, plan)
  seconds = live.progress.compile_seconds + time.perf_counter() - begin
  return runner, _moved(live, compile_seconds=seconds)


def _moved(live, **progress):
  return live._replace(progress=live.progress._replace(**progress))


def _epochs(run, runner, live) -> _Live:
  """Runs the remaining epochs."""
  while not has_ended(run.phase, live.progress):
    begin = time.perf_counter()
    plan = jnp.asarray(run.phase.source.plan_of(live.progress.epoch))
    waited = live.progress.wait_seconds + time.perf_counter() - begin
    live = _one_epoch(run, runner, _moved(live, wait_seconds=waited), plan)
    if live.progress.step_in_epoch < plan.shape[0]:
      break  # stopped, and saved
    live = _end_of_epoch(run, live, plan)
    live = live._replace(totals=steps.init_totals(run.phase.num_losses))
    live = _moved(live, epoch=live.progress.epoch + 1, step_in_epoch=0)
    live = _save(run, live)
    if run.should_stop():
      break
  return live


def _one_epoch(run, runner, live, plan) -> _Live:
  """Updates to the end of the epoch, or to a saved stop."""
  num_steps, chunk = plan.shape[0], 8
  seen, saved_at = float(live.totals.weight.sum()), time.monotonic()
  label = f'epoch {live.progress.epoch + 1}/{run.config.epochs}'
  start = live.progress.step_in_epoch
  with progress_lib.reporter(
    num_steps, label, quiet=run.quiet, start=start
  ) as report:
    while start < num_steps:
      stop = min(start + chunk, num_steps)
      live, seconds = _advance(run, runner, live, plan, stop)
      run.tell(stop - start, seconds, live.progress.epoch, num_steps)
      # Calls of about a second: rare enough to cost nothing, frequent enough
      # for a live display and a quick answer to a signal.
      chunk = max(1, round((stop - start) / max(seconds, 1e-3)))
      start = stop
      totals = jax.device_get(live.totals)
      weight = float(totals.weight.sum())
      report(stop, weight - seen, float(totals.loss.sum()) / max(weight, 1.0))
      seen = weight
      due = time.monotonic() - saved_at > run.config.checkpoint_every
      if stop < num_steps and (due or run.should_stop()):
        live = _save(run, live)
        saved_at = time.monotonic()
        if run.should_stop():
          break
  return live


def _advance(run, runner, live, plan, stop) -> tuple[_Live, float]:
  """Updates up to step `stop` of the plan, and their seconds."""
  begin, progress = time.perf_counter(), live.progress
  start, epoch = progress.step_in_epoch, progress.epoch
  train, totals = _call(runner, run.phase, live, plan, epoch, start, stop)
  bad_step = int(totals.bad_step)  # waits for the call
  seconds = time.perf_counter() - begin
  if bad_step >= 0:
    what = 'training loss' if totals.bad_loss else 'gradient'
    raise types.UserError(
      f'{what} is not finite at step {bad_step} (epoch {epoch + 1});'
      f' the last good checkpoint in {run.workdir} is kept\nlower'
      f' train.learning_rate (now {run.config.learning_rate}; in stage 2 those'
      ' of plugin) and start in a new --workdir'
    )
  progress = progress._replace(
    train_seconds=progress.train_seconds + seconds,
    steps=progress.steps + stop - start,
    step_in_epoch=stop,
  )
  return _Live(train=train, totals=totals, progress=progress), seconds


def _end_of_epoch(run, live, plan) -> _Live:
  """Judges the epoch, keeps the best parameters and writes a line."""
  phase, how, config = run.phase, run.phase.how, run.config
  epoch, step = live.progress.epoch + 1, int(live.train.step)
  totals = jax.device_get(live.totals)
  weight = np.maximum(totals.weight, 1e-9)
  examples = live.progress.examples + float(totals.weight.sum())
  live = _moved(live, examples=examples)
  record = {
    'epoch': epoch,
    'step': step,
    'train_loss': float(totals.loss.sum() / weight.sum()),
    'train_loss_by_part': (totals.loss / weight).tolist(),
    'train_seconds': round(live.progress.train_seconds, 3),
  }
  if how.diagnose is not None:
    key = how.keys.negatives(live.progress.epoch)
    seen = how.diagnose(
      live.train, phase.learner.context, phase.source.feed, plan, key
    )
    record['diagnosis'] = {k: np.asarray(v).tolist() for k, v in seen.items()}
  if epoch in how.snapshots:
    path = run_directory.snapshot_path(run.workdir, epoch)
    params, host = {'params': live.train.params}, _host(live.progress)
    checkpoints.save(path, step, params, host, keep=1)
  last = epoch >= config.epochs
  if how.judge is None and last:
    live = _keep_best(run, live, [None] * len(_parts(run, live)))
  elif how.judge is not None and (last or epoch % config.evaluate_every == 0):
    judged = how.judge(live.train.params)
    record[config.select_on] = judged
    live = _select(run, live, judged)
  run_directory.append_metrics(run.workdir, record)
  return live


def _select(run, live, judged) -> _Live:
  """Saves the parameters where they are the best so far."""
  metric, by_group = run.config.select_metric, run.phase.how.by_group
  values = judged[f'{metric}_by_group'] if by_group else [judged[metric]]
  for j, value in enumerate(values):
    whose = f'{metric} of group {j + 1}' if by_group else metric
    _check_value(run, live.progress.epoch + 1, whose, value)
  old = live.progress.best
  improves = lambda a, b: a < b if metric == 'loss' else a > b
  better = [
    j
    for j, value in enumerate(values)
    if not old or improves(value, old[j].value)
  ]
  stale = 0 if better else live.progress.stale + 1
  return _keep_best(run, _moved(live, stale=stale), values, better)


def _check_value(run, epoch, name, value):
  on = run.config.select_on
  if value is None:
    raise types.UserError(
      f'{on} {name} has no value on these data; choose another select_metric,'
      ' or none for the last epoch'
    )
  if not np.isfinite(value):
    raise types.UserError(
      f'{on} {name} is {value} after epoch {epoch}; lower the learning rate'
      f' (now {run.config.learning_rate}) and start in a new --workdir'
    )


def _parts(run, live) -> list[tuple[pathlib.Path, Any]]:
  """(folder, parameters) of what is selected: all, or a part per group."""
  params, by_group = live.train.params, run.phase.how.by_group
  parts = by_group(params) if by_group else [params]
  number = len(parts) if by_group else None
  return list(zip(run_directory.best_paths(run.workdir, number), parts))


def _keep_best(run, live, values, better=None, epoch=None) -> _Live:
  """Saves the parts numbered in `better`, or all, with what they are worth."""
  epoch = live.progress.epoch + 1 if epoch is None else epoch
  parts, step = _parts(run, live), int(live.train.step)
  better = range(len(parts)) if better is None else better
  best = dict(enumerate(live.progress.best))
  for j in better:
    value = None if values[j] is None else float(values[j])
    best[j] = Best(value, epoch, step)
  live = _moved(live, best=tuple(best.values()))
  for j in better:
    path, params = parts[j]
    # Two are kept: the run may resume from before the newest one.
    checkpoints.save(
      path, step, {'params': params}, _host(live.progress), keep=2
    )
  return live


def _save(run, live) -> _Live:
  live = _moved(live, metrics_bytes=run_directory.sync_metrics(run.workdir))
  checkpoints.save(
    run_directory.latest_path(run.workdir),
    int(live.train.step),
    _arrays(live),
    _host(live.progress),
    keep=run.config.keep,
  )
  return live
