"""Events that train 2TS, alone or in streams, as `contracts.Source`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec.data import event_feeds
from twotsrec.data import plans
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import stream_feeds
from twotsrec.data import stream_jobs
from twotsrec.data import streams
from twotsrec.objectives import streams as stream_objectives

_LOADERS = {'packed': streams.packed, 'padded': streams.padded}
_STEPS = 60  # of an epoch of single events, about
_MOST_EVENTS = 8192  # of a step


def of_events(
  config: config_lib.Config, feed: event_feeds.EventFeed, num_items: int
) -> contracts.Source:
  """Single train events, each with an offer set (2TS sec. 3.1)."""
  options, seed = config.two_time, config.train.seed
  group, num_groups = np.asarray(feed.group), config.groups.num_groups
  share = int(np.clip(len(group) // _STEPS, 1, _MOST_EVENTS))
  batch = options.stage1_batch or share
  plan_of = lambda epoch: event_feeds.make_plan(len(group), batch, seed, epoch)
  stack = lambda plan: plans.stack_plan(plan, group, num_groups, batch)
  flat = contracts.Source(
    feed=feed,
    sizes=jnp.asarray(np.bincount(group, minlength=num_groups), jnp.float32),
    batch_of=event_feeds.make_batch_of(num_items, options),
    plan_of=plan_of,
  )
  # A batch has the shape of the plan's row, whatever that is.
  stacked = flat._replace(plan_of=lambda epoch: stack(plan_of(epoch)))
  return flat._replace(by_group=lambda: stacked)


def of_job(
  config: config_lib.Config,
  prepared: prepared_lib.Prepared,
  job: stream_jobs.Job,
) -> contracts.Source:
  """The events of one network; packed where they are cut by group."""
  options = config.two_time
  layout = make_layout(job, options)
  flat = contracts.Source(
    feed=stream_feeds.make_feed(prepared, job.group),
    sizes=jnp.asarray(job.sizes),
    **_laid_out(config, prepared, layout),
  )
  if job.part.reads == 'carried':
    return flat
  stacked = lambda: make_layout(job, options, by_group=True)
  return flat._replace(
    by_group=lambda: flat._replace(**_laid_out(config, prepared, stacked()))
  )


def _laid_out(config, prepared, layout) -> dict[str, Any]:
  return {
    'batch_of': batch_of(config.two_time, prepared.num_items, layout.shape),
    'plan_of': lambda epoch: layout.plan_of(config.train.seed, epoch),
  }


def of_both(
  config: config_lib.Config,
  prepared: prepared_lib.Prepared,
  jobs: tuple[stream_jobs.Job, ...],
) -> contracts.Source:
  """Events of both networks side by side, of groups one after the other."""
  options, seed = config.two_time, config.train.seed
  first = make_layout(jobs[0], options)
  layouts = (first, second_layout(config, prepared, jobs[1], first.shape[0]))
  groups = (jobs[0].group, jobs[1].group + len(jobs[0].sizes))
  makers = [batch_of(options, prepared.num_items, x.shape) for x in layouts]

  def pair_of(feeds, entries, key):
    halves = jnp.split(entries, [int(np.prod(first.shape[1:]))])
    keys = jax.random.split(key)
    parts = [
      make(feed, half, k)
      for make, feed, half, k in zip(makers, feeds, halves, keys, strict=True)
    ]
    return stream_objectives.pair(*parts)

  def plan_of(epoch):
    plans = [layout.plan_of(seed, epoch) for layout in layouts]
    return np.concatenate([p.reshape(len(p), -1) for p in plans], axis=1)

  return contracts.Source(
    feed=tuple(stream_feeds.make_feed(prepared, group) for group in groups),
    sizes=jnp.asarray(np.concatenate([job.sizes for job in jobs])),
    batch_of=pair_of,
    plan_of=plan_of,
  )


def second_layout(
  config: config_lib.Config,
  prepared: prepared_lib.Prepared,
  job: stream_jobs.Job,
  num_steps: int,
) -> streams.Layout:
  """Streams of active users in as many steps as the others have.

  Where all is trained in one stage, their windows may be drawn anew.
  """
  options = config.two_time
  at_random = options.single_stage_window == 'random'
  if options.variant not in config_lib.ONE_STAGE or not at_random:
    return make_layout(job, options, steps=num_steps)
  start = np.asarray(prepared.user_offsets)[job.users]
  end = job.runs.start + job.runs.length  # of the train events
  whole = streams.Runs(start, end - start)

  def drawn(seed):
    generator = np.random.default_rng(seed)
    runs = streams.windows(whole, options.window, generator)
    return make_layout(job._replace(runs=runs), options, steps=num_steps)

  return drawn(0)._replace(
    plan_of=lambda seed, epoch: drawn((seed, epoch, 1)).plan_of(seed, epoch)
  )


def make_layout(
  job: stream_jobs.Job,
  options: config_lib.TwoTimeConfig,
  by_group: bool = False,
  steps: int | None = None,
) -> streams.Layout:
  """The events of a job, laid out.

  Args:
    job: with its events.
    options: size of a step, loader.
    by_group: groups side by side, packed.
    steps: S of a packed layout, in place of the size of a step.
  """
  runs, tokens = job.runs, stream_jobs.tokens(job.runs, options)
  longest = int(runs.length.max())
  if job.part.reads == 'carried':
    width = min(max(tokens // options.window, 1), len(job.users))
    return streams.carried(runs, options.window, width)
  if steps is None and not by_group:
    return _LOADERS[options.loader](runs, longest, tokens)
  packed = streams.packed(runs, longest, tokens, steps)
  if not by_group:
    return packed
  of_run = job.group[job.users]
  of_group = lambda g: streams.Runs(*(x[of_run == g] for x in runs))
  return streams.stacked(
    [
      streams.packed(of_group(g), longest, tokens, packed.shape[0])
      for g in range(len(job.sizes))
    ]
  )


def batch_of(
  options: config_lib.TwoTimeConfig, num_items: int, shape: tuple[int, ...]
):
  """(feed, entries, key) -> Batch; leaves [G, ...] where groups are stacked."""
  *_, length, width = shape
  flat = stream_feeds.make_batch_of(
    (length, width), num_items, *stream_objectives.negatives(options)
  )
  if len(shape) == 3:
    return flat
  by_group = jax.vmap(flat, in_axes=(None, 0, None))

  def stacked(feed, entries, key):
    batch = by_group(feed, entries, key)
    # Filling is of user 0; here it belongs to its row's group.
    own = jnp.arange(shape[1], dtype=batch.group.dtype)
    group = jnp.broadcast_to(own[:, None], batch.group.shape)
    return batch._replace(group=group)

  return stacked
