"""Tables by activeness group: of one run, or of several side by side."""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
from typing import Any

from twotsrec import recipes
from twotsrec import types
from twotsrec.data import routing as routing_lib
from twotsrec.evaluation import behaviors
from twotsrec.evaluation import offline
from twotsrec.evaluation import online_table
from twotsrec.evaluation import report as report_lib
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import reports
from twotsrec.training import run_directory


def default_metrics(
  ks: Sequence[int], ranked_only: bool = False
) -> tuple[str, ...]:
  """Columns of a table: at 10, or else the largest cut-off there is.

  Without the AUCs where rows would be too long to read (with behaviors three
  rules stand beside a model, and COPF reports none), and where there is none
  to pool (the queries of 2TS share no scale).
  """
  at = [10 if 10 in ks else max(ks)] if ks else []
  ranked = tuple(f'{m}@{k}' for k in at for m in ('hr', 'ndcg'))
  return ranked if ranked_only and ranked else ('auc', 'user_auc', *ranked)


def of_report(report: dict[str, Any]) -> str:
  """The test part of a report beside its baselines, with its protocol."""
  return of_reports({report['protocol']['model']: report})


def of_reports(reports: Mapping[str, dict[str, Any]]) -> str:
  """The test parts of reports on the same data, beside the baselines."""
  first = next(iter(reports.values()))
  if first['test'] is None:
    return 'no test events to evaluate on; report.json has the rest'
  protocols = {name: report['protocol'] for name, report in reports.items()}
  parts = dict(first['baselines'])
  parts |= {name: report['test'] for name, report in reports.items()}
  selections = dict.fromkeys(p['selection'] for p in protocols.values())
  online = 'online' in first
  metrics = default_metrics(
    first['protocol']['ks'], online or 'parts' in first['test']
  )
  lines = [
    report_lib.format_table(parts, metrics),
    f'{first["protocol"]["split"]}, {_ranking(first["protocol"])}; selected on'
    f' {", then ".join(selections)}; 95 % intervals in report.json',
    *_parts_note(parts),
    *_warnings(protocols),
    *(_online(reports) if online else []),
  ]
  return '\n'.join(lines)


def _online(reports):
  """What 2TS is judged by: test events among 1 + n candidates, by bucket."""
  first = next(iter(reports.values()))
  told = {'popularity': first['online']['popularity']['test']}
  told |= {
    k: report['online']['model']['test'] for k, report in reports.items()
  }
  lists = told['popularity']['options']['lists']
  return [
    '',
    f'online, 1 + {lists} candidates, expected over all lists, past items among'
    ' them; means over events',
    online_table.format_table(told),
    *(
      f'{name}: {told[name]["share_left_out"]:.1%} of the events have an item'
      ' that stage 1 left out with the windows, so their x_i is 0'
      for name in reports
      if told[name].get('share_left_out')
    ),
  ]


def side_by_side(
  workdirs: Sequence[str],
  names: Sequence[str],
  split: str,
  metrics: Sequence[str],
  quiet: bool = False,
  routing: str = '',
) -> str:
  """Evaluates finished runs again, in one table with the baselines.

  Args:
    workdirs: run directories.
    names: of the runs in the table; () names them by directory.
    split: 'validation' or 'test'.
    metrics: columns; () takes those of `default_metrics`.
    quiet: no progress display.
    routing: mode in place of the configured one, for runs with plugins.
  Raises:
    types.UserError: runs on different data or groups, an unknown metric, or a
      routing that no run takes.
  """
  names = _names(workdirs, names)
  configs = [run_directory.typed_config(workdir) for workdir in workdirs]
  routing_lib.check_mode(routing, configs)
  parts, protocols, first = {}, {}, None
  for name, workdir in zip(names, workdirs):
    experiment, params = experiment_lib.load(workdir)
    config = routing_lib.override(experiment.config, routing)
    experiment = experiment._replace(config=config)
    protocols[name] = reports.protocol(experiment)
    ranked_only = 'order' in protocols[name] or bool(
      behaviors.part_names(experiment.prepared)
    )
    metrics = _known(metrics, config.evaluation.ks, ranked_only)
    first = first or experiment
    if _identity(experiment) != _identity(first):
      raise types.UserError(
        f'{workdir} was trained on other data, groups or protocol than'
        f' {workdirs[0]}; such numbers cannot stand in one table'
      )
    if not offline.held_out(experiment, split):
      raise types.UserError(f'{workdir} has no {split} events to evaluate')
    if not parts:
      rules = recipes.of(config).rules(experiment)
      _check_differ([*rules, *names])
      for rule, ranker in rules.items():
        parts[rule] = _part(experiment, ranker, split, quiet=True)
    ranker = experiment_lib.ranker(experiment, params)
    parts[name] = _part(experiment, ranker, split, quiet)
  lines = [
    report_lib.format_table(parts, metrics),
    f'{split}, {_ranking(protocols[names[0]])}',
    *_parts_note(parts),
    *_warnings(protocols),
  ]
  return '\n'.join(lines)


def _part(experiment, ranker, split, quiet):
  return reports.evaluate(experiment, ranker, split, quiet).part


def _names(workdirs, names):
  if names and len(names) != len(workdirs):
    raise types.UserError(
      f'{len(names)} names for {len(workdirs)} run directories'
    )
  names = list(names or workdirs)
  _check_differ(names)
  return names


def _check_differ(names):
  if len(set(names)) < len(names):
    raise types.UserError(
      f'names in one table must differ: {", ".join(names)}; give others with'
      ' --names'
    )


def _known(metrics, ks, ranked_only):
  """The metrics asked for, or the default ones."""
  known = report_lib.metric_names(ks)
  unknown = [name for name in metrics if name not in known]
  if unknown:
    raise types.UserError(
      f'unknown metric {unknown[0]!r}; known: {", ".join(known)}'
    )
  return metrics or default_metrics(ks, ranked_only)


def _identity(experiment):
  """What must be equal for two runs to be compared."""
  config = experiment.config
  # Tiles bound the memory, they change no number.
  protocol = dataclasses.replace(config.evaluation, user_tile=1, item_tile=1)
  digest = experiment.prepared.manifest['digest']
  return digest, config.groups, protocol


def _ranking(protocol):
  rank_ties = protocol['rank_ties']
  ties = 'mid rank for ties' if rank_ties == 0.5 else f'rank_ties {rank_ties}'
  return (
    f'{protocol["candidates"]} candidates, {ties}; activity: training'
    ' interactions of a user'
  )


def _parts_note(parts):
  shown = next(iter(parts.values())).get('parts')
  if not shown:
    return []
  names = ', '.join(part['name'] for part in shown)
  return [
    f'{names}: held-out items by the last behavior their user had shown toward'
    ' them in training'
  ]


def _warnings(protocols):
  return selected_on_test(
    name for name, part in protocols.items() if part['selected_on_test']
  )


def selected_on_test(names: Iterable[str]) -> list[str]:
  """A line under a table for each system that was."""
  return [
    f'{name} was SELECTED ON TEST: for like-for-like checks only'
    for name in names
  ]
