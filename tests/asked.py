"""What a recipe asks a run to fit, without a run."""

from collections.abc import Callable
import pathlib
from typing import Any, NamedTuple

import jax.numpy as jnp

from twotsrec import contracts
from twotsrec import recipes
from twotsrec.training import phases
from twotsrec.training import steps


class Asked(NamedTuple):
  """A call of `Work.fit`.

  Attributes:
    name: folder of the phase.
    parts: what learns, from what, and how.
    start: gives a `contracts.Start`, or None.
  """

  name: str
  parts: phases.Parts
  start: Callable[[], contracts.Start] | None


class _Enough(Exception):
  """The call that was waited for."""


def first(
  experiment: contracts.Experiment, load: Callable[[str], Any] | None = None
) -> Asked:
  """The first phase of a recipe; nothing is trained.

  Args:
    experiment: of the run.
    load: in place of `runs.experiment.load`.
  """
  calls = []

  def fit(name, learner, source, how, start=None):
    calls.append(Asked(name, phases.Parts(learner, source, how), start))
    raise _Enough

  work = contracts.Work(fit=fit, load=load or _no_run, workdir=pathlib.Path())
  try:
    recipes.of(experiment.config).train(experiment, work)
  except _Enough:
    pass
  return calls[0]


def _no_run(workdir):
  raise AssertionError(f'{workdir} is not to be loaded')


def epoch(
  phase: phases.Phase,
  state: steps.TrainState,
  number: int = 0,
  stop: int | None = None,
) -> tuple[steps.TrainState, steps.Totals]:
  """State and totals after an epoch, or after its first steps.

  Args:
    phase: whose updates.
    state: before; its memory is donated.
    number: of the epoch, from 0.
    stop: steps; None takes all.
  """
  plan = jnp.asarray(phase.source.plan_of(number))
  return phase.runner(
    state,
    steps.init_totals(phase.num_losses),
    phase.learner.context,
    phase.source.feed,
    plan,
    phase.how.keys.negatives(number),
    jnp.int32(0),
    jnp.int32(len(plan) if stop is None else stop),
  )
