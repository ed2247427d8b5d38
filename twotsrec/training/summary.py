"""The section of a report on the phases of training."""

from collections.abc import Callable, Mapping
from typing import Any

from twotsrec import contracts

_SELECTED = ('epoch', 'step', 'value')


def served(
  experiment: contracts.Experiment, trained: contracts.Trained
) -> contracts.Served:
  """`Served` of a recipe of one phase: the parameters that it selected."""
  return contracts.Served(
    experiment=experiment,
    params=trained.params,
    training=of_phase(trained),
    saved=True,
  )


def of_one_phase(
  make_parts: Callable[[contracts.Experiment], Any],
) -> Callable[[contracts.Experiment, contracts.Work], contracts.Served]:
  """`Recipe.train` of a recipe that is one phase.

  Args:
    make_parts: (experiment) -> learner, source and how.
  """

  def train(experiment, work):
    return served(experiment, work.fit('', *make_parts(experiment)))

  return train


def of_phase(trained: contracts.Trained) -> dict[str, Any]:
  """Epochs, selection and speed of a run's only phase."""
  progress = trained.progress
  selected = {
    name: [getattr(best, name) for best in progress.best] for name in _SELECTED
  }
  if not isinstance(trained.params, list):
    selected = {name: values[0] for name, values in selected.items()}
  return {
    'epochs': progress.epoch,
    'steps': progress.steps,
    **{f'selected_{name}': value for name, value in selected.items()},
    **_speed([progress]),
  }


def of_phases(trained: Mapping[str, contracts.Trained]) -> dict[str, Any]:
  """Epochs, selection and seconds of every phase, and their sums."""
  every = {name: one.progress for name, one in trained.items()}
  return {
    'phases': {name: _phase(progress) for name, progress in every.items()},
    'epochs': sum(p.epoch for p in every.values()),
    'steps': sum(p.steps for p in every.values()),
    'selected_step': 0,
    **_speed(list(every.values())),
  }


def _phase(progress):
  best, speed = progress.best[0], _speed([progress])
  return {
    'epochs': progress.epoch,
    'steps': progress.steps,
    'selected_epoch': best.epoch,
    'validation_mrr': best.value,
    'seconds': speed['seconds'],
    'compile_seconds': speed['compile_seconds'],
    'examples_per_second': speed['examples_per_second'],
  }


def _speed(every):
  total = lambda name: sum(getattr(progress, name) for progress in every)
  seconds = max(total('train_seconds'), 1e-9)
  waited = total('wait_seconds')
  return {
    'seconds': round(seconds, 3),
    'compile_seconds': round(total('compile_seconds'), 3),
    'examples_per_second': round(total('examples') / seconds, 1),
    'input_wait_share': round(waited / (seconds + waited), 5),
  }
