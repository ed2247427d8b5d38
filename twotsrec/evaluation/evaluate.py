"""From a trained model and prepared data to one split's part of the report."""

from typing import Any

import numpy as np

from twotsrec import config
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import groups as groups_data
from twotsrec.data import prepared as prepared_data
from twotsrec.data import routing as routing_data
from twotsrec.evaluation import auc
from twotsrec.evaluation import behaviors
from twotsrec.evaluation import candidates
from twotsrec.evaluation import ranking
from twotsrec.evaluation import report
from twotsrec.evaluation import rules
from twotsrec.evaluation import tiles

_CANDIDATES = ('all', 'sampled', 'unbought', 'never_interacted')
_NEEDS_BEHAVIORS = ('unbought', 'never_interacted')


def evaluate(
  ranker: contracts.Ranker,
  prepared: prepared_data.Prepared,
  groups: groups_data.Groups,
  split: int,
  evaluation: config.EvaluationConfig,
  *,
  key: str = 'user_train_count',
  progress: ranking.Progress | None = None,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """Ranks the held-out items of a split and summarizes by group.

  Args:
    ranker: the model, its parameters and routing.
    prepared: the data.
    groups: of the users; a target belongs to the group of its event if events
      have groups, else to that of its user.
    split: prepared.VALIDATION or prepared.TEST.
    evaluation: protocol.
    key: that the groups were made by, the unit of a route.
    progress: called with (targets done, targets).
  Returns:
    (part of report.json, what `report.per_target` returns in the order of the
    events, with `part` if the data have behaviors). The arrays hold numbers
    only and can be saved with np.savez.
  """
  _check_protocol(prepared, evaluation)
  targets = _held_out(prepared, split, evaluation)
  routes = None
  if ranker.routing is not None:
    routes = routing_data.of_targets(
      prepared, groups, targets, key, ranker.routing
    )
  targets, group, routes = _sorted_by_group(groups, targets, routes)
  among = _among(prepared, targets, split, evaluation)
  counts = ranking.rank_targets(
    ranker,
    prepared,
    targets,
    among,
    routes=routes,
    sizes=tiles.Sizes(evaluation.user_tile, evaluation.item_tile),
    fold=auc.pooled_counts(group, len(groups.sizes)),
    progress=progress,
  )
  placements = auc.placements(counts.folded, evaluation.auc_ties)
  per_target = report.per_target(targets, group, counts, placements, evaluation)
  names = behaviors.part_names(prepared)
  if names:
    per_target['part'] = behaviors.parts(prepared, targets)
  order = np.argsort(targets.event)
  per_target = {name: values[order] for name, values in per_target.items()}
  part = report.build(
    per_target,
    prepared_data.train_counts(prepared),
    len(groups.sizes),
    evaluation.ks,
    evaluation.bootstrap,
    evaluation.seed,
    names,
  )
  return part, per_target


def protocol(
  prepared: prepared_data.Prepared,
  split: int,
  evaluation: config.EvaluationConfig,
) -> dict[str, Any]:
  """Ranking protocol for the report, with the digest of sampled lists."""
  _check_protocol(prepared, evaluation)
  if evaluation.candidates == 'never_interacted' and np.any(
    np.asarray(prepared.split) == split
  ):
    _held_out(prepared, split, evaluation)  # some are new
  described = {
    'split': prepared_data.SPLITS[split],
    'candidates': evaluation.candidates,
    'auc_ties': evaluation.auc_ties,
    'rank_ties': evaluation.rank_ties,
    'negatives': _negatives(prepared, evaluation),
    'bootstrap': evaluation.bootstrap,
  }
  if evaluation.candidates == 'sampled':
    targets = _held_out(prepared, split, evaluation)
    lists = _among(prepared, targets, split, evaluation)
    described['num_candidates'] = evaluation.num_candidates
    described['negatives_digest'] = candidates.digest(lists)
  return described


def _negatives(
  prepared: prepared_data.Prepared, evaluation: config.EvaluationConfig
) -> str:
  """The candidates of a held-out item in words."""
  names = behaviors.names(prepared)
  if evaluation.candidates == 'unbought':
    return (
      f'items without a {names[-1]} of the user in the splits before; other'
      ' behaviors leave an item in'
    )
  text = 'items the user never interacted with in the whole data'
  if evaluation.candidates == 'never_interacted':
    return (
      f'{text}; held-out items toward which the user had shown'
      f' {" or ".join(names[:-1])} are left out'
    )
  if len(names) > 1:
    text += (
      ', by any behavior; a held-out item is ranked among them also where the'
      f' user had shown {" or ".join(names[:-1])} toward it'
    )
  return text


def _held_out(
  prepared: prepared_data.Prepared,
  split: int,
  evaluation: config.EvaluationConfig,
) -> prepared_data.Targets:
  """Events to rank: those of a split, or the discoveries among them."""
  targets = prepared_data.targets(prepared, split)
  name = prepared_data.SPLITS[split]
  if not targets.user.size:
    raise types.UserError(
      f'the {name} split is empty; prepare the data '
      'with one (data.validation=True holds one event per user out)'
    )
  if evaluation.candidates != 'never_interacted':
    return targets
  new = behaviors.is_new(prepared, targets)
  if not np.any(new):
    raise types.UserError(
      "evaluation.candidates is 'never_interacted', but no held-out item of the"
      f" {name} split is new to its user; use 'unbought'"
    )
  return prepared_data.Targets(*(column[new] for column in targets))


def _sorted_by_group(
  groups: groups_data.Groups,
  targets: prepared_data.Targets,
  routes: types.Route | None,
) -> tuple[prepared_data.Targets, np.ndarray, types.Route | None]:
  """Targets in order of group, so that a tile's pairs mostly share one.

  Inside a group they are in order of their routes, which a tile must share.
  """
  group = groups_data.of_events(groups, targets.user, targets.event)
  order = np.lexsort((*tiles.route_keys(routes), group))
  targets = prepared_data.Targets(*(column[order] for column in targets))
  if routes is not None:
    routes = types.Route(*(leaf[order] for leaf in routes))
  return targets, group[order].astype(np.int32), routes


def _among(prepared, targets, split, evaluation) -> Any:
  """The rule for the candidates, or lists of them.

  What the user interacted with in the whole data is no negative; or with
  'unbought' only what the user bought in the splits before: a purchase held out
  for validation is left out when test items are ranked, a test item is not left
  out when validation items are.
  """
  if evaluation.candidates == 'unbought':
    bought = behaviors.bought(prepared, split)
    return rules.without(bought, prepared.num_items, rules.UNBOUGHT)
  seen = prepared_data.seen_items(prepared, 'all')
  if evaluation.candidates != 'sampled':
    return rules.without(seen, prepared.num_items)
  number, seed = evaluation.num_candidates, evaluation.seed
  return candidates.draw(targets, seen, prepared.num_items, number, seed)


def _check_protocol(
  prepared: prepared_data.Prepared, evaluation: config.EvaluationConfig
) -> None:
  if evaluation.candidates not in _CANDIDATES:
    raise types.UserError(
      f'evaluation.candidates is {evaluation.candidates!r}; known are '
      + ', '.join(_CANDIDATES)
    )
  needed = evaluation.candidates in _NEEDS_BEHAVIORS
  if needed and not behaviors.names(prepared):
    raise types.UserError(
      f'evaluation.candidates is {evaluation.candidates!r}, but these data have'
      " no behaviors, so nothing says what was bought; use 'all' or 'sampled'"
    )
  for name in ('auc_ties', 'rank_ties'):
    share = getattr(evaluation, name)
    if not 0.0 <= share <= 1.0:
      raise types.UserError(
        f'evaluation.{name} is {share}; it must lie in 0..1 (0.5 is the half '
        'credit of the mid rank)'
      )
  if evaluation.candidates == 'sampled' and evaluation.num_candidates < 1:
    raise types.UserError(
      f'evaluation.num_candidates is {evaluation.num_candidates}; it must be '
      'at least 1'
    )
  if min(evaluation.ks, default=1) < 1:
    raise types.UserError(
      f'evaluation.ks is {evaluation.ks}; every cut-off must be at least 1'
    )
