"""Reminding against discovery: what a share of new places gives and takes.

One pass over the test items tells for each where it stands among the items of
its kind, touched or new, and the best scores of the other kind; every share
follows from these.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
import pathlib
from typing import Any

import numpy as np

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import fields
from twotsrec import types
from twotsrec.data import groups as groups_lib
from twotsrec.data import pipeline
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import behaviors
from twotsrec.evaluation import discoveries
from twotsrec.evaluation import fitted
from twotsrec.evaluation import offline
from twotsrec.evaluation import protocols
from twotsrec.models import discovery
from twotsrec.runs import experiment as experiment_lib
from twotsrec.studies import figures
from twotsrec.training import files


def experiment(
  dataset: str, data_root: str, cache_dir: str
) -> contracts.Experiment:
  """A named dataset with behaviors, as a run without settings has it."""
  config = config_lib.Config()
  config.data.dataset, config.data.data_root = dataset, data_root
  config.data.cache_dir = cache_dir
  prepared = pipeline.from_config(config.data)
  groups = groups_lib.assign(prepared, config.groups)
  return contracts.Experiment(config, prepared, groups)


def rankers(
  experiment: contracts.Experiment,
  systems: Sequence[str],
  runs: Mapping[str, str],
) -> dict[str, Callable[[], contracts.Ranker]]:
  """{name: what makes the ranker} of models without training, rules and runs.

  Raises:
    types.UserError: an unknown system, or a run on other data.
  """
  rules = offline.rules(experiment)
  made: dict[str, Callable[[], contracts.Ranker]] = {}
  for name in systems:
    fields.refuse_unknown('--systems', name, (*fitted.NAMES, *rules))
    made[name] = functools.partial(rules.__getitem__, name)
    if name in fitted.NAMES:
      made[name] = functools.partial(fitted.ranker, experiment, name)
  for name, workdir in runs.items():
    theirs, params = experiment_lib.load(workdir)
    digests = (e.prepared.manifest['digest'] for e in (experiment, theirs))
    if len(set(digests)) > 1:
      raise types.UserError(
        f'--runs: {workdir} was trained on other data; give a run on the same'
      )
    made[name] = functools.partial(experiment_lib.ranker, theirs, params)
  return made


def tables(out: str) -> dict[str, Any]:
  """The tables of a file, as `add` writes them."""
  return _read(out)['tables']


def has(out: str, system: str) -> bool:
  """Whether a file has the curves of a system."""
  return any(row[0] == system for row in tables(out)['scores']['rows'])


def add(out: str, system: str, measured: Mapping[str, Sequence[Any]]) -> None:
  """Writes the curves of a system to a file, as render.py draws them.

  Its tables are `scores`, a row for each system as its scores come; `average`
  and `each`, a row for each share and a column for each system, hit rates of
  all / new; and `points` with everything.
  """
  content = _read(out)
  tables = content['tables']
  (plain,) = measured['scores']
  parts = [name for name in plain if name != 'share']
  rates = [{'title': part, 'digits': 4} for part in parts]
  by_name = {'title': 'system'}, {'title': 'share of places', 'digits': 3}
  tables['scores']['columns'] = tables['points']['columns'] = [*by_name, *rates]
  tables['scores']['rows'].append([system, *plain.values()])
  for by in ('average', 'each'):
    table, rows = tables[by], measured[by]
    table['columns'] = table['columns'] or [{'title': 'share', 'digits': 2}]
    table['columns'].append({'title': system, 'digits': 4})
    table['rows'] = table['rows'] or [[row['share']] for row in rows]
    for line, row in zip(table['rows'], rows, strict=True):
      line.append([row['all'], row[behaviors.NEW]])
      tables['points']['rows'].append([f'{system}, {by}', *row.values()])
  files.write_json(pathlib.Path(out), content)


def draw(tables: Mapping[str, Any], dataset: str, path: pathlib.Path) -> bool:
  """Hit rate of all over that of new items, a color a system.

  A line has a dot for each share, filled where places are shared out over all
  lists and open where every list gives the same; a star is what scores come to
  by themselves.

  Args:
    tables: that `add` writes.
    dataset: its name.
    path: of the picture.
  Returns:
    Whether matplotlib is there to draw with.
  Raises:
    types.UserError: the picture cannot be written.
  """
  lines = {by: _curves(tables[by]) for by in ('average', 'each')}
  stars = {row[0]: (row[-1], row[2]) for row in tables['scores']['rows']}

  def panel(axes, name, systems):
    for number, system in enumerate(systems):
      look: dict[str, Any] = {'color': figures.COLORS[number]}
      axes.plot(*zip(*lines['average'][system]), 'o-', label=system, **look)
      axes.plot(*zip(*lines['each'][system]), 'o--', mfc='white', **look)
      axes.plot(*stars[system], '*', markersize=14, mec='black', **look)
    axes.set_xlabel('HR@10 of purchases of new items')
    axes.set_ylabel('HR@10 of all purchases')
    axes.set_title(f'{name}; star: by scores, dashed: same share of every list')
    axes.grid(color='#e0e0e0', linewidth=0.8)
    axes.legend()

  columns = {dataset: [*stars]}
  return figures.draw(columns, [panel], path, 7.5, 5.0, numbers=tables)


def _curves(table) -> dict[str, list[tuple[float, float]]]:
  """{system: (of new, of all) by share}."""
  names = [column['title'] for column in table['columns'][1:]]
  points = zip(*(row[1:] for row in table['rows']), strict=True)
  return {
    name: [(new, everything) for everything, new in of]
    for name, of in zip(names, points, strict=True)
  }


def _read(out):
  if pathlib.Path(out).exists():
    return files.read_json(pathlib.Path(out))
  names = ('scores', 'average', 'each', 'points')
  return {
    'about': 'HR@10 by the share of places for what is new to a user: what'
    ' launch/reproduce/discovery.py measured.',
    'tables': {name: {'columns': [], 'rows': []} for name in names},
  }


def curves(
  experiment: contracts.Experiment,
  ranker: contracts.Ranker,
  shares: Sequence[float],
) -> dict[str, list[dict[str, Any]]]:
  """Hit rates of both ways to share places out, over the share.

  Args:
    experiment: of a run on data with behaviors; candidates are those it has not
      bought.
    ranker: the model, by its own scores.
    shares: of the places of a list.
  Returns:
    {'scores', 'average', 'each': [{'share', 'hit rate of all', by part}]}; of
    `scores` one row, whose share is what it comes to. A hit is among the first
    `discovery.places`; of items that tie the held-out one comes first.
  """
  prepared, config = experiment.prepared, experiment.config
  places = config.discovery.places
  targets, _ = protocols.targets(
    prepared, protocols.UNBOUGHT, prepared_lib.TEST
  )
  touched = discoveries.touched_items(experiment)
  gone = behaviors.bought(prepared, prepared_lib.TEST)
  tops = discoveries.tops(experiment, ranker, targets, touched, gone)
  own, is_new = tops.own, _is_new(experiment, targets, touched)
  mine = np.where(is_new[:, None], tops.new, tops.touched)
  rank = 1 + np.sum(mine > own[:, None], axis=1)
  parts = behaviors.parts(prepared, targets)
  names = behaviors.part_names(prepared, targets.event)

  def row(share, hit):
    rates = [hit, *(hit[parts == i] for i in range(len(names)))]
    means = (round(float(np.mean(rate)), 6) for rate in rates)
    return {'share': share, **dict(zip(('all', *names), means, strict=True))}

  def raised(gain):
    signed = np.where(is_new, gain, -gain)[:, None]
    other = np.where(is_new[:, None], tops.touched, tops.new)
    return rank + np.sum(other > own[:, None] + signed, axis=1) <= places

  def merged(share):
    merge = discovery.merge_of(share, prepared.num_items)
    before = np.where(
      is_new,
      np.asarray(merge.touched_before)[rank],
      np.asarray(merge.new_before)[rank],
    )
    other = np.where(is_new[:, None], tops.touched, tops.new)
    there = np.sum(np.isfinite(other), axis=1)
    return rank + np.minimum(before, there) <= places

  gain = discoveries.gain_of(experiment, ranker)
  taken = float(np.mean(discoveries.differences(tops) < 0))
  return {
    'scores': [row(taken, raised(0.0))],
    'average': [row(share, raised(gain(share))) for share in shares],
    'each': [row(share, merged(share)) for share in shares],
  }


def _is_new(experiment, targets, touched) -> np.ndarray:
  num_items = experiment.prepared.num_items
  wanted = prepared_lib.pairs(targets.user, targets.item, num_items)
  return ~np.isin(wanted, touched.numbers(num_items))
