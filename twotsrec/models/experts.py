"""Mixtures of behavior-specific experts: DFME and its relatives.

Task k scores a pair with experts of all behaviors. Expert j is the product of
a user's and an item's vector, transferred from behavior j to the task; a gate
weighs the experts, and stop-gradients keep auxiliary tasks from writing into
the target's representation (COPF sec. 4.3). The task's vectors of all experts
stand side by side in one table, so that a pair gathers one row on each side.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.ops import graph as graph_lib

TRANSFERS = (
  'fit', 'identity', 'linear', 'attention', 'projection', 'none'
)  # fmt: skip
GATES = ('softmax', 'none')
GATE_ORDERS = ('self_first', 'behavior')
POLICIES = ('stop_target', 'stop_all', 'none')
TOWERS = ('sum', 'mean')
RELATIONS = ('xavier', 'ones')  # of the bilinear head
_TINY = 1e-12


def check(options: config_lib.HeadConfig) -> None:
  """Refuses settings that name nothing.

  Raises:
    types.UserError: an unknown value or a number out of range.
  """
  for name, allowed in (
    ('transfer', TRANSFERS),
    ('transfer_output', ('sum', 'last')),
    ('gate', GATES),
    ('gate_order', GATE_ORDERS),
    ('gradient_policy', POLICIES),
    ('tower', TOWERS),
    ('relation_init', RELATIONS),
  ):
    value = getattr(options, name)
    if value not in allowed:
      raise types.UserError(
        f'head.{name} {value!r}; known: {", ".join(allowed)}'
      )
  if options.transfer_layers < 1:
    raise types.UserError(
      f'head.transfer_layers is {options.transfer_layers}; allowed are 1 and'
      ' more (head.transfer=identity does not walk the graph)'
    )
  for name, allowed in (('gate', ('none',)), ('gradient_policy', POLICIES[1:])):
    value = getattr(options, name)
    if options.transfer == 'attention' and value not in allowed:
      raise types.UserError(
        f'head.{name} {value!r} needs an expert of each behavior, but'
        ' head.transfer=attention makes one of all others; use'
        f' {", ".join(allowed)}'
      )


def sources(
  task: int, num_behaviors: int, options: config_lib.HeadConfig
) -> tuple[int, ...]:
  """Behavior of each expert of a task, in the order of the gate's slots.

  The transfer 'attention' mixes the other behaviors into one expert, -1.
  """
  others = [j for j in range(num_behaviors) if j != task]
  if options.transfer == 'none':
    return (task,)
  if options.transfer == 'attention':
    return (task, -1) if others else (task,)
  if options.gate_order == 'behavior':
    return tuple(range(num_behaviors))
  return (task, *others)


def init(
  key: jax.Array,
  num_behaviors: int,
  width: int,
  options: config_lib.HeadConfig,
) -> dict[str, Any]:
  """Parameters of all tasks, which share them (COPF sec. 4.3)."""
  xavier = jax.nn.initializers.glorot_uniform()
  gate_key, relation_key, transfer_key = jax.random.split(key, 3)
  net = {}
  if options.gate == 'softmax':
    slots = len(sources(0, num_behaviors, options))
    net['gate'] = {
      'weight': xavier(gate_key, (2 * width, slots), jnp.float32),
      'bias': jnp.zeros(slots),
    }
  if options.transfer == 'fit':
    net['relation'] = xavier(relation_key, (num_behaviors, width), jnp.float32)
    net['steps'] = [
      xavier(jax.random.fold_in(transfer_key, n), (width, width), jnp.float32)
      for n in range(options.transfer_layers - 1)
    ]
  if options.transfer in ('linear', 'attention'):
    net['transfer'] = xavier(transfer_key, (width, width), jnp.float32)
  return net


def prepare(
  net: dict[str, Any],
  behaviors: Sequence[jax.Array],
  graphs: Sequence[graph_lib.Graph],
  task: int,
  options: config_lib.HeadConfig,
  dtype: str = 'float32',
) -> jax.Array:
  """Vectors of the S experts of one task, for all nodes, f32[n, S * D].

  Args:
    net: from `init`.
    behaviors: K times f32[n, D].
    graphs: each behavior's own graph.
    task: k.
    options: how experts are transferred.
    dtype: of the neighbors in graph products.
  Reference: COPF eq. 9-12; sec. 5.3.3 for the other transfers.
  """
  own = behaviors[task]
  slots = sources(task, len(behaviors), options)
  others = [j for j in range(len(behaviors)) if j != task]
  if options.transfer == 'fit' and others:
    walk = lambda x: graph_lib.propagate(graphs[task], x, jnp.dtype(dtype))
    vectors = _fit(net, behaviors, walk, task, others, options)
  elif options.transfer == 'attention' and others:
    sources_of = [behaviors[j] for j in others]
    vectors = {-1: _attend(net['transfer'], own, sources_of)}
  else:
    vectors = {
      j: options.transfer_scale * _transfer(net, behaviors[j], own, options)
      for j in slots
      if j != task
    }
  vectors[task] = own
  return jnp.concatenate([vectors[j] for j in slots], axis=1)


def _fit(net, behaviors, walk, task, others, options):
  """Behavior-fitting experts, all sources in one product (COPF eq. 10-12)."""
  width = behaviors[task].shape[1]
  mixed = [
    (options.alpha * behaviors[j] + options.beta * behaviors[task]) / 2
    for j in others
  ]
  layers = [jnp.concatenate(mixed, axis=1)]
  relation = net['relation'][task]
  for layer in range(options.transfer_layers):
    if layer:
      relation = relation @ net['steps'][layer - 1]
    factor = jnp.tile(relation, len(others))
    # The relation is the same at every node, so it commutes with the product.
    walked = walk(layers[-1]) * factor
    residual = layers[-1] * factor if options.modulate_residual else layers[-1]
    layers.append(walked + residual)
  out = sum(layers) if options.transfer_output == 'sum' else layers[-1]
  parts = jnp.split(options.transfer_scale * out, len(others), axis=1)
  return {
    j: jnp.reshape(part, (-1, width))
    for j, part in zip(others, parts, strict=True)
  }


def _transfer(net, source, own, options):
  """The source's vector as the task sees it."""
  if options.transfer == 'linear':
    return source @ net['transfer']
  if options.transfer == 'projection':
    return project(source, own)
  return source


def project(x: jax.Array, y: jax.Array) -> jax.Array:
  """Part of x along y, row by row; f32[n, D]. Reference: PKEF, projection."""
  scale = jnp.sum(x * y, axis=1) / (jnp.sum(y * y, axis=1) + _TINY)
  return scale[:, None] * y


def _attend(weight, own, others):
  """One vector out of the other behaviors', by their likeness to the own."""
  stacked = jnp.stack(others, axis=1)
  logits = jnp.einsum('nd,njd->nj', own @ weight, stacked)
  share = jax.nn.softmax(logits / jnp.sqrt(own.shape[1]), axis=1)
  return jnp.einsum('nj,njd->nd', share, stacked)


def gate_halves(
  gate: dict[str, jax.Array], user: jax.Array, item: jax.Array, own: int
) -> tuple[jax.Array, jax.Array]:
  """Gate logits as the users' and the items' share, f32[..., S] each.

  The gate is linear in [user || item], so a pair's logits are their sum (COPF
  eq. 13); the bias goes with the user.

  Args:
    gate: of the net.
    user: rows f32[..., S * D] of the task's table.
    item: the same for the items.
    own: which expert is the task's own representation, that the gate reads.
  """
  by_user, by_item = jnp.split(gate['weight'], 2)
  width = len(by_user)
  read = lambda rows: rows[..., own * width : (own + 1) * width]
  return read(user) @ by_user + gate['bias'], read(item) @ by_item


def mix(
  net: dict[str, Any],
  user: jax.Array,
  item: jax.Array,
  task: int,
  num_behaviors: int,
  options: config_lib.HeadConfig,
) -> jax.Array:
  """Scores of pairs, f32[...].

  Args:
    net: from `init`.
    user: rows f32[..., S * D] of the task's table.
    item: the same for the items, of a shape that broadcasts with it.
    task: k.
    num_behaviors: K.
    options: gate, gradient policy and tower.
  Reference: COPF eq. 13-15.
  """
  slots = sources(task, num_behaviors, options)
  width = user.shape[-1] // len(slots)
  products = user * item
  parts = jnp.sum(
    jnp.reshape(products, (*products.shape[:-1], len(slots), width)), axis=-1
  )
  stopped = jnp.asarray(_stopped(slots, task, num_behaviors, options))
  gate = None
  if 'gate' in net:
    halves = gate_halves(net['gate'], user, item, slots.index(task))
    gate = jax.nn.softmax(sum(halves), axis=-1)
  if not options.stop_gate or gate is None:
    parts = jnp.where(stopped, jax.lax.stop_gradient(parts), parts)
  parts = parts if gate is None else gate * parts
  if options.stop_gate:
    parts = jnp.where(stopped, jax.lax.stop_gradient(parts), parts)
  total = jnp.sum(parts, axis=-1)
  scale = task_scale(task, num_behaviors, options)
  return total * (scale / width if options.tower == 'mean' else scale)


def _stopped(slots, task, num_behaviors, options):
  """Flags of experts that an auxiliary loss may not move (COPF eq. 14)."""
  target = num_behaviors - 1
  if options.gradient_policy == 'stop_all':
    return [j != task for j in slots]
  if options.gradient_policy == 'stop_target':
    return [j == target and j != task for j in slots]
  return [False] * len(slots)


def task_scale(
  task: int, num_behaviors: int, options: config_lib.HeadConfig
) -> float:
  """Factor of a task's scores: one for all, or one of K.

  Raises:
    types.UserError: another number of factors.
  """
  scales = options.score_scale
  if len(scales) not in (1, num_behaviors):
    raise types.UserError(
      f'head.score_scale has {len(scales)} numbers; give one, or one for each'
      f' of the {num_behaviors} behaviors'
    )
  return scales[task if len(scales) > 1 else 0]
