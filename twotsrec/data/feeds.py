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
from twotsrec.data import prepared as prepared_lib
from twotsrec.ops import augmentation
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


class Draws(NamedTuple):
  """What a batch has besides histories; all of it static.

  Attributes:
    history_length: L.
    num_items: I.
    num_negatives: of an observed item, or of a whole sequence; may be 0.
    positions: 'last', 'every' or 'masked', as `train.positions`.
    sharing: whether all observed items of a sequence share their negatives.
    chances: whether a batch says how probable its negatives were.
    mask_share: of the items of a sequence that are hidden.
    augment: of the examples of its groups, as `Feed.near` makes it possible.
  """

  history_length: int
  num_items: int
  num_negatives: int
  positions: str = 'last'
  sharing: bool = False
  chances: bool = False
  mask_share: float = 0.2
  augment: config_lib.AugmentConfig | None = None


def draws(config: config_lib.Config, num_items: int) -> Draws:
  """What the settings ask of a batch of I items."""
  data, train = config.data, config.train
  everything = train.objective == 'cross_entropy'
  return Draws(
    history_length=data.history_length,
    num_items=num_items,
    num_negatives=0 if everything else data.num_negatives,
    positions=train.positions,
    sharing=data.negative_sharing == 'sequence' and not everything,
    chances=train.log_frequency,
    mask_share=train.mask_share,
    augment=config.augment if changes(config.augment) else None,
  )


def changes(options: config_lib.AugmentConfig) -> bool:
  """Whether histories are changed to train on."""
  return bool(options.substitute or options.insert)


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
  have none give no example.

  Raises:
    types.UserError: no example.
  """
  targets = prepared_lib.targets(prepared, split)
  user, event, end = targets.user, targets.event, targets.history_end
  start = np.asarray(prepared.user_offsets)[user]
  first = np.maximum(start, end - data.history_length)
  group = groups_lib.of_events(groups, user, event)
  weight = np.ones(len(user), np.float32)
  return _to_device(prepared, data, first, end, event, user, group, weight)


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


def _to_device(prepared, data, first, last, target, user, group, weight):
  """Checks value ranges, then moves the columns once."""
  if not len(user):
    raise types.UserError(
      f'{prepared.path or "this log"}: no user has two training events, so'
      ' there is nothing to learn a sequence from; use fewer filters or'
      ' another split'
    )
  if prepared.num_events >= 2**31:
    raise types.UserError(
      f'{prepared.num_events:,} events; at most {2**31 - 1:,} fit one device'
      ' feed; split the log'
    )
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


def require_dislikes(feed: Feed, draws: Draws) -> None:
  """Raises UserError where items to train against would not be used."""
  if feed.disliked is None or (draws.num_negatives and not draws.sharing):
    return
  setting = 'data.negative_sharing=none'
  if not draws.num_negatives:
    setting = 'another train.objective than cross_entropy'
  raise types.UserError(
    'dislikes to train against (--dislikes=negatives) take the place of an'
    f" observed item's own negatives; use {setting}"
  )


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


def _with_disliked(
  disliked: Disliked,
  negatives: jax.Array,
  user: jax.Array,
  event: jax.Array,
  keys: jax.Array,
) -> jax.Array:
  """The first negative becomes a dislike before the event, at random.

  Where there is none it stays.

  Args:
    disliked: of the feed.
    negatives: i32[B, ..., C].
    user: i32[B].
    event: i32[B, ...], the events that are trained.
    keys: of the negatives, [B].
  """
  counts = disliked.before[event]
  draw = lambda key, counts: jax.random.randint(
    jax.random.fold_in(key, negatives.shape[-1]), counts.shape, 0, counts
  )
  place = jax.vmap(draw)(keys, jnp.maximum(counts, 1))
  first = jnp.reshape(disliked.first[user], (-1, *(1,) * (event.ndim - 1)))
  place = jnp.minimum(place + first, disliked.items.shape[0] - 1)
  one = jnp.where(counts > 0, disliked.items[place], negatives[..., 0])
  return negatives.at[..., 0].set(one)


def make_batch(
  feed: Feed, examples: jax.Array, key: jax.Array, draws: Draws
) -> types.Batch:
  """Builds a batch on the device from example numbers.

  What is drawn depends on `key` and its example alone, not on the batch it
  lands in: one key for all epochs gives fixed negatives, a key per epoch fresh
  ones.

  Args:
    feed: the columns.
    examples: i32[B], 0..E-1, or -1 for filling (weight 0).
    key: of the negatives.
    draws: sizes, and what is drawn.
  """
  first, last, target, user, group = (
    take(column, examples)
    for column in (feed.first, feed.last, feed.target, feed.user, feed.group)
  )
  offset = jnp.arange(draws.history_length)
  inside = offset < (last - first)[:, None]
  top = feed.items.shape[0] - 1
  at = jnp.minimum(first[:, None] + offset, top)
  history = jnp.where(inside, feed.items[at], 0)
  keys = jax.vmap(jax.random.fold_in, (None, 0))(key, target)
  event, positive, masked = target, feed.items[target], None
  if draws.positions != 'last':
    event = at if draws.positions == 'masked' else jnp.minimum(at + 1, top)
    positive = jnp.where(inside, feed.items[event], 0)
  if draws.positions == 'masked':
    masked = _hide(keys, inside, draws.mask_share)
  own = positive.ndim > 1 and not draws.sharing  # negatives of each position
  count = draws.num_negatives * (draws.history_length if own else 1)
  negatives, chance = _negatives(feed, keys, user, count, draws)
  if own:
    shape = (*positive.shape, draws.num_negatives)
    negatives = negatives.reshape(shape)
    chance = None if chance is None else chance.reshape(shape)
  if draws.num_negatives and feed.disliked is not None:
    negatives = _with_disliked(feed.disliked, negatives, user, event, keys)
  parts, shared = [positive[..., None], negatives], None
  if draws.sharing:
    shared = parts.pop()
  batch = types.Batch(
    history=history,
    candidates=jnp.concatenate(parts, axis=-1),
    user=user,
    group=group,
    weight=take(feed.weight, examples, 0.0),
    shared=shared,
    log_chance=chance,
    masked=masked,
  )
  if feed.near is None or draws.augment is None:
    return batch
  return _changed(batch, feed.near, keys, draws.augment)


def _changed(batch, near, keys, options):
  """Some examples of the least active groups with other histories.

  What a position predicts goes with the item that it had, and an inserted one
  predicts what the item before it does.
  """
  keys = jax.vmap(jax.random.fold_in, (0, None))(keys, _CHANGES)
  draw = lambda key: jax.random.uniform(jax.random.fold_in(key, 0))
  chosen = jax.vmap(draw)(keys) < options.share
  chosen = (chosen & (batch.group < options.groups))[:, None]
  made = augmentation.change(
    keys, batch.history, near, options.substitute, options.insert
  )
  length = batch.history.shape[1]
  source = jnp.where(chosen, made.source, jnp.arange(length))
  move = lambda column: jnp.take_along_axis(
    column, source.reshape(*source.shape, *(1,) * (column.ndim - 2)), axis=1
  )
  history = jnp.where(chosen, made.history, batch.history)
  moved = batch._replace(history=history)
  if batch.candidates.ndim == 2:
    return moved
  real = (history > 0)[..., None]
  candidates = move(batch.candidates)
  candidates = candidates.at[..., :1].multiply(real)
  own_chance = batch.log_chance is not None and batch.shared is None
  chance = move(batch.log_chance) if own_chance else batch.log_chance
  moved = moved._replace(candidates=candidates, log_chance=chance)
  if batch.masked is None:
    return moved
  hidden = move(batch.masked) & real[..., 0] & ~(chosen & made.inserted)
  return moved._replace(masked=hidden)


def _negatives(feed, keys, user, count, draws):
  """Items i32[B, count], 0 where a drawn one is the user's; and log chances."""
  if feed.popularity is not None:
    drawn, chance = sampling.draw_popular(
      keys, feed.popularity, feed.complements, user, count
    )
    return drawn, chance if draws.chances else None
  drawn = sampling.draw(keys, feed.complements, user, draws.num_items, count)
  if not draws.chances:
    return drawn, None
  allowed = draws.num_items - feed.complements.counts[user]
  return drawn, jnp.broadcast_to(-jnp.log(allowed)[:, None], drawn.shape)


# Of the sequences of BERT4Rec, one in eleven hides its last item alone: the
# program of its authors makes ten others of each.
_ONLY_LAST = 1 / 11
_CHANGES = (1 << 30) + 1
_MASKS = 1 << 30  # folded into a key, for other bits than negatives have


def _hide(keys, inside, share):
  """Items that are hidden, bool[B, L]; at least one of each sequence."""
  draw = lambda key: jax.random.uniform(
    jax.random.fold_in(key, _MASKS), (inside.shape[1] + 1,)
  )
  drawn = jax.vmap(draw)(keys)
  hidden = inside & (drawn[:, 1:] < share)
  number = jnp.sum(inside, axis=1, keepdims=True)
  last = inside & (jnp.arange(inside.shape[1]) == number - 1)
  alone = (drawn[:, :1] < _ONLY_LAST) | ~jnp.any(hidden, axis=1, keepdims=True)
  return jnp.where(alone, last, hidden)


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
