"""How fast 2TS trains and follows its users.

Everything is compiled first and then takes turns in one process, so that a
ratio compares two turns of the same round.
"""

from collections.abc import Callable, Sequence
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import event_feeds
from twotsrec.models import ccf
from twotsrec.models import two_rnn
from twotsrec.recipes import benchmark
from twotsrec.recipes import benchmark_streams
from twotsrec.serving import online as online_lib
from twotsrec.serving import online_bytes
from twotsrec.training import machine
from twotsrec.training import offer_steps
from twotsrec.training import steps

# Of MovieLens 1M: what is measured needs ids, not their meaning.
_USERS, _ITEMS, _EVENTS = 6040, 3706, 1_000_209
_WIDTH = 64
_STEPS = 30  # of a turn
_BATCH = 1024  # events of a step of stage 1, users of an online update


class Work(NamedTuple):
  """What a row times.

  Attributes:
    part: of the system.
    name: what is done, once in a part.
    unit: what is counted.
    amount: units of a turn.
    run: () -> None, returns when it is done; every call does as much.
    base: row of the same part that the rate is compared with; '' for none.
    compile_seconds: None where nothing is compiled.
  """

  part: str
  name: str
  unit: str
  amount: int
  run: Callable[[], Any]
  base: str = ''
  compile_seconds: float | None = None


def measure(
  repeats: int,
  clock: str = 'wall',
  say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
  """Units per second of every row, and their ratios.

  Args:
    repeats: measured rounds over all rows, after one that warms up.
    clock: of `benchmark.CLOCKS`.
    say: told how far it has come.
  Returns:
    `rows`: part, name, unit; units `per_second`; ratio `over_base` to the rate
    of row `base`, null for none; seconds of compilation.
  """
  works = []
  for part in _PARTS:
    works += part(say)
  seconds = {(work.part, work.name): [] for work in works}
  now = benchmark.CLOCKS[clock]
  for number in range(repeats + 1):
    say(f'round {number}/{repeats}' if number else 'warming up')
    for work in works:
      begin = now()
      work.run()
      if number:
        seconds[work.part, work.name].append(now() - begin)
  return {
    'clock': clock,
    'rounds': repeats,
    'rows': [_shown(work, works, seconds) for work in works],
    'peak_rss_mb': machine.peak_rss_mb(),
    'versions': machine.versions(),
  }


def stage1(say: Callable[[str], None]) -> Sequence[Work]:
  """Updates of stage 1: every optimizer, with both ways to draw an offer set.

  Args:
    say: told how far it has come.
  """
  feed = _made_up_events()
  works = []
  for optimizer in (offer_steps.DENSE, *offer_steps.BY_ROWS):
    for pool in event_feeds.POOLS:
      config = config_lib.Config()
      config.model.width = _WIDTH
      config.two_time.stage1_batch = _BATCH
      config.two_time.stage1_optimizer = optimizer
      config.two_time.pool = pool
      works.append(_stage1_work(config, feed, say))
  return works


def online(say: Callable[[str], None]) -> Sequence[Work]:
  """Events that arrive: every event moves one of the users of a batch.

  Both networks serve a batch, or one of them; a query before every event; and
  states from their bytes and back.

  Args:
    say: told how far it has come.
  """
  say('compiling online updates')
  service = _online_service()
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

  first = 'update, two networks'
  rows = (
    (first, play(mixed, False), first),
    ('update, one network', play(inactive, False), first),
    ('query and update, two networks', play(mixed, True), first),
    ('to bytes and back', store, ''),
  )
  begin = time.perf_counter()
  for _, run, _ in rows:
    run()
  say(f'compiled in {time.perf_counter() - begin:.1f} s')
  return [
    Work('online', name, 'events', _STEPS * _BATCH, run, base)
    for name, run, base in rows
  ]


def table(measured: dict[str, Any]) -> list[list[str]]:
  """Cells of a table with its head, from what `measure` returns."""
  head = ['work', 'a second', '', 'ratio', '', 'to', 'compile, s']
  return [head, *map(_cells, measured['rows'])]


def _stage1_work(config, feed, say):
  """Some updates of an epoch, again and again."""
  options = config.two_time
  name = f'{options.stage1_optimizer}, {options.pool}'
  say(f'compiling stage 1, {name}')
  context = event_feeds.make_context(feed, _USERS, _ITEMS)
  update = offer_steps.make(config, jnp.ones(1))
  sizes = types.Sizes(_USERS, _ITEMS, 0)
  params = ccf.init(jax.random.key(0), context, sizes, config)
  live = update.init(params, jax.random.key(1)), steps.init_totals(1)
  count = len(feed.user)
  plan = event_feeds.make_plan(count, options.stage1_batch, 0, 0)[:_STEPS]
  fixed = (context, feed, jnp.asarray(plan), jax.random.key(2))
  span = jnp.int32(0), jnp.int32(len(plan))
  runner = steps.make_runner(
    update.step, event_feeds.make_batch_of(_ITEMS, options)
  )
  begin = time.perf_counter()
  compiled = runner.lower(*live, *fixed, *span).compile()
  seconds = time.perf_counter() - begin

  def run():
    nonlocal live  # the old state's memory is donated
    live = jax.block_until_ready(compiled(*live, *fixed, *span))

  first = f'{offer_steps.DENSE}, {event_feeds.POOLS[0]}'
  amount = int(np.sum(plan >= 0))
  return Work(
    'stage 1', name, 'events', amount, run, first, compile_seconds=seconds
  )


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


def _online_service() -> online_lib.Service:
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


def stage2(say: Callable[[str], None]) -> Sequence[Work]:
  """An epoch of stage 2 by loader, and a GRU by where its inputs project.

  Args:
    say: told how far it has come.
  """
  say('laying out stage 2')
  works = []
  for part, rows in (
    ('stage 2', benchmark_streams.loaders()),
    ('forward and back', benchmark_streams.projections()),
  ):
    first = rows[0].name
    for row in rows:
      base = '' if row.name == first else first
      works.append(Work(part, row.name, 'events', row.events, row.run, base))
  return works


_PARTS = (stage1, stage2, online)


def _shown(work, works, seconds):
  """A row for JSON."""
  rate = lambda w, s: w.amount / s
  own = seconds[work.part, work.name]
  ratios = None
  for base in works:
    if (base.part, base.name) == (work.part, work.base):
      turns = zip(own, seconds[base.part, base.name], strict=True)
      ratios = [rate(work, s) / rate(base, t) for s, t in turns]
  compiled = work.compile_seconds
  return {
    'part': work.part,
    'name': work.name,
    'unit': work.unit,
    'per_second': benchmark.summary([rate(work, s) for s in own]),
    'base': work.base,
    'over_base': None if ratios is None else benchmark.summary(ratios),
    'compile_seconds': None if compiled is None else round(compiled, 2),
  }


def _cells(row):
  rate, ratio = row['per_second'], row['over_base']
  seconds = row['compile_seconds']
  return [
    f'{row["part"]}: {row["name"]} ({row["unit"]})',
    *benchmark.spread(rate, ',.0f'),
    *benchmark.spread(ratio),
    row['base'],
    '' if seconds is None else f'{seconds:.1f}',
  ]
