"""Ways to serve people with little history, tried on a base of one's choice.

Every way is a run of its own with the budget of the base. On validation items
each is paired with the base user by user; of those that no group loses by, the
one with the largest gain of group 1 is chosen, and all are reported on test.
Ways that each help are tried together at the end.
"""

from collections.abc import Callable, Mapping, Sequence
import copy
import pathlib
from typing import Any, NamedTuple

import numpy as np

from twotsrec import config as config_lib
from twotsrec import fields
from twotsrec import recipes
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import comparison
from twotsrec.evaluation import report as report_lib
from twotsrec.runs import compare
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import reports
from twotsrec.runs import run
from twotsrec.training import files

BASE = 'base'

# What changes of the base. A way with a plugin stands on the finished base.
_PLUGIN = {
  'plugin.name': 'light',
  'plugin.points': 'Z',
  'plugin.trunk_learning_rate': 0.0,
}
WAYS: dict[str, dict[str, Any]] = {
  'backdoor': {'aggregator.name': 'backdoor'},
  'worst_users': {'train.worst_share': 0.3},
  'insert': {'augment.insert': 0.2},
  'substitute': {'augment.substitute': 0.2},
  'mix': {'augment.mix': 0.4},
  'balanced': {'train.select_metric': 'group_{metric}'},
  'plugin': _PLUGIN,
  'transfer': {**_PLUGIN, 'plugin.transfer': 1.0},
  'near': {**_PLUGIN, 'plugin.transfer': 1.0, 'plugin.near': 10},
}
_BORDERS = {'augment': 'augment.groups', 'plugin': 'routing.groups'}


class Tried(NamedTuple):
  """A way and what it did to validation items.

  Attributes:
    name: of `WAYS`, or several joined by '+'.
    rows: of `comparison.rows` against the base; groups 1..G come first.
  """

  name: str
  rows: list[dict[str, Any]]

  @property
  def gain(self) -> float:
    """Of group 1; 0 if it has no validation items."""
    return self.rows[0]['difference'] or 0.0

  @property
  def harms(self) -> bool:
    """Whether a group loses more than its interval."""
    highs = [row['high'] for row in self.rows[:-2]]
    return any(high is not None and high < 0 for high in highs)


def settings(
  config: config_lib.Config, name: str, trunk: str, metric: str, groups: int
) -> config_lib.Config:
  """The base, changed by a way, or by several that are joined by '+'.

  Args:
    config: of the base.
    name: of `WAYS`.
    trunk: run directory of the base, which plugins stand on.
    metric: to select by where groups count alike.
    groups: the least active so many are the tail.
  """
  changed = copy.deepcopy(config)
  for way in name.split('+'):
    if way == BASE:
      continue
    for path, value in WAYS[way].items():
      said = value.format(metric=metric) if isinstance(value, str) else value
      config_lib.change(changed, {path: said})
      for section, border in _BORDERS.items():
        if path.startswith(f'{section}.'):
          config_lib.change(changed, {border: groups})
  if changed.plugin.name != 'none':
    config_lib.change(changed, {'plugin.trunk': trunk})
  return changed


def train(
  config: config_lib.Config,
  workdir: str,
  ways: Sequence[str] = tuple(WAYS),
  metric: str = 'ndcg@10',
  groups: int = 1,
  should_stop: Callable[[], bool] = lambda: False,
  quiet: bool = False,
) -> dict[str, Any] | None:
  """Tries the ways, chooses on validation and reports on test.

  Args:
    config: of the base.
    workdir: every way is a run directory in it, by its name.
    ways: names of `WAYS`.
    metric: by which to choose.
    groups: the least active so many are the tail.
    should_stop: as in `run.train`.
    quiet: no progress display.
  Returns:
    What WORKDIR/tail.json has; None if it was stopped. Repeating the call
    resumes.
  Raises:
    types.UserError: an unknown way, or as `run.train` of the base.
  """
  prepared = experiment_lib.load_data(config)
  _check(config, prepared, ways, metric, groups)
  place = lambda name: str(pathlib.Path(workdir) / name)
  of = lambda name: settings(config, name, place(_trunk(name)), metric, groups)
  refused = _refused(of, ways, prepared)
  names = [BASE, *(way for way in ways if way not in refused)]
  for name in names:
    if run.train(of(name), place(name), should_stop, quiet) is None:
      return None
  tables = {name: _table_of(place(name), metric, quiet) for name in names}
  tried = _tried(tables)
  helping = [one.name for one in tried if one.gain > 0 and not one.harms]
  joined = '+'.join(name for name in names if name in helping)
  if len(helping) > 1 and not _refused(of, [joined], prepared):
    for name in dict.fromkeys((_trunk(joined), joined)):
      if run.train(of(name), place(name), should_stop, quiet) is None:
        return None
    tables[joined] = _table_of(place(joined), metric, quiet)
    tried = _tried(tables)
  runs = {name: [place(name)] for name in tables}
  result = {
    **_chosen(tried, metric, refused),
    'test': compare.compare(runs, (metric,)),
  }
  files.write_json(pathlib.Path(workdir) / 'tail.json', result)
  return result


def _check(config, prepared, ways, metric, groups):
  """Refuses what would show only after the base is trained."""
  for way in ways:
    fields.refuse_unknown('way', way, WAYS)
  report_lib.check_names((metric,), config.evaluation.ks)
  number = config.groups.num_groups
  if not 1 <= groups <= number:
    raise types.UserError(
      f'{groups} groups of the tail, but there are {number} groups; allowed are'
      f' 1 to {number}'
    )
  if not np.any(np.asarray(prepared.split) == prepared_lib.VALIDATION):
    raise types.UserError(
      'ways are chosen on validation items, and the data have none; prepare'
      ' them with data.validation=True'
    )


def _trunk(name: str) -> str:
  """The run that the plugins of a way stand on: the ways without plugins."""
  plain = [w for w in name.split('+') if 'plugin.name' not in WAYS.get(w, {})]
  return '+'.join(plain) or BASE


def _refused(of, ways, prepared) -> dict[str, str]:
  """Ways that the base cannot go, with the reason."""
  refused = {}
  for way in ways:
    changed = of(way)
    try:
      recipes.check(changed)
      run.first_phase(changed, experiment_lib.make(changed, prepared))
    except types.UserError as error:
      refused[way] = str(error)
  return refused


def _table_of(workdir, metric, quiet) -> comparison.Table:
  """A run's metric on validation items, by user and group."""
  experiment, params = experiment_lib.load(workdir)
  config = experiment.config
  ranker = experiment_lib.ranker(experiment, params)
  ranked = reports.evaluate(experiment, ranker, 'validation', quiet)
  number, ties = config.groups.num_groups, config.evaluation.rank_ties
  return comparison.tabulate(ranked.rows, number, (metric,), ties=ties)


def _tried(tables: Mapping[str, comparison.Table]) -> list[Tried]:
  """Every way against the base, which comes first."""
  base = tables[BASE]
  in_group = np.any(base.counts > 0, axis=2)
  users = in_group.sum(axis=0).tolist()
  compared = comparison.compare(
    [comparison.pool([table]) for table in tables.values()],
    compare.RESAMPLES,
    0,
  )
  return [
    Tried(name, comparison.rows(result, 0, users))
    for name, result in zip(list(tables)[1:], compared, strict=True)
  ]


def _chosen(tried, metric, refused) -> dict[str, Any]:
  """What was tried, and what is chosen of it."""
  fit = [one for one in tried if one.gain > 0 and not one.harms]
  chosen = max(fit, key=lambda one: one.gain).name if fit else BASE
  return {
    'metric': metric,
    'chosen': chosen,
    'not_tried': refused,
    'validation': {
      one.name: {'rows': one.rows, 'harms': one.harms} for one in tried
    },
  }


def format(result: Mapping[str, Any]) -> str:
  """Tables of a result: gains by group on validation, and on test."""
  lines = []
  for title, of in (
    ('validation, on which is chosen', result['validation']),
    ('test', result['test']['comparisons']),
  ):
    lines += [f'{result["metric"]} less that of the base, {title}']
    lines += [comparison.aligned(_table(of, result['metric'])), '']
  lines += [
    f'{way}: not tried, {why}' for way, why in result['not_tried'].items()
  ]
  lines.append(_words(result))
  return '\n'.join(lines)


def _table(of, metric) -> list[list[str]]:
  rows = {
    name: entry['rows'] if 'rows' in entry else entry[metric]
    for name, entry in of.items()
  }
  first = next(iter(rows.values()))
  head = ['way', *(f'group {row["group"]}' for row in first[:-2]), 'all']
  cells = lambda row: (
    '-'
    if row['difference'] is None
    else f'{row["difference"]:+.4f} [{row["low"]:+.4f}, {row["high"]:+.4f}]'
  )
  return [
    head,
    *([name, *map(cells, own[:-1])] for name, own in rows.items()),
  ]


def _words(result) -> str:
  if result['chosen'] == BASE:
    return (
      'chosen: the base. Nothing helps group 1 on validation items without'
      ' harm to a group'
    )
  return (
    f'chosen: {result["chosen"]}, the largest gain of group 1 on validation'
    ' items with no group below its interval'
  )
