"""Batches on the device: histories, what they predict, and what is drawn."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import feeds
from twotsrec.ops import augmentation
from twotsrec.ops import sampling

# Of the sequences of BERT4Rec, one in eleven hides its last item alone: the
# program of its authors makes ten others of each.
_ONLY_LAST = 1 / 11
# Folded into a key, for other bits than negatives have.
_MASKS, _CHANGES = 1 << 30, (1 << 30) + 1


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
    augment: of the examples of some groups, where `Feed.near` is there.
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
  data, train, augment = config.data, config.train, config.augment
  everything = train.objective == 'cross_entropy'
  return Draws(
    history_length=data.history_length,
    num_items=num_items,
    num_negatives=0 if everything else data.num_negatives,
    positions=train.positions,
    sharing=data.negative_sharing == 'sequence' and not everything,
    chances=train.log_frequency,
    mask_share=train.mask_share,
    augment=augment if augment.substitute or augment.insert else None,
  )


def require_dislikes(feed: feeds.Feed, draws: Draws) -> None:
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


def make_batch(
  feed: feeds.Feed, examples: jax.Array, key: jax.Array, draws: Draws
) -> types.Batch:
  """Builds a batch on the device from example numbers.

  What is drawn depends on `key` and its example alone, not on the batch it
  lands in: one key for all epochs gives fixed negatives, a key per epoch fresh
  ones. Of impressions nothing is drawn: each is its own candidate, with its
  label.

  Args:
    feed: the columns.
    examples: i32[B], 0..E-1, or -1 for filling (weight 0).
    key: of the negatives.
    draws: sizes, and what is drawn.
  """
  first, last, target, user, group = (
    feeds.take(column, examples)
    for column in (feed.first, feed.last, feed.target, feed.user, feed.group)
  )
  offset = jnp.arange(draws.history_length)
  inside = offset < (last - first)[:, None]
  top = feed.items.shape[0] - 1
  at = jnp.minimum(first[:, None] + offset, top)
  history = jnp.where(inside, feed.items[at], 0)
  weight = feeds.take(feed.weight, examples, 0.0)
  if feed.clicks is not None:  # nothing is drawn beside an impression
    label = (target < feed.clicks).astype(jnp.float32)
    candidates = feed.items[target][:, None]
    return types.Batch(history, candidates, user, group, weight, label=label)
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
    weight=weight,
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


def _with_disliked(
  disliked: feeds.Disliked,
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
