"""Multi-channel user Interest Memory Network (Pi et al. 2019), its basic form.

A controller reads the history and writes it into a few memory slots, which a
candidate reads once at the end. At every item x,

      c = GRU([x, r], c)
      w = softmax_j(beta / 2 (cos(k, key_j) + cos(k, M_j))), one to read, one to
          write, with k and beta from c
      r = sum_j w^r_j M_j
      M_j = M_j * (1 - w^w_j e) + w^w_j a,   A_j += w^w_j a

with e = sigmoid and a = tanh of linear maps of c. The slots are all that has to
be kept of a user, however many events there were.

Departure: without memory induction and utilization regularization, the options
that are off in the authors' basic form.
Departure: padding changes nothing, while the authors reset all but r on it; the
memory starts at 0, theirs at fixed noise of 1e-5.
Departure: the GRU has torch's form, and items of the next-item loss that did
not come are the example's negatives, as in `models/dien.py`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import config
from twotsrec import types
from twotsrec.models import ctr_tower
from twotsrec.models import din
from twotsrec.models import layers
from twotsrec.models import stages
from twotsrec.ops import sequence

_SHARPNESS = 2.0  # the authors' sharp_value
_LIMIT = 20.0  # and clip_value
_TINY = 1e-12  # of a squared length


class Memory(NamedTuple):
  """What is kept of a user.

  Attributes:
    controller: f32[B, D], c.
    read: f32[B, D], r.
    slots: f32[B, m, D], M.
    added: f32[B, m, D], A; no gradient flows through its weights.
  """

  controller: jax.Array
  read: jax.Array
  slots: jax.Array
  added: jax.Array


class Summary(NamedTuple):
  """A history, read once for all candidates.

  Attributes:
    memory: after the last item.
    pooled: f32[B, D], S.
  """

  memory: Memory
  pooled: jax.Array


def init_cell(key: jax.Array, width: int, slots: int) -> dict[str, Any]:
  """Parameters of the controller, its heads, the keys and the output."""
  keys = jax.random.split(key, 5)
  return {
    'controller': layers.init_gru(keys[0], 2 * width, width),
    # k and beta of two heads, e and a.
    'heads': layers.init_dense(keys[1], width, 4 * width + 2),
    'keys': layers.init_dense(keys[2], slots, width, bias=False),
    'read': layers.init_dense(keys[3], 1, width, bias=False),
    'output': layers.init_dense(keys[4], 2 * width, width),
  }


def start(params: dict[str, Any], number: int) -> Memory:
  """The memory of `number` users without events."""
  slots, width = params['keys']['kernel'].shape
  empty = jnp.zeros((number, slots, width))
  read = jnp.tanh(params['read']['kernel'][0])
  return Memory(
    controller=jnp.zeros((number, width)),
    read=jnp.broadcast_to(read, (number, width)),
    slots=empty,
    added=empty,
  )


def address(
  params: dict[str, Any], head: jax.Array, slots: jax.Array
) -> jax.Array:
  """Weights of the slots, f32[..., m], which sum to 1.

  Args:
    params: from `init_cell`.
    head: f32[..., D + 1], k and beta before their activations.
    slots: f32[..., m, D].
  """
  key, sharpness = jnp.tanh(head[..., :-1]), head[..., -1:]
  own = jnp.tanh(params['keys']['kernel'])
  alike = 0.5 * (_cosines(key, own) + _cosines(key, slots))
  sharpness = (jax.nn.softplus(sharpness) + 1.0) * _SHARPNESS
  return jax.nn.softmax(sharpness * alike, axis=-1)


def _cosines(key, slots):
  """Of f32[..., D] with the rows of f32[..., m, D], f32[..., m]; 0 at a 0."""
  products = jnp.einsum('...d,...md->...m', key, slots)
  lengths = _length(key)[..., None] * _length(slots)
  return products / (lengths + 1e-8)


def _length(x):
  # The floor keeps the slope of a root at 0 out of the gradient.
  return jnp.sqrt(jnp.maximum(jnp.sum(x * x, axis=-1), _TINY))


def write(
  params: dict[str, Any], projected: jax.Array, memory: Memory, dtype: Any
) -> tuple[Memory, jax.Array]:
  """The memory after an item, and the weights it was written with, f32[B, m].

  `projected` f32[B, 3 D] is the item's part of the controller's input layer.
  """
  width = memory.read.shape[-1]
  state, heads = _control(params, projected, memory, dtype)
  read_head, write_head, erase, add = jnp.split(
    heads, [width + 1, 2 * width + 2, 3 * width + 2], axis=-1
  )
  read_by = address(params, read_head, memory.slots)
  weights = address(params, write_head, memory.slots)
  erased = 1.0 - weights[..., None] * jax.nn.sigmoid(erase)[..., None, :]
  add = jnp.tanh(add)[..., None, :]
  still = jax.lax.stop_gradient(weights)[..., None]
  following = Memory(
    controller=state,
    read=jnp.einsum('...m,...md->...d', read_by, memory.slots),
    slots=memory.slots * erased + weights[..., None] * add,
    added=memory.added + still * add,
  )
  return following, weights


def _control(params, projected, memory, dtype):
  """The controller's next state, and what its heads say."""
  width, controller = memory.read.shape[-1], params['controller']
  by_read = {'kernel': controller['input']['kernel'][width:]}
  projected = projected + layers.dense(by_read, memory.read, dtype)
  state = sequence.gru_step(
    controller['recurrent'],
    projected.astype(jnp.float32),
    memory.controller,
    dtype,
  )
  heads = layers.dense(params['heads'], state, dtype).astype(jnp.float32)
  return state, jnp.clip(heads, -_LIMIT, _LIMIT)


def project(params: dict[str, Any], items: jax.Array, dtype: Any) -> jax.Array:
  """The items' part of the controller's input layer, f32[..., 3 D]."""
  layer = params['controller']['input']
  by_item = {
    'kernel': layer['kernel'][: items.shape[-1]],
    'bias': layer['bias'],
  }
  return layers.dense(by_item, items, dtype)


def remember(
  params: dict[str, Any], embedded: jax.Array, mask: jax.Array, dtype: Any
) -> tuple[Memory, Memory]:
  """Memories after the last item, and after every one, leaves [L, B, ...].

  Of the latter only the controller and what it read are given; the slots are
  empty.
  """
  number = embedded.shape[0]
  projected = jnp.swapaxes(project(params, embedded, dtype), 0, 1)

  def step(memory, now):
    projected_t, real = now
    following, _ = write(params, projected_t, memory, dtype)
    keep = lambda new, old: jnp.where(
      real.reshape(number, *(1,) * (new.ndim - 1)), new, old
    )
    memory = jax.tree.map(keep, following, memory)
    return memory, memory._replace(slots=None, added=None)

  by_time = projected, mask.T
  return jax.lax.scan(step, start(params, number), by_time)


def _output(params, state, read, dtype):
  """What the controller answers, f32[..., D]."""
  joined = jnp.concatenate([state, read], axis=-1)
  answer = layers.dense(params['output'], joined, dtype).astype(jnp.float32)
  return jnp.clip(answer, -_LIMIT, _LIMIT)


def read_out(
  params: dict[str, Any], memory: Memory, vectors: jax.Array, dtype: Any
) -> jax.Array:
  """What the memory answers to candidates f32[B, C, D] or f32[C, D].

  One more step with the candidate as the item; what it would write is dropped.
  """
  width = memory.read.shape[-1]
  own = jax.tree.map(lambda leaf: leaf[:, None], memory)
  projected = project(params, vectors, dtype)
  head = {k: leaf[..., : width + 1] for k, leaf in params['heads'].items()}
  state, head = _control({**params, 'heads': head}, projected, own, dtype)
  weights = address(params, head, own.slots)
  read = jnp.einsum('bcm,bmd->bcd', weights, memory.slots)
  return _output(params, state, read, dtype)


def make(options: config.ModelConfig) -> types.Model:
  """score = tower([q, answer(q), S, q * mean_j A_j]).

  The answer, f32[B, C, D], is where a plugin acts. It depends on the candidate,
  so there is no `encode_positions`. With `auxiliary_weight` the controller's
  answers also learn to tell the next item.
  """
  width, weight = options.width, options.auxiliary_weight
  dtype = jnp.dtype(options.compute_dtype)

  def init(key, context, sizes):
    del context
    keys = jax.random.split(key, 4)
    extractor = init_cell(keys[1], width, options.memory_slots)
    if weight:
      extractor['next'] = ctr_tower.init_next_item(keys[2], width)
    net = {
      'embed': {},
      'extractor': extractor,
      'classifier': ctr_tower.init(keys[3], 4 * width),
    }
    item = layers.init_item_table(keys[0], sizes, width)
    return types.Params({'item': item}, net)

  def summarize(extractor, embedded, mask, *, key=None):
    del key  # no dropout
    memory, _ = remember(extractor, embedded, mask, dtype)
    return Summary(memory, ctr_tower.pooled(embedded, mask))

  def extract(extractor, summary, candidate_rows):
    vectors = candidate_rows['embedding']
    plugged = read_out(extractor, summary.memory, vectors, dtype)
    mean = jnp.mean(summary.memory.added, axis=1)
    vectors = jnp.broadcast_to(vectors, plugged.shape)
    return types.Features(plugged, (vectors, summary.pooled, mean))

  def classify(classifier, features, candidate_rows):
    del candidate_rows
    vectors, pooled, mean = features.fixed
    parts = [
      vectors,
      features.plugged,
      pooled[:, None],
      vectors * mean[:, None],
    ]
    return ctr_tower.score(classifier, parts, dtype)

  def auxiliary(extractor, embedded, mask, others):
    _, after = remember(extractor, embedded, mask, dtype)
    answers = _output(extractor, after.controller, after.read, dtype)
    return weight * ctr_tower.next_item_loss(
      extractor['next'], jnp.swapaxes(answers, 0, 1), embedded, others, mask
    )

  return stages.from_stages(
    types.Stages(
      init=init,
      embed=din.embed,
      summarize=summarize,
      extract=extract,
      classify=classify,
      any_length=dtype == jnp.float32,
      auxiliary=auxiliary if weight else None,
    )
  )
