"""From prepared columns to batches on the device.

The host plans an epoch (which example at which step, a few bytes each); the
columns live on the device, where a batch gathers its histories by offset and
draws its negatives. Histories are never expanded in memory.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import dislikes
from twotsrec.data import groups as groups_lib
from twotsrec.data import impressions
from twotsrec.data import prepared as prepared_lib
from twotsrec.ops import sampling


class Disliked(NamedTuple):
  """Items that users rated too low, M, by user and time.

  An event of user u may be trained against the first `before` of those that
  begin at `first[u]`.
  """

  first: jax.Array  # i32[U]
  items: jax.Array  # i32[M]
  before: jax.Array  # i32[N], of every event


class Feed(NamedTuple):
  """Device-resident columns; E examples, N events."""

  items: jax.Array  # i32[N], events of all users, by user and time
  # i32[E], where the history of an example begins, at most L back.
  first: jax.Array
  # i32[E], one past its history; the observed item stands at `target`.
  last: jax.Array
  target: jax.Array  # i32[E], event index of the (first) observed item
  user: jax.Array  # i32[E]
  group: jax.Array  # i32[E], 0..G-1
  # f32[E], positions an example trains (1, or those of a sequence).
  weight: jax.Array
  complements: sampling.Complements  # what negatives must stay out of
  disliked: Disliked | None = None  # items to train against
  # i32[I], for draws by popularity: sums of weights of the items up to each.
  popularity: jax.Array | None = None
  near: jax.Array | None = None  # i32[I + 1, K], items that go with each
  # i32[], N: with labels `items` goes on with what was shown and not clicked,
  # and so does what `target` may be; None without labels.
  clicks: jax.Array | None = None


def i32(values: np.ndarray) -> jax.Array:
  """A column of integers on the device, i32[...]."""
  return jnp.asarray(np.asarray(values), jnp.int32)


def take(
  column: jax.Array, index: jax.Array, filling: float | None = None
) -> jax.Array:
  """Rows of a column [N] by number, as a plan names them.

  Numbers are i32[...], 0..N-1, or -1 for filling: a row that holds `filling`,
  or row 0 where that is None.
  """
  rows = column[jnp.maximum(index, 0)]
  return rows if filling is None else jnp.where(index >= 0, rows, filling)


def require_choice(data: prepared_lib.Prepared) -> None:
  """Raises UserError for a log of one item, which has no negatives."""
  if data.num_items < 2:
    raise types.UserError(
      'there is one item, so there is nothing to tell it from; use a log with'
      ' more items, or weaker filters'
    )


def make_feed(
  prepared: prepared_lib.Prepared,
  groups: groups_lib.Groups,
  data: config_lib.DataConfig,
  split: int = prepared_lib.TRAIN,
) -> Feed:
  """One example per observed item of a split.

  Training items have a history (the first event of a user is none); held-out
  items are all there, with or without one. Where negatives are drawn, users who
  have none give no example. With labels it is one example per impression.

  Raises:
    types.UserError: no example.
  """
  if impressions.there_are(prepared):
    return _of_impressions(prepared, groups, data, split)
  targets = prepared_lib.targets(prepared, split)
  user, event, end = targets.user, targets.event, targets.history_end
  start = np.asarray(prepared.user_offsets)[user]
  first = np.maximum(start, end - data.history_length)
  group = groups_lib.of_events(groups, user, event)
  weight = np.ones(len(user), np.float32)
  return _to_device(prepared, data, first, end, event, user, group, weight)


def _of_impressions(prepared, groups, data, split) -> Feed:
  """One example per impression of a split, with its label."""
  shown = impressions.of_split(prepared, split)
  start = np.asarray(prepared.user_offsets)[shown.user]
  nothing = np.zeros(prepared.num_users + 1, np.int64)
  items = impressions.all_items(prepared)
  if len(items) >= 2**31:
    raise _too_many(len(items))
  return Feed(
    items=i32(items),
    first=i32(np.maximum(start, shown.history_end - data.history_length)),
    last=i32(shown.history_end),
    target=i32(shown.number),
    user=i32(shown.user),
    group=i32(groups_lib.of_events(groups, shown.user, shown.number)),
    weight=jnp.ones(len(shown.user), jnp.float32),
    complements=sampling.make_complements(nothing, np.zeros(0, np.int32)),
    clicks=jnp.asarray(prepared.num_events, jnp.int32),
  )


def make_sequence_feed(
  prepared: prepared_lib.Prepared,
  groups: groups_lib.Groups,
  data: config_lib.DataConfig,
  positions: str = 'every',
) -> Feed:
  """One example per user: the most recent L + 1 training events.

  Every position but the first is an observed item, so a user's history is
  encoded once for all of them (the original SASRec's training). Where
  `positions` are 'masked' it is the L most recent ones, any of which may be
  hidden. Users without a possible negative give no example.

  Raises:
    types.UserError: no user has two training events and a negative.
  """
  offsets = np.asarray(prepared.user_offsets)
  counts = prepared_lib.train_counts(prepared)
  user = np.flatnonzero(counts >= 2)
  last = offsets[user] + counts[user] - 1
  shift = int(positions == 'every')  # then the last event is only a target
  end = last + 1 - shift
  first = np.maximum(offsets[user], end - data.history_length)
  group = groups_lib.of_events(groups, user, last)
  weight = (end - first).astype(np.float32)
  target = first + shift
  return _to_device(prepared, data, first, end, target, user, group, weight)


def of_everything(seen: prepared_lib.SeenItems, num_items: int) -> np.ndarray:
  """Users who have all I items, so that there is no negative, bool[U]."""
  return np.diff(seen.offsets) >= num_items


def _no_negative(prepared, exclude) -> types.UserError:
  """The error of a log in which nobody who trains has a negative."""
  trained = prepared_lib.seen_items(prepared, 'train')
  way_out = 'use a log with more items'
  if exclude == 'all' and not of_everything(trained, prepared.num_items).all():
    way_out = 'set data.negative_exclude=train'
  return types.UserError(
    f'all users have touched all {prepared.num_items} items, so no negative can'
    f' be drawn; {way_out}'
  )


def _too_many(number: int) -> types.UserError:
  return types.UserError(
    f'{number:,} events; at most {2**31 - 1:,} fit one device feed; split the'
    ' log'
  )


def _to_device(prepared, data, first, last, target, user, group, weight):
  """Checks value ranges, then moves the columns once."""
  if not len(user):
    raise types.UserError(
      f'{prepared.path or "this log"}: no user has two training events, so'
      ' there is nothing to learn a sequence from; use fewer filters or'
      ' another split'
    )
  if prepared.num_events >= 2**31:
    raise _too_many(prepared.num_events)
  seen = prepared_lib.seen_items(prepared, data.negative_exclude)
  if data.num_negatives:
    require_choice(prepared)
    chosen = ~of_everything(seen, prepared.num_items)[user]
    if not chosen.any():
      raise _no_negative(prepared, data.negative_exclude)
    if not chosen.all():
      columns = first, last, target, user, group, weight
      first, last, target, user, group, weight = (x[chosen] for x in columns)
  return Feed(
    items=i32(prepared.items),
    first=i32(first),
    last=i32(last),
    target=i32(target),
    user=i32(user),
    group=i32(group),
    weight=jnp.asarray(weight, jnp.float32),
    complements=sampling.make_complements(seen.offsets, seen.items),
    disliked=_disliked(prepared),
    popularity=_popularity(prepared, data.negative_power),
  )


def _popularity(prepared, power) -> jax.Array | None:
  """Where draws are proportional to count^power; an item has one or more."""
  if not power:
    return None
  train = np.asarray(prepared.split) == prepared_lib.TRAIN
  items = np.asarray(prepared.items)[train]
  counts = np.bincount(items, minlength=prepared.num_items + 1)[1:]
  return sampling.make_popularity(counts, power)


def _disliked(prepared: prepared_lib.Prepared) -> Disliked | None:
  """What is trained against, where that was asked for.

  What a user disliked at the time of an event or later says nothing at the
  event. Where there are no times, nothing tells, and all of it counts.

  Raises:
    types.UserError: the data have times, but not those of dislikes.
  """
  offsets, items = prepared.disliked_offsets, prepared.disliked_items
  asked = dislikes.teaches(prepared)
  if not asked or offsets is None or items is None:
    return None
  user, counts = prepared.event_users, np.diff(offsets)
  if prepared.times is None:
    return Disliked(i32(offsets[:-1]), i32(items), i32(counts[user]))
  if prepared.disliked_times is None:
    raise types.UserError(
      f'{prepared.path or "the log"} was prepared with --dislikes=negatives,'
      ' but without their times; prepare it again'
    )
  whose = np.repeat(np.arange(prepared.num_users), counts)
  every = np.concatenate([prepared.disliked_times, prepared.times])
  _, moment = np.unique(every, return_inverse=True)
  number = np.concatenate([whose, user]).astype(np.int64) * len(every) + moment
  low, event = np.split(number, [len(whose)])
  order = np.argsort(low, kind='stable')
  before = np.searchsorted(low[order], event) - offsets[user]
  return Disliked(i32(offsets[:-1]), i32(items[order]), i32(before))


def has_negatives(prepared: prepared_lib.Prepared, split: int) -> bool:
  """Whether a user with events of a split has not touched every item."""
  users = np.unique(prepared_lib.targets(prepared, split).user)
  seen = prepared_lib.seen_items(prepared, 'all')
  return bool(np.any(~of_everything(seen, prepared.num_items)[users]))


def notes(
  prepared: prepared_lib.Prepared, config: config_lib.Config
) -> list[str] | None:
  """Users who take no part, since they have touched every item."""
  if not config.data.num_negatives:
    return None
  parts = {config.data.negative_exclude: 'training'}
  if config.train.select_metric == 'loss':
    told = parts.get('all', '')
    parts['all'] = f'{told}{told and " or "}the validation loss'
  lines = []
  for exclude, part in parts.items():
    seen = prepared_lib.seen_items(prepared, exclude)
    if count := int(np.sum(of_everything(seen, prepared.num_items))):
      where = 'train on' if exclude == 'train' else 'have touched'
      lines.append(
        f'{count:,} of {prepared.num_users:,} users {where} all'
        f' {prepared.num_items:,} items, so they have no negatives and take no'
        f' part in {part}'
      )
  return lines or None
