"""Epochs on the host around compiled updates on the device.

Killed at any moment and started again, a run ends with the same bits on a CPU,
and elsewhere with those that its order of sums allows: plans and negatives are
functions of (seed, epoch), and everything else an update reads is in the
checkpoint.
"""

from collections.abc import Callable, Sequence
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types
from twotsrec.training import checkpoints
from twotsrec.training import progress as progress_lib
from twotsrec.training import run_directory
from twotsrec.training import steps


class Phase(NamedTuple):
  """What is trained and how it is judged.

  Attributes:
    runner: from `steps.make_runner`.
    init_state: () -> steps.TrainState before the first update.
    context: given arrays of the model.
    feed: device columns.
    plan_of: epoch -> i32[S, ...], the same shape every epoch, on the host.
    negative_key: epoch -> PRNG key.
    num_losses: losses a step tells apart: of G groups, or of K behaviors.
    evaluate: params -> {metric: float, metric_by_group: list}; None takes the
      last epoch.
    diagnose: (state, context, feed, plan, key) -> {name: array}, or None.
    by_group: params -> what to keep for each group, when every group takes
      its own best epoch; None takes one epoch for all.
    snapshots: epochs, from 1, after which the parameters are kept for good.
  """

  runner: Callable[..., Any]
  init_state: Callable[[], steps.TrainState]
  context: Any
  feed: Any
  plan_of: Callable[[int], np.ndarray]
  negative_key: Callable[[int], jax.Array]
  num_losses: int
  evaluate: Callable[[types.Params], dict[str, Any]] | None = None
  diagnose: Callable[..., dict[str, Any]] | None = None
  by_group: Callable[[types.Params], Sequence[types.Params]] | None = None
  snapshots: tuple[int, ...] = ()


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
  """How far a phase has come; what a checkpoint knows besides arrays.

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
  """What stays the same while a phase trains."""

  phase: Phase
  config: config_lib.TrainConfig
  workdir: str
  should_stop: Callable[[], bool]
  quiet: bool


class _Live(NamedTuple):
  """What changes: arrays on the device, and progress."""

  train: steps.TrainState
  totals: steps.Totals
  progress: Progress


def fit(
  phase: Phase,
  config: config_lib.TrainConfig,
  workdir: str,
  should_stop: Callable[[], bool] = lambda: False,
  quiet: bool = False,
) -> contracts.Trained:
  """Trains until early stopping or the last epoch, resuming if it can.

  Args:
    phase: what is trained.
    config: optimization and stopping.
    workdir: run directory.
    should_stop: asked between calls; saves and returns when true.
    quiet: no progress display.
  Returns:
    The selected parameters, a list by group if groups select on their own, or
    None if it was interrupted; and Progress.
  Raises:
    types.UserError: a loss or gradient is not finite.
  """
  run = _Run(phase, config, workdir, should_stop, quiet)
  live = _resumed(run)
  run_directory.truncate_metrics(workdir, live.progress.metrics_bytes)
  if not _is_finished(run, live.progress):
    live = _epochs(run, *_compile(phase, live))
  if not _is_finished(run, live.progress):
    return contracts.Trained(params=None, progress=live.progress)
  best = live.progress.best
  paths = run_directory.best_paths(
    workdir, len(best) if phase.by_group else None
  )
  selected = [
    checkpoints.restore(path, {'params': params}, step=one.step)
    for path, params, one in zip(paths, _parts(run, live), best, strict=True)
  ]
  params = [restored.state['params'] for restored in selected]
  return contracts.Trained(
    params=params if phase.by_group else params[0], progress=live.progress
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
  """What a checkpoint holds."""
  return {'train': live.train, 'totals': live.totals}


def _host(progress):
  """Progress as JSON values."""
  return progress._asdict() | {'best': [b._asdict() for b in progress.best]}


def _is_finished(run, progress):
  """By the configuration in force, which may ask for more than the last."""
  patience = run.config.patience
  out_of_patience = patience > 0 and progress.stale >= patience
  return progress.epoch >= run.config.epochs or out_of_patience


def _compile(phase, live):
  """(compiled runner, live), so that the cost is shown apart."""
  begin = time.perf_counter()
  plan = jnp.asarray(phase.plan_of(live.progress.epoch))
  zero = jnp.zeros((), jnp.int32)
  compiled = phase.runner.lower(
    live.train,
    live.totals,
    phase.context,
    phase.feed,
    plan,
    phase.negative_key(0),
    zero,
    zero,
  ).compile()
  seconds = live.progress.compile_seconds + time.perf_counter() - begin
  return compiled, _moved(live, compile_seconds=seconds)


def _moved(live, **progress):
  return live._replace(progress=live.progress._replace(**progress))


def _epochs(run, runner, live) -> _Live:
  """Runs the remaining epochs."""
  while not _is_finished(run, live.progress):
    begin = time.perf_counter()
    plan = jnp.asarray(run.phase.plan_of(live.progress.epoch))
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
  num_steps, epoch = plan.shape[0], live.progress.epoch
  key = run.phase.negative_key(epoch)
  chunk, seen = 8, float(live.totals.weight.sum())
  saved_at = time.monotonic()
  label = f'epoch {epoch + 1}/{run.config.epochs}'
  start = live.progress.step_in_epoch
  with progress_lib.reporter(
    num_steps, label, quiet=run.quiet, start=start
  ) as report:
    while start < num_steps:
      stop = min(start + chunk, num_steps)
      live, seconds = _advance(run, runner, live, plan, key, stop)
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


def _advance(run, runner, live, plan, key, stop) -> tuple[_Live, float]:
  """Updates up to step `stop` of the plan, and their seconds."""
  begin, progress = time.perf_counter(), live.progress
  as_i32 = lambda x: jnp.asarray(x, jnp.int32)
  train, totals = runner(
    live.train,
    live.totals,
    run.phase.context,
    run.phase.feed,
    plan,
    key,
    as_i32(progress.step_in_epoch),
    as_i32(stop),
  )
  bad_step = int(totals.bad_step)  # waits for the call
  seconds = time.perf_counter() - begin
  if bad_step >= 0:
    what = 'training loss' if totals.bad_loss else 'gradient'
    raise types.UserError(
      f'{what} is not finite at step {bad_step} (epoch {progress.epoch + 1});'
      f' the last good checkpoint in {run.workdir} is kept\nlower'
      f' train.learning_rate (now {run.config.learning_rate}; in stage 2 those'
      ' of plugin) and start in a new --workdir'
    )
  live = live._replace(train=train, totals=totals)
  live = _moved(
    live,
    train_seconds=progress.train_seconds + seconds,
    steps=progress.steps + stop - progress.step_in_epoch,
    step_in_epoch=stop,
  )
  return live, seconds


def _end_of_epoch(run, live, plan) -> _Live:
  """Judges the epoch, keeps the best parameters and writes a line."""
  phase, config = run.phase, run.config
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
  if phase.diagnose is not None:
    key = phase.negative_key(live.progress.epoch)
    seen = phase.diagnose(live.train, phase.context, phase.feed, plan, key)
    record['diagnosis'] = {k: np.asarray(v).tolist() for k, v in seen.items()}
  if epoch in phase.snapshots:
    path = run_directory.snapshot_path(run.workdir, epoch)
    params, host = {'params': live.train.params}, _host(live.progress)
    checkpoints.save(path, step, params, host, keep=1)
  last = epoch >= config.epochs
  if phase.evaluate is None and last:
    values = [None] * len(_parts(run, live))
    live = _keep_best(run, live, values, range(len(values)))
  elif phase.evaluate is not None and (
    last or epoch % config.evaluate_every == 0
  ):
    judged = phase.evaluate(live.train.params)
    record[config.select_on] = judged
    live = _select(run, live, judged)
  run_directory.append_metrics(run.workdir, record)
  return live


def _select(run, live, judged) -> _Live:
  """Saves the parameters where they are the best so far."""
  metric, best = run.config.select_metric, live.progress.best
  name = f'{metric}_by_group' if run.phase.by_group else metric
  values = judged[name] if run.phase.by_group else [judged[name]]
  for j, value in enumerate(values):
    whose = f'{metric} of group {j + 1}' if run.phase.by_group else metric
    _check_value(run, live.progress.epoch + 1, whose, value)
  better = [
    j
    for j, value in enumerate(values)
    if not best or _improves(metric, value, best[j].value)
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


def _improves(metric, value, best):
  return value < best if metric == 'loss' else value > best


def _parts(run, live):
  """What is saved of the parameters: all of them, or a part per group."""
  params = live.train.params
  return run.phase.by_group(params) if run.phase.by_group else [params]


def _keep_best(run, live, values, better) -> _Live:
  """Saves the parameters of the given slots, and what they are worth."""
  step, parts = int(live.train.step), _parts(run, live)
  epoch = live.progress.epoch + 1
  old = live.progress.best or (None,) * len(parts)
  best = tuple(
    Best(
      value=None if values[j] is None else float(values[j]),
      epoch=epoch,
      step=step,
    )
    if j in better
    else old[j]
    for j in range(len(parts))
  )
  live = _moved(live, best=best)
  paths = run_directory.best_paths(
    run.workdir, len(best) if run.phase.by_group else None
  )
  for j in better:
    # Two are kept: the run may resume from before the newest one.
    params = {'params': parts[j]}
    checkpoints.save(paths[j], step, params, _host(live.progress), keep=2)
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
