"""The report of a run."""

from collections.abc import Callable
import dataclasses
import pathlib
import time
from typing import Any

import numpy as np

from twotsrec import contracts
from twotsrec import own
from twotsrec import recipes
from twotsrec.data import report as data_report
from twotsrec.data import routing as routing_lib
from twotsrec.evaluation import comparison
from twotsrec.evaluation import offline
from twotsrec.recipes import pin
from twotsrec.runs import beyond
from twotsrec.runs import compared_runs
from twotsrec.runs import rankings
from twotsrec.runs import verdict
from twotsrec.training import files
from twotsrec.training import machine
from twotsrec.training import online_rows
from twotsrec.training import progress
from twotsrec.training import run_directory


def check_protocol(experiment: contracts.Experiment) -> None:
  """Refuses a protocol that the data cannot serve, before anything trains.

  Raises:
    types.UserError: what is wrong and the way out.
  """
  for split in offline.SPLITS:
    recipes.of(experiment.config).protocol(experiment, split)


def write(
  served: contracts.Served,
  workdir: str,
  quiet: bool = False,
  should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
  """Evaluates what was trained and writes `report.json`.

  The rows per held-out item go to `per_target.npz`, for paired comparisons.

  Raises:
    progress.Stopped: it was asked to stop; what is ranked by then is not
      ranked again.
  """
  begin, experiment = time.perf_counter(), served.experiment
  recipe = recipes.of(experiment.config)
  ranker = recipe.ranker(experiment, served.params)
  if not quiet:
    ahead = rankings.forecast(experiment, ranker)
    progress.say(ahead, quiet=not ahead)
  every = experiment.config.train.checkpoint_every
  model = {
    split: evaluate(
      experiment,
      ranker,
      split,
      quiet,
      rankings.keeping(workdir, split, should_stop, every),
      rankings.done(workdir, split),
    )
    if offline.held_out(experiment, split)
    else None
    for split in offline.SPLITS
  }
  # A paper's own protocol shows its rules for both splits.
  has_own = any(ranked and ranked.protocols for ranked in model.values())
  splits = offline.SPLITS if has_own else ('test',)
  beside = recipe.rules(experiment)
  rules = {
    name: _rank(experiment, rule, splits, rankings.stopping(should_stop))
    for name, rule in beside.items()
  }
  lists = None
  if model['test']:
    lists = beyond.of(experiment, model['test'], {'model': ranker, **beside})
  seconds = time.perf_counter() - begin
  part = lambda ranked: None if ranked is None else ranked.part
  report = {
    'schema': compared_runs.SCHEMA,
    'protocol': protocol(experiment, _selects(served.training)),
    'dataset': dataset(experiment),
    'validation': part(model['validation']),
    'test': part(model['test']),
    'baselines': {name: part(rule['test']) for name, rule in rules.items()},
    'lists': lists,
    **_verdict(experiment, model, rules, workdir, served.training),
    **_protocols({'model': model, **rules}),
    **served.sections,
    'training': {
      **served.training,
      'evaluation_seconds': round(seconds, 3),
      'peak_rss_mb': machine.peak_rss_mb(),
    },
    'versions': machine.versions(),
  }
  saved = _save(report, model['test'], rules, workdir)
  rankings.clear(workdir)
  return saved


def _verdict(experiment, model, rules, workdir, training):
  """How the model stands to the rules, if it can be said."""
  of_test = {name: rule['test'] for name, rule in rules.items()}
  phases = training.get('phases', ())
  section = verdict.of(experiment, model['test'], of_test, workdir, phases)
  return {'verdict': section} if section else {}


def _rank(experiment, rule, splits, watch):
  """{split: Ranked} without a display, None where nothing is held out."""
  return {
    split: evaluate(experiment, rule, split, quiet=True, watch=watch)
    if offline.held_out(experiment, split)
    else None
    for split in splits
  }


def _selects(training) -> bool:
  """Whether a phase chose one of its epochs."""
  phases = training.get('phases', {}).values()
  return any('selected_epoch' in phase for phase in (training, *phases))


def _protocols(systems):
  """{protocol: {system: {split: section}}} of protocols that papers have."""
  made: dict[str, Any] = {}
  for system, by_split in systems.items():
    for split, ranked in by_split.items():
      for name, section in ranked.protocols.items() if ranked else ():
        made.setdefault(name, {}).setdefault(system, {})[split] = section
  return made


def _save(report, test, rules, workdir) -> dict[str, Any]:
  """Writes the rows per held-out item and then the report; as it is on disk."""
  path = run_directory.report_path(workdir)
  rows = {
    name: rule['test'].rows
    for name, rule in rules.items()
    if test and set(comparison.OF_RULES) <= rule['test'].rows.keys()
  }
  every: dict[pathlib.Path, dict[str, Any]] = {
    run_directory.targets_path(workdir): test.rows if test else {},
    run_directory.rules_path(workdir): comparison.of_rules(rows),
  }
  for target, arrays in every.items():
    with files.explained(target, 'write'), files.replacing(target) as file:
      np.savez_compressed(file, **arrays)
  if test and test.events:
    events = {name: rule['test'].events for name, rule in rules.items()}
    online_rows.save(workdir, test.events, events)
  files.write_json(path, report)
  return files.read_json(path)


def evaluate(
  experiment: contracts.Experiment,
  ranker: contracts.Ranker,
  split: str,
  quiet: bool = False,
  watch: rankings.Watch = lambda show: show,
  start: int = 0,
) -> contracts.Ranked:
  """Ranks a split, 'validation' or 'test', as the recipe does.

  `watch` may stop it, and knows what was ranked before, `start` items.
  """
  count = rankings.count(experiment, split)
  rank = recipes.of(experiment.config).rank
  with progress.reporter(
    count, f'evaluate {split}', quiet=quiet, unit='held-out items', start=start
  ) as show:
    shown = watch(progress.of_totals(show, start))
    return rank(experiment, ranker, split, shown)


def protocol(
  experiment: contracts.Experiment, selects: bool = True
) -> dict[str, Any]:
  """The protocol of a report: settings that its numbers rest on.

  `selects` is whether the settings of `train` chose an epoch.
  """
  config, groups = experiment.config, experiment.groups
  routing = routing_lib.from_config(config)
  options = experiment.prepared.manifest['options']
  return {
    'ks': list(config.evaluation.ks),
    'model': own.short(config.model.name),
    'aggregator': own.short(config.aggregator.name),
    'method': config.train.method,
    'penalty': config.train.penalty,
    'plugin': own.short(config.plugin.name),
    'dataset_digest': experiment.prepared.manifest['digest'],
    'selection': _selection(config) if selects else 'nothing',
    'selected_on_test': pin.selected_on_test(config),
    'routing': dataclasses.asdict(routing) if routing else None,
    'groups': dataclasses.asdict(config.groups),
    'group_thresholds': np.asarray(groups.thresholds).tolist(),
    'group_training_samples': np.asarray(groups.sizes).tolist(),
    **recipes.of(config).protocol(experiment, 'test'),
    'split': options.get('split', ['given'])[0],
  }


def _selection(config):
  train = config.train
  if train.select_metric == 'none':
    return 'last epoch'
  of_whom = ' by group' if pin.selects_by_group(config) else ''
  return f'{train.select_on} {train.select_metric}{of_whom}'


def dataset(experiment: contracts.Experiment) -> dict[str, Any]:
  """The data of the run, for the report."""
  manifest = experiment.prepared.manifest
  notes = recipes.of(experiment.config).notes(experiment)
  described = {'source': manifest['source'], **manifest['counts']}
  held_out = data_report.describe_held_out(experiment.prepared)
  described['held_out'] = {
    split: {name: held[name] for name in ('known', 'known_share', 'same')}
    for split, held in held_out.items()
  }
  return described | ({'notes': notes} if notes is not None else {})


def warnings(experiment: contracts.Experiment) -> list[str]:
  """What in the data limits a run, or what it says, a line each."""
  held_out = data_report.describe_held_out(experiment.prepared)
  notes = recipes.of(experiment.config).notes(experiment) or ()
  return [*notes, *data_report.warnings(held_out)]
