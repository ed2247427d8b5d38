"""Runs that differ in their learning rate share a compiled program."""

import jax.numpy as jnp
import pytest

from tests import asked
from tests import jodie_toys
from tests import small_runs as runs
from tests.runs import behavior_runs
from twotsrec.runs import experiment as experiment_lib
from twotsrec.training import loop
from twotsrec.training import phases

GRAPHS = {**behavior_runs.GRAPHS, 'aggregator__name': 'joint'}
MODELS = {
  'sequence': lambda **changes: runs.config(**changes),
  'penalty': lambda **changes: runs.config(
    train__penalty='vrex', train__log_groups=False, **changes
  ),
  'behaviors': lambda **changes: runs.config(**GRAPHS, **changes),
  'jodie': jodie_toys.config,
}


def made(config) -> phases.Phase:
  """The phase of a run."""
  experiment = experiment_lib.make(config, experiment_lib.load_data(config))
  return phases.make(*asked.first(experiment).parts)


def called(runner, phase, steps: int):
  """`runner` on the first steps of an epoch."""
  live = loop._Live(
    train=phase.init_state(),
    totals=loop.steps.init_totals(phase.num_losses),
    progress=loop.Progress(),
  )
  plan = jnp.asarray(phase.source.plan_of(0))
  return loop._call(runner, phase, live, plan, 0, 0, steps)


def program(config) -> str:
  """The updates of an epoch, as they are handed to the compiler."""
  phase = made(config)
  return called(phase.runner.lower, phase, 1).as_text()


@pytest.mark.parametrize('name', MODELS)
def test_one_program_serves_every_learning_rate(name):
  make = MODELS[name]
  slow, fast = (program(make(train__learning_rate=r)) for r in (1e-4, 1e-2))
  assert slow == fast
  other = program(make(train__learning_rate=1e-4, train__beta2=0.9))
  assert other != slow  # what is a constant of the update is told apart


@pytest.mark.parametrize('name', ['sequence', 'behaviors'])
def test_updates_have_the_bits_of_a_rate_that_is_a_constant(name):
  moved = []
  for rate in (3e-3, None):
    phase = made(MODELS[name](train__learning_rate=3e-3))
    phase = phase._replace(how=phase.how._replace(rate=rate))
    moved.append(called(phase.runner, phase, 3)[0])
  told, constant = moved
  assert int(told.step) == 3
  runs.assert_same_arrays(told.params, constant.params)
  runs.assert_same_arrays(told.opt_state, constant.opt_state)
