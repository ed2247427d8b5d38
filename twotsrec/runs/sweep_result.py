"""What a sweep found: a table, and the best as a configuration file."""

from collections.abc import Mapping
import pathlib
from typing import Any

from twotsrec import config as config_lib
from twotsrec import fields
from twotsrec.evaluation import comparison
from twotsrec.training import files

COMPLETE = 'complete'
_RESULT, _BEST = 'sweep.json', 'best.py'
_FILE = '''"""The best of {number} trials by {metric} {objective} of validation.

    python launch/train.py --config={path} --workdir=runs/best

Of several that are best in their own way, a trial is named after a colon.
"""

from twotsrec import config as config_lib
from twotsrec import fields

_TRIALS = {variants}


def get_config(trial: str = {first!r}) -> config_lib.Config:
  """The settings of a trial."""
  fields.refuse_unknown('trial', trial, _TRIALS)
  config = config_lib.Config()
  config_lib.change(config, _TRIALS[trial])
  return config
'''


def write(
  result: Mapping[str, Any], config: config_lib.Config, workdir: str
) -> None:
  """Writes sweep.json, and best.py with a variant for each of the best.

  Args:
    result: of `sweep.train`.
    config: of all trials but for what varies.
    workdir: of the sweep.
  """
  files.write_json(pathlib.Path(workdir) / _RESULT, result)
  if not result['best']:
    return
  path = pathlib.Path(workdir) / _BEST
  text = _FILE.format(
    objective=result['objective'],
    metric=result['metric'],
    number=len(result['trials']),
    path=path,
    first=str(result['best'][0]),
    variants=_lines(_variants(result, config)),
  )
  with files.explained(path, 'write'), files.replacing(path) as file:
    file.write(text.encode())


def _variants(result, config) -> dict[str, dict[str, Any]]:
  """What the best trials change of a configuration without settings."""
  usual = {path: value for path, _, value in fields.walk(config_lib.Config())}
  variants = {}
  for index in result['best']:
    settings = result['trials'][index]['settings']
    made = config_lib.changed(config, settings)
    variants[str(index)] = {
      path: value
      for path, _, value in fields.walk(made)
      if value != usual[path]
    }
  return variants


def _lines(variants) -> str:
  """A dict of dicts as code, a line for each setting."""
  lines = ['{']
  for name, changes in variants.items():
    lines.append(f'  {name!r}: {{')
    lines += [f'    {path!r}: {value!r},' for path, value in changes.items()]
    lines.append('  },')
  return '\n'.join([*lines, '}'])


def format(result: Mapping[str, Any], workdir: str) -> str:
  """The trials, the best ones first, and what to do with the best."""
  best, metric, trials = result['best'], result['metric'], result['trials']
  rows = [['trial', metric, 'group 1', 'state', *trials[0]['settings']]]
  for one in sorted(trials, key=_order(best)):
    mark = '*' if one['index'] in best else ''
    values = (_number(one[name]) for name in ('overall', 'group1'))
    shown = map(_shown, one['settings'].values())
    rows.append([f'{one["index"]}{mark}', *values, one['state'], *shown])
  width = max(map(len, rows))
  rows = [row + [''] * (width - len(row)) for row in rows]
  lines = [comparison.aligned(rows)]
  reasons = {one['reason'] for one in trials if one['reason']}
  lines += [f'failed: {reason.splitlines()[0]}' for reason in sorted(reasons)]
  lines.append(f'on validation items; * best by {result["objective"]}')
  return '\n'.join([*lines, *_next(best, trials, workdir)])


def _order(best):
  """The best ones, then by value; what has none last."""
  rank = {index: number for number, index in enumerate(best)}

  def key(one):
    value = one['overall']
    worth = 1.0 if value is None else -value
    return rank.get(one['index'], len(rank)), worth, one['index']

  return key


def _next(best, trials, workdir):
  """Commands that take the best up."""
  if not best:
    return
  path = pathlib.Path(workdir) / _BEST
  yield (
    f'the best: python launch/train.py --config={path} --workdir=runs/best'
  )
  if best[0] != 0 and trials[0]['state'] == COMPLETE:
    runs = ','.join(trials[index]['workdir'] for index in (0, best[0]))
    yield f'on test items: python launch/compare.py --runs={runs}'


def _number(value) -> str:
  return '-' if value is None else f'{value:.4f}'


def _shown(value) -> str:
  return f'{value:.4g}' if isinstance(value, float) else str(value)
