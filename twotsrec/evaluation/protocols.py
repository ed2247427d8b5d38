"""What held-out items compete with, by the data and whatever the model.

Under 'all', 'sampled' and 'never_interacted' what a user had does not compete,
under 'unbought' what the user bought in the splits before. In a log of one
behavior that is everything not in train: the other test items of a user stay
candidates, which is what a published Recall@20 means. A held-out item of this
kind would stand alone among strangers: whatever remembers the user's items puts
it first. So it is not ranked, but counted, and 'catalog' is there to rank every
item among all others. 'auto' takes it where many held-out items are of this
kind. In data with labels 'auto' is 'shown': a click competes with what else was
shown to its user (`labeled`).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from twotsrec import types
from twotsrec.data import dislikes
from twotsrec.data import impressions
from twotsrec.data import prepared as prepared_lib
from twotsrec.evaluation import behaviors
from twotsrec.evaluation import rules
from twotsrec.evaluation import user_lists

AUTO, CATALOG, UNBOUGHT = 'auto', 'catalog', 'unbought'
SAMPLED, SHOWN = 'sampled', 'shown'
MANY = 0.05  # share of held-out items


def resolved(prepared: prepared_lib.Prepared, asked: str) -> str:
  """The candidates that 'auto' comes to, or those that are asked for.

  Raises:
    types.UserError: impressions are asked for where there are none.
  """
  labeled = impressions.there_are(prepared)
  if asked == SHOWN and not labeled:
    raise types.UserError(
      "evaluation.candidates 'shown' is for data with labels of impressions"
      ' (launch/prepare.py --label_column); use auto'
    )
  if asked != AUTO:
    return asked
  if labeled:
    return SHOWN
  usual = of_new(behaviors.names(prepared))
  return CATALOG if share_known(prepared, usual) >= MANY else usual


def of_new(names: Sequence[str]) -> str:
  """Candidates for items that are new to their user, by the behaviors."""
  return UNBOUGHT if len(names) > 1 else 'all'


def share_known(
  prepared: prepared_lib.Prepared, asked: str, split: int | None = None
) -> float:
  """Share of held-out events of items that do not compete; 0 of none.

  Args:
    prepared: the data.
    asked: what competes; under 'catalog' it is what the user had.
    split: VALIDATION or TEST; None for both.
  """
  splits = np.asarray(prepared.split)
  held = splits != prepared_lib.TRAIN if split is None else splits == split
  known = prepared.again if asked == UNBOUGHT else prepared.known
  return float(np.mean(known[held])) if held.any() else 0.0


def counts_past(prepared: prepared_lib.Prepared) -> bool:
  """Whether all items compete, those of the user too, without being asked."""
  return share_known(prepared, CATALOG) >= MANY


def of_streams(prepared: prepared_lib.Prepared) -> dict[str, Any]:
  """What the events of streams compete with, for the report."""
  if counts_past(prepared):
    words = 'all other items, those of the earlier events among them'
    return {'candidates': CATALOG, 'negatives': words}
  words = 'items that are not among the earlier events of the user'
  return {'candidates': 'all', 'negatives': words}


def list_of(
  prepared: prepared_lib.Prepared, asked: str, held: prepared_lib.Targets
) -> int:
  """How held-out items of a user stand in one list, of `user_lists`."""
  if np.unique(held.user).size == held.user.size:
    return user_lists.APART  # there is one of each user
  history = prepared.manifest['history_rule']
  if asked == SAMPLED or history != prepared_lib.FIXED:
    return user_lists.NO_LIST
  among = asked in (CATALOG, UNBOUGHT)
  return user_lists.TOGETHER if among else user_lists.APART


def targets(
  prepared: prepared_lib.Prepared,
  asked: str,
  split: int,
  chosen: Callable[..., prepared_lib.Targets] = lambda held: held,
) -> tuple[prepared_lib.Targets, int]:
  """Events of a split to rank, and how many others it has.

  Args:
    prepared: the data.
    asked: what competes.
    split: VALIDATION or TEST.
    chosen: the events of the users who take part, of all events.
  Raises:
    types.UserError: there are none.
  """
  held, name = prepared_lib.targets(prepared, split), prepared_lib.SPLITS[split]
  if not held.user.size:
    raise types.UserError(
      f'the {name} split is empty; prepare the data with one'
      ' (data.validation=True holds one event per user out)'
    )
  held = chosen(held)
  if asked == CATALOG:
    return held, 0
  known = prepared.again if asked == UNBOUGHT else prepared.known
  new = ~known[held.event]
  if not new.any():
    others = ["'catalog'"]
    if asked != UNBOUGHT and behaviors.names(prepared):
      others.insert(0, "'unbought'")
    raise types.UserError(
      f'evaluation.candidates is {asked!r}, but no held-out item of the {name}'
      f' split is new to its user; use {" or ".join(others)}'
    )
  ranked = prepared_lib.Targets(*(column[new] for column in held))
  return ranked, int(np.sum(~new))


def rule(prepared: prepared_lib.Prepared, asked: str, split: int) -> rules.Rule:
  """The rule for all candidates of held-out items; lists are drawn from it.

  What the user interacted with in the whole data does not compete; or with
  'unbought' only what the user bought in the splits before: a purchase held out
  for validation is left out when test items are ranked, a test item is not left
  out when validation items are.
  """
  name = {CATALOG: rules.ALL, UNBOUGHT: rules.UNBOUGHT}.get(asked, rules.UNSEEN)
  seen = left_out(prepared, asked, split)
  return rules.without(seen, prepared.num_items, name)


def left_out(
  prepared: prepared_lib.Prepared, asked: str, split: int
) -> prepared_lib.SeenItems:
  """Items of every user that do not compete, as in `rule`."""
  if asked == CATALOG:
    nothing = np.zeros(prepared.num_users + 1, np.int64)
    return prepared_lib.SeenItems(nothing, np.zeros(0, np.int32))
  if asked == UNBOUGHT:
    return behaviors.bought(prepared, split)
  return prepared_lib.seen_items(prepared, 'all')


def in_words(prepared: prepared_lib.Prepared, asked: str, split: int) -> str:
  """The candidates of a held-out item, for the report."""
  names = behaviors.names(prepared)
  if asked == CATALOG:
    return 'all other items, those of the user among them'
  left_out = share_known(prepared, asked, split) > 0
  if asked == UNBOUGHT and names:
    text = (
      f'items without a {names[-1]} of the user in the splits before; other'
      ' behaviors leave an item in'
    )
    return text + ('; items bought before are not ranked' if left_out else '')
  if asked == UNBOUGHT:
    text = (
      'items that the user did not have in the splits before; the other'
      ' held-out items of the user are among them'
    )
    return text + ('; items had before are not ranked' if left_out else '')
  text = 'items the user never interacted with in the whole data'
  if forgotten := dislikes.forgotten(prepared):
    text += f' but for {forgotten:,} rows rated below the least rating'
  if len(names) > 1:
    text += ', by any behavior'
  return text + (
    '; items the user had before are not ranked' if left_out else ''
  )


def require_rivals(
  prepared: prepared_lib.Prepared, asked: str, split: int, lacking: str
) -> None:
  """Refuses to go on where all items of a split lack rivals.

  Raises:
    types.UserError: how many; `lacking` says what there is not, and the way
      out.
  """
  held, _ = targets(prepared, asked, split)
  among = rule(prepared, asked, split)
  if not _any_rival(among, held):
    total = held.user.size
    raise types.UserError(
      f'{total:,} of {total:,} {prepared_lib.SPLITS[split]} items have no'
      ' rival, since their users have touched every other item, so there is no'
      f' {lacking}'
    )


def _any_rival(among: rules.Rule, held: prepared_lib.Targets) -> bool:
  """Looks at some users at a time, of whom the first mostly have rivals."""
  excluded: Callable[..., Any] = among.excluded
  for first in range(0, held.user.size, 4096):
    part = prepared_lib.Targets(*(x[first : first + 4096] for x in held))
    if np.any(excluded(part).number > 0):
      return True
  return False
