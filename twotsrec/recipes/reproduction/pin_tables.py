"""The tables of PIN in Markdown, our numbers beside the paper's."""

from collections.abc import Iterator, Mapping, Sequence
import math
from typing import Any

from twotsrec.evaluation import comparison
from twotsrec.recipes.reproduction import document
from twotsrec.recipes.reproduction import pin
from twotsrec.recipes.reproduction import pin_numbers
from twotsrec.runs import compare

_NAMES = {
  'base': '{}',
  'ga': '{} +GA',
  'ga_pn': '{} +GA+PN',
  'pcgrad': 'PCGrad',
  'agr_rand': 'Agr-Rand',
  'grad_transfer': 'Grad-Transfer',
  'base_long': '{}, trained as long',
  'ga_long': '{} +GA, trained as long',
  'ga_tau_minus1': '{} +GA, tau = -1',
}
METHODS = ('base', 'agr_rand', 'grad_transfer', 'pcgrad', 'ga_pn')  # Table 2
PARTS = ('base', 'ga', 'ga_pn', *pin.LONG)  # Table 4, and the controls
_TAUS = {'base': '1, joint', 'ga': '0, +GA', 'ga_tau_minus1': '-1'}


def by_group(
  found: Mapping[str, Any], systems: Mapping[str, Sequence[str]], paper: bool
) -> str:
  """AUC by group, each system below the paper's row if there is one.

  Args:
    found: a dataset of `pin_results.collect`.
    systems: {model: rows}.
    paper: whether the paper's numbers are on this dataset.
  """
  head = ['system', 'from', 'seeds', *groups(found)]
  popularity = map(document.cell, found['popularity']['auc'][:-1])
  rows = [['popularity', 'ours', '', *popularity]]
  for model, names in systems.items():
    printed = pin_numbers.BY_GROUP[model] if paper else {}
    for system in names:
      label = name(model, system)
      if system in printed:
        rows.append([label, 'paper', '', *map(document.plain, printed[system])])
      rows.append([label, 'ours', *_ours(found, model, system, 'auc')[:-1]])
  return comparison.piped([head, *rows])


def by_user(found: Mapping[str, Any], paper: bool) -> str:
  """Mean AUC of the users; arguments as in `by_group`."""
  head = ['system', 'paper', 'ours', 'seeds']
  everybody = document.cell(found['popularity']['user_auc'][-1])
  rows = [['popularity', '', everybody, '']]
  for system in METHODS:
    seeds, *_, everybody = _ours(found, 'din', system, 'user_auc')
    printed = document.plain(pin_numbers.BY_USER[system])
    rows.append([name('din', system), printed, everybody, seeds])
  if not paper:
    head, *rows = ([row[0], *row[2:]] for row in (head, *rows))
  return comparison.piped([head, *rows])


def by_tau(found: Mapping[str, Any]) -> str:
  """AUC by group and of the users for each prior."""
  head = ['tau', 'seeds', *groups(found), 'user AUC, all']
  rows = []
  for system, tau in _TAUS.items():
    *cells, _ = _ours(found, 'din', system, 'auc')
    rows.append([tau, *cells, _ours(found, 'din', system, 'user_auc')[-1]])
  return comparison.piped([head, *rows])


def lowest(found: Mapping[str, Any], paper: bool) -> str:
  """Which group the base model serves worst: the premise of the paper."""
  base = found['models']['din']['systems']['base']
  said = []
  if base is not None:
    ours = [cell['value'] for cell in base['cells']['auc'][:-1]]
    known = [value for value in ours if value is not None]
    said.append(f'group {ours.index(min(known)) + 1} here')
  if paper:
    printed = pin_numbers.BY_GROUP['din']['base']
    said.append(f'group {printed.index(min(printed)) + 1} in the paper')
  return f'The base model is lowest in {", ".join(said) or "-"}.'


def curves(found: Mapping[str, Any]) -> Iterator[str]:
  """Hit@1 on validation by epoch of stage 2 and group."""
  shown = found['models']['din']['curves']
  if not shown:
    yield '-'
    return
  head = ['epoch', 'seeds', *groups(found)]
  rows = []
  for epoch in range(max(len(curve['by_epoch']) for curve in shown)):
    there = [c['by_epoch'] for c in shown if epoch < len(c['by_epoch'])]
    label = f'{epoch}, the trunk' if epoch == 0 else str(epoch)
    values = zip(*(by_epoch[epoch] for by_epoch in there))
    rows.append([label, str(len(there)), *map(_spread, values)])
  yield comparison.piped([head, *rows])
  yield (
    'Means over seeds, in brackets their span; the paper has curves without'
    ' numbers. Over users alone the standard error of one seed is'
    f' {_noise(found)}.'
  )


def differences(
  model: str, compared: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
  """What `results.comparisons` returned, under the names of the tables."""
  for result in compared:
    named = {
      **result,
      'reference': name(model, result['reference']),
      'selected_on_test': [
        name(model, system) for system in result['selected_on_test']
      ],
      **{
        field: {name(model, k): v for k, v in result[field].items()}
        for field in ('systems', 'comparisons')
      },
    }
    yield compare.markdown(named)
    yield f'seeds: {", ".join(map(str, result["seeds"]))}'


def name(model: str, system: str) -> str:
  """Of a system in the tables."""
  return _NAMES[system].format(pin.MODELS[model])


def groups(found: Mapping[str, Any]) -> list[str]:
  """Heads of the columns."""
  return [f'group {group["group"]}' for group in found['groups']]


def _ours(found, model, system, metric) -> list[str]:
  """Number of seeds, a cell per group, and one of all users."""
  of_system = found['models'][model]['systems'][system]
  if of_system is None:
    return ['-'] * (len(found['groups']) + 2)
  cells = map(document.cell, of_system['cells'][metric])
  return [str(len(of_system['seeds'])), *cells]


def _noise(found) -> str:
  """Standard errors of a share of a group's users, at the trunk's level."""
  start = found['models']['din']['curves'][0]['by_epoch'][0]
  errors = [
    math.sqrt(share * (1 - share) / group['users'])
    for share, group in zip(start, found['groups'])
    if share is not None and group['users']
  ]
  low, high = map(document.plain, (min(errors), max(errors)))
  return f'{low} to {high} by group'


def _spread(values: Sequence[float | None]) -> str:
  known = [value for value in values if value is not None]
  if not known:
    return '-'
  mean = sum(known) / len(known)
  mean, low, high = map(document.plain, (mean, min(known), max(known)))
  return mean if len(known) == 1 else f'{mean} ({low} to {high})'
