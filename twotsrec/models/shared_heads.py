"""Multi-task heads that read one representation for all behaviors.

Shared bottom, MMoE and PLE (COPF Table 5, after CIGF's code) on
x = [user || item]: hidden experts, a gate per task, a linear tower per task.
The first layer is linear in x, so each side's share of it is computed once per
node and a pair only adds the two.
"""

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import experts

NAMES = ('shared_bottom', 'mmoe', 'ple')
_SLOPE = 0.1  # of the leaky rectifier, CIGF's code


def make(
  options: config_lib.HeadConfig,
  width: int,
  num_behaviors: int,
) -> types.Head:
  """A head of one input for all tasks.

  `shared_bottom` has a hidden layer; linear, as in CIGF's code
  (`head.linear_tower`), the user's term would be the same for every item and
  everybody would get one list.

  Args:
    options: name, number of experts, scale.
    width: D.
    num_behaviors: K.
  """
  members = _members(options, num_behaviors)
  linear = options.name == 'shared_bottom' and options.linear_tower

  def init(key):
    return _init(key, width, num_behaviors, [] if linear else members)

  def prepare(net, fused, nodes, task):
    table = nodes.pick(fused.behaviors[task])
    halves = (
      _half(net, table[: nodes.num_users], task, side=0),
      _half(net, table[nodes.num_users :], task, side=1),
    )
    return jax.tree.map(lambda *sides: jnp.concatenate(sides), *halves)

  def score(net, user, item, task):
    summed = jax.tree.map(jnp.add, user, item)
    features = (
      summed['input'] if linear else _mixed(summed, members[task], 2 * width)
    )
    tower = net['tower']
    total = features @ tower['weight'][task] + tower['bias'][task]
    return experts.task_scale(task, num_behaviors, options) * total

  def rank(net, user, item):
    item = {name: item[name] for name in user}  # an item's row has more
    user = jax.tree.map(lambda leaf: leaf[:, None], user)
    return score(net, user, item, num_behaviors - 1)

  return types.Head(
    init=init,
    prepare=prepare,
    score=score,
    serve=lambda net, user, item: (user, item),
    rank=rank,
  )


def _members(options, num_behaviors):
  """Experts that each task reads."""
  if options.name == 'shared_bottom':
    return [[0]] * num_behaviors
  if options.name == 'mmoe':
    return [list(range(options.num_experts))] * num_behaviors
  # One level of customized gate control: the task's own, and a shared one.
  return [[task, num_behaviors] for task in range(num_behaviors)]


def _init(key, width, num_behaviors, members):
  """Parameters: experts side by side, a gate and a tower per task."""
  xavier = jax.nn.initializers.glorot_uniform()
  expert_key, gate_key, tower_key = jax.random.split(key, 3)
  inputs = 2 * width  # so wide is a hidden expert, too
  draw = lambda key, size: xavier(key, (inputs, size), jnp.float32)
  net = {
    'tower': {
      'weight': xavier(tower_key, (num_behaviors, inputs), jnp.float32),
      'bias': jnp.zeros(num_behaviors),
    }
  }
  if not members:
    return net
  count = 1 + max(max(row) for row in members)
  keys = jax.random.split(expert_key, count)
  net['expert'] = {
    'weight': jnp.concatenate([draw(k, inputs) for k in keys], axis=1),
    'bias': jnp.zeros(count * inputs),
  }
  slots = len(members[0])
  if slots > 1:
    keys = jax.random.split(gate_key, num_behaviors)
    net['gate'] = {
      'weight': jnp.stack([draw(k, slots) for k in keys]),
      'bias': jnp.zeros((num_behaviors, slots)),
    }
  return net


def _half(net, table, task, side):
  """One side's share of everything that is linear in x."""
  width = table.shape[1]
  if 'expert' not in net:
    sides = [jnp.zeros_like(table), jnp.zeros_like(table)]
    sides[side] = table
    return {'input': jnp.concatenate(sides, axis=1)}
  rows = slice(side * width, (side + 1) * width)
  keep = 1.0 - side  # the bias goes with the user
  expert = net['expert']
  half = {'hidden': table @ expert['weight'][rows] + keep * expert['bias']}
  if 'gate' in net:
    gate = net['gate']
    logits = table @ gate['weight'][task][rows]
    half['gate'] = logits + keep * gate['bias'][task]
  return half


def _mixed(summed, members, size):
  """Gated sum of a task's hidden experts, f32[..., 2 D]."""
  outputs = [
    jax.nn.leaky_relu(summed['hidden'][..., e * size : (e + 1) * size], _SLOPE)
    for e in members
  ]
  if len(outputs) == 1:
    return outputs[0]
  gate = jax.nn.softmax(summed['gate'], axis=-1)
  return sum(gate[..., i, None] * out for i, out in enumerate(outputs))
