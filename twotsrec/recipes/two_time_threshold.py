"""The threshold t* between inactive and active users: who chooses it."""

import dataclasses
import pathlib
import shutil
from typing import Any

import numpy as np

from twotsrec import config as config_lib
from twotsrec import theory
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.recipes import two_time_jobs as jobs_lib
from twotsrec.recipes import two_time_phases as phases
from twotsrec.recipes import two_time_scale
from twotsrec.recipes import two_time_serving as serving
from twotsrec.training import run_directory

RULES = ('given', 'validation', 'theory')


def fit(
  work: two_time_scale.Work,
) -> tuple[two_time_scale.Trained, dict[str, Any]] | None:
  """Trains with the threshold that `two_time.threshold_rule` chooses.

  given       two_time.threshold
  validation  the one of two_time.thresholds with the best validation MRR of all
              users; each is trained in a folder of its own
  theory      Q / Var_m - 1 (theorem 2.1), from estimates of both

  Returns:
    What was trained, and how the threshold was chosen; None if it was stopped.
  Raises:
    types.UserError: an unknown rule, or thresholds that leave a network
      without users.
  """
  check(work.config, work.prepared)
  rule = work.config.two_time.threshold_rule
  if rule == 'validation':
    return _by_validation(work)
  if rule == 'theory':
    return _by_theory(work)
  trained = two_time_scale.fit(work)
  return None if trained is None else (trained, {'threshold_rule': rule})


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


def _by_validation(work):
  tried = _tried(work.config.two_time)
  configs = {t: with_threshold(work.config, t) for t in tried}
  best, values = None, {}
  for threshold, config in configs.items():
    folder = pathlib.Path(work.workdir) / f'threshold_{threshold}'
    trained = two_time_scale.fit(work._replace(config=config, workdir=folder))
    if trained is None:
      return None
    values[threshold] = _validated(work, trained)
    if values[threshold] == max(values.values()):
      best = trained
  told = {str(threshold): value for threshold, value in values.items()}
  return best, {'threshold_rule': 'validation', 'validation_mrr': told}


def _by_theory(work):
  """Trains with the threshold of the theorem, from stage 1 on all events."""
  vectors = two_time_scale.embed(work._replace(workdir=_theory_path(work)))
  if vectors is None:
    return None
  try:
    found = _estimate(work, np.asarray(vectors.item))
    config = _divided(work, found)
  except types.UserError:
    _leave_no_trace(work)
    raise
  trained = two_time_scale.fit(work._replace(config=config))
  told = {'threshold_rule': 'theory', 'estimates': found._asdict()}
  return None if trained is None else (trained, told)


def _estimate(work, item_vectors):
  """Q and Var_m of the data, by users fitted anew to halves of their events."""
  prepared, seed = work.prepared, work.config.train.seed
  counts = prepared_lib.train_counts(prepared)
  train = np.asarray(prepared.split) == prepared_lib.TRAIN
  offsets = np.concatenate([[0], np.cumsum(counts)])
  halves = theory.ridge_halves(
    item_vectors, offsets, np.asarray(prepared.items)[train], seed=seed
  )
  return theory.estimate(
    halves.whole,
    halves.first,
    halves.second,
    halves.counts,
    activity=counts,
    alpha_minimum=theory.law_start(counts),
    seed=seed,
  )


def _divided(work, found):
  """The configuration with the estimated threshold.

  The theorem calls T >= t active, the model T > t*.
  """
  if found.threshold is None:
    raise types.UserError(
      'two_time.threshold_rule theory: users differ by no more than the noise'
      f' of their vectors (Var_m {found.variance:.3g}), so all are inactive;'
      ' use two_time.threshold_rule=given'
    )
  config = with_threshold(work.config, theory.model_threshold(found.threshold))
  counts = prepared_lib.train_counts(work.prepared)
  jobs_lib.check_threshold(counts, config.two_time)
  return config


def _theory_path(work):
  return pathlib.Path(work.workdir) / 'theory'


def _leave_no_trace(work):
  """Makes way for a corrected command: what is refused has trained nothing."""
  run_directory.config_path(work.workdir).unlink(missing_ok=True)
  for path in (run_directory.ids_path(work.workdir), _theory_path(work)):
    shutil.rmtree(path, ignore_errors=True)


def _validated(work, trained):
  """Validation MRR of all users."""
  setting = phases.Setting(trained.config, work.prepared, trained.vectors)
  judge = serving.make_judge_of_all(setting, trained.players)
  return judge(trained.nets, trained.vectors)
