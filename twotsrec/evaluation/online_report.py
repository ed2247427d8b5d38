"""The report of an online evaluation: rules, buckets and two kinds of means.

Rules name the candidates of a held-out event:
  expected   the item and 499 others sampled, expected over all such lists
  sampled    the same with one list per event, fixed for all models
  all        all items
and `expected_without_past` and `all_without_past`, where the items of the
user's earlier events leave. Means: `by_user`, over users of each user's mean
(2TS fig. 3), and `by_event`, over events (2TS sec. 4). A row has a part for all
events and one for the `warm` ones, whose item occurs in training, the same for
all models; an item that a model never trained on (new, or left out of its
training) may score 0 and so be above or below everything.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from twotsrec import config
from twotsrec import metrics
from twotsrec.data import groups as groups_data
from twotsrec.data import prepared as prepared_data
from twotsrec.evaluation import buckets
from twotsrec.evaluation import candidates
from twotsrec.evaluation import counting
from twotsrec.evaluation import expected
from twotsrec.evaluation import report

EVERYBODY = 'all'
INACTIVE, ACTIVE = 'inactive', 'active'
MEANS = ('by_user', 'by_event')
WARM = 'warm'
PARTS = ('all', WARM)  # events of a row


class Options(NamedTuple):
  """Options of the online report.

  Attributes:
    lists: n, sampled candidates beside the item in an expected list.
    k: cut-off of recall and ndcg.
    edges: of the buckets by training events.
    threshold: t*, which divides users into inactive and active; None for not.
    resamples: of users for the 95 % intervals; 0 leaves them null.
    seed: of the resamples.
  """

  lists: int = 499
  k: int = 10
  edges: tuple[int, ...] = buckets.EDGES
  threshold: int | None = None
  resamples: int = 1000
  seed: int = 0


DEFAULTS = Options()


def build(
  per_target: Mapping[str, np.ndarray],
  options: Options = DEFAULTS,
  values: Mapping[tuple[str, str], np.ndarray] | None = None,
) -> dict[str, Any]:
  """One split's online evaluation as JSON values.

  Args:
    per_target: arrays of `online.rank`.
    options: of the report.
    values: of `target_metrics`, such as their mean over several trainings;
      None takes those of `per_target`.
  Returns:
    {'options', 'rules', 'metrics', 'lists_digest' (null without lists),
    'rows': [{'name', 'all': part, 'warm': part}]}. A row is everybody, a
    bucket, or inactive and active users; a part is {'users', 'events',
    'share_new' (events of users without training events), 'share_cold' (events
    whose item has none), rule: {metric: {mean: {'value', 'low', 'high'}}}}.
  """
  if values is None:
    values = target_metrics(per_target, options.lists, options.k)
  names = list(values)
  table = np.stack(list(values.values()), axis=1)
  rows = []
  for name, chosen in _rows(per_target['train_count'], options):
    warm = chosen & per_target['warm']
    rows.append(
      {
        'name': name,
        'all': _part(per_target, names, table, chosen, options),
        WARM: _part(per_target, names, table, warm, options),
      }
    )
  digest = None
  if 'list' in per_target:
    digest = candidates.digest_of_fingerprints(per_target['list'])
  return {
    'options': options._asdict() | {'edges': list(options.edges)},
    'rules': list(dict.fromkeys(rule for rule, _ in names)),
    'metrics': list(dict.fromkeys(metric for _, metric in names)),
    'lists_digest': digest,
    'rows': rows,
  }


def target_metrics(
  per_target: Mapping[str, np.ndarray], lists: int = 499, k: int = 10
) -> dict[tuple[str, str], np.ndarray]:
  """{(rule, metric): f64[T]} of mrr, recall@k and ndcg@k."""
  values = {}
  for ending in ('', '_without_past'):
    counts = _counts(per_target, ending)
    others = per_target['num_negatives' + ending]
    given = (*counts, others, lists)
    values |= {
      ('expected' + ending, 'mrr'): expected.reciprocal_rank(*given),
      ('expected' + ending, f'recall@{k}'): expected.hit(*given, k),
      ('expected' + ending, f'ndcg@{k}'): expected.ndcg(*given, k),
    }
  ranked = {'': 'all', '_without_past': 'all_without_past'}
  if 'better_sampled' in per_target:
    ranked['_sampled'] = 'sampled'
  for ending, rule in ranked.items():
    rank = metrics.rank_from_counts(*_counts(per_target, ending))
    values |= {
      (rule, 'mrr'): metrics.reciprocal_rank(rank),
      (rule, f'recall@{k}'): metrics.hit(rank, k),
      (rule, f'ndcg@{k}'): metrics.ndcg(rank, k),
    }
  return values


def for_run_report(
  per_target: Mapping[str, np.ndarray],
  prepared: prepared_data.Prepared,
  groups: groups_data.Groups,
  evaluation: config.EvaluationConfig,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """The standard part of report.json, and its arrays per target.

  Events rank among all items but those of the user's past. There is no pooled
  AUC: the queries of two users, or of two events, share no scale.

  Args:
    per_target: arrays of `online.rank`, of one split.
    prepared: the data.
    groups: of the users.
    evaluation: cut-offs, ties and resamples.
  Returns:
    (part, arrays) as `evaluate.evaluate`.
  """
  column = lambda name: per_target[f'{name}_without_past']
  counts = counting.Counts(
    better=column('better'),
    tied=column('tied'),
    num_negatives=column('num_negatives'),
    positive_score=per_target['score'],
  )
  event, user = per_target['event'], per_target['user']
  targets = prepared_data.Targets(event, user, per_target['item'], event)
  group = groups_data.of_events(groups, user, event)
  nowhere = np.full(event.size, np.nan)
  arrays = report.per_target(
    targets, group, counts, (nowhere, nowhere), evaluation
  )
  part = report.build(
    arrays,
    prepared_data.train_counts(prepared),
    len(groups.sizes),
    evaluation.ks,
    evaluation.bootstrap,
    evaluation.seed,
  )
  return part, arrays


def _counts(per_target, ending):
  return per_target['better' + ending], per_target['tied' + ending]


def _rows(
  train_count: np.ndarray, options: Options
) -> list[tuple[str, np.ndarray]]:
  """Names of the rows and their events, bool[T]."""
  bucket = buckets.assign(train_count, options.edges)
  rows = [(EVERYBODY, np.ones(train_count.size, np.bool_))]
  for i, name in enumerate(buckets.names(options.edges)):
    rows.append((name, bucket == i))
    if i == 1:
      rows.append((buckets.pooled_name(options.edges), bucket <= 1))
  if options.threshold is not None:
    active = train_count > options.threshold
    rows += [(INACTIVE, ~active), (ACTIVE, active)]
  return rows


def _part(per_target, names, table, chosen, options) -> dict[str, Any]:
  """Means of the chosen events, with intervals over their users."""
  users, index = np.unique(per_target['user'][chosen], return_inverse=True)
  events = np.bincount(index, minlength=users.size).astype(np.float64)
  part = {
    'users': int(users.size),
    'events': int(index.size),
    'share_new': _share(per_target['train_count'][chosen] == 0),
    'share_cold': _share(~per_target[WARM][chosen]),
  }
  sums = np.stack(
    [
      np.bincount(index, weights=column, minlength=users.size)
      for column in table[chosen].T
    ],
    axis=1,
  )
  weights = np.broadcast_to(events[:, None], sums.shape)
  sums = np.concatenate([sums / weights, sums], axis=1)
  counts = np.concatenate([np.ones_like(weights), weights], axis=1)
  cells = report.ratios(sums, counts, options.resamples, options.seed)
  for i, (rule, metric) in enumerate(names):
    by = dict(zip(MEANS, (cells[i], cells[i + len(names)]), strict=True))
    part.setdefault(rule, {})[metric] = by
  return part


def _share(values: np.ndarray) -> float | None:
  return float(np.mean(values)) if values.size else None
