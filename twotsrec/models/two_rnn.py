"""The recurrent half of 2TS: a user's state, from a start and item by item.

One network serves inactive users, whose states start at a common vector psi,
another one active users, whose states start at their own embeddings (2TS sec.
3.2, eq. 8-9). Both have the form built here. Item vectors are given, they are
not part of the network.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import config
from twotsrec import types
from twotsrec.models import layers
from twotsrec.ops import recurrence

# Variants whose scores read state and last item, sec. 3.3, and those of them
# with two networks; all but the first are ours.
TWO_READ_OUTS = ('2ts_plus', 'single_stage_plus')
READ_OUT = (*TWO_READ_OUTS, 'shrunk_plus')


class Streams(NamedTuple):
  """Sequences packed time first, as in `data/streams.py`, and their starts.

  Attributes:
    reset: bool[L, B], where a run begins.
    fresh: f32[L, B, D], vectors that runs begin at, or full states f32[L, B,
      S]; None is psi.
    carried: f32[B, S], states that go on from the step before; None where
      every stream begins with a run.
    previous: f32[L, B, D], the item before each event, 0 where there is none;
      None for a network that does not read it.
    weight: f32[L, B], runs begin at weight * fresh + (1 - weight) * psi; None
      is 1.
  """

  reset: jax.Array
  fresh: jax.Array | None = None
  carried: jax.Array | None = None
  previous: jax.Array | None = None
  weight: jax.Array | None = None


class Summary(NamedTuple):
  """State and last item of a user.

  Attributes:
    hidden: f32[..., D], state.
    previous: f32[..., D], vector of the last item, or None.
    after: f32[L, B, S], full states after every event of streams, or None.
  """

  hidden: jax.Array
  previous: jax.Array | None = None
  after: jax.Array | None = None


def make_stages(options: config.TwoTimeConfig, width: int) -> types.Stages:
  """The network as stages, so that plugins attach to it.

  Its `summarize` takes a mask, like any sequence model (right-padded histories
  [B, L, D], the state after the last item), or `Streams` (embedded [L, B, D],
  the state before every event). Scores are inner products of the read-out and
  item vectors.

  Departure: psi is a trained vector for every variant that starts from it; 2TS
  does not say how it starts, here at 0.
  """
  cell = cell_of(options)
  plus = reads_out(options)

  def init(key, context, sizes):
    del context
    keys = jax.random.split(key)
    extractor: dict[str, Any] = {
      'cell': init_cell(keys[0], options, width),
      'psi': jnp.zeros(width),
    }
    if plus:  # [I, 0.1 I] starts close to 2TS without it
      identity = jnp.eye(width)
      extractor['readout'] = jnp.concatenate([identity, 0.1 * identity])
    item = layers.init_item_table(keys[1], sizes, width)
    net = {'embed': {}, 'extractor': extractor, 'classifier': {}}
    return types.Params({'item': item}, net)

  def embed(net, rows, inputs):
    del net, inputs
    return rows['embedding']

  def over_streams(extractor, embedded, streams):
    fresh = extractor['psi'] if streams.fresh is None else streams.fresh
    if streams.weight is not None:
      psi = extractor['psi']
      fresh = psi + streams.weight[..., None] * (fresh - psi)
    if fresh.shape[-1] == width:
      fresh = recurrence.start(cell, fresh)
    carried = streams.carried
    if carried is None:
      carried = jnp.zeros((embedded.shape[1], cell.states * width))
    events = recurrence.Events(embedded, carried, streams.reset, fresh)
    before, after = recurrence.scan(cell, extractor['cell'], events)
    return Summary(before[..., :width], streams.previous, after)

  def summarize(extractor, embedded, where, *, key=None):
    del key  # no dropout
    if isinstance(where, Streams):
      return over_streams(extractor, embedded, where)
    # A last place of filling, so that every prefix has a state before it.
    by_time = jnp.swapaxes(embedded, 0, 1)
    by_time = jnp.concatenate([by_time, jnp.zeros_like(by_time[:1])])
    reset = jnp.zeros(by_time.shape[:2], bool).at[0].set(True)
    before = over_streams(extractor, by_time, Streams(reset)).hidden
    count = jnp.sum(where, axis=1)
    rows = jnp.arange(count.shape[0])
    none = (count == 0)[:, None]
    last_item = embedded[rows, jnp.maximum(count - 1, 0)]
    return Summary(before[count, rows], jnp.where(none, 0.0, last_item))

  def extract(extractor, summary, candidate_rows):
    del candidate_rows
    if not plus:
      return types.Features(summary.hidden)
    both = jnp.concatenate([summary.hidden, summary.previous], axis=-1)
    return types.Features(both @ extractor['readout'])

  def classify(classifier, features, candidate_rows):
    del classifier
    vectors = candidate_rows['embedding']
    equation = '...d,cd->...c' if vectors.ndim == 2 else '...d,...cd->...c'
    return jnp.einsum(equation, features.plugged, vectors)

  return types.Stages(init, embed, summarize, extract, classify)


def cell_of(options: config.TwoTimeConfig) -> recurrence.Cell:
  """The recurrence that a configuration names."""
  return recurrence.CELLS[options.cell]


def reads_out(options: config.TwoTimeConfig) -> bool:
  """Whether scores read state and last item."""
  return options.variant in READ_OUT


def init_cell(
  key: jax.Array, options: config.TwoTimeConfig, width: int
) -> dict[str, Any]:
  """Parameters of a cell whose inputs and states have the same width."""
  cell = cell_of(options)
  keys = jax.random.split(key, 3)
  params: dict[str, Any] = {
    'input': layers.init_dense(keys[0], width, cell.gates * width),
    'recurrent': layers.init_dense(keys[1], width, cell.gates * width),
  }
  if options.update_bias:
    bias = params['input']['bias'].at[width : 2 * width]
    params['input']['bias'] = bias.set(options.update_bias)
  if options.cell == 'residual':
    params['out'] = layers.init_dense(keys[2], width, width)
  if options.cell == 'scaled_gru':
    params['scale'] = jnp.ones(())
  return params


def with_scale(extractor: dict, starts: jax.Array) -> dict:
  """The root mean square of starts f32[n, D] as the scale of a scaled GRU.

  Parameters of another cell are returned as they are.
  """
  if 'scale' not in extractor['cell']:
    return extractor
  scale = jnp.sqrt(jnp.mean(jnp.square(starts)))
  return {**extractor, 'cell': {**extractor['cell'], 'scale': scale}}


def query_of(
  stages: types.Stages,
) -> Callable[[types.PyTree, Summary], jax.Array]:
  """(net, summary) -> f32[..., D]: a score is its product with an item."""

  def query(net, summary):
    return stages.extract(net['extractor'], summary, None).plugged

  return query
