"""The threshold t* between inactive and active users, and who chooses it."""

from typing import Any

import numpy as np

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import stream_jobs
from twotsrec.evaluation import offline
from twotsrec.evaluation import players as players_lib
from twotsrec.recipes.two_time import stage1
from twotsrec.recipes.two_time import stages
from twotsrec.recipes.two_time import starts
from twotsrec.theory import bounds


def train(
  experiment: contracts.Experiment, work: contracts.Work
) -> tuple[stages.Outcome, dict[str, Any]]:
  """Trains with the threshold that `two_time.threshold_rule` chooses.

  given       two_time.threshold
  validation  the one of two_time.thresholds with the best validation MRR of all
              users; each is trained in a folder of its own
  theory      Q / Var_m - 1 (theorem 2.1), from estimates of both

  Returns:
    The trained parts, and a section of the report on the choice.
  Raises:
    types.UserError: thresholds that leave a network without users, or no events
      to choose by.
  """
  rule = experiment.config.two_time.threshold_rule
  if rule == 'validation':
    outcome, choice = _by_validation(experiment, work)
  elif rule == 'theory':
    outcome, choice = _by_theory(experiment, work)
  else:
    outcome, choice = stages.train(experiment, work), {}
  return outcome, {'threshold_rule': rule, **choice}


def with_threshold(
  config: config_lib.Config, threshold: int
) -> config_lib.Config:
  """The configuration with another threshold t*, and a window K <= t* / 2."""
  window = max(1, min(config.two_time.window, threshold // 2))
  return stream_jobs.changed(config, threshold=threshold, window=window)


def _inside(work, name) -> contracts.Work:
  """The work with its phases in a folder of its own."""
  fit = lambda phase, *parts: work.fit(f'{name}/{phase}', *parts)
  return work._replace(fit=fit, workdir=work.workdir / name)


def _by_validation(experiment, work):
  thresholds = sorted(set(experiment.config.two_time.thresholds))
  if not thresholds:
    raise types.UserError(
      'two_time.threshold_rule validation: name what to try in'
      ' two_time.thresholds, as in 25,50,100'
    )
  if not offline.held_out(experiment, 'validation'):
    raise _nothing_held_out()
  counts = prepared_lib.train_counts(experiment.prepared)
  tried = [with_threshold(experiment.config, t) for t in thresholds]
  for config in tried:
    stream_jobs.check_threshold(counts, config.two_time)

  def attempt(threshold, config):
    place = _inside(work, f'threshold_{threshold}')
    outcome = stages.train(experiment._replace(config=config), place)
    return _validated(outcome), outcome

  attempts = map(attempt, thresholds, tried)  # one by one: two are in memory
  most, best = next(attempts)
  values = [most]
  for value, outcome in attempts:
    values.append(value)
    if value >= most:
      most, best = value, outcome
  by_threshold = dict(zip(map(str, thresholds), values, strict=True))
  return best, {'validation_mrr': by_threshold}


def _nothing_held_out() -> types.UserError:
  return types.UserError(
    'two_time.threshold_rule validation: the data have no validation'
    ' events; prepare them with some, or give two_time.threshold'
  )


def _validated(outcome) -> float:
  """Validation MRR of all users."""
  judge = players_lib.make_judge(outcome.experiment, outcome.players)
  if judge is None:
    raise _nothing_held_out()
  return judge(outcome.nets, outcome.vectors)


def _by_theory(experiment, work):
  """Trains with the threshold of the theorem, from stage 1 on all events."""
  epochs = set(experiment.config.two_time.stage1_epochs)
  if len(epochs) > 1 and not offline.held_out(experiment, 'validation'):
    raise stage1.nothing_to_choose_by(epochs)
  stage = stage1.make(experiment)
  params = _inside(work, 'theory').fit(stage1.FOLDER, *stage).params
  vectors = stage1.vectors(params, stage.learner.context)
  estimates = starts.estimate(experiment, np.asarray(vectors.item))
  try:
    config = _divided(experiment, estimates)
  except types.UserError as error:
    raise types.UserError(
      f'two_time.threshold_rule theory: {error}; use'
      ' two_time.threshold_rule=given in a new --workdir'
    ) from error
  outcome = stages.train(experiment._replace(config=config), work)
  return outcome, {'estimates': estimates._asdict()}


def _divided(experiment, estimates) -> config_lib.Config:
  """The configuration with the estimated threshold.

  The theorem calls T >= t active, the model T > t*.
  """
  if estimates.threshold is None:
    raise types.UserError(
      'users differ by no more than the noise of their vectors (Var_m'
      f' {estimates.variance:.3g}), so all are inactive; choose a threshold'
    )
  threshold = bounds.model_threshold(estimates.threshold)
  config = with_threshold(experiment.config, threshold)
  counts = prepared_lib.train_counts(experiment.prepared)
  stream_jobs.check_threshold(counts, config.two_time)
  return config
