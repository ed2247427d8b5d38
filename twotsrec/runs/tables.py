"""Tables by activeness group: of one run, or of several side by side."""

from collections.abc import Iterator, Mapping, Sequence
import csv
import dataclasses
import io
import pathlib
from typing import Any, NamedTuple

from twotsrec import metrics as metrics_lib
from twotsrec import recipes
from twotsrec import types
from twotsrec.data import routing as routing_lib
from twotsrec.evaluation import behaviors
from twotsrec.evaluation import comparison
from twotsrec.evaluation import lists
from twotsrec.evaluation import offline
from twotsrec.evaluation import online_report
from twotsrec.evaluation import protocols as protocols_lib
from twotsrec.evaluation import report as report_lib
from twotsrec.evaluation import report_notes
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import reports as reports_lib
from twotsrec.runs import verdict
from twotsrec.training import files
from twotsrec.training import run_directory

_SUFFIXES = ('.json', '.md', '.csv')
_OF_VALUE = ('value', 'low', 'high', 'count')


class Evaluated(NamedTuple):
  """Systems ranked again on one split.

  Attributes:
    split: 'validation' or 'test'.
    systems: {name: part of a report}, rules first.
    protocols: {name of a run: its protocol}.
    metrics: columns of the table.
    notes: lines below the table.
  """

  split: str
  systems: dict[str, dict[str, Any]]
  protocols: dict[str, dict[str, Any]]
  metrics: tuple[str, ...]
  notes: list[str]

  @property
  def text(self) -> str:
    """The table for people."""
    table = report_lib.format_table(self.systems, self.metrics)
    return '\n'.join([table, *self.notes])


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
  about = (
    f'{first["protocol"]["split"]}, {_ranking(first["protocol"])}; selected on'
    f' {", then ".join(selections)}; 95 % intervals in report.json'
  )
  lines = _lines(parts, (), about, protocols)
  lines += _as_they_were(reports)
  lines += _added(reports)
  lines += _online(reports) if 'online' in first else []
  lines += _lists(reports) if first.get('lists') else []
  for name, report in reports.items():
    if 'verdict' in report:
      whose = name if len(reports) > 1 else ''
      lines += ['', *verdict.lines(report['verdict'], whose)]
  return '\n'.join(lines)


def _lists(reports):
  """What the lists are like, by group, rules beside the models."""
  one = next(iter(reports.values()))
  section = one['lists']
  systems = {k: v for k, v in section['systems'].items() if k != 'model'}
  for name, report in reports.items():
    if report.get('lists'):
      systems[name] = report['lists']['systems']['model']
  spans = [
    {name: row[name] for name in ('group', 'min_activity', 'max_activity')}
    for row in one['test']['groups']
  ]
  shown = {
    name: {
      'overall': system['overall'],
      'groups': [span | row for span, row in zip(spans, system['groups'])],
    }
    for name, system in systems.items()
  }
  parts = [system['overall'] for system in systems.values()]
  # Reports of earlier versions lack some.
  names = [name for name in lists.NAMES if all(name in one for one in parts)]
  kept = 'may be among them' if section['seen'] else 'are left out'
  return [
    '',
    report_lib.format_table(shown, names),
    f'lists of {section["k"]} for {section["users"]:,} users; items that a user'
    f' has {kept}',
    'coverage: share of all items in the lists; novelty: mean -log2 of the'
    ' share of training users who have an item; popular: share of items among'
    f' the most popular {lists.POPULAR:.0%}; gini: 0 where all items are in'
    ' the lists equally often, near 1 where few are; distance: mean 1 - cosine'
    ' of the training users of two items of a list',
  ]


def _as_they_were(reports):
  """Which runs were finished before their training ended."""
  for name, report in reports.items():
    early = report.get('training', {}).get('as_it_was')
    if early:
      yield (
        f'{name} was finished as it was, after {early["epochs"]} of'
        f' {early["of"]} epochs'
      )


def _added(reports):
  """What histories add to the scores of runs, and where that was fitted."""
  for name, report in reports.items():
    prior = report.get('training', {}).get('prior')
    if prior:
      alone, added = prior['loss']
      yield (
        f'{name}: histories say of items: {", ".join(prior["terms"])}; weights'
        f' fitted on {prior["events"]:,} validation events, loss of a choice'
        f' {alone:.3f}, then {added:.3f}'
      )


def _online(reports):
  """The section `online`: test events among 1 + n candidates, by bucket."""
  first = next(iter(reports.values()))['online']
  rules = [name for name in first if name != 'model']
  parts = {name: first[name]['test'] for name in rules} | {
    name: report['online']['model']['test'] for name, report in reports.items()
  }
  return [
    '',
    f'online, 1 + {parts[rules[0]]["options"]["lists"]} candidates,'
    ' expected over all lists, past items among them; means over events',
    online_report.format_table(parts),
    *(
      f'{name}: {part["share_left_out"]:.1%} of the events have an item that'
      ' stage 1 left out with the windows, so their x_i is 0'
      for name, part in parts.items()
      if name in reports and part.get('share_left_out')
    ),
  ]


def evaluated(
  workdirs: Sequence[str],
  names: Sequence[str],
  split: str,
  metrics: Sequence[str],
  quiet: bool = False,
  routing: str = '',
) -> Evaluated:
  """Evaluates finished runs again, in one table with the baselines.

  Args:
    workdirs: run directories.
    names: of the runs in the table; () names them by directory.
    split: 'validation' or 'test'.
    metrics: columns; () takes those of `report.default_names`.
    quiet: no progress display.
    routing: mode in place of the configured one, for runs with plugins.
  Raises:
    types.UserError: runs on different data or groups, an unknown metric, or a
      routing that no run takes.
  """
  if names and len(names) != len(workdirs):
    raise types.UserError(
      f'{len(names)} names for {len(workdirs)} run directories; give one for'
      ' each'
    )
  names = list(names or workdirs)
  _check_differ(names)
  configs = [run_directory.typed_config(workdir) for workdir in workdirs]
  routing_lib.check_mode(routing, configs)
  parts, protocols, first = {}, {}, None
  for name, workdir in zip(names, workdirs):
    experiment, params = experiment_lib.load(workdir)
    config = routing_lib.override(experiment.config, routing)
    experiment = experiment._replace(config=config)
    protocols[name] = reports_lib.protocol(experiment)
    labels = protocols[name]['candidates'] == protocols_lib.SHOWN
    report_lib.check_names(metrics, config.evaluation.ks, labels)
    first = first or experiment
    if _identity(experiment) != _identity(first):
      raise types.UserError(
        f'{workdir} was trained on other data, groups or protocol than'
        f' {workdirs[0]}, and such numbers cannot stand in one table; choose'
        ' others'
      )
    if not offline.held_out(experiment, split):
      raise types.UserError(
        f'{workdir} has no {split} events to evaluate; choose another --split,'
        ' or train on data with some'
      )
    rankers = {name: experiment_lib.ranker(experiment, params)}
    if not parts:
      rules = recipes.of(config).rules(experiment)
      _check_differ([*rules, *names])
      rankers = rules | rankers
    for system, ranker in rankers.items():
      hidden = quiet or system != name
      ranked = reports_lib.evaluate(experiment, ranker, split, hidden)
      parts[system] = ranked.part
  about = f'{split}, {_ranking(protocols[names[0]])}'
  columns = _columns(parts, metrics, protocols)
  notes = _notes(parts, about, protocols)
  return Evaluated(split, parts, protocols, columns, notes)


def check_out(out: str) -> None:
  """Refuses a file that `write` has no form for."""
  if out and pathlib.Path(out).suffix not in _SUFFIXES:
    raise types.UserError(f'--out={out} must end in {", ".join(_SUFFIXES)}')


def write(found: Evaluated, out: str) -> None:
  """Writes numbers (.json, .csv with a row per value) or the table (.md)."""
  check_out(out)
  suffix = pathlib.Path(out).suffix
  if suffix == '.json':
    files.write_json(out, found._asdict())
    return
  text = _markdown(found) if suffix == '.md' else _csv(found)
  with files.explained(out, 'write'), files.replacing(out) as file:
    file.write(text.encode())


def _markdown(found) -> str:
  top, body = report_lib.cells(found.systems, found.metrics)
  metric, head = '', []
  for above, name in zip(top, body[0], strict=True):
    metric = above or metric
    head.append(f'{metric} {name}'.strip())
  table = comparison.piped([head, *body[1:]])
  return '\n\n'.join([table, *map(comparison.escaped, found.notes)]) + '\n'


def _csv(found) -> str:
  rows = io.StringIO()
  writer = csv.writer(rows, lineterminator='\n')
  writer.writerow(['system', 'of', 'users', 'metric', *_OF_VALUE])
  for system, part in found.systems.items():
    for name, row in _rows(part):
      for metric in found.metrics:
        values = [row[metric][column] for column in _OF_VALUE]
        writer.writerow([system, name, row.get('users'), metric, *values])
  return rows.getvalue()


def _rows(part) -> Iterator[tuple[str, dict[str, Any]]]:
  """Groups, everybody and parts of a report, by name."""
  yield from ((f'group {row["group"]}', row) for row in part['groups'])
  users = sum(row['users'] for row in part['groups'])
  yield 'all', part['overall'] | {'users': users}
  yield from ((row['name'], row) for row in part.get('parts', ()))


def _check_differ(names):
  if len(set(names)) < len(names):
    raise types.UserError(
      f'names in one table must differ: {", ".join(names)}; give others with'
      ' --names'
    )


def _identity(experiment):
  """Data, groups and protocol, which runs in one table share."""
  config = experiment.config
  # Tiles bound the memory, they change no number.
  protocol = dataclasses.replace(config.evaluation, user_tile=1, item_tile=1)
  digest = experiment.prepared.manifest['digest']
  return digest, config.groups, protocol


def _lines(parts, metrics, about, protocols) -> list[str]:
  """The table, a line about the ranking, and notes."""
  columns = _columns(parts, metrics, protocols)
  table = report_lib.format_table(parts, columns)
  return [table, *_notes(parts, about, protocols)]


def _columns(parts, metrics, protocols) -> tuple[str, ...]:
  """The metrics that were asked for, or those that fit the data."""
  one, protocol = next(iter(parts.values())), next(iter(protocols.values()))
  if metrics:
    return tuple(metrics)
  if report_lib.LOG_LOSS in one['overall']:
    return report_lib.OF_LABELS
  # With behaviors three rules stand beside a model, and COPF reports no AUC;
  # the queries of 2TS share no scale, so there is none to pool.
  auc = one['overall']['auc']['value']
  ranked_only = 'behaviors' in protocol or auc is None
  return report_lib.default_names(protocol['ks'], ranked_only)


def _notes(parts, about, protocols) -> list[str]:
  """A line about the ranking, and what limits it."""
  one, protocol = next(iter(parts.values())), next(iter(protocols.values()))
  lines = [about]
  if one.get('parts'):
    lines.append(_legend([part['name'] for part in one['parts']], protocol))
  chosen = 'candidate_lists' not in protocol  # 2TS has its own candidates
  if protocol['candidates'] == 'catalog' and 'had_before' in protocol:
    lines.append(report_notes.catalog_note(protocol, chosen))
  lines += report_notes.rival_notes(one, chosen)
  on_test = [n for n, own in protocols.items() if own['selected_on_test']]
  return [*lines, *report_lib.selected_on_test(on_test)]


def _legend(parts, protocol):
  """What the parts are, as they are under this protocol."""
  *shown, new = parts
  said, before = [], 'had'
  if behaviors.AGAIN in shown:
    shown.remove(behaviors.AGAIN)
    if target := protocol.get('behaviors', [])[-1:]:
      before = f'had shown {target[0]} toward'
    said.append(f'{behaviors.AGAIN}: held-out items that their user {before}')
  if shown:
    where = 'in training'
    if protocol.get('strip_heldout'):
      where = (
        'in the log; these events are taken out of what is trained on'
        ' (data.strip_heldout)'
      )
    said.append(
      f'{", ".join(shown)}: held-out items by the last behavior their user had'
      f' shown toward them {where}'
    )
  return '; '.join([*said, f'{new}: the rest'])


def _ranking(protocol):
  rank_ties = protocol['rank_ties']
  ties = f'rank_ties {rank_ties}'
  if rank_ties == metrics_lib.MEAN:
    ties = 'ties: mean over their places'
  drawn, unit = protocol.get('users'), 'interactions'
  if protocol['candidates'] == protocols_lib.SHOWN:
    unit = 'impressions'
  ranked = f' of {drawn:,} users drawn once' if drawn else ''
  return (
    f'{protocol["candidates"]} candidates{ranked}, {ties}; activity: training'
    f' {unit} of a user'
  )
