"""The threshold t* between inactive and active users: who chooses it."""

import dataclasses
import shutil
from typing import Any

import numpy as np

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.recipes.two_time import jobs as jobs_lib
from twotsrec.recipes.two_time import networks as networks_lib
from twotsrec.recipes.two_time import serving
from twotsrec.recipes.two_time import stages
from twotsrec.theory import bounds
from twotsrec.theory import estimates
from twotsrec.theory import power_law
from twotsrec.theory import user_vectors
from twotsrec.training import run_directory

RULES = ('given', 'validation', 'theory')
_THEORY = 'theory'  # folder of stage 1 that estimates are made from


def train(
  experiment: contracts.Experiment, work: contracts.Work
) -> tuple[stages.Trained, dict[str, Any]]:
  """Trains with the threshold that `two_time.threshold_rule` chooses.

  given       two_time.threshold
  validation  the one of two_time.thresholds with the best validation MRR of all
              users; each is trained in a folder of its own
  theory      Q / Var_m - 1 (theorem 2.1), from estimates of both

  Returns:
    What was trained, and how the threshold was chosen.
  Raises:
    types.UserError: an unknown rule, or thresholds that leave a network
      without users.
  """
  check(experiment.config, experiment.prepared)
  rule = experiment.config.two_time.threshold_rule
  if rule == 'validation':
    return _by_validation(experiment, work)
  if rule == 'theory':
    return _by_theory(experiment, work)
  return stages.train(experiment, work), {'threshold_rule': rule}


def check(config: config_lib.Config, prepared: prepared_lib.Prepared) -> None:
  """Refuses a rule, and thresholds that leave a network without users.

  Raises:
    types.UserError: see above, or no events to choose by.
  """
  options = config.two_time
  if options.threshold_rule not in RULES:
    raise types.UserError(
      f'two_time.threshold_rule {options.threshold_rule!r}; known:'
      f' {", ".join(RULES)}'
    )
  counts = prepared_lib.train_counts(prepared)
  if options.threshold_rule == 'given':
    jobs_lib.check_threshold(counts, options)
  if options.threshold_rule == 'validation':
    if not np.any(np.asarray(prepared.split) == prepared_lib.VALIDATION):
      raise types.UserError(
        'two_time.threshold_rule validation: the data have no validation'
        ' events; prepare them with some, or give two_time.threshold'
      )
    for threshold in _tried(options):
      tried = with_threshold(config, threshold)
      jobs_lib.check_threshold(counts, tried.two_time)


def _tried(options):
  if not options.thresholds:
    raise types.UserError(
      'two_time.threshold_rule validation: name what to try in'
      ' two_time.thresholds, as in 25,50,100'
    )
  return sorted(set(options.thresholds))


def with_threshold(
  config: config_lib.Config, threshold: int
) -> config_lib.Config:
  """The configuration with another threshold t*, and a window K <= t* / 2."""
  options = dataclasses.replace(
    config.two_time,
    threshold=threshold,
    window=max(1, min(config.two_time.window, threshold // 2)),
  )
  return dataclasses.replace(config, two_time=options)


def _by_validation(experiment, work):
  best, values = None, {}
  for threshold in _tried(experiment.config.two_time):
    config = with_threshold(experiment.config, threshold)
    trained = stages.train(
      experiment._replace(config=config),
      _inside(work, f'threshold_{threshold}'),
    )
    values[threshold] = _validated(trained)
    if values[threshold] == max(values.values()):
      best = trained
  by_threshold = {str(threshold): value for threshold, value in values.items()}
  return best, {'threshold_rule': 'validation', 'validation_mrr': by_threshold}


def _inside(work, name) -> contracts.Work:
  """The work with its phases in a folder of its own."""
  return work._replace(
    fit=lambda phase, *parts, **start: work.fit(
      f'{name}/{phase}', *parts, **start
    ),
    workdir=work.workdir / name,
  )


def _by_theory(experiment, work):
  """Trains with the threshold of the theorem, from stage 1 on all events."""
  vectors = stages.embed(experiment, _inside(work, _THEORY))
  try:
    estimates = _estimate(experiment, np.asarray(vectors.item))
    config = _divided(experiment, estimates)
  except types.UserError:
    _leave_no_trace(work)
    raise
  trained = stages.train(experiment._replace(config=config), work)
  choice = {'threshold_rule': 'theory', 'estimates': estimates._asdict()}
  return trained, choice


def _estimate(experiment, item_vectors):
  """Q and Var_m of the data, by users fitted anew to halves of their events."""
  prepared, seed = experiment.prepared, experiment.config.train.seed
  counts = prepared_lib.train_counts(prepared)
  train = np.asarray(prepared.split) == prepared_lib.TRAIN
  offsets = np.concatenate([[0], np.cumsum(counts)])
  halves = user_vectors.ridge_halves(
    item_vectors, offsets, np.asarray(prepared.items)[train], seed=seed
  )
  return estimates.estimate(
    halves,
    activity=counts,
    alpha_minimum=power_law.law_start(counts),
    seed=seed,
  )


def _divided(experiment, found):
  """The configuration with the estimated threshold.

  The theorem calls T >= t active, the model T > t*.
  """
  if found.threshold is None:
    raise types.UserError(
      'two_time.threshold_rule theory: users differ by no more than the noise'
      f' of their vectors (Var_m {found.variance:.3g}), so all are inactive;'
      ' use two_time.threshold_rule=given'
    )
  config = with_threshold(
    experiment.config, bounds.model_threshold(found.threshold)
  )
  counts = prepared_lib.train_counts(experiment.prepared)
  jobs_lib.check_threshold(counts, config.two_time)
  return config


def _leave_no_trace(work):
  """Makes way for a corrected command: what is refused has trained nothing."""
  run_directory.config_path(work.workdir).unlink(missing_ok=True)
  for path in (run_directory.ids_path(work.workdir), work.workdir / _THEORY):
    shutil.rmtree(path, ignore_errors=True)


def _validated(trained) -> float:
  """Validation MRR of all users."""
  experiment = trained.experiment
  setting = networks_lib.Setting(
    experiment.config, experiment.prepared, trained.vectors
  )
  judge = serving.make_judge_of_all(setting, trained.players)
  return judge(trained.nets, trained.vectors)
