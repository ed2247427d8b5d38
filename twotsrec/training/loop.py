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
from twotsrec import types
from twotsrec.training import checkpoints
from twotsrec.training import progress
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


class Fitted(NamedTuple):
  """How a training phase ended.

  Attributes:
    params: the selected parameters, a list by group if groups select on their
      own, or None if it was interrupted.
    host: progress of the run, JSON-able.
  """

  params: types.Params | list[types.Params] | None
  host: dict[str, Any]


def fit(
  phase: Phase,
  config: config_lib.TrainConfig,
  workdir: str,
  should_stop: Callable[[], bool] = lambda: False,
  quiet: bool = False,
) -> Fitted:
  """Trains until early stopping or the last epoch, resuming if it can.

  Args:
    phase: what is trained.
    config: optimization and stopping.
    workdir: run directory.
    should_stop: asked between calls; saves and returns when true.
    quiet: no progress display.
  Raises:
    types.UserError: a loss or gradient is not finite.
  """
  run = _Run(phase, config, workdir, should_stop, quiet)
  state = phase.init_state()
  template = {'train': state, 'totals': steps.init_totals(phase.num_losses)}
  restored = checkpoints.restore(run_directory.latest_path(workdir), template)
  if restored is None:
    host, live = _first_host_state(), template
  else:
    host, live = restored.host, restored.state
  run_directory.truncate_metrics(workdir, host['metrics_bytes'])
  if not _is_finished(run, host):
    live = _epochs(run, _compile(phase, live, host), live, host)
  if not _is_finished(run, host):
    return Fitted(None, host)
  selected = [
    checkpoints.restore(path, {'params': params}, step=best['step'])
    for path, params, best in zip(
      run_directory.best_paths(workdir, _slots(run, host)),
      _kept(run, live),
      host['best'],
      strict=True,
    )
  ]
  params = [found.state['params'] for found in selected]
  return Fitted(params if phase.by_group else params[0], host)


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
    'metrics_bytes': 0,
    'best': [],  # of all, or by group: value, epoch, step
    'stale': 0,
    'train_seconds': 0.0,
    'wait_seconds': 0.0,
    'compile_seconds': 0.0,
    'examples': 0.0,
  }


def _is_finished(run, host):
  """By the configuration in force, which may ask for more than the last."""
  patience = run.config.patience
  out_of_patience = patience > 0 and host['stale'] >= patience
  return host['epoch'] >= run.config.epochs or out_of_patience


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
  while not _is_finished(run, host):
    begin = time.perf_counter()
    plan = jnp.asarray(run.phase.plan_of(host['epoch']))
    host['wait_seconds'] += time.perf_counter() - begin
    live = _one_epoch(run, runner, live, host, plan)
    if host['step_in_epoch'] < plan.shape[0]:
      break  # stopped, and saved
    _end_of_epoch(run, live, host, plan)
    totals = steps.init_totals(run.phase.num_losses)
    live = {**live, 'totals': totals}
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
      f' train.learning_rate (now {run.config.learning_rate}; in stage 2 those'
      ' of plugin) and start in a new --workdir'
    )
  host['train_seconds'] += seconds
  host['steps'] += stop - host['step_in_epoch']
  host['step_in_epoch'] = stop
  return {'train': train, 'totals': totals}, seconds


def _end_of_epoch(run, live, host, plan):
  """Judges the epoch and keeps the best parameters."""
  phase, config = run.phase, run.config
  epoch = host['epoch'] + 1
  totals = jax.device_get(live['totals'])
  weight = np.maximum(totals.weight, 1e-9)
  host['examples'] += float(totals.weight.sum())
  record = {
    'epoch': epoch,
    'step': int(live['train'].step),
    'train_loss': float(totals.loss.sum() / weight.sum()),
    'train_loss_by_part': (totals.loss / weight).tolist(),
    'train_seconds': round(host['train_seconds'], 3),
  }
  if phase.diagnose is not None:
    key = phase.negative_key(host['epoch'])
    found = phase.diagnose(live['train'], phase.context, phase.feed, plan, key)
    record['diagnosis'] = {k: np.asarray(v).tolist() for k, v in found.items()}
  last = epoch >= config.epochs
  if epoch in phase.snapshots:
    path = run_directory.snapshot_path(run.workdir, epoch)
    params = {'params': live['train'].params}
    checkpoints.save(path, int(live['train'].step), params, host, keep=1)
  if phase.evaluate is not None and (
    last or epoch % config.evaluate_every == 0
  ):
    record[config.select_on] = phase.evaluate(live['train'].params)
    _select(run, live, host, record[config.select_on])
  if phase.evaluate is None and last:
    values = [None] * len(_kept(run, live))
    _keep_best(run, live, host, values, range(len(values)))
  run_directory.append_metrics(run.workdir, record)


def _select(run, live, host, judged):
  """Saves the parameters where they are the best so far."""
  metric = run.config.select_metric
  name = f'{metric}_by_group' if run.phase.by_group else metric
  values = judged[name] if run.phase.by_group else [judged[name]]
  for j, value in enumerate(values):
    whose = f'{metric} of group {j + 1}' if run.phase.by_group else metric
    _check_value(run, host, whose, value)
  better = [
    j
    for j, value in enumerate(values)
    if not host['best'] or _improves(metric, value, host['best'][j]['value'])
  ]
  host['stale'] = 0 if better else host['stale'] + 1
  _keep_best(run, live, host, values, better)


def _check_value(run, host, name, value):
  on = run.config.select_on
  if value is None:
    raise types.UserError(
      f'{on} {name} has no value on these data; choose another select_metric,'
      ' or none for the last epoch'
    )
  if not np.isfinite(value):
    raise types.UserError(
      f'{on} {name} is {value} after epoch {host["epoch"] + 1}; lower the'
      f' learning rate (now {run.config.learning_rate}) and start in a new'
      ' --workdir'
    )


def _improves(metric, value, best):
  return value < best if metric == 'loss' else value > best


def _kept(run, live):
  """What is saved of the parameters: all of them, or a part per group."""
  params = live['train'].params
  return run.phase.by_group(params) if run.phase.by_group else [params]


def _slots(run, host):
  """Number of groups that select on their own, or None."""
  return len(host['best']) if run.phase.by_group else None


def _keep_best(run, live, host, values, better):
  """Saves the parameters of the given slots, and what they are worth."""
  step, kept = int(live['train'].step), _kept(run, live)
  host['best'] = host['best'] or [None] * len(kept)
  for j in better:
    value = None if values[j] is None else float(values[j])
    host['best'][j] = {
      'value': value, 'epoch': host['epoch'] + 1, 'step': step
    }  # fmt: skip
  paths = run_directory.best_paths(run.workdir, _slots(run, host))
  for j in better:
    # Two are kept: the run may resume from before the newest one.
    checkpoints.save(paths[j], step, {'params': kept[j]}, host, keep=2)


def _save(run, live, host):
  host['metrics_bytes'] = run_directory.sync_metrics(run.workdir)
  checkpoints.save(
    run_directory.latest_path(run.workdir),
    int(live['train'].step),
    live,
    host,
    keep=run.config.keep,
  )
