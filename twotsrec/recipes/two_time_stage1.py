"""Stage 1 of 2TS: embeddings of users and items, and for how long (sec. 3.1).

How long it trains decides how well stage 2 can do, and its own validation
metric is the wrong judge of it: with past items among the candidates it falls
while the item vectors still improve. So snapshots are kept, and the network
that serves inactive users is trained on each; the best on validation tells.
"""

from collections.abc import Iterable
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import event_feeds
from twotsrec.data import features as features_lib
from twotsrec.data import groups as groups_lib
from twotsrec.data import plans
from twotsrec.data import prepared as prepared_lib
from twotsrec.models import ccf
from twotsrec.models import item_features
from twotsrec.objectives import streams as stream_objectives
from twotsrec.training import checkpoints
from twotsrec.training import loop
from twotsrec.training import offer_steps
from twotsrec.training import run_directory
from twotsrec.training import steps

_STEPS = 60  # of an epoch, about
_MOST_EVENTS = 8192  # of a step


class Stage(NamedTuple):
  """What stage 1 compiles.

  Attributes:
    phase: for `loop.fit`.
    state: it starts from.
    context: given arrays of the model, for `vectors`.
    config: how it runs.
  """

  phase: loop.Phase
  state: steps.TrainState
  context: dict[str, Any]
  config: config_lib.TrainConfig


def make(
  config: config_lib.Config,
  prepared: prepared_lib.Prepared,
  groups: groups_lib.Groups,
  left_out: np.ndarray,
  features: dict[str, Any] | None = None,
) -> Stage:
  """The phase that trains embeddings.

  Args:
    config: of the run.
    prepared: the data.
    groups: activeness groups, for the aggregator.
    left_out: bool[N], train events that it does not see.
    features: of items, on the device; None without any.
  Raises:
    types.UserError: settings that do not go together.
  """
  options = config.two_time
  feed = event_feeds.make(prepared, groups.user_group, np.flatnonzero(left_out))
  context = event_feeds.make_context(
    feed, prepared.num_users, prepared.num_items
  )
  if features is not None:
    context['features'] = features
  num_groups = config.groups.num_groups
  sizes = np.bincount(np.asarray(feed.group), minlength=num_groups)
  update = offer_steps.make(config, jnp.asarray(sizes, jnp.float32))
  init_key, train_key, data_key = jax.random.split(
    jax.random.key(config.train.seed), 3
  )
  params = ccf.init(
    init_key,
    context,
    types.Sizes(prepared.num_users, prepared.num_items, 1),
    config,
  )
  phase = _phase(config, feed, context, update, data_key, num_groups)
  epochs = max(options.stage1_epochs)
  train = dataclasses.replace(
    config.train,
    epochs=epochs,
    patience=0,
    select_metric='none',
    learning_rate=options.stage1_rate,
  )
  return Stage(phase, update.init(params, train_key), context, train)


def _phase(config, feed, context, update, data_key, num_groups):
  options, seed = config.two_time, config.train.seed
  group = np.asarray(feed.group)
  batch = options.stage1_batch or _batch_size(len(group))
  plan_of = lambda epoch: event_feeds.make_plan(len(group), batch, seed, epoch)
  batch_of = event_feeds.make_batch_of(
    int(context['item_counts'].shape[0]) - 1, options
  )
  if update.stacked:
    flat = plan_of
    plan_of = lambda epoch: plans.stack_plan(
      flat(epoch), group, num_groups, batch
    )
  return loop.Phase(
    runner=steps.make_runner(update.step, batch_of),
    context=context,
    feed=feed,
    plan_of=plan_of,
    negative_key=lambda epoch: jax.random.fold_in(data_key, epoch),
    num_losses=num_groups,
    snapshots=tuple(options.stage1_epochs),
  )


def _batch_size(num_events):
  """Events of a step, for about 60 steps an epoch."""
  return int(np.clip(num_events // _STEPS, 1, _MOST_EVENTS))


def make_refit(
  config: config_lib.Config,
  prepared: prepared_lib.Prepared,
  groups: groups_lib.Groups,
  params: types.Params,
  context: dict[str, Any],
) -> Stage:
  """Goes on with user vectors alone, on all train events.

  Items stand still, so the space cannot turn under the networks of stage 2. It
  takes as many epochs as the shortest stage 1.

  Args:
    config: of the run.
    prepared: the data.
    groups: activeness groups, for the aggregator.
    params: of stage 1.
    context: of stage 1; it knows which items were trained.
  """
  whole = make(
    config,
    prepared,
    groups,
    np.zeros(prepared.num_events, bool),
    context.get('features'),
  )
  counts = {'item_counts': context['item_counts']}
  users, context = offer_steps.freeze_items(params, whole.context | counts)
  num_groups = config.groups.num_groups
  sizes = jnp.bincount(whole.phase.feed.group, length=num_groups)
  update = offer_steps.make(config, sizes.astype(jnp.float32))
  root = jax.random.key(config.train.seed)
  train_key, data_key = jax.random.split(jax.random.fold_in(root, 1))
  phase = _phase(
    config, whole.phase.feed, context, update, data_key, num_groups
  )._replace(snapshots=())
  epochs = min(config.two_time.stage1_epochs)
  state = update.init(jax.tree.map(jnp.array, users), train_key)
  return Stage(
    phase, state, context, dataclasses.replace(whole.config, epochs=epochs)
  )


def refitted(
  params: types.Params, users: types.Params, context: dict[str, Any]
) -> jax.Array:
  """User vectors after a refit, f32[U, D]."""
  whole = offer_steps.thaw_items(params, users)
  return ccf.user_vectors(whole, context)[:-1]


def load_features(
  config: config_lib.Config, prepared: prepared_lib.Prepared
) -> dict[str, Any] | None:
  """Item features on the device; None for a model without any.

  They are read from `two_time.item_features`, or were prepared along with the
  data.

  Raises:
    types.UserError: there are none, or they do not fit the items.
  """
  options = config.two_time
  if not options.feature_width:
    if options.item_features:
      raise types.UserError(
        f'two_time.item_features {options.item_features}: they need their share'
        ' of model.width; set two_time.feature_width, or leave the file out'
      )
    return None
  if options.item_features:
    found = features_lib.read(
      options.item_features, prepared.item_ids, options.feature_columns
    )
  else:
    found = features_lib.load(prepared) if prepared.path else None
  if found is None:
    raise types.UserError(
      f'two_time.feature_width is {options.feature_width}, but the data have no'
      ' item features; prepare the data with --features, name a file in'
      ' two_time.item_features, or set it to 0'
    )
  return item_features.to_device(found)


def nothing_to_choose_by(epochs: Iterable[int]) -> types.UserError:
  """The user error where no validation events tell how long to train."""
  return types.UserError(
    f'two_time.stage1_epochs {",".join(map(str, sorted(epochs)))} are chosen by'
    ' validation events, and there are none; prepare the data with some, or'
    ' name one number'
  )


def snapshot(stage: Stage, workdir: str, epoch: int) -> types.Params:
  """Parameters after an epoch of `two_time.stage1_epochs`."""
  template = {'params': jax.eval_shape(lambda s: s.params, stage.state)}
  path = run_directory.snapshot_path(workdir, epoch)
  return checkpoints.restore(path, template).state['params']


def vectors(
  params: types.Params, context: dict[str, Any]
) -> stream_objectives.Vectors:
  """What stage 2 takes over; frozen from here on.

  A user without a train event has the mean of the others' vectors, and an item
  without one has 0 for what was learned of it.
  """
  users = ccf.user_vectors(params, context)[:-1]
  return stream_objectives.Vectors(ccf.item_vectors(params, context), users)
