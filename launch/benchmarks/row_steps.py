"""Times a step over id tables of several sizes, dense and row by row."""

from collections.abc import Callable, Sequence
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import timing
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import event_feeds
from twotsrec.models import ccf
from twotsrec.training import machine
from twotsrec.training import offer_steps
from twotsrec.training import row_optimizers
from twotsrec.training import steps

_WIDTH = 64
_BATCH = 1024  # events of a step, 10 negatives each
_STEPS = {'adam': 3}  # of a turn; a dense step takes long
_ROW_STEPS = 100
_LARGEST_DENSE = 1_000_000  # users, and as many items


def measure(
  sizes: Sequence[int],
  repeats: int,
  clock: str = 'wall',
  say: timing.Say = timing.say_nothing,
) -> dict[str, Any]:
  """Milliseconds of a step of 2TS's stage 1, by optimizer and size of tables.

  Args:
    sizes: users, and as many items; Adam is left out above a million.
    repeats: rounds, as in `timing.measure`.
    clock: of `timing.CLOCKS`.
    say: gets a line about progress.
  Returns:
    `rows`: optimizer, users, milliseconds per step, and their ratio to Adam on
    as many rows; `exponents`: optimizer -> how a step grows with the tables,
    the slope of log milliseconds over log rows.
  """
  measured: dict[str, Any] = {'rows': []}
  for size in sizes:
    # One size at a time, so that memory holds the tables of one.
    dense = ('adam',) if size <= _LARGEST_DENSE else ()
    works = []
    for name in (*dense, *row_optimizers.NAMES):
      say(f'compiling {name}, {size:,} users and items')
      labels = {'optimizer': name, 'users': size}
      base = {'optimizer': dense[0], 'users': size} if dense else None
      number = _STEPS.get(name, _ROW_STEPS)
      run = _updates(name, size, number)
      works.append(timing.Work(labels, run, number, {'over_adam': base}))
    own = timing.measure(works, timing.PER_STEP, repeats, clock, say)
    measured = {**own, 'rows': measured['rows'] + own['rows']}
  measured['peak_rss_mb'] = machine.peak_rss_mb()
  return {**measured, 'exponents': exponents(measured['rows'])}


def exponents(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
  """Optimizer -> slope of log milliseconds over log users, least squares."""
  found = {}
  for name in dict.fromkeys(row['optimizer'] for row in rows):
    own = [row for row in rows if row['optimizer'] == name]
    if len(own) > 1:
      x = [math.log(row['users']) for row in own]
      y = [math.log(row['milliseconds_per_step']['median']) for row in own]
      found[name] = float(np.polyfit(x, y, 1)[0])
  return found


def _updates(name: str, size: int, number: int) -> Callable[[], None]:
  """Updates on events drawn uniformly, again and again; compiled here."""
  config = config_lib.Config()
  config.model.width = _WIDTH
  config.train.table_optimizer = name
  config.two_time.stage1_batch = _BATCH
  generator = np.random.default_rng(0)
  count = number * _BATCH
  draw = lambda first: jnp.asarray(
    generator.integers(first, size + first, count), jnp.int32
  )
  feed = event_feeds.EventFeed(
    draw(0), draw(1), jnp.zeros(count, jnp.int32), jnp.ones(count)
  )
  context = event_feeds.make_context(feed, size, size)
  update = offer_steps.make(config, jnp.ones(1))
  params = ccf.init(
    jax.random.key(0), context, types.Sizes(size, size, 0), config
  )
  live = update.init(params, *jax.random.split(jax.random.key(1)))
  plan = jnp.arange(count, dtype=jnp.int32).reshape(number, _BATCH)
  runner = steps.make_runner(
    update.step, event_feeds.make_batch_of(size, config.two_time)
  )
  fixed = (context, feed, plan, jax.random.key(2), jnp.int32(0))

  def run():
    nonlocal live  # the old state's memory is donated
    live, _ = runner(live, steps.init_totals(1), *fixed, jnp.int32(number))
    jax.block_until_ready(live)

  run()  # compiles
  return run
