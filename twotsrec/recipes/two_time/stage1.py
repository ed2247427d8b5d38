"""Stage 1 of 2TS: embeddings of users and items (sec. 3.1).

The number of its epochs decides how well stage 2 can do, and its own validation
metric is the wrong judge of it: with past items among the candidates it falls
while the item vectors still improve. So snapshots are saved, and the network
that serves inactive users is trained on each; the best on validation decides.

Variants that leave the same events out have the same stage 1, which is to train
equally long for all of them: one run trains it and chooses, and the others name
that run in `two_time.stage1`.
"""

from collections.abc import Iterable
import dataclasses
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import contracts
from twotsrec import types
from twotsrec.data import event_feeds
from twotsrec.data import stream_jobs
from twotsrec.models import ccf
from twotsrec.models import item_features
from twotsrec.objectives import streams as stream_objectives
from twotsrec.recipes import pin
from twotsrec.training import checkpoints
from twotsrec.training import files
from twotsrec.training import offer_steps
from twotsrec.training import phases
from twotsrec.training import run_directory
from twotsrec.training import stream_sources

FOLDER = 'stage1'  # of the phase, in its run
# Settings that decide what stage 1 comes to.
_SETTINGS = (
  'model.name model.width train.seed train.beta2 groups.* aggregator.*'
  ' two_time.negatives two_time.pool two_time.pool_size two_time.stage1_*'
  ' two_time.item_features two_time.feature_*'
)


class Choice(NamedTuple):
  """A number of epochs of stage 1.

  Attributes:
    folder: of the phase, with a snapshot after these epochs.
    epochs: chosen.
    trials: validation MRR by epochs; {} if there was one choice.
    seconds: of training until then.
  """

  folder: str = ''
  epochs: int = 0
  trials: dict[int, float | None] = {}
  seconds: float = 0.0


def make(
  experiment: contracts.Experiment,
  left_out: np.ndarray | None = None,
  features: dict[str, Any] | None = None,
) -> phases.Parts:
  """The phase that trains embeddings.

  Args:
    experiment: data and settings.
    left_out: bool[N], train events that it does not see; None for none.
    features: of items, on the device; None loads them, if there are any.
  Raises:
    types.UserError: settings that do not go together.
  """
  config, prepared = experiment.config, experiment.prepared
  events = None if left_out is None else np.flatnonzero(left_out)
  feed = event_feeds.make(prepared, experiment.groups.user_group, events)
  sizes = types.Sizes(prepared.num_users, prepared.num_items, 1)
  context = event_feeds.make_context(feed, sizes.num_users, sizes.num_items)
  features = features or item_features.load(config.two_time, prepared)
  if features is not None:
    context['features'] = features
  epochs = config.two_time.stage1_epochs
  source = stream_sources.of_events(config, feed, prepared.num_items)
  how = phases.How(
    train=dataclasses.replace(
      config.train,
      epochs=max(epochs),
      patience=0,
      select_metric='none',
      learning_rate=config.two_time.stage1_rate,
    ),
    update=offer_steps.make(config, source.sizes),
    keys=phases.keys_of(jax.random.key(config.train.seed)),
    snapshots=tuple(epochs),
  )
  learner = contracts.Learner(
    init=lambda key: ccf.init(key, context, sizes, config), context=context
  )
  return phases.Parts(learner=learner, source=source, how=how)


def make_refit(
  experiment: contracts.Experiment,
  params: types.Params,
  context: dict[str, Any],
  left_out: np.ndarray | None = None,
) -> phases.Parts:
  """A phase that goes on with user vectors alone, on all train events.

  Items stand still, so the space cannot turn under the networks of stage 2. It
  takes as many epochs as the shortest stage 1.

  Args:
    experiment: data and settings.
    params: of stage 1.
    context: of stage 1, with the items that were trained.
    left_out: bool[N], train events that it does not see; None for none.
  """
  config = experiment.config
  whole = make(experiment, left_out, context.get('features'))
  counts = {'item_counts': context['item_counts']}
  users, context = offer_steps.freeze_items(
    params, whole.learner.context | counts
  )
  key = jax.random.fold_in(jax.random.key(config.train.seed), 1)
  train_key, data_key = jax.random.split(key)
  epochs = min(config.two_time.stage1_epochs)
  how = whole.how._replace(
    train=dataclasses.replace(whole.how.train, epochs=epochs),
    keys=phases.Keys(
      init=train_key,  # nothing is drawn: users start where stage 1 left them
      train=train_key,
      negatives=lambda epoch: jax.random.fold_in(data_key, epoch),
    ),
    snapshots=(),
  )
  learner = contracts.Learner(
    init=lambda key: jax.tree.map(jnp.array, users), context=context
  )
  return phases.Parts(learner=learner, source=whole.source, how=how)


def refitted(
  params: types.Params, users: types.Params, context: dict[str, Any]
) -> jax.Array:
  """User vectors after a refit, f32[U, D]."""
  whole = offer_steps.thaw_items(params, users)
  return ccf.user_vectors(whole, context)[:-1]


def nothing_to_choose_by(epochs: Iterable[int]) -> types.UserError:
  """The user error where no validation events tell how long to train."""
  return types.UserError(
    f'two_time.stage1_epochs {",".join(map(str, sorted(epochs)))} are chosen by'
    ' validation events, and there are none; prepare the data with some, or'
    ' name one number'
  )


def snapshot(
  stage: phases.Parts, folder: str, epoch: int
) -> tuple[types.Params, stream_objectives.Vectors]:
  """Parameters after an epoch of `two_time.stage1_epochs`, and `vectors`."""
  learner, _, how = stage
  template = {'params': jax.eval_shape(learner.init, how.keys.init)}
  path = run_directory.snapshot_path(folder, epoch)
  step = max(checkpoints.steps(path), default=0)  # the only one
  params = checkpoints.restore_step(path, template, step).state['params']
  return params, vectors(params, learner.context)


def vectors(
  params: types.Params, context: dict[str, Any]
) -> stream_objectives.Vectors:
  """Vectors that stage 2 takes over; frozen from here on.

  A user without a train event has the mean of the others' vectors, and an item
  without one has 0 for what was learned of it.
  """
  users = ccf.user_vectors(params, context)[:-1]
  return stream_objectives.Vectors(ccf.item_vectors(params, context), users)


def taken(
  experiment: contracts.Experiment, work: contracts.Work
) -> Choice | None:
  """Stage 1 of the run in `two_time.stage1`; None if none is named.

  Raises:
    types.UserError: a run that is not finished or has no stage 1, or whose
      stage 1 this run would not have come to.
  """
  workdir = experiment.config.two_time.stage1
  if not workdir:
    return None
  where = f'two_time.stage1 {workdir}'
  theirs, _ = work.load(workdir)
  pin.check_same(where, experiment, theirs, _SETTINGS, 'leave it out')
  left, there = (
    stream_jobs.window_events(e.prepared, e.config.two_time)
    for e in (experiment, theirs)
  )
  if not np.array_equal(left, there):
    raise types.UserError(
      f'{where} left {there.sum():,} events out of stage 1 ({_about(theirs)}),'
      f' this run leaves {left.sum():,} ({_about(experiment)}); name a run that'
      ' leaves the same out, or train another stage 1'
    )
  report = files.read_json(run_directory.report_path(workdir))['two_time']
  folder, epochs = str(pathlib.Path(workdir) / FOLDER), report['stage1_epochs']
  if not run_directory.snapshot_path(folder, epochs).is_dir():
    source = theirs.config.two_time.stage1
    why = f'it was taken from {source}' if source else 'none, or several'
    raise types.UserError(
      f'{where} has no stage 1 of its own ({why}); name a run that trained one'
    )
  trials = {int(k): v for k, v in report['stage1_trials'].items()}
  return Choice(folder, epochs, trials, report['stage1_seconds'])


def _about(experiment):
  options = experiment.config.two_time
  return (
    f'two_time.variant {options.variant}, holdout {options.holdout}, window'
    f' {options.window}, threshold {options.threshold}'
  )
