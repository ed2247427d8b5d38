import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import worlds
from tests.evaluation import toys
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import batches
from twotsrec.data import feeds
from twotsrec.data import groups as groups_lib
from twotsrec.data import prepared as prepared_lib

LENGTH, NEGATIVES, ITEMS = 6, 5, 30
AT_ONCE = 64  # examples, so that there is one program for each form of feed


@functools.cache
def _program(positions, options):
  options = {
    name: config_lib.AugmentConfig(**dict(value))
    if name == 'augment'
    else value
    for name, value in options
  }
  draws = batches.Draws(LENGTH, ITEMS, NEGATIVES, positions, **options)
  return jax.jit(functools.partial(batches.make_batch, draws=draws))


def _batch(feed, examples, seed=0, positions='last', **options):
  """The batch of any number of examples, on the host."""
  if 'augment' in options:
    options['augment'] = tuple(dataclasses.asdict(options['augment']).items())
  examples = np.asarray(examples, np.int32)
  padded = np.pad(
    examples, (0, -len(examples) % AT_ONCE), constant_values=-1
  ).reshape(-1, AT_ONCE)
  parts = [
    jax.tree.map(
      np.asarray,
      _program(positions, tuple(options.items()))(
        feed, part, jax.random.key(seed)
      ),
    )
    for part in padded
  ]
  join = lambda *leaves: np.concatenate(leaves)[: len(examples)]
  return jax.tree.map(join, *parts)


def _data(**changes):
  return config_lib.DataConfig(history_length=LENGTH, **changes)


def _events(prepared, user):
  first, last = np.asarray(prepared.user_offsets)[user : user + 2]
  return np.asarray(prepared.items)[first:last]


@pytest.mark.parametrize(
  'split', [prepared_lib.TRAIN, prepared_lib.VALIDATION, prepared_lib.TEST]
)
def test_batches_equal_a_literal_walk_through_the_log(split):
  prepared, groups = worlds.log()
  feed = feeds.make_feed(prepared, groups, _data(), split)
  expected = []
  for user in range(prepared.num_users):
    events = _events(prepared, user)
    positions = {
      prepared_lib.TRAIN: range(1, len(events) - 2),
      prepared_lib.VALIDATION: [len(events) - 2],
      prepared_lib.TEST: [len(events) - 1],
    }[split]
    for position in positions:
      history = events[:position][-LENGTH:]
      padded = np.pad(history, (0, LENGTH - len(history)))
      expected.append((user, padded, events[position]))
  batch = _batch(feed, np.arange(len(expected)))
  np.testing.assert_array_equal(batch.user, [user for user, _, _ in expected])
  np.testing.assert_array_equal(batch.history, [h for _, h, _ in expected])
  np.testing.assert_array_equal(
    batch.candidates[:, 0], [item for *_, item in expected]
  )
  np.testing.assert_array_equal(batch.group, groups.user_group[batch.user])


@pytest.mark.parametrize('exclude', ['all', 'train'])
def test_negatives_are_items_the_user_never_touched(exclude):
  prepared, groups = worlds.log()
  feed = feeds.make_feed(prepared, groups, _data(negative_exclude=exclude))
  batch = _batch(feed, np.tile(np.arange(len(feed.user)), 6), 1)
  heldout_drawn = False
  for user, drawn in zip(batch.user, batch.candidates[:, 1:]):
    events = _events(prepared, user)
    assert not set(drawn) & set(events[:-2])
    heldout_drawn |= bool(set(drawn) & set(events[-2:]))
  assert heldout_drawn == (exclude == 'train')


def _with_dislikes(mode, timed):
  """A log with dislikes; {user: {item: time}} of them, times are places."""
  prepared, groups = worlds.log()
  rng = np.random.default_rng(0)
  low = [
    {
      item: int(rng.integers(-1, len(_events(prepared, user))))
      for item in items
    }
    for user, items in enumerate(toys.disliked(rng, prepared))
  ]
  times = np.array([time for own in low for time in own.values()])
  prepared = toys.with_disliked(
    prepared, [list(own) for own in low], times if timed else None
  )
  starts = prepared.user_offsets[prepared.event_users]
  options = {'filters': {'dislikes': mode}}
  prepared = prepared._replace(
    manifest={**prepared.manifest, 'options': options},
    times=np.arange(prepared.num_events) - starts if timed else None,
  )
  return prepared, groups, low


@pytest.mark.parametrize(
  ('mode', 'timed'),
  [('seen', True), ('negatives', True), ('negatives', False)],
)
def test_what_was_rated_low_is_no_negative_or_is_trained_against(mode, timed):
  prepared, groups, low = _with_dislikes(mode, timed)
  for make, every in (
    (feeds.make_feed, 'last'),
    (feeds.make_sequence_feed, 'every'),
  ):
    feed = make(prepared, groups, _data(negative_exclude='train'))
    batch = _batch(feed, np.tile(np.arange(len(feed.user)), 6), 1, every)
    drawn = {user: set() for user in batch.user}
    rows = batch.candidates.reshape(len(batch.user), -1, 1 + NEGATIVES)
    for user, candidates in zip(batch.user, rows, strict=True):
      own = _events(prepared, user).tolist()
      for positive, first, *rest in candidates[candidates[:, 0] > 0].tolist():
        at = own.index(positive) if timed else np.inf
        earlier = [item for item, time in low[user].items() if time < at]
        assert not set(rest) & set(low[user])
        if mode == 'negatives' and earlier:
          assert first in earlier
          drawn[user].add(first)
        else:
          assert first not in low[user]
    if mode == 'negatives':
      assert sum(len(items) > 1 for items in drawn.values()) > 3


def test_dislikes_whose_times_are_not_there_are_not_trained_against():
  prepared, groups, _ = _with_dislikes('negatives', True)
  old = prepared._replace(disliked_times=None)
  with pytest.raises(types.UserError, match='prepare it again'):
    feeds.make_feed(old, groups, _data())


def test_negatives_depend_on_key_and_example_not_on_the_batch():
  prepared, groups = worlds.log()
  feed = feeds.make_feed(prepared, groups, _data())
  draw = lambda examples, seed: _batch(feed, examples, seed).candidates
  np.testing.assert_array_equal(draw([3, 5, 8], 0)[1:2], draw([5, 1, 1], 0)[:1])
  assert np.any(draw([3, 5, 8], 0) != draw([3, 5, 8], 1))


def test_filling_has_no_weight():
  prepared, groups = worlds.log()
  feed = feeds.make_feed(prepared, groups, _data())
  batch = _batch(feed, [0, -1, 2])
  np.testing.assert_array_equal(batch.weight, [1.0, 0.0, 1.0])


def test_a_sequence_feed_trains_every_next_training_event():
  prepared, groups = worlds.log()
  feed = feeds.make_sequence_feed(prepared, groups, _data())
  batch = _batch(feed, np.arange(len(feed.user)), positions='every')
  for row, user in enumerate(batch.user):
    train = _events(prepared, user)[:-2]
    inputs, targets = train[:-1][-LENGTH:], train[1:][-LENGTH:]
    count = len(inputs)
    assert batch.weight[row] == count
    np.testing.assert_array_equal(batch.history[row, :count], inputs)
    assert not np.any(batch.history[row, count:])
    np.testing.assert_array_equal(batch.candidates[row, :count, 0], targets)
    drawn = set(np.ravel(batch.candidates[row, :count, 1:]).tolist())
    assert not drawn & set(_events(prepared, user).tolist())


def test_sharing_gives_all_positions_of_a_sequence_the_same_negatives():
  prepared, groups = worlds.log()
  feed = feeds.make_sequence_feed(prepared, groups, _data())
  batch = _batch(
    feed, np.arange(len(feed.user)), positions='every', sharing=True
  )
  assert batch.candidates.shape == (len(feed.user), LENGTH, 1)
  assert batch.shared.shape == (len(feed.user), NEGATIVES)
  for user, drawn in zip(batch.user, batch.shared):
    assert not set(drawn) & set(_events(prepared, user))


def test_chances_are_those_of_a_uniform_draw_from_what_is_left():
  prepared, groups = worlds.log()
  feed = feeds.make_feed(prepared, groups, _data())
  batch = _batch(feed, np.arange(len(feed.user)), chances=True)
  left = [ITEMS - len(set(_events(prepared, user))) for user in batch.user]
  expected = np.repeat(-np.log(left)[:, None], NEGATIVES, axis=1)
  np.testing.assert_allclose(batch.log_chance, expected, rtol=1e-6)


def test_draws_by_popularity_follow_the_training_counts():
  prepared, groups = worlds.log()
  feed = feeds.make_feed(prepared, groups, _data(negative_power=1.0))
  train = np.asarray(prepared.split) == prepared_lib.TRAIN
  counts = np.bincount(np.asarray(prepared.items)[train], minlength=ITEMS + 1)
  drawn = np.concatenate(
    [
      _batch(feed, np.arange(len(feed.user)), seed, chances=True).candidates
      for seed in range(20)
    ]
  )[:, 1:]
  seen = np.bincount(np.ravel(drawn), minlength=ITEMS + 1)
  assert seen[0] > 0  # an item of the user does not count
  assert np.corrcoef(seen[1:], counts[1:])[0, 1] > 0.5


def test_masks_hide_a_share_of_a_sequence_and_at_least_one_item():
  prepared, groups = worlds.log()
  feed = feeds.make_sequence_feed(prepared, groups, _data(), 'masked')
  share, alone = 0.4, 0
  for seed in range(20):
    batch = _batch(
      feed,
      np.arange(len(feed.user)),
      seed,
      positions='masked',
      mask_share=share,
    )
    real = batch.history > 0
    for user, history in zip(batch.user, batch.history):
      train = _events(prepared, user)[:-2][-LENGTH:]
      np.testing.assert_array_equal(history[: len(train)], train)
    np.testing.assert_array_equal(
      batch.candidates[..., 0][real], batch.history[real]
    )
    assert not np.any(batch.masked & ~real)
    assert np.all(np.any(batch.masked, axis=1))
    last = np.arange(LENGTH) == real.sum(axis=1, keepdims=True) - 1
    alone += np.mean(np.all(batch.masked == (last & real), axis=1)) / 20
  assert 0.05 < alone < 0.5
  batches = [
    _batch(feed, np.zeros(64), seed, positions='masked', mask_share=share)
    for seed in range(30)
  ]
  hidden = np.mean([batch.masked[0, :3] for batch in batches])
  assert 0.2 < hidden < 0.55


@pytest.mark.parametrize('positions', ['last', 'every', 'masked'])
def test_histories_of_the_least_active_are_changed_to_train_on(positions):
  prepared, groups = worlds.log()
  make = feeds.make_feed
  if positions != 'last':
    make = functools.partial(feeds.make_sequence_feed, positions=positions)
  feed = make(prepared, groups, _data())
  near = np.zeros((ITEMS + 1, 2), np.int32)
  near[1:, 0] = np.roll(np.arange(1, ITEMS + 1), 1)
  changed = feed._replace(near=jnp.asarray(near))
  options = config_lib.AugmentConfig(
    groups=2, share=0.9, substitute=0.3, insert=0.3
  )
  examples = np.arange(len(feed.user))
  different = 0
  for seed in range(4):
    plain = _batch(feed, examples, seed, positions)
    made = _batch(changed, examples, seed, positions, augment=options)
    active = plain.group >= 2
    assert active.any() and not active.all()
    for old, new in zip(plain, made, strict=True):
      if old is not None:
        np.testing.assert_array_equal(old[active], new[active])
    different += np.sum(np.any(plain.history != made.history, axis=1))
    for row in np.flatnonzero(~active):
      old, new = plain.history[row], made.history[row]
      told = set(old[old > 0]) | set(near[old[old > 0], 0])
      assert set(new[new > 0]) <= told
      if positions == 'last':
        np.testing.assert_array_equal(
          plain.candidates[row], made.candidates[row]
        )
        continue
      # What is predicted is an item of the log, in its order.
      targets = made.candidates[row, new > 0, 0]
      wanted = plain.candidates[row, old > 0, 0].tolist()
      places = [wanted.index(item) for item in targets.tolist()]
      assert places == sorted(places) and places[-1] == len(wanted) - 1
      if positions == 'masked':
        hidden = made.masked[row]
        assert not np.any(hidden & (new == 0))
  assert different > 4


def test_dislikes_need_negatives_of_each_observed_item():
  prepared, groups, _ = _with_dislikes('negatives', True)
  feed = feeds.make_feed(prepared, groups, _data())
  draws = batches.Draws(LENGTH, ITEMS, NEGATIVES, 'every', sharing=True)
  with pytest.raises(types.UserError, match='data.negative_sharing=none'):
    batches.require_dislikes(feed, draws)
  with pytest.raises(types.UserError, match='than cross_entropy'):
    batches.require_dislikes(feed, draws._replace(num_negatives=0))
  batches.require_dislikes(feed, draws._replace(sharing=False))


def _tiny(items, split):
  user = np.zeros(len(items), np.int32)
  prepared = prepared_lib.build(
    user,
    np.array(items, np.int32),
    np.array(split, np.int8),
    user_ids=np.array(['zoe']),
    item_ids=np.arange(max(items)),
  )
  groups = groups_lib.Groups(
    np.zeros(1, np.int32),
    np.zeros(0, np.int64),
    np.ones(1, np.int64),
    np.zeros(1),
  )
  return prepared, groups


def test_a_log_without_negatives_names_the_way_out():
  prepared, groups = _tiny([1, 2, 3, 4], [0, 0, 1, 2])
  with pytest.raises(types.UserError, match='touched all 4 items.*=train'):
    feeds.make_feed(prepared, groups, _data())
  # Without the held-out items there is something left to draw.
  feed = feeds.make_feed(prepared, groups, _data(negative_exclude='train'))
  assert len(feed.user) == 1
  full, groups = _tiny([1, 2, 3, 1], [0, 0, 0, 2])
  for exclude in ('all', 'train'):
    with pytest.raises(types.UserError, match='use a log with more items'):
      feeds.make_feed(full, groups, _data(negative_exclude=exclude))


@pytest.mark.parametrize('make', [feeds.make_feed, feeds.make_sequence_feed])
def test_a_user_of_every_item_gives_no_example(make):
  prepared, _ = worlds.log(num_items=30)
  user = np.append(prepared.event_users, np.full(30, 12, np.int32))
  full = prepared_lib.build(
    user,
    np.append(prepared.items, np.arange(1, 31, dtype=np.int32)),
    np.append(prepared.split, np.repeat([0, 1, 2], [28, 1, 1]).astype(np.int8)),
    user_ids=np.arange(13),
    item_ids=np.arange(30),
  )
  groups = groups_lib.Groups(
    np.zeros(13, np.int32), np.zeros(0), np.ones(1, np.int64), np.zeros(1)
  )
  feed, plain = make(full, groups, _data()), make(prepared, groups, _data())
  for column in ('first', 'last', 'target', 'user', 'weight'):
    np.testing.assert_array_equal(
      getattr(feed, column), getattr(plain, column), err_msg=column
    )
  everybody = make(full, groups, _data(num_negatives=0))
  assert len(everybody.user) > len(feed.user)
  on_train = make(full, groups, _data(negative_exclude='train'))
  assert len(on_train.user) == len(everybody.user)


def test_no_sequences_at_all_is_an_error():
  prepared, groups = _tiny([3, 1], [0, 2])
  for make in (feeds.make_feed, feeds.make_sequence_feed):
    with pytest.raises(types.UserError, match='two training events'):
      make(prepared, groups, _data())


def test_unknown_exclusion_lists_the_known_ones():
  prepared, groups = worlds.log()
  with pytest.raises(types.UserError, match='allowed are all and train'):
    feeds.make_feed(prepared, groups, _data(negative_exclude='none'))
