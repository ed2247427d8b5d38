"""Finished runs as a comparison reads them: their report and their arrays."""

import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from twotsrec import types
from twotsrec.evaluation import comparison
from twotsrec.training import files
from twotsrec.training import run_directory

# What a row is in report['test'] -> the array per held-out item that tells it.
BY = {'groups': 'group', 'parts': 'part'}


class Run(NamedTuple):
  """A run as its report has it, before its arrays are read."""

  workdir: str
  protocol: dict[str, Any]
  test: dict[str, Any]


def open_run(workdir: str) -> Run:
  """Reads the report.

  Raises:
    types.UserError: not a run directory, not finished, damaged, or nothing to
      compare on.
  """
  run_directory.read_config(workdir)  # says so if it is no run directory
  path = run_directory.report_path(workdir)
  if not path.is_file():
    raise run_directory.unfinished(workdir)
  report = files.read_json(path)
  missing = _missing(report)
  if missing:
    raise types.UserError(
      f'{path} lacks {missing}, so it is damaged or of another version; train'
      ' again in an empty --workdir'
    )
  if report['test'] is None:
    raise types.UserError(f'{workdir} has no test events to compare on')
  return Run(workdir, report['protocol'], report['test'])


def _missing(report: Any) -> str | None:
  """The first of the fields read here that is not there."""
  if not isinstance(report, dict) or 'test' not in report:
    return 'test'
  protocol, test = report.get('protocol'), report['test']
  if not isinstance(protocol, dict):
    return 'protocol'
  for name in ('dataset_digest', 'split', 'candidates'):
    if name not in protocol:
      return f'protocol.{name}'
  ks = protocol.get('ks')
  if not isinstance(ks, list) or not all(isinstance(k, int) for k in ks):
    return 'protocol.ks'
  whole = isinstance(test, dict) and isinstance(test.get('groups'), list)
  return None if test is None or whole else 'test.groups'


def per_target(run: Run, by: str) -> dict[str, np.ndarray]:
  """Its arrays; `by` is a key of `BY`.

  Raises:
    types.UserError: they are missing or damaged.
  """
  path = pathlib.Path(run.workdir) / 'per_target.npz'
  with files.explained(path, 'read'):
    content = path.read_bytes()
  try:
    return comparison.read_targets(content, len(run.test[by]), BY[by])
  except ValueError as error:
    raise damaged(path, str(error)) from error


def part_names(run: Run, by: str) -> list[str]:
  """Names of the parts; [] by group.

  Raises:
    types.UserError: the run has none, or there is no such `by`.
  """
  if by not in BY:
    raise types.UserError(f'by is {by!r}; known: {", ".join(BY)}')
  if by == 'groups':
    return []
  if not run.test.get('parts'):
    raise types.UserError(
      f'{run.workdir} has no parts, since its data have no behaviors; compare'
      ' by groups'
    )
  return [part['name'] for part in run.test['parts']]


def damaged(path: str | os.PathLike, reason: str) -> types.UserError:
  """The error of a file that is not what a run writes."""
  return types.UserError(
    f'{path} is damaged: {reason}; restore it from a copy, or train again in'
    ' an empty --workdir'
  )
