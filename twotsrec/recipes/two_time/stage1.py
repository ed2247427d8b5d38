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
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import event_feeds
from twotsrec.data import features as features_lib
from twotsrec.data import plans
from twotsrec.data import prepared as prepared_lib
from twotsrec.models import ccf
from twotsrec.models import item_features
from twotsrec.objectives import streams as stream_objectives
from twotsrec.training import checkpoints
from twotsrec.training import offer_steps
from twotsrec.training import phases
from twotsrec.training import run_directory

_STEPS = 60  # of an epoch, about
_MOST_EVENTS = 8192  # of a step


class Stage(NamedTuple):
  """Stage 1 as it is trained, and as its vectors are read.

  Attributes:
    parts: of the phase.
    context: given arrays of the model, for `vectors`.
  """

  parts: phases.Parts
  context: dict[str, Any]


def make(
  experiment: contracts.Experiment,
  left_out: np.ndarray,
  features: dict[str, Any] | None = None,
) -> Stage:
  """The phase that trains embeddings.

  Args:
    experiment: data and settings.
    left_out: bool[N], train events that it does not see.
    features: of items, on the device; None without any.
  Raises:
    types.UserError: settings that do not go together.
  """
  config, prepared = experiment.config, experiment.prepared
  user_group = experiment.groups.user_group
  feed = event_feeds.make(prepared, user_group, np.flatnonzero(left_out))
  context = event_feeds.make_context(
    feed, prepared.num_users, prepared.num_items
  )
  if features is not None:
    context['features'] = features
  sizes = types.Sizes(prepared.num_users, prepared.num_items, 1)
  learner = contracts.Learner(
    init=lambda key: ccf.init(key, context, sizes, config), context=context
  )
  options = config.two_time
  how = phases.How(
    train=_train_config(config, max(options.stage1_epochs)),
    update=_update(config, feed),
    keys=phases.keys_of(jax.random.key(config.train.seed)),
    snapshots=tuple(options.stage1_epochs),
  )
  source = _source(config, feed, prepared.num_items)
  parts = phases.Parts(learner=learner, source=source, how=how)
  return Stage(parts=parts, context=context)


def _update(config, feed):
  return offer_steps.make(config, _sizes(config, feed))


def _sizes(config, feed):
  """Training events of every group, f32[G]."""
  groups = np.asarray(feed.group)
  counts = np.bincount(groups, minlength=config.groups.num_groups)
  return jnp.asarray(counts, jnp.float32)


def _train_config(config, epochs):
  return dataclasses.replace(
    config.train,
    epochs=epochs,
    patience=0,
    select_metric='none',
    learning_rate=config.two_time.stage1_rate,
  )


def _source(config, feed, num_items) -> contracts.Source:
  """Train events, each with an offer set."""
  options, seed = config.two_time, config.train.seed
  group, num_groups = np.asarray(feed.group), config.groups.num_groups
  batch = options.stage1_batch or _batch_size(len(group))
  plan_of = lambda epoch: event_feeds.make_plan(len(group), batch, seed, epoch)
  stack = lambda plan: plans.stack_plan(plan, group, num_groups, batch)
  flat = contracts.Source(
    feed=feed,
    sizes=_sizes(config, feed),
    batch_of=event_feeds.make_batch_of(num_items, options),
    plan_of=plan_of,
  )
  # A batch has the shape of the plan's row, whatever that is.
  stacked = flat._replace(plan_of=lambda epoch: stack(plan_of(epoch)))
  return flat._replace(by_group=lambda: stacked)


def _batch_size(num_events):
  """Events of a step, for about 60 steps an epoch."""
  return int(np.clip(num_events // _STEPS, 1, _MOST_EVENTS))


def make_refit(
  experiment: contracts.Experiment,
  params: types.Params,
  context: dict[str, Any],
) -> Stage:
  """Goes on with user vectors alone, on all train events.

  Items stand still, so the space cannot turn under the networks of stage 2. It
  takes as many epochs as the shortest stage 1.

  Args:
    experiment: data and settings.
    params: of stage 1.
    context: of stage 1; it knows which items were trained.
  """
  config = experiment.config
  nothing = np.zeros(experiment.prepared.num_events, bool)
  whole = make(experiment, nothing, context.get('features'))
  counts = {'item_counts': context['item_counts']}
  users, context = offer_steps.freeze_items(params, whole.context | counts)
  key = jax.random.fold_in(jax.random.key(config.train.seed), 1)
  train_key, data_key = jax.random.split(key)
  source = whole.parts.source
  how = phases.How(
    train=_train_config(config, min(config.two_time.stage1_epochs)),
    update=_update(config, source.feed),
    keys=phases.Keys(
      init=train_key,  # nothing is drawn: users start where stage 1 left them
      train=train_key,
      negatives=lambda epoch: jax.random.fold_in(data_key, epoch),
    ),
  )
  learner = contracts.Learner(
    init=lambda key: jax.tree.map(jnp.array, users), context=context
  )
  return Stage(
    parts=phases.Parts(learner=learner, source=source, how=how),
    context=context,
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
  learner, _, how = stage.parts
  template = {'params': jax.eval_shape(learner.init, how.keys.init)}
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
