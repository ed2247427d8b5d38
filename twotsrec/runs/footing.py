"""What runs must share so that their numbers can stand side by side."""

from collections.abc import Mapping, Sequence
import json
from typing import Any

from twotsrec import types
from twotsrec.runs import compared_runs

# Fields of report['protocol'] that runs on one footing share. The model, its
# training and its selection are what a comparison is about.
_FOOTING = (
  'dataset_digest',
  'split',
  'groups',
  'group_thresholds',
  'candidates',
  'num_candidates',
  'negatives_digest',
  'negatives',
  'auc_ties',
  'rank_ties',
)
# What the runs of a system share; its seeds are all that differs.
_SYSTEM = (
  'model', 'variant', 'aggregator', 'method', 'penalty', 'plugin', 'routing',
  'selection',
)  # fmt: skip


def check(
  runs: Mapping[str, Sequence[compared_runs.Run]],
) -> None:
  """All runs are on one footing, and a system's differ in their seed alone.

  Raises:
    types.UserError: which field of two runs differs.
  """
  everyone = [run for system in runs.values() for run in system]
  differing = _differing(everyone, of)
  if differing:
    raise types.UserError(
      f'{differing}; runs on other data, groups or protocol cannot be compared,'
      ' choose others'
    )
  settings = lambda run: {name: run.protocol.get(name) for name in _SYSTEM}
  for name, system in runs.items():
    differing = _differing(system, settings)
    if differing:  # a mean over different models would be of no system
      raise types.UserError(
        f'{name} joins runs that are no seeds of one system: {differing};'
        ' compare them with a comma between'
      )


def _differing(runs, fields_of) -> str:
  """Names the first field in which a run differs from the first; '' if none."""
  first = fields_of(runs[0])
  for run in runs[1:]:
    fields = fields_of(run)
    for name in first | fields:
      here, there = fields.get(name), first.get(name)
      if here != there:
        return (
          f'{name} is {_shown(here)} in {run.workdir} and {_shown(there)} in'
          f' {runs[0].workdir}'
        )
  return ''


def of(run: compared_runs.Run) -> dict[str, Any]:
  """The fields that must be equal, with those of a section by themselves."""
  flat = {}
  for name in _FOOTING:
    value = run.protocol.get(name)
    inner = value if isinstance(value, dict) else {}
    flat |= {f'{name}.{key}': entry for key, entry in inner.items()}
    flat |= {} if inner or value is None else {name: value}
  return flat


def _shown(value: Any) -> str:
  text = 'absent' if value is None else json.dumps(value)
  return text if len(text) <= 40 else f'{text[:13]}...{text[-4:]}'
