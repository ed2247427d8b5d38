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
from twotsrec import fields
from twotsrec import types
from twotsrec.models import experts
from twotsrec.models import network_heads
from twotsrec.models import shared_heads
from twotsrec.ops import graph as graph_lib

_BILINEAR = ('bilinear', 'bilinear_matrix')
NAMES = ('experts', *_BILINEAR, *shared_heads.NAMES, *network_heads.NAMES)


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
  fields.refuse_section(options, 'head')
  fields.refuse_unknown('head.name', options.name, NAMES)
  experts.task_scale(number - 1, number, options)
  if options.name in shared_heads.NAMES:
    if not fusion.merged:
      raise types.UserError(
        f'head.name={options.name} reads one representation for all behaviors,'
        f' and fusion.name={config.fusion.name} gives one for each; set'
        ' fusion.post_behavior=merged with fusion.name=cogcn, or use head.name'
        ' experts or bilinear'
      )
    return shared_heads.make(options, fusion.width, number)
  if options.name in network_heads.NAMES:
    return network_heads.make(options, fusion, sizes)
  if options.name in _BILINEAR:
    return _bilinear(options, fusion.width, number)
  return experts.make(options, fusion.width, number)


def _bilinear(options, width, num_behaviors):
  """A relation of each behavior, diagonal or a matrix.

      bilinear          <u o r_k, i>   (COPF sec. 5.3.4, after CIGF)
      bilinear_matrix   u^T R_k i      (GCMC)

  As CIGF starts it, Xavier, its signs are random and the first epochs go into
  them; head.relation_init='ones' starts at an inner product.
  """
  target, whole = num_behaviors - 1, options.name == 'bilinear_matrix'
  shape = (num_behaviors, width, width)[: 3 if whole else 2]

  def init(key):
    if options.relation_init == 'ones':
      noise = 0.01 * jax.random.normal(key, shape)
      return {'relation': noise + (jnp.eye(width) if whole else 1.0)}
    axes = (0,) if whole else ()
    xavier = jax.nn.initializers.glorot_uniform(batch_axis=axes)
    return {'relation': xavier(key, shape, jnp.float32)}

  def turn(net, user, task):
    relation = net['relation'][task]
    return user @ relation if whole else user * relation

  def prepare(net, fused, nodes, task):
    del net
    return nodes.pick(fused.behaviors[task])

  def score(net, user, item, task):
    scale = experts.task_scale(task, num_behaviors, options)
    return scale * jnp.sum(turn(net, user, task) * item, axis=-1)

  def serve(net, user, item):
    scale = experts.task_scale(target, num_behaviors, options)
    return {'factor': scale * turn(net, user, target)}, {'factor': item}

  return types.Head(
    init=init,
    prepare=prepare,
    score=score,
    serve=serve,
    rank=experts.rank_factors,
    scorer=('relation',),
  )


def nodes(
  graphs: Sequence[graph_lib.Bipartite],
  num_users: int,
  users: jax.Array | None = None,
  dtype: str = 'float32',
) -> types.Nodes:
  """The nodes that a head prepares: all, or some users and all items.

  Args:
    graphs: of each behavior alone; none for a head that does not walk.
    num_users: U.
    users: i32[B], or None for all.
    dtype: of the neighbors in products.
  """
  product = graph_lib.neighbors
  walk = lambda task, x: product(graphs[task], x, None, dtype)
  if users is None:
    return types.Nodes(num_users, lambda x: x, walk, walk)
  return types.Nodes(
    num_users=len(users),
    pick=lambda x: jnp.concatenate([x[users], x[num_users:]]),
    neighbors=lambda task, x: product(graphs[task], x, users, dtype),
    walk=walk,
  )


def split_sides(table: Any, num_users: int) -> tuple[Any, Any]:
  """Rows of the users and rows of the items of a table of nodes."""
  return (
    jax.tree.map(lambda leaf: leaf[:num_users], table),
    jax.tree.map(lambda leaf: leaf[num_users:], table),
  )
