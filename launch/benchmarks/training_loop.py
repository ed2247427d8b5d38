"""Times the training loop against its bare steps, and full ranking."""

from collections.abc import Callable
import contextlib
import dataclasses
import tempfile
import time
from typing import Any

import jax
import jax.numpy as jnp

import timing
from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import recipes
from twotsrec import types
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import reports
from twotsrec.training import loop
from twotsrec.training import machine
from twotsrec.training import phases
from twotsrec.training import steps


def measure(config: config_lib.Config, repeats: int) -> dict[str, Any]:
  """Training loop against its bare compiled steps, and full ranking.

  Args:
    config: what is trained; one epoch, no selection.
    repeats: measured rounds after one that warms up.
  Returns:
    Milliseconds per step: `bare_scan` (a jitted `lax.scan` of the update over
    batches made before) and `full_loop` (all a training run does: plans,
    batches, checkpoints, log); their ratio; steps and seconds of an epoch and
    how many items it predicts; ranking seconds; peak memory.
  """
  settings = dataclasses.replace(
    config.train, epochs=1, select_metric='none', checkpoint_every=60.0
  )
  config = dataclasses.replace(config, train=settings)
  prepared = experiment_lib.load_data(config)
  experiment = experiment_lib.make(config, prepared)
  parts = first_phase(experiment)
  bare = bare_scan(parts, first_batches(parts, 200))
  whole = full_loop(experiment)
  rounds = []
  for _ in range(repeats + 1):
    begin = time.perf_counter()
    bare.run()
    step = (time.perf_counter() - begin) / bare.amount * 1e3
    rounds.append((step, *whole()))
  steps_alone, steps_in_loop, waits = zip(*rounds[1:])
  num_steps = len(parts.source.plan_of(0))
  peak = machine.peak_rss_mb()
  ranking = [ranking_seconds(experiment) for _ in range(repeats + 1)][1:]
  return {
    'model': config.model.name,
    'source': prepared.manifest['source'],
    'batch_size': config.train.batch_size,
    'milliseconds_per_step': {
      'bare_scan': timing.summary(steps_alone),
      'full_loop': timing.summary(steps_in_loop),
    },
    'full_loop_over_bare_scan': timing.summary(
      [whole / bare for whole, bare in zip(steps_in_loop, steps_alone)]
    ),
    'input_wait_share': timing.summary(waits),
    'epoch': {
      'steps': num_steps,
      'predicted': _predicted(parts),
      'seconds': timing.summary(
        [num_steps * whole / 1e3 for whole in steps_in_loop]
      ),
    },
    'ranking_seconds': timing.summary(ranking),
    'ranked': {'users': prepared.num_users, 'items': prepared.num_items},
    'peak_rss_mb_training': peak,
    'peak_rss_mb': machine.peak_rss_mb(),
    'versions': machine.versions(),
  }


def _predicted(parts):
  """How many observed items an epoch predicts."""
  source, key = parts.source, jax.random.key(0)

  @jax.jit
  def count(feed, plan):
    def add(total, examples):
      batch = source.batch_of(feed, examples, key)
      real = batch.weight > 0
      if batch.candidates.ndim > 2:
        real = real[:, None] & (batch.history > 0)
      return total + jnp.sum(real), None

    return jax.lax.scan(add, jnp.int32(0), plan)[0]

  return int(count(source.feed, jnp.asarray(source.plan_of(0))))


class _Asked(Exception):
  """A recipe has said what its first phase is."""


def first_phase(experiment: contracts.Experiment) -> phases.Parts:
  """What a recipe trains first, and how; it does not begin."""
  asked = []

  def fit(name, learner, source, how, start=None):
    del name, start
    asked.append(phases.Parts(learner, source, how))
    raise _Asked

  work = contracts.Work(fit=fit, load=experiment_lib.load, workdir=None)
  with contextlib.suppress(_Asked):
    recipes.of(experiment.config).train(experiment, work)
  return asked[0]


def bare_scan(parts: phases.Parts, batches: types.PyTree) -> timing.Work:
  """A jitted `lax.scan` of an update over batches that are there already.

  Args:
    parts: of `first_phase`.
    batches: of `first_batches`.
  """
  phase, step = phases.make(*parts), parts.how.update.step
  start = phase.init_state()

  def scan(state, context, batches):
    def body(carry, batch):
      return step(*carry, context, batch), None

    carry = (state, steps.init_totals(phase.num_losses))
    return jax.lax.scan(body, carry, batches)[0]

  begin = time.perf_counter()
  compiled = (
    jax.jit(scan).lower(start, phase.learner.context, batches).compile()
  )
  return timing.Work(
    labels={},
    run=lambda: jax.block_until_ready(
      compiled(start, phase.learner.context, batches)
    ),
    amount=len(jax.tree.leaves(batches)[0]),
    compile_seconds=time.perf_counter() - begin,
  )


def first_batches(parts: phases.Parts, num_steps: int) -> types.PyTree:
  """The batches an epoch begins with, leaves [S, ...], as the update wants.

  Args:
    parts: of `first_phase`.
    num_steps: S; fewer if the epoch is shorter.
  """
  source = parts.source
  if parts.how.update.stacked:
    source = phases.by_group(source)
  key = jax.random.key(0)
  return jax.jit(
    lambda feed, plan: jax.lax.map(
      lambda examples: source.batch_of(feed, examples, key), plan
    )
  )(source.feed, jnp.asarray(source.plan_of(0)[:num_steps]))


def full_loop(
  experiment: contracts.Experiment,
) -> Callable[[], tuple[float, float]]:
  """A whole epoch as a training run does it, compilation apart.

  Args:
    experiment: one epoch, no selection.
  Returns:
    () -> (milliseconds per step, share of waiting for input).
  """

  def measure():
    phase = phases.make(*first_phase(experiment))
    with tempfile.TemporaryDirectory() as workdir:
      begin = time.perf_counter()
      trained = loop.fit(phase, workdir, quiet=True)
      progress = trained.progress
      seconds = time.perf_counter() - begin - progress.compile_seconds
    share = progress.wait_seconds / seconds
    return seconds / progress.steps * 1e3, share

  return measure


def ranking_seconds(experiment: contracts.Experiment) -> float:
  """Ranks the candidates of every test user with untrained parameters."""
  config = experiment.config
  evaluation = dataclasses.replace(config.evaluation, bootstrap=0)
  config = dataclasses.replace(config, evaluation=evaluation)
  experiment = experiment._replace(config=config)
  params = recipes.of(config).template(experiment)
  ranker = experiment_lib.ranker(experiment, params)
  begin = time.perf_counter()
  reports.evaluate(experiment, ranker, 'test', quiet=True)
  return time.perf_counter() - begin
