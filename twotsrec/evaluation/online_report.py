"""The report of an online evaluation: rules, buckets and two kinds of means.

Rules name the candidates of a held-out event:
  expected   the item and 499 others sampled, expected over all such lists
  sampled    the same with one list per event, fixed for all models
  all        all items
and `expected_without_past` and `all_without_past`, where the items of the
user's earlier events leave; events of such an item take no part in these, for
it would stand alone among new ones. Nor does an event without a rival. Means:
`by_user`, over users of each user's mean (2TS fig. 3), and `by_event`, over
events (2TS sec. 4). A row has a part for all events and one for the `warm`
ones, whose item occurs in training, the same for all models; an item that a
model never trained on (new, or left out of its training) may score 0 and so be
above or below everything.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from twotsrec import config
from twotsrec import metrics
from twotsrec import types
from twotsrec.data import groups as groups_data
from twotsrec.data import prepared as prepared_data
from twotsrec.evaluation import behaviors
from twotsrec.evaluation import buckets
from twotsrec.evaluation import candidates
from twotsrec.evaluation import comparison
from twotsrec.evaluation import counting
from twotsrec.evaluation import expected
from twotsrec.evaluation import report
from twotsrec.evaluation import user_lists

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
  rows = []
  for name, chosen in _rows(per_target['train_count'], options):
    warm = chosen & per_target[WARM]
    rows.append(
      {
        'name': name,
        'all': _part(per_target, values, chosen, options),
        WARM: _part(per_target, values, warm, options),
      }
    )
  digest = None
  if 'list' in per_target:
    digest = candidates.digest_of_fingerprints(per_target['list'])
  return {
    'options': options._asdict() | {'edges': list(options.edges)},
    'rules': list(dict.fromkeys(rule for rule, _ in values)),
    'metrics': list(dict.fromkeys(metric for _, metric in values)),
    'lists_digest': digest,
    'rows': rows,
  }


def target_metrics(
  per_target: Mapping[str, np.ndarray], lists: int = 499, k: int = 10
) -> dict[tuple[str, str], np.ndarray]:
  """{(rule, metric): f64[T]} of mrr, recall@k and ndcg@k."""
  of = lambda name, ending: per_target[name + ending]
  values = {}
  for ending in ('', '_without_past'):
    counts = of('better', ending), of('tied', ending)
    given = (*counts, of('num_negatives', ending), lists)
    values |= {
      ('expected' + ending, 'mrr'): expected.reciprocal_rank(*given),
      ('expected' + ending, f'recall@{k}'): expected.hit(*given, k),
      ('expected' + ending, f'ndcg@{k}'): expected.ndcg(*given, k),
    }
  ranked = {'': 'all', '_without_past': 'all_without_past'}
  if 'better_sampled' in per_target:
    ranked['_sampled'] = 'sampled'
  for ending, rule in ranked.items():
    # A list is never empty.
    number = 1 if rule == 'sampled' else of('num_negatives', ending)
    pair = of('better', ending), of('tied', ending)
    made = {
      'mrr': metrics.reciprocal_rank(*pair),
      f'recall@{k}': metrics.hit(*pair, k),
      f'ndcg@{k}': metrics.ndcg(*pair, k),
    }
    values |= {
      (rule, name): metrics.among_rivals(value, number)
      for name, value in made.items()
    }
  if 'known' in per_target:  # older runs do not tell
    for rule, name in values:
      if rule.endswith('_without_past'):
        new = ~np.asarray(per_target['known'], np.bool_)
        values[rule, name] = np.where(new, values[rule, name], np.nan)
  return values


def for_run_report(
  per_target: Mapping[str, np.ndarray],
  prepared: prepared_data.Prepared,
  groups: groups_data.Groups,
  evaluation: config.EvaluationConfig,
  with_past: bool = False,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """The standard part of report.json, and the rows of `per_target.npz`.

  Events rank among all items but those of the user's past, and events of such
  an item are left out; or `with_past`, all among all items. There is no pooled
  AUC: the queries of two users, or of two events, share no scale. `per_target`
  has the arrays of `online.rank`, of one split.
  """
  ending, left_out = '' if with_past else '_without_past', 0
  if not with_past:
    new = ~per_target['known']
    left_out = int(np.sum(~new))
    per_target = {name: values[new] for name, values in per_target.items()}
  event, user = per_target['event'], per_target['user']
  counts = counting.Counts(
    better=per_target['better' + ending],
    tied=per_target['tied' + ending],
    num_negatives=per_target['num_negatives' + ending],
    positive_score=per_target['score'],
  )
  nowhere = np.full(event.size, np.nan)
  targets = prepared_data.Targets(event, user, per_target['item'], event)
  arrays = report.per_target(
    targets,
    groups_data.of_events(groups, user, event),
    counts,
    (nowhere, nowhere),
    evaluation,
  )
  if np.unique(user).size < user.size:  # each after a history of its own
    arrays['list'] = np.full(event.shape, user_lists.NO_LIST, np.int8)
  parts = ()
  if np.any(prepared.again[event]):  # states read one kind of event
    parts = behaviors.part_names(prepared, event)
    arrays['part'] = behaviors.parts(prepared, targets)
  activity = prepared_data.train_counts(prepared)
  part = report.build(
    arrays, activity, len(groups.sizes), evaluation, parts, left_out
  )
  return part, arrays


def format_table(reports: Mapping[str, Mapping[str, Any]]) -> str:
  """Plain text: a line per bucket, what the paper compares for each system.

  These are `mrr` and `recall@10` in expected lists, means over events. The
  shares of new users and of cold items stand below. `reports` is {system: what
  `build` returned}.

  Raises:
    types.UserError: evaluations on other events, candidates or buckets.
  """
  first, *others = reports
  for other in others:
    if _footing(reports[other]) != _footing(reports[first]):
      raise types.UserError(
        f'{first} and {other} were evaluated on other events, candidates or'
        ' buckets; evaluate both alike to show them side by side'
      )
  names = ('mrr', 'recall@10')
  head = ['train events', 'users', 'events']
  lines = [head + [f'{name} {system}' for name in names for system in reports]]
  for beside in zip(*(r['rows'] for r in reports.values()), strict=True):
    parts = [row['all'] for row in beside]
    cells = [p['expected'][name]['by_event'] for name in names for p in parts]
    values = [cell['value'] for cell in cells]
    lines.append(
      [
        beside[0]['name'],
        *(f'{parts[0][count]:,}' for count in ('users', 'events')),
        *('-' if v is None else f'{v:.4f}' for v in values),
      ]
    )
  whole = reports[first]['rows'][0]['all']
  share = lambda name: '-' if whole[name] is None else f'{whole[name]:.1%}'
  return (
    f'{comparison.aligned(lines)}\nevents of users without training events:'
    f' {share("share_new")}; with an item that has none: {share("share_cold")}'
  )


def _footing(built):
  """Options, candidates and events, which systems in one table share."""
  events = [row['all']['events'] for row in built['rows']]
  return built['options'], built['lists_digest'], events


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


def _part(per_target, values, chosen, options) -> dict[str, Any]:
  """Means of the chosen events, with intervals over their users."""
  columns = [
    report.Column(column[chosen], by_user=mean == 'by_user')
    for mean in MEANS
    for column in values.values()
  ]
  user = per_target['user'][chosen]
  users, sums, counts = report.user_sums(user, columns)
  part = {
    'users': int(users.size),
    'events': int(np.count_nonzero(chosen)),
    'share_new': _share(per_target['train_count'][chosen] == 0),
    'share_cold': _share(~per_target[WARM][chosen]),
  }
  cells = iter(report.means(sums, counts, options.resamples, options.seed))
  for mean in MEANS:
    for rule, metric in values:
      cell = next(cells)
      del cell['count']  # users and events of the part
      part.setdefault(rule, {}).setdefault(metric, {})[mean] = cell
  return part


def _share(values: np.ndarray) -> float | None:
  return float(np.mean(values)) if values.size else None
