"""Finished runs as a comparison reads them: their report and their arrays."""

import os
import pathlib
from typing import Any, NamedTuple

import numpy as np

from twotsrec import metrics
from twotsrec import types
from twotsrec.evaluation import comparison
from twotsrec.training import files
from twotsrec.training import run_directory

# Version of report.json. Before 2 a tie took its middle place, and an item
# without rivals was first; `per_target.npz` has what both rest on.
SCHEMA = 2
# What a row is in report['test'] -> the array per held-out item that tells it.
BY = {'groups': 'group', 'parts': 'part'}


class Run(NamedTuple):
  """A run as its report has it, before its arrays are read.

  Attributes:
    workdir: the run directory.
    protocol: of the report.
    test: the part of the model, or of the rule.
    rule: a rule that stands beside the model, in its place; '' is the model.
    report: all of `report.json`.
  """

  workdir: str
  protocol: dict[str, Any]
  test: dict[str, Any]
  # Whether its numbers mean what those of this version mean.
  is_current: bool = True
  rule: str = ''
  report: dict[str, Any] = {}

  @property
  def ties(self) -> float:
    """What `evaluation.rank_ties` was."""
    return self.protocol.get('rank_ties', metrics.MEAN)


def parse(name: str) -> tuple[str, str]:
  """'DIR' or 'DIR:RULE' as (run directory, rule).

  An existing directory with a colon in its name is taken as it is.
  """
  if os.path.isdir(name) or ':' not in name:
    return name, ''
  workdir, _, rule = name.rpartition(':')
  return workdir, rule


def open_run(name: str) -> Run:
  """Reads the report of a run, or of a rule beside it, see `parse`.

  Raises:
    types.UserError: not a run directory, not finished, damaged, nothing to
      compare on, or no such rule.
  """
  workdir, rule = parse(name)
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
    raise types.UserError(
      f'{workdir} has no test events to compare on; train on data with some'
    )
  is_current = report.get('schema') == SCHEMA
  made = Run(
    workdir, report['protocol'], report['test'], is_current, report=report
  )
  return of_rule(made, rule) if rule else made


def of_rule(run: Run, rule: str) -> Run:
  """A rule that stands beside the model of a run.

  Raises:
    types.UserError: there is none of that name.
  """
  rules = run.report.get('baselines', {})
  if rule not in rules:
    raise types.UserError(
      f'{run.workdir}:{rule}: no rule {rule!r} stands beside the model of'
      f' {run.workdir}; known: {", ".join(rules) or "none"}'
    )
  protocol = {**run.protocol, 'selected_on_test': False}
  return run._replace(protocol=protocol, test=rules[rule], rule=rule)


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
  path, beside = run_directory.targets_path(run.workdir), None
  content = _content(path)
  if run.rule:
    path = run_directory.rules_path(run.workdir)
    beside = _content(path), run.rule
  number, array = len(run.test[by]), BY[by]
  try:
    return comparison.read_targets(content, number, array, beside)
  except ValueError as error:
    raise damaged(path, str(error)) from error


def _content(path: pathlib.Path) -> bytes:
  """Of a file that stands beside every report."""
  if not path.is_file():
    raise damaged(path, 'it is missing')
  with files.explained(path, 'read'):
    return path.read_bytes()


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
      f'{run.workdir} has no parts, since its data have no behaviors and'
      ' nobody comes back to an item; compare by groups'
    )
  return [part['name'] for part in run.test['parts']]


def damaged(path: str | os.PathLike, reason: str) -> types.UserError:
  """The error of a file that is not what a run writes."""
  return types.UserError(
    f'{path} is damaged: {reason}; restore it from a copy, or train again in'
    ' an empty --workdir'
  )
