"""Stage 1 of another 2TS run, and how long it trained, taken over.

Variants that leave the same events out of stage 1 have the same stage 1, and
the number of its epochs is to be the same for all of them; one run trains it
and chooses, the others name that run in `two_time.stage1`.
"""

import json
import pathlib
from typing import Any, NamedTuple

import numpy as np

from twotsrec import config as config_lib
from twotsrec import own
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.recipes.two_time import jobs as jobs_lib
from twotsrec.recipes.two_time import serving
from twotsrec.training import files
from twotsrec.training import run_directory

FOLDER = 'stage1'  # of the phase, in its run

# Settings that decide what stage 1 comes to, besides whole sections.
_SECTIONS = ('groups', 'aggregator')
_FIELDS = (
  'model.width',
  'train.seed',
  'train.beta2',
  *(
    f'two_time.{name}'
    for name in (
      'negatives',
      'pool',
      'pool_size',
      'stage1_epochs',
      'stage1_batch',
      'stage1_optimizer',
      'stage1_rate',
      'stage1_l2',
      'item_features',
      'feature_columns',
      'feature_width',
    )
  ),
)


class Taken(NamedTuple):
  """What a finished run says of its stage 1.

  Attributes:
    folder: of the phase, with a snapshot after the chosen epoch.
    epochs: chosen there.
    trials: validation MRR by epochs; {} if there was one choice.
    seconds: of training until the chosen epoch.
  """

  folder: str
  epochs: int
  trials: dict[int, float]
  seconds: float


def find(
  config: config_lib.Config, prepared: prepared_lib.Prepared
) -> Taken | None:
  """Stage 1 of the run in `two_time.stage1`; None if none is named.

  Raises:
    types.UserError: a run that is not finished or has no stage 1, or whose
      stage 1 this run would not have come to.
  """
  workdir = config.two_time.stage1
  if not workdir:
    return None
  where = f'two_time.stage1 {workdir}'
  _check_use(config, where)
  theirs, report = _open(workdir, config.model.name, where)
  _check_settings(config, theirs, where)
  if report['protocol']['dataset_digest'] != prepared.manifest['digest']:
    raise types.UserError(
      f'{where} was trained on other data than this run; use the same, or leave'
      ' it out'
    )
  ours, there = (
    jobs_lib.window_events(prepared, c.two_time) for c in (config, theirs)
  )
  if not np.array_equal(ours, there):
    raise types.UserError(
      f'{where} left {there.sum():,} events out of stage 1 ({_told(theirs)}),'
      f' this run leaves {ours.sum():,} ({_told(config)}); name a run that'
      ' leaves the same out, or train another stage 1'
    )
  told = report['two_time']
  folder = str(pathlib.Path(workdir) / FOLDER)
  if not run_directory.snapshot_path(folder, told['stage1_epochs']).is_dir():
    raise types.UserError(
      f'{where} has no stage 1 of its own ({_origin(theirs)}); name the run'
      ' that trained it'
    )
  return Taken(
    folder,
    told['stage1_epochs'],
    {int(k): v for k, v in told['stage1_trials'].items()},
    told['stage1_seconds'],
  )


def _check_use(config, where):
  """Refuses where there is no stage 1, or where its events are not known."""
  options = config.two_time
  if jobs_lib.trained_together(options.variant):
    raise types.UserError(
      f'{where} changes nothing with two_time.variant {options.variant}, which'
      ' has no stage 1; leave it out'
    )
  if options.threshold_rule != 'given':
    raise types.UserError(
      f'{where}: two_time.threshold_rule {options.threshold_rule} chooses the'
      ' events that stage 1 sees; use given, or leave it out'
    )


def _open(workdir, model, where) -> tuple[config_lib.Config, dict[str, Any]]:
  """The configuration in force and the report of a finished 2TS run."""
  theirs = run_directory.typed_config(workdir)
  path = run_directory.report_path(workdir)
  if not path.is_file():
    raise types.UserError(
      f'{where} has not finished (no {path.name}); finish it, or leave it out'
    )
  name = theirs.model.name
  if name != model:
    raise types.UserError(
      f'{where} is a run of model.name {name}; name one of {model}'
    )
  report = files.read_json(path)
  if theirs.two_time.threshold_rule == 'validation':
    raise types.UserError(
      f'{where} has a stage 1 for every threshold it tried; name a run with'
      ' two_time.threshold_rule=given'
    )
  if not report['two_time'].get('stage1_epochs'):
    raise types.UserError(
      f'{where} is a run of two_time.variant {theirs.two_time.variant}, which'
      ' has no stage 1; name another'
    )
  if theirs.two_time.threshold_rule != 'given':
    theirs = serving.in_force(theirs, report)
  return theirs, report


def _check_settings(ours, theirs, where):
  names = [
    *_FIELDS,
    *(f'{s}.{name}' for s in _SECTIONS for name in vars(getattr(ours, s))),
  ]
  for path in names:
    section, name = path.split('.')
    here, there = (getattr(getattr(c, section), name) for c in (ours, theirs))
    if not own.is_same(here, there):
      raise types.UserError(
        f'{where} was trained with {path} {json.dumps(there)}, this run has'
        f' {json.dumps(here)}; use the same, or leave it out'
      )


def _told(config):
  options = config.two_time
  return (
    f'two_time.variant {options.variant}, holdout {options.holdout}, window'
    f' {options.window}, threshold {options.threshold}'
  )


def _origin(theirs):
  named = theirs.two_time.stage1
  return f'it was taken from {named}' if named else 'its files are missing'
