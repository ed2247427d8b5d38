r"""Draws how every activeness group is served, from finished runs.

    python launch/draw.py --runs=runs/base,runs/ga --names=base,+GA \
        --out=groups.svg
    python launch/draw.py --runs=runs/base,runs/ga --names=base,+GA \
        --metrics=auc,hr@10 --out=groups.json
    python launch/draw.py --numbers=groups.json --metrics=hr@10 --out=groups.svg

Groups stand from the least active to the most active, with a dot and a 95 %
interval for every system, baselines first; every metric has a panel. Nothing is
evaluated again: report.json has the numbers. A .json keeps those of a picture,
so that it can be drawn again without the runs. Pictures need matplotlib (the
extra `plots`).
"""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any

from absl import flags

import cli
from twotsrec import extras
from twotsrec import types
from twotsrec.training import files

_RUNS = flags.DEFINE_list('runs', [], 'Directories of finished runs.')
_NAMES = flags.DEFINE_list('names', [], 'Of the runs; default: directories.')
_NUMBERS = flags.DEFINE_string(
  'numbers', '', 'A .json that this script wrote, in place of --runs.'
)
_METRICS = flags.DEFINE_list('metrics', ['auc'], 'Metrics of the reports.')
_OUT = flags.DEFINE_string('out', None, 'A .svg or .png; or a .json.')

_SUFFIXES = ('.svg', '.png', '.json')
# Of a group, besides its metrics.
_COLUMNS = ('group', 'users', 'min_activity', 'max_activity')
_BASELINE = '#8c8c8c'
_INK = '#333333'


def main() -> int:
  """Writes the picture or its numbers."""
  out = pathlib.Path(cli.required(_OUT))
  if out.suffix not in _SUFFIXES:
    raise types.UserError(
      f'--out={out} is of no known kind; end it in {", ".join(_SUFFIXES)}'
    )
  if bool(_RUNS.value) == bool(_NUMBERS.value):
    raise types.UserError('give either --runs or --numbers; see --help')
  if _NUMBERS.value:
    cli.refuse_unread('with --numbers; leave it out', ['names'])
    numbers = files.read_json(_NUMBERS.value)
    if not isinstance(numbers, dict) or 'reports' not in numbers:
      raise types.UserError(
        f'--numbers={_NUMBERS.value} has no reports; name a .json that this'
        ' script wrote, or give --runs'
      )
    reports = numbers['reports']
  else:
    reports = collect(_RUNS.value, _NAMES.value)
  if out.suffix == '.json':
    files.write_json(out, {'reports': only(reports, _METRICS.value)})
  else:
    draw(only(reports, _METRICS.value), out)
  print(f'written to {out}')
  return 0


def collect(
  workdirs: Sequence[str], names: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
  """The test parts of runs and of their baselines, by system.

  Args:
    workdirs: of finished runs on the same data and groups.
    names: of the runs; () names them by directory.
  Returns:
    {system: {'overall': metrics, 'groups': [metrics, ...]}}, baselines first;
    these are marked by 'baseline'.
  Raises:
    types.UserError: no report, or groups that differ.
  """
  names = names or [pathlib.Path(workdir).name for workdir in workdirs]
  if len(set(names)) != len(workdirs) or len(names) != len(workdirs):
    raise types.UserError(
      f'--names={",".join(names)} must name {len(workdirs)} runs apart'
    )
  baselines, systems = {}, {}
  for name, workdir in zip(names, workdirs):
    path = pathlib.Path(workdir) / 'report.json'
    if not path.is_file():
      raise types.UserError(
        f'{workdir} has no report.json; finish it with its own command first'
      )
    report = files.read_json(path)
    if not isinstance(report, dict) or not {'test', 'baselines'} <= {*report}:
      raise types.UserError(
        f'{path} lacks test or baselines; delete it and finish {workdir} with'
        ' its own command again'
      )
    if report['test'] is None:
      raise types.UserError(
        f'{workdir} has no test events to draw; leave it out, or train on data'
        ' with some'
      )
    systems[name] = report['test']
    for baseline, part in report['baselines'].items():
      baselines.setdefault(baseline, {'baseline': True, **part})
    _check_same_groups(workdirs[0], systems[names[0]], workdir, systems[name])
  return {**baselines, **systems}


def only(
  reports: Mapping[str, Mapping[str, Any]], metrics: Sequence[str]
) -> dict[str, dict[str, Any]]:
  """Reports with these metrics alone, overall and by group.

  Raises:
    types.UserError: a metric that some report does not have.
  """
  for name, part in reports.items():
    existing = [k for k, v in part['overall'].items() if isinstance(v, dict)]
    for metric in metrics:
      if metric not in existing:
        raise types.UserError(
          f'{name} has no metric {metric!r}; it has {", ".join(existing)}'
        )
  keep = lambda row, *more: {
    column: row[column] for column in (*more, *metrics)
  }
  return {
    name: {
      'baseline': part.get('baseline', False),
      'overall': keep(part['overall']),
      'groups': [keep(group, *_COLUMNS) for group in part['groups']],
    }
    for name, part in reports.items()
  }


def draw(reports: Mapping[str, Mapping[str, Any]], path: pathlib.Path) -> None:
  """Groups on x, a dot with an interval for every system; SVG or PNG.

  Args:
    reports: from `only`.
    path: of the picture; the same numbers give the same bytes.
  Raises:
    types.UserError: no matplotlib.
  """
  extras.load('matplotlib', 'plots')
  from matplotlib import figure

  from twotsrec.studies import figures  # brings arrays

  # Without pyplot no window system is needed.
  metrics = list(next(iter(reports.values()))['overall'])
  drawn = figure.Figure((7.5, 0.6 + 3 * len(metrics)), layout='constrained')
  drawn.set_facecolor('white')  # a page may be dark, the picture is not
  panels = drawn.subplots(len(metrics), sharex=True, squeeze=False)[:, 0]
  for axes, metric in zip(panels, metrics):
    _draw_panel(axes, reports, metric, figures.COLORS)
  _explain(panels, next(iter(reports.values()))['groups'], len(reports))
  figures.save(drawn, path, list(reports.items()))


def _draw_panel(axes, reports, metric, palette):
  colors = iter(palette * len(reports))
  step = 0.8 / len(reports)
  for number, (name, part) in enumerate(reports.items()):
    rows = [group[metric] for group in part['groups']]
    shift = (number - (len(reports) - 1) / 2) * step
    axes.errorbar(
      [index + shift for index in range(len(rows))],
      [row['value'] for row in rows],
      yerr=[
        [row['value'] - row['low'] for row in rows],
        [row['high'] - row['value'] for row in rows],
      ],
      fmt='o',
      color=_BASELINE if part['baseline'] else next(colors),
      label=name,
      markersize=6,
      linewidth=2,
    )
  name = metric.replace('_', ' ').upper()
  axes.set_ylabel(f'{name} (test), 95 % interval', color=_INK)
  axes.grid(axis='y', color='#e0e0e0', linewidth=0.8)
  axes.set_axisbelow(True)
  axes.spines[['top', 'right']].set_visible(False)
  axes.tick_params(colors=_INK)


def _explain(panels, groups, num_systems):
  """Names of the groups below the last panel, of the systems on top."""
  span = lambda group: f'{group["min_activity"]}-{group["max_activity"]} events'
  labels = [f'group {group["group"]}\n{span(group)}' for group in groups]
  panels[-1].set_xticks(range(len(groups)), labels)
  panels[0].legend(
    ncols=min(num_systems, 5),
    loc='lower center',
    bbox_to_anchor=(0.5, 1.0),
    frameon=False,
    labelcolor=_INK,
  )


def _check_same_groups(first_name, first, name, part):
  sizes = lambda part: [
    [group[column] for column in _COLUMNS] for group in part['groups']
  ]
  if sizes(first) != sizes(part):
    raise types.UserError(
      f'{name} has other groups than {first_name}; draw runs on the same data'
    )


if __name__ == '__main__':
  cli.run(main)
