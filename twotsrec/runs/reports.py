"""The report of a run."""

from collections.abc import Callable, Mapping
import dataclasses
import pathlib
import time
from typing import Any, NamedTuple

import numpy as np

from twotsrec import contracts
from twotsrec import own
from twotsrec import recipes
from twotsrec.data import impressions
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


class Task(NamedTuple):
  """What `write` goes by, besides what was trained.

  Attributes:
    workdir: of the run.
    quiet: no display.
    should_stop: asked between two tiles.
    ahead: (ranker) -> how long ranking takes, in words; '' is not shown.
    dataset: of `dataset`.
  """

  workdir: str
  quiet: bool
  should_stop: Callable[[], bool]
  ahead: Callable[[contracts.Ranker], str]
  dataset: dict[str, Any]


class _Results(NamedTuple):
  """Held-out items as the model and the rules rank them, {split: Ranked}.

  Attributes:
    model: None where a split has no items.
    rules: {name: as `model`}.
    lists: section of the report.
    seconds: that it took.
    test_seconds: of it, the model and the test items alone.
  """

  model: dict[str, contracts.Ranked | None]
  rules: dict[str, dict[str, contracts.Ranked | None]]
  lists: dict[str, Any] | None
  seconds: float
  test_seconds: float


def write(served: contracts.Served, task: Task) -> dict[str, Any]:
  """Evaluates what was trained and writes `report.json`.

  The rows per held-out item go to `per_target.npz`, for paired comparisons.

  Raises:
    progress.Stopped: it was asked to stop; what is ranked by then is not
      ranked again.
  """
  results = _ranked(served, task)
  saved = _save(_put_together(served, task, results), results, task.workdir)
  rankings.clear(task.workdir)
  return saved


def _ranked(served, task) -> _Results:
  """Ranks by the model, which goes on where it was, and by the rules."""
  begin, experiment = time.perf_counter(), served.experiment
  recipe = recipes.of(experiment.config)
  ranker = recipe.ranker(experiment, served.params)
  if not task.quiet and (ahead := task.ahead(ranker)):
    progress.say(ahead)
  every = experiment.config.train.checkpoint_every
  keeping = lambda split: rankings.keeping(
    task.workdir, split, task.should_stop, every
  )
  model, took = {}, {}
  for split in offline.SPLITS:
    start = time.perf_counter()
    model |= _of_splits(experiment, ranker, [split], keeping, task.quiet)
    took[split] = time.perf_counter() - start
  # A paper's own protocol shows its rules for both splits.
  has_own = any(ranked and ranked.protocols for ranked in model.values())
  splits = offline.SPLITS if has_own else ('test',)
  beside = recipe.rules(experiment)
  stopping = lambda split: rankings.stopping(task.should_stop)
  rules = {
    name: _of_splits(experiment, rule, splits, stopping, quiet=True)
    for name, rule in beside.items()
  }
  lists = None
  if model['test']:
    lists = beyond.of(experiment, model['test'], {'model': ranker, **beside})
  seconds = time.perf_counter() - begin
  return _Results(model, rules, lists, seconds, took['test'])


def _of_splits(experiment, ranker, splits, watch_of, quiet):
  """{split: Ranked}, None where nothing is held out."""
  return {
    split: evaluate(experiment, ranker, split, quiet, watch_of(split))
    if offline.held_out(experiment, split)
    else None
    for split in splits
  }


def _put_together(served, task, results) -> dict[str, Any]:
  """The report."""
  experiment, training = served.experiment, served.training
  model, rules = results.model, results.rules
  part = lambda ranked: None if ranked is None else ranked.part
  return {
    'schema': compared_runs.SCHEMA,
    'protocol': protocol(experiment, _selects(training)),
    'dataset': task.dataset,
    'validation': part(model['validation']),
    'test': part(model['test']),
    'baselines': {name: part(rule['test']) for name, rule in rules.items()},
    'lists': results.lists,
    **_verdict(experiment, model, rules, task.workdir, training),
    **_protocols({'model': model, **rules}),
    **served.sections,
    'training': {
      **training,
      'evaluation_seconds': round(results.seconds, 3),
      'test_seconds': round(results.test_seconds, 3),
      'peak_rss_mb': machine.peak_rss_mb(),
    },
    'versions': machine.versions(),
  }


def _verdict(experiment, model, rules, workdir, training):
  """How the model stands to the rules, if it can be said."""
  of_test = {name: rule['test'] for name, rule in rules.items()}
  phases = training.get('phases', ())
  section = verdict.of(experiment, model['test'], of_test, workdir, phases)
  return {'verdict': section} if section else {}


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


def _save(report, results, workdir) -> dict[str, Any]:
  """Writes the rows per held-out item and then the report; as it is on disk."""
  path = run_directory.report_path(workdir)
  test, rules = results.model['test'], results.rules
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
) -> contracts.Ranked:
  """Ranks a split, 'validation' or 'test', as the recipe does.

  `watch` may stop it, and knows what was ranked before.
  """
  count = offline.to_rank(experiment, split)
  rank = recipes.of(experiment.config).rank
  with progress.reporter(
    count, f'evaluate {split}', quiet=quiet, unit='held-out items'
  ) as show:
    shown = watch(progress.of_totals(show))
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
    'routing': routing_lib.described(routing) if routing else None,
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
  if impressions.there_are(experiment.prepared):
    both = impressions.counts(experiment.prepared)
    described['impressions'] = int(both.sum())
  held_out = data_report.describe_held_out(experiment.prepared)
  described['held_out'] = {
    split: {name: held[name] for name in ('in_train', 'in_train_share', 'same')}
    for split, held in held_out.items()
  }
  return described | ({'notes': notes} if notes is not None else {})


def warnings(described: Mapping[str, Any]) -> list[str]:
  """What in `dataset` limits a run, or what it says, a line each."""
  held_out = {
    split: {**held, 'events': described[split]}
    for split, held in described['held_out'].items()
  }
  return [*described.get('notes', ()), *data_report.warnings(held_out)]
