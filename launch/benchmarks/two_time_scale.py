"""Times the parts of 2TS: training of both stages, and online updates."""

from collections.abc import Sequence
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import stream_epochs
import timing
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import event_feeds
from twotsrec.models import ccf
from twotsrec.models import two_rnn
from twotsrec.serving import online as online_lib
from twotsrec.serving import online_bytes
from twotsrec.training import offer_steps
from twotsrec.training import steps

# Of MovieLens 1M: what is measured needs ids, not their meaning.
_USERS, _ITEMS, _EVENTS = 6040, 3706, 1_000_209
_WIDTH = 64
_STEPS = 30  # of a turn
_BATCH = 1024  # events of a step of stage 1, users of an online update


def measure(
  repeats: int,
  clock: str = 'wall',
  say: timing.Say = timing.say_nothing,
) -> dict[str, Any]:
  """Units per second of every row, and their ratios, as `timing.measure`.

  Returns:
    `rows`: part, name, unit; units `per_second`; ratio `over_first`, to the
    rate of the first row of the part, null where it is alone; seconds of
    compilation.
  """
  works = [work for part in _PARTS for work in part(say)]
  return timing.measure(works, timing.PER_SECOND, repeats, clock, say)


def stage1(say: timing.Say) -> Sequence[timing.Work]:
  """Updates of stage 1: every optimizer, with both ways to draw an offer set.

  Args:
    say: gets a line about progress.
  """
  feed = _made_up_events()
  runs, seconds = {}, []
  for optimizer in config_lib.TABLE_OPTIMIZERS:
    for pool in event_feeds.POOLS:
      config = config_lib.Config()
      config.model.width = _WIDTH
      config.two_time.stage1_batch = _BATCH
      config.train.table_optimizer = optimizer
      config.two_time.pool = pool
      name = f'{optimizer}, {pool}'
      say(f'compiling stage 1, {name}')
      begin = time.perf_counter()
      runs[name] = _stage1_updates(config, feed)
      seconds.append(time.perf_counter() - begin)
  amount = min(_STEPS * _BATCH, len(feed.user))
  works = timing.same_work('stage 1', runs, amount)
  return [w._replace(compile_seconds=s) for w, s in zip(works, seconds)]


def stage2(say: timing.Say) -> Sequence[timing.Work]:
  """An epoch of stage 2 by loader, and a GRU by where its inputs project.

  Args:
    say: gets a line about progress.
  """
  say('laying out stage 2')
  return [*stream_epochs.loaders(), *stream_epochs.projections()]


def online(say: timing.Say) -> Sequence[timing.Work]:
  """Events that arrive: every event moves one of the users of a batch.

  Both networks serve a batch, or one of them; a query before every event; and
  states from their bytes and back.

  Args:
    say: gets a line about progress.
  """
  say('compiling online updates')
  service = online_service()
  users = np.arange(_USERS)
  items = np.random.default_rng(0).integers(1, _ITEMS + 1, (_STEPS, _BATCH))
  mixed, inactive = np.resize(users, _BATCH), np.resize(users[::2], _BATCH)

  def play(start, ask):
    def run():
      state = online_lib.start(service, start)
      for item in items:
        if ask:
          online_lib.query(service, state)
        state = online_lib.update(service, state, item)
      jax.block_until_ready(state)

    return run

  def store():
    state = online_lib.start(service, mixed)
    for _ in range(_STEPS):
      records = online_bytes.to_records(service, state)
      state = online_bytes.from_bytes(service, records)

  updates = {
    'update, two networks': play(mixed, False),
    'update, one network': play(inactive, False),
    'query and update, two networks': play(mixed, True),
  }
  amount = _STEPS * _BATCH
  return [
    *timing.same_work('online', updates, amount),
    *timing.same_work('states', {'to bytes and back': store}, amount, 'users'),
  ]


_PARTS = (stage1, stage2, online)


def _stage1_updates(config, feed):
  """Some updates of an epoch, again and again; compiled here."""
  options = config.two_time
  context = event_feeds.make_context(feed, _USERS, _ITEMS)
  update = offer_steps.make(config, jnp.ones(1))
  sizes = types.Sizes(_USERS, _ITEMS, 0)
  params = ccf.init(jax.random.key(0), context, sizes, config)
  keys = jax.random.split(jax.random.key(1))
  live = update.init(params, *keys), steps.init_totals(1)
  count = len(feed.user)
  plan = event_feeds.make_plan(count, options.stage1_batch, 0, 0)[:_STEPS]
  fixed = (context, feed, jnp.asarray(plan), jax.random.key(2))
  span = jnp.int32(0), jnp.int32(len(plan))
  runner = steps.make_runner(
    update.step, event_feeds.make_batch_of(_ITEMS, options)
  )
  compiled = runner.lower(*live, *fixed, *span).compile()

  def run():
    nonlocal live  # the old state's memory is donated
    live = jax.block_until_ready(compiled(*live, *fixed, *span))

  return run


def _made_up_events() -> event_feeds.EventFeed:
  """Ids drawn by power laws, one activeness group."""
  generator = np.random.default_rng(0)

  def draw(count, power):
    weight = np.arange(1, count + 1) ** -power
    ids = generator.choice(count, _EVENTS, p=weight / weight.sum())
    return jnp.asarray(ids, jnp.int32)

  return event_feeds.EventFeed(
    draw(_USERS, 0.5),
    1 + draw(_ITEMS, 0.8),
    jnp.zeros(_EVENTS, jnp.int32),
    jnp.ones(_EVENTS, jnp.float32),
  )


def online_service() -> online_lib.Service:
  """2TS that nobody trained; every other user is active."""
  config = config_lib.Config()
  config.model.width = _WIDTH
  stages = two_rnn.make_stages(config.two_time, _WIDTH)
  keys = jax.random.split(jax.random.key(0), 2)
  drawn = [stages.init(key, {}, types.Sizes(1, _ITEMS, 1)) for key in keys]
  names = ('inactive', 'active')
  nets = dict(zip(names, (params.net for params in drawn), strict=True))
  net = {'new': jnp.zeros(_WIDTH), 'networks': nets}
  number = np.arange(_USERS, dtype=np.int32)
  zero = np.zeros_like(number)
  states = np.zeros((_USERS, _WIDTH), np.float32)
  return online_lib.make(
    config,
    types.Params(drawn[0].tables, net),
    names,
    online_lib.State(states, zero, number % 2, zero, zero, zero),
    online_lib.Ids(number, np.arange(_ITEMS)),
  )
