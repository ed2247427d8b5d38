"""A small run for tests of the training loop, and what outcomes compare by."""

import atexit
import functools
import pathlib
import shutil
import tempfile
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tests import small_runs as runs
from tests import worlds
from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types
from twotsrec.aggregators import linear
from twotsrec.data import batches
from twotsrec.data import feeds
from twotsrec.data import plans
from twotsrec.objectives import sampled as objectives
from twotsrec.training import checkpoints
from twotsrec.training import loop
from twotsrec.training import phases
from twotsrec.training import run_directory
from twotsrec.training import steps
from twotsrec.training import updates

GROUPS, BATCH, EPOCHS = 3, 4, 3
_LENGTH = 5
_TIMED = ('train_seconds', 'wait_seconds', 'compile_seconds')


def _restless(params):
  """A loss that goes up and down from epoch to epoch, by the last bits."""
  return {'loss': float(np.asarray(params.net['kernel']).sum() * 1e4 % 1.0)}


@functools.cache
def _optimizer():
  return optax.adam(0.05)


@functools.cache
def phase() -> phases.Phase:
  """Updates of a small model, with losses of three groups told apart."""
  prepared, groups = worlds.log()
  data = config_lib.DataConfig(history_length=_LENGTH)
  feed = feeds.make_feed(prepared, groups, data)
  group = np.asarray(feed.group)
  sizes = jnp.asarray(groups.sizes, jnp.float32)
  batch_of = functools.partial(
    batches.make_batch, draws=batches.Draws(_LENGTH, 30, 2)
  )
  gradient = steps.make_gradient(
    objectives.make(objectives.Loss(), worlds.mean_model()),
    linear.backdoor(),
    sizes,
    'fused',
  )
  update = updates.of_gradient(gradient, _optimizer())
  key = jax.random.key(7)
  return phases.Phase(
    runner=steps.make_runner(update.step, batch_of),
    init_state=start,
    learner=contracts.Learner(init=lambda key: _params(), context={}),
    source=contracts.Source(
      feed=feed,
      sizes=sizes,
      batch_of=batch_of,
      plan_of=lambda epoch: plans.make_plan(
        group, GROUPS, BATCH, 'proportional', 0, epoch
      ),
    ),
    how=phases.How(
      train=config_lib.TrainConfig(),
      update=update,
      keys=phases.Keys(key, key, lambda epoch: jax.random.fold_in(key, epoch)),
      judge=_restless,
    ),
    num_losses=GROUPS,
  )


def changed(**how) -> phases.Phase:
  """The same, judged or kept in another way."""
  return phase()._replace(how=phase().how._replace(**how))


@functools.cache
def _params():
  sizes = types.Sizes(12, 30, _LENGTH)
  return jax.device_get(worlds.mean_model().init(jax.random.key(0), {}, sizes))


def start() -> steps.TrainState:
  """The first state; a copy, since its memory is donated."""
  params = jax.tree.map(jnp.array, _params())
  return steps.init_state(params, _optimizer(), (), jax.random.key(3))


@functools.cache
def compiled():
  """The updates, compiled once for all tests."""
  live = loop._Live(start(), steps.init_totals(GROUPS), loop.Progress())
  return loop._compile(phase(), live)[0]


def fit(
  workdir, other=None, should_stop=lambda: False, runner=None, **changes
) -> contracts.Trained:
  """Trains in `workdir`, saving after every call.

  Args:
    workdir: made if missing.
    other: phase in place of `phase()`.
    should_stop: of `loop.fit`.
    runner: in place of `compiled()`.
    **changes: of the configuration.
  """
  config = {'epochs': EPOCHS, 'checkpoint_every': 0.0, **changes}
  fitted = other or phase()
  how = fitted.how._replace(train=config_lib.TrainConfig(**config))
  runner = runner or compiled()
  pathlib.Path(workdir).mkdir(exist_ok=True)
  with mock.patch.object(loop, '_compile', lambda phase, live: (runner, live)):
    return loop.fit(
      fitted._replace(how=how), str(workdir), should_stop, quiet=True
    )


@functools.cache
def uninterrupted() -> tuple[pathlib.Path, contracts.Trained]:
  """Directory and outcome of a run that nothing disturbed."""
  workdir = pathlib.Path(tempfile.mkdtemp(prefix='twotsrec-'))
  atexit.register(shutil.rmtree, workdir, ignore_errors=True)
  return workdir, fit(workdir)


def _untimed(progress):
  return progress._replace(**dict.fromkeys((*_TIMED, 'metrics_bytes'), 0))


def assert_same(workdir, fitted, expected_workdir, expected) -> None:
  """Two runs with the same outcome, log and selected checkpoint to the bit."""
  runs.assert_same_arrays(fitted.params, expected.params)
  assert _untimed(fitted.progress) == _untimed(expected.progress)
  assert runs.untimed_metrics(workdir) == runs.untimed_metrics(expected_workdir)
  template = {'params': expected.params}
  step = expected.progress.best[0].step
  best = [
    checkpoints.restore_step(run_directory.best_path(w), template, step).state
    for w in (workdir, expected_workdir)
  ]
  runs.assert_same_arrays(*best)


def assert_undisturbed(workdir, fitted) -> None:
  """`assert_same` with the run that nothing disturbed."""
  assert_same(workdir, fitted, *uninterrupted())
