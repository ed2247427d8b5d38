"""Heads that turn representations of nodes into scores of K behaviors.

A `types.Head` prepares a table of the nodes for each task, scores pairs of its
rows, and serves the target: rows on both sides from which all items are scored
at once, without ever forming [users, items, experts].
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import experts
from twotsrec.models import shared_heads

NAMES = ('experts', 'bilinear', *shared_heads.NAMES)
# Below its side's largest a gate logit counts as this much smaller: e^-40 is
# nothing beside 1, and products of two stay above the least float32.
_FLOOR = -40.0


def make(
  config: config_lib.Config, fusion: types.Fusion, sizes: types.NodeSizes
) -> types.Head:
  """The head a configuration names.

  Args:
    config: settings under `head`, and the type of graph products.
    fusion: whose representations it reads.
    sizes: of the log.
  Raises:
    types.UserError: an unknown name or setting, or a head with one input for
      all tasks on a fusion with an output for each.
  """
  options, number = config.head, sizes.num_behaviors
  if options.name not in NAMES:
    raise types.UserError(
      f'head.name {options.name!r}; known: {", ".join(NAMES)}'
    )
  experts.check(options)
  experts.task_scale(number - 1, number, options)
  if options.name in shared_heads.NAMES:
    if not fusion.merged:
      raise types.UserError(
        f'head.name={options.name} reads one representation for all behaviors,'
        f' and fusion.name={config.fusion.name} gives one for each; set'
        ' fusion.post_behavior=merged with fusion.name=cogcn, or use head.name'
        ' experts or bilinear'
      )
    return shared_heads.make(options, fusion.width, number, sizes.num_users)
  if options.name == 'bilinear':
    return _bilinear(options, fusion.width, number)
  return _experts(options, config.fusion.product_dtype, fusion.width, number)


def _experts(options, dtype, width, num_behaviors):
  """The mixtures of `experts`."""
  target = num_behaviors - 1

  def prepare(net, fused, graphs, task):
    return experts.prepare(net, fused.behaviors, graphs, task, options, dtype)

  def score(net, user, item, task):
    return experts.mix(net, user, item, task, num_behaviors, options)

  def serve(net, user, item):
    return _serve_experts(net, user, item, target, num_behaviors, options)

  return types.Head(
    init=lambda key: experts.init(key, num_behaviors, width, options),
    prepare=prepare,
    score=score,
    serve=serve,
    rank=_rank_factors,
    scorer=('gate',),
  )


def _serve_experts(net, user, item, task, num_behaviors, options):
  """Scores as one product over another.

  score = c sum_j g_j <a_j, b_j> with g = softmax(p + q) is
  c <e^p a, e^q b> / <e^p, e^q>, in any common scale of e^p and of e^q.
  """
  slots = experts.sources(task, num_behaviors, options)
  width = user.shape[-1] // len(slots)
  scale = experts.task_scale(task, num_behaviors, options)
  scale = scale / width if options.tower == 'mean' else scale
  if 'gate' not in net:
    return {'factor': scale * user}, {'factor': item}
  halves = experts.gate_halves(net['gate'], user, item, slots.index(task))
  sides = []
  for table, logits, factor in zip((user, item), halves, (scale, 1.0)):
    below = logits - jnp.max(logits, axis=-1, keepdims=True)
    gate = jnp.exp(jnp.maximum(below, _FLOOR))
    weights = factor * jnp.repeat(gate, width, axis=-1)
    sides.append({'factor': weights * table, 'gate': gate})
  return sides[0], sides[1]


def _rank_factors(net, user, item):
  del net
  scores = _products(user['factor'], item['factor'])
  if 'gate' in user:
    scores = scores / _products(user['gate'], item['gate'])
  return scores


def _products(user, item):
  """f32[B, D] with f32[C, D] or f32[B, C, D] -> f32[B, C]."""
  if item.ndim == 2:
    return user @ item.T
  return jnp.einsum('bd,bcd->bc', user, item)


def _bilinear(options, width, num_behaviors):
  """A diagonal relation per behavior (COPF sec. 5.3.4, after CIGF).

  As CIGF starts it, Xavier, its signs are random and the first epochs go into
  them; head.relation_init='ones' starts at an inner product.
  """
  target = num_behaviors - 1

  def init(key):
    if options.relation_init == 'ones':
      noise = 0.01 * jax.random.normal(key, (num_behaviors, width))
      return {'relation': 1.0 + noise}
    xavier = jax.nn.initializers.glorot_uniform()
    return {'relation': xavier(key, (num_behaviors, width), jnp.float32)}

  def prepare(net, fused, graphs, task):
    del net, graphs
    return fused.behaviors[task]

  def score(net, user, item, task):
    scale = experts.task_scale(task, num_behaviors, options)
    return scale * jnp.sum(user * item * net['relation'][task], axis=-1)

  def serve(net, user, item):
    scale = experts.task_scale(target, num_behaviors, options)
    return {'factor': scale * user * net['relation'][target]}, {'factor': item}

  return types.Head(
    init=init,
    prepare=prepare,
    score=score,
    serve=serve,
    rank=_rank_factors,
    scorer=('relation',),
  )


def split_sides(table: Any, num_users: int) -> tuple[Any, Any]:
  """Rows of the users and rows of the items of a table of nodes."""
  return (
    jax.tree.map(lambda leaf: leaf[:num_users], table),
    jax.tree.map(lambda leaf: leaf[num_users:], table),
  )


def check_behaviors(names: Sequence[str]) -> None:
  """Refuses a log in which no behavior leads to the target.

  Raises:
    types.UserError: fewer than two behaviors.
  """
  if len(names) < 2:
    raise types.UserError(
      f'model.name=multi_behavior fuses behaviors, but the data have'
      f' {len(names)}; give a behavior column with at least two, the target'
      ' last'
    )
