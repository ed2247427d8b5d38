"""Work of stage 2 of 2TS, which `two_time_scale` times.

Lengths follow a power law, as activity does: most users have a few events, so a
stream for each is nearly all filling.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import timing
from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import stream_feeds
from twotsrec.data import streams
from twotsrec.models import two_rnn
from twotsrec.objectives import streams as stream_objectives
from twotsrec.ops import recurrence
from twotsrec.training import optimizers
from twotsrec.training import steps

_WIDTH = 64
_USERS, _ITEMS, _LONGEST = 4000, 3706, 100
_ALPHA = 1.5  # of the lengths, P(T = k) ~ (k + 1)^-alpha
_TOKENS = 8192
_LENGTH, _STREAMS = 50, 164  # of the bare recurrence
_PASSES = 8


class Log(NamedTuple):
  """Users of power-law lengths, nothing but ids."""

  runs: streams.Runs
  feed: stream_feeds.Feed


def make_log(seed: int = 0) -> Log:
  """Lengths 1.._LONGEST, items at random."""
  generator = np.random.default_rng(seed)
  sizes = np.arange(1, _LONGEST + 1)
  chance = (sizes + 1.0) ** -_ALPHA
  length = generator.choice(sizes, _USERS, p=chance / chance.sum())
  start = np.cumsum(length) - length
  item = generator.integers(1, _ITEMS + 1, int(length.sum()))
  as_i32 = lambda x: jnp.asarray(x, jnp.int32)
  feed = stream_feeds.Feed(
    item=as_i32(item),
    previous=as_i32(np.zeros_like(item)),
    user=as_i32(np.repeat(np.arange(_USERS), length)),
    group=as_i32(np.zeros(_USERS)),
  )
  return Log(streams.Runs(start, length), feed)


def make_epoch(log: Log, layout: streams.Layout) -> Callable[[], jax.Array]:
  """() -> parameters after an epoch of stage 2, from the same start."""
  options = config_lib.TwoTimeConfig()
  stages = two_rnn.make_stages(options, _WIDTH)
  key = jax.random.key(0)
  net = stages.init(key, None, types.Sizes(1, 1, 1)).net
  vectors = jax.random.normal(key, (_ITEMS + 1, _WIDTH)).at[0].set(0.0)
  aggregator = aggregators.make(config_lib.AggregatorConfig())
  gradient = steps.make_gradient(
    stream_objectives.make(stages), aggregator, jnp.ones(1)
  )
  optimizer = optimizers.clipped(options.rate, options.clip)
  batch_of = stream_feeds.make_batch_of(
    layout.shape[1:], _ITEMS, *stream_objectives.negatives(options)
  )
  runner = steps.make_runner(steps.make_step(gradient, optimizer), batch_of)
  context = {'vectors': stream_objectives.Vectors(vectors)}
  plan = jnp.asarray(layout.plan_of(0, 0))
  bounds = jnp.asarray(0, jnp.int32), jnp.asarray(len(plan), jnp.int32)

  def run():
    params = jax.tree.map(jnp.array, types.Params({}, net))  # it is donated
    state = steps.init_state(params, optimizer, (), jax.random.key(1))
    state, _ = runner(
      state, steps.init_totals(1), context, log.feed, plan, key, *bounds
    )
    return jax.block_until_ready(state.params)

  return run


def loaders() -> Sequence[timing.Work]:
  """An epoch of stage 2 with each loader; the events are the same."""
  log = make_log()
  events = int(log.runs.length.sum())
  layouts = {
    name: arrange(log.runs, _LONGEST, _TOKENS)
    for name, arrange in (
      ('padded', streams.padded),
      ('packed', streams.packed),
    )
  }
  return timing.same_work(
    'stage 2',
    {
      f'{name}, {layout.filled:.0%} full': make_epoch(log, layout)
      for name, layout in layouts.items()
    },
    events,
  )


def projections() -> Sequence[timing.Work]:
  """Passes forward and back of a GRU, by where its inputs are projected.

  Several in a compiled loop, as in training, whose memory is used again.
  """
  params = two_rnn.init_cell(
    jax.random.key(0), config_lib.TwoTimeConfig(), _WIDTH
  )
  shape = (_LENGTH, _STREAMS)
  vectors = jax.random.normal(jax.random.key(1), (*shape, _WIDTH))
  reset = jnp.zeros(shape, bool).at[0].set(True)
  start = jnp.zeros((_STREAMS, _WIDTH))

  def make(where):
    def loss(params):
      before, _ = recurrence.scan(
        recurrence.CELLS['gru'],
        params,
        recurrence.Events(vectors, start, reset, start[0]),
        where=where,
      )
      return jnp.sum(jnp.square(before))

    def pass_(params, _):
      grads = jax.grad(loss)(params)
      return jax.tree.map(lambda p, g: p - 1e-9 * g, params, grads), None

    many = jax.jit(lambda p: jax.lax.scan(pass_, p, None, length=_PASSES)[0])
    return lambda: jax.block_until_ready(many(params))

  return timing.same_work(
    'forward and back',
    {f'projected {where}': make(where) for where in ('inside', 'outside')},
    _PASSES * _LENGTH * _STREAMS,
  )
