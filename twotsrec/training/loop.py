"""Epochs on the host around compiled updates on the device.

Killed at any moment and started again, a run ends with the same bits: plans
and negatives are functions of (seed, epoch), and everything else an update
reads is in the checkpoint.
"""

from collections.abc import Callable
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.training import checkpoints
from twotsrec.training import progress
from twotsrec.training import run_directory
from twotsrec.training import steps


class Phase(NamedTuple):
  """What is trained and how it is judged.

  Attributes:
    runner: from `steps.make_runner`.
    context: given arrays of the model.
    feed: device columns.
    plan_of: epoch -> i32[S, ...], the same shape every epoch, on the host.
    negative_key: epoch -> PRNG key.
    evaluate: params -> {metric: float or list}; None takes the last epoch.
    diagnose: (state, context, feed, plan, key) -> {name: array}, or None.
  """

  runner: Callable[..., Any]
  context: Any
  feed: Any
  plan_of: Callable[[int], np.ndarray]
  negative_key: Callable[[int], jax.Array]
  evaluate: Callable[[types.Params], dict[str, Any]] | None = None
  diagnose: Callable[..., dict[str, Any]] | None = None


class Fitted(NamedTuple):
  """How a training phase ended.

  Attributes:
    params: the selected parameters, or None if it was interrupted.
    host: progress of the run, JSON-able.
  """

  params: types.Params | None
  host: dict[str, Any]


def fit(
  phase: Phase,
  state: steps.TrainState,
  num_groups: int,
  config: config_lib.TrainConfig,
  workdir: str,
  should_stop: Callable[[], bool] = lambda: False,
  quiet: bool = False,
) -> Fitted:
  """Trains until early stopping or the last epoch, resuming if it can.

  Args:
    phase: what is trained.
    state: the state to start from when there is no checkpoint.
    num_groups: G.
    config: optimization and stopping.
    workdir: run directory.
    should_stop: asked between calls; saves and returns when true.
    quiet: no progress display.
  Raises:
    types.UserError: a loss or gradient is not finite.
  """
  run = _Run(phase, config, workdir, should_stop, quiet)
  template = {'train': state, 'totals': steps.init_totals(num_groups)}
  restored = checkpoints.restore(run_directory.latest_path(workdir), template)
  if restored is None:
    host, live = _first_host_state(), template
  else:
    host, live = restored.host, restored.state
  run_directory.truncate_metrics(workdir, host['metrics_bytes'])
  if not host['finished']:
    live = _epochs(run, _compile(phase, live, host), live, host)
  if not host['finished']:
    return Fitted(None, host)
  best = checkpoints.restore(
    run_directory.best_path(workdir),
    {'params': live['train'].params},
    step=host['best_step'],
  )
  return Fitted(best.state['params'], host)


class _Run(NamedTuple):
  """What stays the same while a phase trains."""

  phase: Phase
  config: config_lib.TrainConfig
  workdir: str
  should_stop: Callable[[], bool]
  quiet: bool


def _first_host_state():
  return {
    'epoch': 0,
    'steps': 0,
    'step_in_epoch': 0,
    'finished': False,
    'metrics_bytes': 0,
    'best_value': None,
    'best_epoch': None,
    'best_step': None,
    'stale': 0,
    'train_seconds': 0.0,
    'wait_seconds': 0.0,
    'compile_seconds': 0.0,
    'examples': 0.0,
  }


def _compile(phase, live, host):
  """Compiles the runner ahead of time, so that its cost is shown apart."""
  begin = time.perf_counter()
  plan = jnp.asarray(phase.plan_of(host['epoch']))
  zero = jnp.zeros((), jnp.int32)
  compiled = phase.runner.lower(
    live['train'],
    live['totals'],
    phase.context,
    phase.feed,
    plan,
    phase.negative_key(0),
    zero,
    zero,
  ).compile()
  host['compile_seconds'] += time.perf_counter() - begin
  return compiled


def _epochs(run, runner, live, host):
  """Runs the remaining epochs; returns the last arrays."""
  while not host['finished']:
    begin = time.perf_counter()
    plan = jnp.asarray(run.phase.plan_of(host['epoch']))
    host['wait_seconds'] += time.perf_counter() - begin
    live = _one_epoch(run, runner, live, host, plan)
    if host['step_in_epoch'] < plan.shape[0]:
      break  # stopped, and saved
    _end_of_epoch(run, live, host, plan)
    num_groups = live['totals'].loss.shape[0]
    live = {**live, 'totals': steps.init_totals(num_groups)}
    host['epoch'] += 1
    host['step_in_epoch'] = 0
    _save(run, live, host)
    if run.should_stop():
      break
  return live


def _one_epoch(run, runner, live, host, plan):
  """Updates to the end of the epoch, or to a saved stop."""
  num_steps = plan.shape[0]
  key = run.phase.negative_key(host['epoch'])
  chunk, seen = 8, float(live['totals'].weight.sum())
  saved_at = time.monotonic()
  label = f'epoch {host["epoch"] + 1}/{run.config.epochs}'
  start = host['step_in_epoch']
  with progress.reporter(
    num_steps, label, quiet=run.quiet, start=start
  ) as report:
    while start < num_steps:
      stop = min(start + chunk, num_steps)
      live, seconds = _advance(run, runner, live, host, plan, key, stop)
      # Calls of about a second: rare enough to cost nothing, frequent enough
      # for a live display and a quick answer to a signal.
      chunk = max(1, round((stop - start) / max(seconds, 1e-3)))
      start = stop
      totals = jax.device_get(live['totals'])
      weight = float(totals.weight.sum())
      report(stop, weight - seen, float(totals.loss.sum()) / max(weight, 1.0))
      seen = weight
      due = time.monotonic() - saved_at > run.config.checkpoint_every
      if stop < num_steps and (due or run.should_stop()):
        _save(run, live, host)
        saved_at = time.monotonic()
        if run.should_stop():
          break
  return live


def _advance(run, runner, live, host, plan, key, stop):
  """Updates up to step `stop` of the plan; returns arrays and seconds."""
  begin = time.perf_counter()
  as_i32 = lambda x: jnp.asarray(x, jnp.int32)
  train, totals = runner(
    live['train'],
    live['totals'],
    run.phase.context,
    run.phase.feed,
    plan,
    key,
    as_i32(host['step_in_epoch']),
    as_i32(stop),
  )
  bad_step = int(totals.bad_step)  # waits for the call
  seconds = time.perf_counter() - begin
  if bad_step >= 0:
    what = 'training loss' if totals.bad_loss else 'gradient'
    raise types.UserError(
      f'{what} is not finite at step {bad_step} (epoch {host["epoch"] + 1});'
      f' the last good checkpoint in {run.workdir} is kept\nlower'
      f' train.learning_rate (now {run.config.learning_rate}) and start in a'
      ' new --workdir'
    )
  host['train_seconds'] += seconds
  host['steps'] += stop - host['step_in_epoch']
  host['step_in_epoch'] = stop
  return {'train': train, 'totals': totals}, seconds


def _end_of_epoch(run, live, host, plan):
  """Judges the epoch, keeps the best parameters and decides to stop."""
  phase, config = run.phase, run.config
  epoch = host['epoch'] + 1
  totals = jax.device_get(live['totals'])
  weight = np.maximum(totals.weight, 1e-9)
  host['examples'] += float(totals.weight.sum())
  record = {
    'epoch': epoch,
    'step': int(live['train'].step),
    'train_loss': float(totals.loss.sum() / weight.sum()),
    'train_loss_by_group': (totals.loss / weight).tolist(),
    'train_seconds': round(host['train_seconds'], 3),
  }
  if phase.diagnose is not None:
    key = phase.negative_key(host['epoch'])
    found = phase.diagnose(live['train'], phase.context, phase.feed, plan, key)
    record['groups'] = {k: np.asarray(v).tolist() for k, v in found.items()}
  last = epoch >= config.epochs
  if phase.evaluate is not None and (
    last or epoch % config.evaluate_every == 0
  ):
    record[config.select_on] = phase.evaluate(live['train'].params)
    _select(run, live, host, record[config.select_on])
  if phase.evaluate is None and last:
    _keep_best(run, live, host)
  host['finished'] = last or (
    config.patience > 0 and host['stale'] >= config.patience
  )
  run_directory.append_metrics(run.workdir, record)


def _select(run, live, host, judged):
  """Saves the parameters if they are the best so far."""
  name = run.config.select_metric
  value, best = judged[name], host['best_value']
  if value is None:
    raise types.UserError(
      f'{run.config.select_on} {name} has no value on these data; choose'
      ' another train.select_metric, or none for the last epoch'
    )
  if not np.isfinite(value):
    raise types.UserError(
      f'{run.config.select_on} {name} is {value} after epoch'
      f' {host["epoch"] + 1}; lower train.learning_rate (now'
      f' {run.config.learning_rate}) and start in a new --workdir'
    )
  lower = name == 'loss'
  if best is not None and not (value < best if lower else value > best):
    host['stale'] += 1
    return
  host.update(best_value=float(value), stale=0)
  _keep_best(run, live, host)


def _keep_best(run, live, host):
  step = int(live['train'].step)
  host.update(best_epoch=host['epoch'] + 1, best_step=step)
  # Two are kept: the run may resume from before the newest one.
  checkpoints.save(
    run_directory.best_path(run.workdir),
    step,
    {'params': live['train'].params},
    host,
    keep=2,
  )


def _save(run, live, host):
  host['metrics_bytes'] = run_directory.sync_metrics(run.workdir)
  checkpoints.save(
    run_directory.latest_path(run.workdir),
    int(live['train'].step),
    live,
    host,
    keep=run.config.keep,
  )
