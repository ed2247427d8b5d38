"""The verdict after a training: is it worth serving, and what to try next.

It says how the model stands to every rule beside it, whether validation still
improved at the end, and which flags to try. Every flag is one that the recipe
accepts with the settings of the run.
"""

from collections.abc import Iterable, Mapping
import math
import os
import pathlib
from typing import Any

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import fields
from twotsrec import recipes
from twotsrec import types
from twotsrec.data import impressions
from twotsrec.evaluation import behaviors
from twotsrec.evaluation import comparison
from twotsrec.evaluation import offline
from twotsrec.evaluation import verdict as verdict_lib
from twotsrec.models import closed_form
from twotsrec.presets import copf
from twotsrec.training import run_directory

IMPROVING, FLAT, PAST, SHORT = 'improving', 'flat', 'past its best', 'too short'
_ENDS = {
  IMPROVING: 'was still improving at the end',
  FLAT: 'was flat at the end',
  PAST: 'was past its best at the end',
  SHORT: 'was measured too seldom to tell whether it still improves',
}
_FEW = 3  # evaluations of which nothing can be said
_TOLERANCE = 0.02  # of the span of all values: smaller changes are none
_LONG, _PATIENCE = 40, 20  # in which models left the plateau of popularity
_NEW = 'in a new --workdir'


def of(
  experiment: contracts.Experiment,
  test: contracts.Ranked | None,
  rules: Mapping[str, contracts.Ranked | None],
  workdir: str | os.PathLike,
  phases: Iterable[str] = (),
) -> dict[str, Any] | None:
  """The section `verdict` of a report; None where nothing can be paired.

  Args:
    experiment: of the run.
    test: test items as the model ranks them.
    rules: the same as the rules beside it rank them.
    workdir: its directory.
    phases: folders of its phases; () if the run has one.
  Returns:
    What `evaluation.verdict.against` returns, with 'validation': {phase:
    curve}, 'lines': sentences and 'try': flags with what they do.
  """
  rows = {name: rule.rows for name, rule in rules.items() if rule}
  needed = {*comparison.KEYS, *comparison.OF_RULES}
  if test is None or not all(
    needed <= r.keys() for r in (test.rows, *rows.values())
  ):
    return None
  config = experiment.config
  parts = [part['name'] for part in test.part.get('parts', ())]
  groups = len(experiment.groups.sizes)
  section = verdict_lib.against(
    test.rows, rows, groups, config.evaluation, parts
  )
  curves = {
    name: curve
    for name in (*phases,) or ('',)
    if (curve := _curve(pathlib.Path(workdir) / name, config.train))
  }
  advice = list(_advice(experiment, section, curves))
  return section | {
    'validation': curves,
    'lines': [
      *_standings(section),
      *_absent(experiment, section['rules']),
      *_ends(curves),
    ],
    'try': advice,
  }


def lines(section: Mapping[str, Any], name: str = '') -> list[str]:
  """The verdict for people; `name` tells several systems apart."""
  whose = f' on {name}' if name else ''
  head = (
    f'verdict{whose}, by {section["metric"]}; differences paired over users,'
    ' with 95 % intervals:'
  )
  return [
    head,
    *(f'  {line}' for line in section['lines']),
    *(f'  to try: {line}' for line in section['try']),
  ]


# ---- Where the model stands


def _standings(section) -> Iterable[str]:
  metric = section['metric']
  for rule, by in section['rules'].items():
    yield _sentence(rule, by['overall'], metric)
    for part, row in by.get('parts', {}).items():
      # A part is told where it stands otherwise.
      if row['standing'] not in (
        by['overall']['standing'],
        verdict_lib.UNCLEAR,
      ):
        yield f'of {part} items {_sentence(rule, row, metric)}'


def _absent(experiment, rules) -> Iterable[str]:
  """Names rules that take too long to stand beside a model unasked."""
  for name in offline.left_out(experiment, rules):
    names = (*experiment.config.evaluation.rules, name)
    text = f'not beside {name}, which takes long on such a log'
    if name not in closed_form.NAMES:
      yield text
    elif accepted(experiment.config, {'evaluation.rules': names}):
      flag = f'--config.evaluation.rules="{",".join(map(repr, names))},"'
      yield f'{text}: {flag} {_NEW}'


def _sentence(rule, row, metric) -> str:
  cell, standing = row[metric], row['standing']
  if cell['difference'] is None:
    return f'no held-out item to stand against {rule}'
  pair = f'{cell["model"]:.4f} against {cell["rule"]:.4f}'
  if standing == verdict_lib.UNCLEAR:
    return f'{pair} of {rule}, without an interval (evaluation.bootstrap is 0)'
  words = {verdict_lib.LEVEL: 'level with', verdict_lib.BELOW: 'BELOW'}
  spread = (
    f'{cell["difference"]:+.4f} [{cell["low"]:+.4f}, {cell["high"]:+.4f}]'
  )
  return f'{words.get(standing, standing)} {rule}: {pair}, {spread}'


# ---- Where training stood at its end


def _curve(folder, train) -> dict[str, Any] | None:
  """What selection saw in a phase; None if nothing was judged."""
  judged = [
    (record['epoch'], record[train.select_on])
    for record in run_directory.read_metrics(folder)
    if train.select_on in record
  ]
  if not judged:
    return None
  # The networks of 2TS are judged by their mrr, whatever `train` says.
  names = (train.select_metric, 'mrr')
  metric = next((name for name in names if name in judged[0][1]), None)
  if metric is None:
    return None
  sign = 1.0 if metric == 'loss' else -1.0
  values = [sign * values[metric] for _, values in judged]
  return {
    'metric': metric,
    'epochs': judged[-1][0],
    'best_epoch': judged[values.index(min(values))][0],
    'end': end_of(values),
  }


def end_of(losses: list[float]) -> str:
  """How a series of losses ends, by its last quarter.

  IMPROVING if the best of the quarter is below the best before it, PAST if the
  last value is above the best, by more than `_TOLERANCE` of the span of all.
  """
  if len(losses) < _FEW:
    return SHORT
  span = max(losses) - min(losses)
  last = math.ceil(len(losses) / 4)
  if min(losses[-last:]) < min(losses[:-last]) - _TOLERANCE * span:
    return IMPROVING
  # Five tolerances: noise around the best value is no decline.
  return PAST if losses[-1] > min(losses) + 5 * _TOLERANCE * span else FLAT


def _ends(curves) -> Iterable[str]:
  for name, curve in curves.items():
    which = f'{name}: ' if name else ''
    yield (
      f'{which}validation {curve["metric"]} {_ENDS[curve["end"]]} (best: epoch'
      f' {curve["best_epoch"]} of {curve["epochs"]})'
    )


# ---- What to try


def _advice(experiment, section, curves) -> Iterable[str]:
  standings = [
    row['standing']
    for by in section['rules'].values()
    for row in (by['overall'], *by.get('parts', {}).values())
  ]
  lacking = any(s in (verdict_lib.BELOW, verdict_lib.LEVEL) for s in standings)
  if curves:
    yield from _longer(experiment.config, curves, lacking)
  if lacking:
    yield from _others(experiment, section, bool(curves))


def _longer(config, curves, lacking) -> Iterable[str]:
  """More epochs, or smaller steps."""
  ends = {curve['end'] for curve in curves.values()}
  name = recipes.of(config).section(config)
  ran = max(curve['epochs'] for curve in curves.values())
  asked = getattr(config, name)
  if ends & {IMPROVING, SHORT} or (lacking and FLAT in ends):
    if ran < asked.epochs:  # out of patience
      patience = max(_PATIENCE, 2 * asked.patience)
      yield (
        f'--config.{name}.patience={patience}'
        f' --config.{name}.epochs={max(_LONG, 2 * ran)} {_NEW}; the loss of a'
        ' model that has learned what is popular can stand still for many'
        ' epochs and fall again'
      )
    else:
      how = _NEW
      if recipes.of(config).grows and not ran % config.train.evaluate_every:
        how = 'with the same command, which goes on from here'
      yield f'--config.{name}.epochs={2 * asked.epochs} {how}'
  elif lacking and PAST in ends and name == 'train':
    rate = config.train.learning_rate / 3
    yield f'--config.train.learning_rate={rate:.2g} {_NEW}'


def _others(experiment, section, is_trained) -> Iterable[str]:
  """Another model, or another question."""
  config, prepared = experiment.config, experiment.prepared
  if accepted(config, {'behavior.prior': 'pattern'}):
    yield f'--config.behavior.prior=pattern {_NEW}'
    return
  several = bool(behaviors.names(prepared))
  labeled = impressions.there_are(prepared)
  terms = config_lib.PRIOR_TERMS
  is_plain = not several and not labeled
  if is_plain and accepted(config, {'prior.terms': terms}):
    quoted = ','.join(f"'{term}'" for term in terms)
    yield (
      f'--config.prior.terms="{quoted}" {_NEW}; what a user had, and what goes'
      ' with it, is then added to the scores'
    )
  for name in ('gru4rec', 'sasrec'):
    if not several and accepted(config, {'model.name': name}):
      yield f'--config.model.name={name} {_NEW}'
      break
  if several and accepted(config, {'model.name': 'multi_behavior'}):
    file = copf.file_for(len(behaviors.names(prepared)))
    yield f'--config=configs/{file}{_data_flags(config)} {_NEW}, COPF'
  if is_trained and is_plain and prepared.num_items <= closed_form.LARGEST:
    yield f'--config=configs/closed_form.py{_data_flags(config)} {_NEW}, EASE'
  below = section['rules'].get('seen_again', {}).get('overall', {})
  discoveries = {'evaluation.candidates': 'never_interacted'}
  not_above = below.get('standing') in (verdict_lib.BELOW, verdict_lib.LEVEL)
  if not_above and not labeled and accepted(config, discoveries):
    yield (
      f'--config.evaluation.candidates=never_interacted {_NEW}, to rank what is'
      ' new to its user; seen_again is hard to beat at the rest'
    )


def accepted(config: config_lib.Config, changes: Mapping[str, Any]) -> bool:
  """Whether a recipe takes a configuration with some settings changed."""
  changed = config_lib.changed(config, changes)
  try:
    recipes.check(changed)
  except types.UserError:
    return False
  return changed != config


def _data_flags(config) -> str:
  """Data and groups of a run as flags for another model, to compare with."""
  unread = ('data.history_length', 'data.num_negatives')
  if config.data.prepared:  # which overrides a dataset by name
    unread += ('data.dataset', 'data.data_root', 'data.cache_dir')
  flags = ''
  for path, field, value in fields.walk(config):
    shared = path.startswith(('data.', 'groups.')) and path not in unread
    if shared and isinstance(value, str) and value != field.default:
      flags += f' --config.{path}={value}'
    elif shared and isinstance(value, (bool, int)) and value != field.default:
      flags += f' --config.{path}={str(value).lower()}'
  return flags
