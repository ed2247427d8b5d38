"""Whether a model is above the rules that stand beside it.

Both rank the same held-out items, so differences are paired over users, as in
`comparison`: over everybody, by activeness group and by part of the report.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from twotsrec import config as config_lib
from twotsrec import metrics as metrics_lib
from twotsrec.evaluation import comparison
from twotsrec.evaluation import report as report_lib

ABOVE, LEVEL, BELOW = 'above', 'level', 'below'
UNCLEAR = 'unclear'  # no interval was asked for, or nobody is left


def against(
  model: Mapping[str, np.ndarray],
  rules: Mapping[str, Mapping[str, np.ndarray]],
  num_groups: int,
  evaluation: config_lib.EvaluationConfig,
  parts: Sequence[str] = (),
) -> dict[str, Any]:
  """The model against every rule, for JSON.

  Args:
    model: rows of `per_target.npz`.
    rules: {name: rows} on the same held-out items.
    num_groups: G.
    evaluation: cut-offs, and resamples of users with their seed.
    parts: names, in order of `model['part']`; () for none.
  Returns:
    {'metric': which decides, 'metrics', 'rules': {name: {'overall': row,
    'groups': [row], 'parts': {part: row}}}}; a row is {'standing', metric:
    {'model', 'rule', 'difference', 'low', 'high', 'p'}}. A model stands ABOVE
    or BELOW a rule where the 95 % interval of its difference excludes 0.
  """
  metrics = metrics_of(evaluation, 'label' in model)
  made: dict[str, Any] = {name: {} for name in rules}
  for by, number in (('group', num_groups), ('part', len(parts))):
    if not number or not rules:
      continue
    tables = [
      comparison.tabulate(rows, number, metrics, by, evaluation.rank_ties)
      for rows in (model, *rules.values())
    ]
    systems = [comparison.pool([table]) for table in tables]
    compared = comparison.compare(
      systems, evaluation.bootstrap, evaluation.seed
    )
    for name, one in zip(rules, compared, strict=True):
      rows = [_row(one, row, metrics) for row in range(number + 1)]
      made[name]['overall'] = rows.pop()
      if by == 'group':
        made[name]['groups'] = rows
      else:
        made[name]['parts'] = dict(zip(parts, rows, strict=True))
  return {'metric': metrics[0], 'metrics': list(metrics), 'rules': made}


def metrics_of(
  evaluation: config_lib.EvaluationConfig, labels: bool
) -> tuple[str, ...]:
  """What models and rules are compared by; the first decides.

  Args:
    evaluation: cut-offs.
    labels: whether impressions are judged.
  """
  if labels:
    return ('auc', 'user_auc')
  return report_lib.default_names(evaluation.ks, ranked_only=True)


def _row(one, row, metrics) -> dict[str, Any]:
  """A row of a comparison, where the model is the reference."""
  cells = {}
  for column, metric in enumerate(metrics):
    at = row, column
    values = {
      'model': one.reference[at],
      'rule': one.other[at],
      'difference': 0.0 - one.difference[at],
      'low': 0.0 - one.high[at],
      'high': 0.0 - one.low[at],
      'p': one.p[at],
    }
    cells[metric] = {k: metrics_lib.or_none(v) for k, v in values.items()}
  return {'standing': _standing(cells[metrics[0]]), **cells}


def _standing(cell) -> str:
  if cell['low'] is None:
    return UNCLEAR
  if cell['low'] > 0:
    return ABOVE
  return BELOW if cell['high'] < 0 else LEVEL
