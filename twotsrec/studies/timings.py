"""What documents show of the report of a run under the protocol of 2TS."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Timing(NamedTuple):
  """Epochs and seconds of the parts of a run that serve."""

  seed: int
  stage1_epochs: int  # chosen; 0 without a stage 1
  stage1_trials: dict[str, float]  # validation MRR by epochs
  stage1_seconds: float  # of the chosen length
  network_epochs: dict[str, int]
  network_seconds: float
  epoch_seconds: float  # of one epoch of every part, stage 1 included
  compile_seconds: float  # of the whole run, as the next
  evaluation_seconds: float | None
  events: int  # of the test, that were ranked
  event_milliseconds: float | None  # of a test event; older runs do not tell


class Report(NamedTuple):
  """What is read of the report of a run of 2TS, or of a model beside it."""

  digest: str  # of its data
  options: dict[str, Any]  # of its online report
  lists: str | None  # digest of the sampled lists; None without any
  timing: Timing


def read(seed: int, report: Mapping[str, Any]) -> Report:
  """What documents show of a report; KeyError if it is damaged."""
  training, shown = report['training'], report['online']['model']['test']
  events = shown['rows'][0]['all']['events']
  took = training.get('test_seconds')
  phases = _phases_of_2ts if 'two_time' in report else _one_phase
  timing = Timing(
    seed=seed,
    **phases(report),
    compile_seconds=training['compile_seconds'],
    evaluation_seconds=training['evaluation_seconds'],
    events=events,
    event_milliseconds=None if took is None else 1000.0 * took / events,
  )
  digest = report['protocol']['dataset_digest']
  return Report(digest, shown['options'], shown['lists_digest'], timing)


def _phases_of_2ts(report) -> dict[str, Any]:
  """Fields of `Timing`, of the parts that serve."""
  choice, parts = report['two_time'], {}
  stage1 = choice['stage1_epochs']
  for phase, trained in report['training']['phases'].items():
    network, _, tried = phase.rpartition('_')
    if not tried.isdecimal():
      network, tried = phase, str(stage1)
    # Of several lengths of stage 1 only the chosen one serves.
    if network != 'stage1' and int(tried) == stage1:
      parts[network] = trained
  each = sum(part['seconds'] / part['epochs'] for part in parts.values())
  if stage1:
    each += choice['stage1_seconds'] / stage1
  return {
    'stage1_epochs': stage1,
    'stage1_trials': choice['stage1_trials'],
    'stage1_seconds': choice['stage1_seconds'],
    'network_epochs': {name: part['epochs'] for name, part in parts.items()},
    'network_seconds': sum(part['seconds'] for part in parts.values()),
    'epoch_seconds': each,
  }


def _one_phase(report) -> dict[str, Any]:
  """The same of a model that trains at once."""
  training = report['training']
  epochs, seconds = training['epochs'] or 0, training['seconds']
  return {
    'stage1_epochs': 0,
    'stage1_trials': {},
    'stage1_seconds': 0.0,
    'network_epochs': {'model': epochs},
    'network_seconds': seconds,
    'epoch_seconds': seconds / max(epochs, 1),
  }
