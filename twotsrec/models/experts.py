"""Mixtures of behavior-specific experts: DFME and its relatives.

Task k scores a pair with experts of all behaviors. Expert j is the product of
a user's and an item's vector, transferred from behavior j to the task; a gate
weighs the experts, and stop-gradients keep auxiliary tasks from writing into
the target's representation (COPF sec. 4.3). The task's vectors of all experts
stand side by side in one table, so that a pair gathers one row on each side.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import layers

_TINY = 1e-12
# Below its side's largest a gate logit counts as this much smaller: e^-40 is
# nothing beside 1, and products of two stay above the least float32.
_FLOOR = -40.0


class _Task(NamedTuple):
  """Layout of one task's experts.

  Attributes:
    own: k, the behavior that the task scores.
    slots: behavior of each expert, from `sources`.
    stopped: experts that the task's loss may not move (COPF eq. 14).
    scale: factor of the scores.
  """

  own: int
  slots: tuple[int, ...]
  stopped: tuple[bool, ...]
  scale: float


def make(
  options: config_lib.HeadConfig,
  width: int,
  num_behaviors: int,
) -> types.Head:
  """The head; table rows are the vectors of S experts, f32[n, S * D].

  Args:
    options: transfer, gate, gradient policy and tower.
    width: D.
    num_behaviors: K.
  Raises:
    types.UserError: settings that do not go together.
  """
  _check_attention(options)
  layout = lambda task: _layout(task, num_behaviors, width, options)
  tasks = [layout(task) for task in range(num_behaviors)]

  def prepare(net, fused, nodes, task):
    return _prepare(net, fused.behaviors, nodes, tasks[task], options)

  def score(net, user, item, task):
    return _mix(net, user, item, tasks[task], options.stop_gate)

  return types.Head(
    init=lambda key: _init(key, num_behaviors, width, options),
    prepare=prepare,
    score=score,
    serve=lambda net, user, item: _serve(net, user, item, tasks[-1]),
    rank=rank_factors,
    scorer=('gate',),
    walks=options.transfer == 'fit' and num_behaviors > 1,
  )


def _check_attention(options):
  allowed = {'gate': ('none',), 'gradient_policy': ('stop_all', 'none')}
  values = {name: getattr(options, name) for name in allowed}
  wrong = [name for name in allowed if values[name] not in allowed[name]]
  if options.transfer == 'attention' and wrong:
    given = ' and '.join(f'head.{name} {values[name]!r}' for name in wrong)
    ways = (f'head.{name}={" or ".join(allowed[name])}' for name in wrong)
    raise types.UserError(
      f'{given}: head.transfer=attention makes one expert of all other'
      f' behaviors, not one of each; use {" and ".join(ways)}'
    )


def _layout(task, num_behaviors, width, options):
  slots, target = sources(task, num_behaviors, options), num_behaviors - 1
  may_stop = {'stop_all': slots, 'stop_target': (target,), 'none': ()}
  stopped = may_stop[options.gradient_policy]
  scale = task_scale(task, num_behaviors, options)
  return _Task(
    own=task,
    slots=slots,
    stopped=tuple(j != task and j in stopped for j in slots),
    scale=scale / width if options.tower == 'mean' else scale,
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


def _init(key, num_behaviors, width, options):
  """Parameters of all tasks, which share them (COPF sec. 4.3)."""
  xavier = jax.nn.initializers.glorot_uniform()
  gate_key, relation_key, transfer_key = jax.random.split(key, 3)
  net: dict[str, Any] = {}
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


def _prepare(net, behaviors, nodes, task, options):
  """A task's table, f32[m, S * D] (COPF eq. 9-12; sec. 5.3.3)."""
  others = [j for j in range(len(behaviors)) if j != task.own]
  fits = options.transfer == 'fit' and others
  if fits:
    fitted = _fit(net, behaviors, nodes, task.own, options)
  behaviors = [nodes.pick(table) for table in behaviors]
  own = behaviors[task.own]
  elsewhere = [behaviors[j] for j in others]
  if fits:
    vectors = dict(zip(others, fitted, strict=True))
  elif options.transfer == 'attention' and others:
    vectors = {-1: _attend(net['transfer'], own, elsewhere)}
  else:
    vectors = {
      j: options.transfer_scale * _transfer(net, behaviors[j], own, options)
      for j in task.slots
      if j != task.own
    }
  vectors[task.own] = own
  return jnp.concatenate([vectors[j] for j in task.slots], axis=1)


def _fit(net, behaviors, nodes, task, options):
  """Behavior-fitting experts, all sources in one product (COPF eq. 10-12)."""
  own, relation = behaviors[task], net['relation'][task]
  others = [x for j, x in enumerate(behaviors) if j != task]
  count, depth = len(others), options.transfer_layers
  mixed = [(options.alpha * x + options.beta * own) / 2 for x in others]
  last, picked = jnp.concatenate(mixed, axis=1), []
  for layer in range(depth):
    if layer:
      relation = relation @ net['steps'][layer - 1]
    factor = jnp.tile(relation, count)
    picked.append(nodes.pick(last))
    here = layer + 1 == depth  # only before that other nodes are needed
    summed = (nodes.neighbors if here else nodes.walk)(task, last)
    kept = picked[-1] if here else last
    # The relation is the same at every node, so it commutes with the product.
    last = summed * factor
    last += kept * factor if options.modulate_residual else kept
  out = sum(picked) + last if options.transfer_output == 'sum' else last
  return jnp.split(options.transfer_scale * out, count, axis=1)


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
  eq. 13); the bias goes with the user. Of rows f32[..., S * D] the gate reads
  expert `own`, the task's own representation.
  """
  by_user, by_item = jnp.split(gate['weight'], 2)
  width = len(by_user)
  read = lambda rows: rows[..., own * width : (own + 1) * width]
  return read(user) @ by_user + gate['bias'], read(item) @ by_item


def _mix(net, user, item, task, stop_gate):
  """Scores of pairs of rows f32[..., S * D], f32[...] (COPF eq. 13-15)."""
  count = len(task.slots)
  products = user * item
  shape = (*products.shape[:-1], count, products.shape[-1] // count)
  parts = jnp.sum(jnp.reshape(products, shape), axis=-1)
  stopped, gate = jnp.asarray(task.stopped), None
  if 'gate' in net:
    halves = gate_halves(net['gate'], user, item, task.slots.index(task.own))
    gate = jax.nn.softmax(sum(halves), axis=-1)
  if not stop_gate or gate is None:
    parts = jnp.where(stopped, jax.lax.stop_gradient(parts), parts)
  parts = parts if gate is None else gate * parts
  if stop_gate:
    parts = jnp.where(stopped, jax.lax.stop_gradient(parts), parts)
  return jnp.sum(parts, axis=-1) * task.scale


def _serve(net, user, item, task):
  """Scores as one product over another.

  score = c sum_j g_j <a_j, b_j> with g = softmax(p + q) is
  c <e^p a, e^q b> / <e^p, e^q>, in any common scale of e^p and of e^q.
  """
  if 'gate' not in net:
    return {'factor': task.scale * user}, {'factor': item}
  slots = task.slots
  halves = gate_halves(net['gate'], user, item, slots.index(task.own))
  sides = []
  for table, logits, factor in zip((user, item), halves, (task.scale, 1.0)):
    below = logits - jnp.max(logits, axis=-1, keepdims=True)
    gate = jnp.exp(jnp.maximum(below, _FLOOR))
    width = table.shape[-1] // len(slots)
    weights = factor * jnp.repeat(gate, width, axis=-1)
    sides.append({'factor': weights * table, 'gate': gate})
  return sides[0], sides[1]


def rank_factors(
  net: Any, user: dict[str, jax.Array], item: dict[str, jax.Array]
) -> jax.Array:
  """`types.Head.rank` of factors, over a product of gates if there are any."""
  del net
  scores = layers.products(user['factor'], item['factor'])
  if 'gate' in user:
    scores = scores / layers.products(user['gate'], item['gate'])
  return scores


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
