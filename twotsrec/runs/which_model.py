"""What to try first on prepared data, and what a model has to beat there.

Rules and closed forms rank the test items as they do beside every model, so
that their numbers are those of the report of a run. What would take long is
left out, and said: EASE of a large catalog, neighbors of long histories, and
all users but a fixed sample where there is much to rank.
"""

from collections.abc import Iterator, Mapping
import shlex
from typing import Any, NamedTuple

import numpy as np

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import groups as groups_lib
from twotsrec.data import impressions
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import report as data_report
from twotsrec.evaluation import behaviors
from twotsrec.evaluation import offline
from twotsrec.evaluation import verdict
from twotsrec.models import closed_form
from twotsrec.presets import copf
from twotsrec.presets import for_data
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import reports

# Items of EASE here: about 15 s and 1.3 GB on two cores.
EASE_ITEMS = 6000
_BYTES = 36  # of EASE for a pair of items
# Scores that are ranked at most, and products of EASE for them.
_SCORES, _PRODUCTS = 1e9, 5e11
_FEW_USERS = 100  # a smaller sample has no interval to speak of
_COMES_BACK = 0.05  # share of held-out items that their user had: much
_BY_TIME = ('global_time', 'per_user_time')


class Try(NamedTuple):
  """Something to try: why, and the command."""

  why: str
  command: str


def of(data: str, num_groups: int = 5, quiet: bool = False) -> dict[str, Any]:
  """What prepared data say before anything is trained.

  Args:
    data: directory that launch/prepare.py made.
    num_groups: activeness groups.
    quiet: no progress display.
  Returns:
    {'data', 'facts': of the data report, 'users': size of the sample that is
    ranked, 0 for all, 'metric', 'protocol', 'rules': {name: part of a report},
    'best': {'overall' and 'group 1': name}, 'left_out': sentences,
    'lines': sentences, 'try': [{'why', 'command'}]}.
  Raises:
    types.UserError: no prepared data, no test events, or groups without users.
  """
  experiment = _experiment(data, num_groups)
  if not offline.held_out(experiment, 'test'):
    raise types.UserError(
      f'{data} holds out no test events, so there is nothing to beat; prepare'
      ' it with launch/prepare.py --split=leave_last_out'
    )
  experiment, left_out = _affordable(experiment)
  ranked = {
    name: reports.evaluate(experiment, ranker, 'test', quiet)
    for name, ranker in offline.rules(experiment).items()
  }
  rules = {name: one.part for name, one in ranked.items()}
  metric = _metric(experiment)
  best = {
    'overall': _best(rules, metric, lambda part: part['overall']),
    'group 1': _best(rules, metric, lambda part: part['groups'][0]),
  }
  facts = data_report.describe(experiment.prepared, experiment.config.groups)
  found = {
    'data': data,
    'facts': facts,
    'users': experiment.config.evaluation.users,
    'metric': metric,
    'protocol': reports.protocol(experiment, selects=False),
    'rules': rules,
    'best': best,
    'left_out': left_out,
    'standing': _standing(experiment, ranked, best['overall']),
  }
  found['lines'] = [*_to_beat(found), *_about(found)]
  found['try'] = [one._asdict() for one in _tries(experiment, found)]
  return found


def text(found: Mapping[str, Any]) -> str:
  """What `of` returned, for people."""
  lines = [*found['lines'], *found['left_out'], '', 'What to try first:']
  for number, one in enumerate(found['try'], 1):
    lines += [f'{number}. {one["why"]}', f'   {one["command"]}']
  return '\n'.join(lines)


# ---- What is ranked


def _experiment(data, num_groups) -> contracts.Experiment:
  """The data with groups; rules need no more of a recipe."""
  config = config_lib.Config()
  config.data.prepared, config.groups.num_groups = data, num_groups
  prepared = experiment_lib.load_data(config)
  groups = groups_lib.assign(prepared, config.groups)
  return contracts.Experiment(config=config, prepared=prepared, groups=groups)


def _affordable(experiment) -> tuple[contracts.Experiment, list[str]]:
  """The settings that rank in a minute or so, and what they leave out."""
  prepared, evaluation = experiment.prepared, experiment.config.evaluation
  items, left_out = prepared.num_items, []
  test = offline.held_out(experiment, 'test')
  share = min(1.0, _SCORES / (test * items))
  if items <= EASE_ITEMS:
    share = min(share, _PRODUCTS / (test * items**2))
  if share < 1.0:
    evaluation.users = max(_FEW_USERS, int(share * prepared.num_users))
    left_out.append(
      f'Only a fixed sample of {evaluation.users:,} users is ranked here, and'
      ' by the commands below.'
    )
  pairs = offline.can_afford_neighbors(experiment, 1)
  rules = ['item_knn'] if pairs else []
  if pairs and items <= EASE_ITEMS:
    rules.append('ease')
  evaluation.rules = tuple(rules)
  for name in closed_form.NAMES:
    if name not in rules:
      left_out.append(_too_long(name, items, pairs))
  return experiment, left_out


def _too_long(name, items, pairs) -> str:
  if items > {'ease': EASE_ITEMS}.get(name, items):
    text = (
      f'EASE is left out: its matrix of {items:,} x {items:,} items takes'
      f' {_BYTES * items**2 / 1e9:,.1f} GB'
    )
    return text + (
      '; train it by itself, with configs/closed_form.py.'
      if items <= closed_form.LARGEST
      else ', too much for any run.'
    )
  return (
    f'{name} is left out: users have so many events that counting pairs of'
    f' items takes more than half a minute; train it by itself, with'
    f' configs/closed_form.py:{name}.'
  )


def _metric(experiment) -> str:
  """What decides, as in the verdict of a run."""
  metrics = verdict.metrics_of(
    experiment.config.evaluation, impressions.there_are(experiment.prepared)
  )
  return metrics[0]


def _best(rules, metric, row_of) -> str | None:
  """The rule with the largest value; None where no held-out item is ranked."""
  values = {name: row_of(part)[metric]['value'] for name, part in rules.items()}
  values = {name: v for name, v in values.items() if v is not None}
  return max(values, key=lambda name: values[name]) if values else None


def _standing(experiment, ranked, best) -> str | None:
  """How the best rule stands to the first, which knows no user."""
  first = next(iter(ranked))
  if best in (None, first):
    return None
  section = verdict.against(
    ranked[best].rows,
    {first: ranked[first].rows},
    len(experiment.groups.sizes),
    experiment.config.evaluation,
  )
  return section['rules'][first]['overall']['standing']


# ---- What is said


def _to_beat(found) -> Iterator[str]:
  """What a model has to beat, and all rules below it."""
  metric, rules, best = found['metric'], found['rules'], found['best']
  yield (
    f'On the test items of {found["data"]}, by {metric} with 95 % intervals'
    f' ({found["protocol"]["candidates"]} candidates):'
  )
  if name := best['overall']:
    value = _with_interval(rules[name]['overall'][metric])
    yield f'A model has to beat {name}: {value} overall.'
  if name := best['group 1']:
    group = rules[name]['groups'][0]
    yield (
      f'In group 1 ({group["users"]:,} users with {group["min_activity"]:,}-'
      f'{group["max_activity"]:,} training events) it has to beat {name}:'
      f' {_with_interval(group[metric])}.'
    )
  width = max(map(len, rules))
  for name, part in rules.items():
    overall, group = part['overall'][metric], part['groups'][0][metric]
    yield (
      f'  {name:<{width}}  overall {_with_interval(overall)}, group 1'
      f' {_with_interval(group)}'
    )


def _with_interval(cell) -> str:
  if cell['value'] is None:
    return '-'
  return f'{cell["value"]:.4f} [{cell["low"]:.4f}, {cell["high"]:.4f}]'


def _about(found) -> Iterator[str]:
  """What in the data bears on the choice of a model."""
  facts, best = found['facts'], found['best']['overall']
  held = facts['held_out']['test']
  first = next(iter(found['rules']))
  if best == first:
    yield (
      f'No rule that reads histories is above {first}: expect little of a'
      ' model before users have more events.'
    )
  elif found['standing'] == verdict.ABOVE:
    yield (
      f'{best} is above {first}, so what a user did tells what comes next, and'
      ' there is something to learn.'
    )
  if held['in_train_share'] >= _COMES_BACK:
    yield (
      f'{held["in_train_share"]:.0%} of the test items are ones that their'
      ' user had.'
    )
  if held['new_user_share'] >= _COMES_BACK:
    yield (
      f'{held["new_user_share"]:.0%} of the test events are of users without a'
      ' train event, whom no embedding of a user serves.'
    )
  if facts['groups']:
    share = facts['groups'][0]['share']
    yield f'Group 1 has {share:.1%} of what is trained on.'


def _tries(experiment, found) -> Iterator[Try]:
  """Commands, the first one first."""
  prepared, best = experiment.prepared, found['best']['overall']
  given = _data_flags(found, experiment)
  labeled, several = impressions.there_are(prepared), behaviors.names(prepared)
  of_behaviors = several and not labeled
  file = for_data.file_for(prepared)
  if of_behaviors:
    yield Try(
      'A regression on what a user touched, and one for the rest, are solved'
      ' for in a minute.',
      f'python launch/train.py --config=configs/{file}{given}'
      ' --workdir=runs/pair_experts',
    )
    file = copf.file_for(len(several))
  train = f'python launch/train.py --config=configs/{file}{given}'
  validated = bool(offline.held_out(experiment, 'validation'))
  unselected = '' if validated else _unselected(file)
  yield Try(
    _first_why(labeled, several), f'{train}{unselected} --workdir=runs/mine'
  )
  if best in closed_form.NAMES and not of_behaviors:
    yield Try(
      f'{best} is solved for at once, and serves until a model is above it.',
      f'python launch/train.py --config=configs/closed_form.py:{best}{given}'
      f' --workdir=runs/{best}',
    )
  plain = validated and not several and not labeled
  by_time = found['protocol']['split'] in _BY_TIME
  if plain and by_time and prepared.times is not None:
    yield _over_time(prepared, given)
  if validated:
    yield _for_the_tail(file, given, several, labeled)


def _over_time(prepared, given) -> Try:
  """2TS, whose window is shorter than the longest history."""
  most = int(np.max(prepared_lib.train_counts(prepared)))
  window = ''
  if most <= config_lib.TwoTimeConfig.window:
    window = f' --config.two_time.window={max(most // 2, 1)}'
  return Try(
    'The log is divided by time: 2TS keeps a state of every user current as'
    ' events arrive, from a start that is weighed by what is known of it.',
    'python launch/train.py'
    f' --config=configs/two_time_scale/ml100k.py:shrunk{window}{given}'
    ' --workdir=runs/2ts',
  )


def _first_why(labeled, several) -> str:
  if labeled:
    return (
      'A model of histories learns which of the impressions are clicked (PIN).'
    )
  if several:
    return (
      f'COPF learns {several[-1]} from {", ".join(several[:-1])} as well, over'
      ' the graphs of all of them.'
    )
  return (
    'SASRec reads the history, and what a history says of an item by itself is'
    ' added to its scores.'
  )


def _unselected(file) -> str:
  """Flags of a model that has no validation events to be selected by."""
  prior = ' --config.prior.terms="()"' if file == 'own.py' else ''
  return f'{prior} --config.train.select_metric=none'


def _for_the_tail(file, given, several, labeled) -> Try:
  """What serves the least active group better."""
  if not several and not labeled:
    return Try(
      'Ways to serve group 1 better are tried on this model, and the one is'
      ' chosen that harms no other group.',
      f'python launch/tail.py --config=configs/{file}{given}'
      ' --workdir=runs/tail',
    )
  plugin = ''
  if several:
    plugin = ' --config.plugin.name=light --config.plugin.points=Z'
    plugin += ' --config.plugin.trunk_learning_rate=0'
  return Try(
    'Groups pull alike, and each gets a plugin of its own, for group 1 above'
    ' all.',
    f'python launch/pin.py --config=configs/{file}{plugin}{given}'
    ' --workdir=runs/pin',
  )


def _data_flags(found, experiment) -> str:
  """The data, the groups and the sample, so that numbers can be compared."""
  config = experiment.config
  flags = f' --config.data.prepared={shlex.quote(found["data"])}'
  if config.groups != config_lib.GroupConfig():
    flags += f' --config.groups.num_groups={config.groups.num_groups}'
  if config.evaluation.users:
    flags += f' --config.evaluation.users={config.evaluation.users}'
  return flags
