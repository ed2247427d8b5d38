"""Multi-task heads that read one representation for all behaviors.

Shared bottom, MMoE and PLE (COPF Table 5, after CIGF's code) on
x = [user || item]: hidden experts, a gate per task, a linear tower per task.
The first layer is linear in x, so each side's share of it is computed once per
node and a pair only adds the two.
"""

from collections.abc import Callable
from typing import Any

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
  num_users: int,
) -> tuple[Callable[..., Any], ...]:
  """The functions of `behavior_heads.Head`.

  `shared_bottom` has a hidden layer; linear, as in CIGF's code
  (`head.linear_tower`), the user's term would be the same for every item and
  everybody would get one list.

  Args:
    options: name, number of experts, scale.
    width: D.
    num_behaviors: K.
    num_users: U.
  Raises:
    types.UserError: a number of experts out of range.
  """
  if options.num_experts < 1:
    raise types.UserError(
      f'head.num_experts is {options.num_experts}; allowed are 1 and more'
    )
  members = _members(options, num_behaviors)
  linear = options.name == 'shared_bottom' and options.linear_tower
  target, hidden = num_behaviors - 1, 2 * width
  num_experts = 1 + max(max(row) for row in members)

  def init(key):
    xavier = jax.nn.initializers.glorot_uniform()
    expert_key, gate_key, tower_key = jax.random.split(key, 3)
    inputs = 2 * width
    net = {
      'tower': {
        'weight': xavier(tower_key, (num_behaviors, hidden), jnp.float32),
        'bias': jnp.zeros(num_behaviors),
      }
    }
    if linear:
      return net
    keys = jax.random.split(expert_key, num_experts)
    draw = lambda key: xavier(key, (inputs, hidden), jnp.float32)
    net['expert'] = {
      'weight': jnp.concatenate([draw(key) for key in keys], axis=1),
      'bias': jnp.zeros(num_experts * hidden),
    }
    if len(members[0]) > 1:
      keys = jax.random.split(gate_key, num_behaviors)
      gate = lambda key: xavier(key, (inputs, len(members[0])), jnp.float32)
      net['gate'] = {
        'weight': jnp.stack([gate(key) for key in keys]),
        'bias': jnp.zeros((num_behaviors, len(members[0]))),
      }
    return net

  def prepare(net, behaviors, graphs, task):
    del graphs
    table = behaviors[task]
    halves = (
      _half(net, table[:num_users], task, side=0),
      _half(net, table[num_users:], task, side=1),
    )
    return jax.tree.map(lambda *sides: jnp.concatenate(sides), *halves)

  def score(net, user, item, task):
    summed = jax.tree.map(jnp.add, user, item)
    tower = net['tower']
    if linear:
      total = jnp.sum(summed['input'] * tower['weight'][task], axis=-1)
    else:
      total = _mixed(summed, members[task], hidden) @ tower['weight'][task]
    scale = experts.task_scale(task, num_behaviors, options)
    return scale * (total + tower['bias'][task])

  def serve(net, user, item):
    del net
    return user, item

  def rank(net, user, item):
    item = {name: item[name] for name in user}  # an item's row has more
    user = jax.tree.map(lambda leaf: leaf[:, None], user)
    return score(net, user, item, target)

  def _half(net, table, task, side):
    """One side's share of everything that is linear in x."""
    rows = slice(side * width, (side + 1) * width)
    if linear:
      empty = jnp.zeros_like(table)
      return {'input': jnp.concatenate([empty, table][:: 1 if side else -1], 1)}
    keep = 1.0 - side  # the bias goes with the user
    expert = net['expert']
    half = {'hidden': table @ expert['weight'][rows] + keep * expert['bias']}
    if 'gate' in net:
      gate = net['gate']
      logits = table @ gate['weight'][task][rows]
      half['gate'] = logits + keep * gate['bias'][task]
    return half

  return init, prepare, score, serve, rank


def _members(options, num_behaviors):
  """Experts that each task reads."""
  if options.name == 'shared_bottom':
    return [[0]] * num_behaviors
  if options.name == 'mmoe':
    return [list(range(options.num_experts))] * num_behaviors
  # One level of customized gate control: the task's own, and a shared one.
  return [[task, num_behaviors] for task in range(num_behaviors)]


def _mixed(summed, members, hidden):
  """Gated sum of a task's hidden experts, f32[..., hidden]."""
  outputs = [
    jax.nn.leaky_relu(
      summed['hidden'][..., e * hidden : (e + 1) * hidden], _SLOPE
    )
    for e in members
  ]
  if len(outputs) == 1:
    return outputs[0]
  gate = jax.nn.softmax(summed['gate'], axis=-1)
  return sum(gate[..., i, None] * out for i, out in enumerate(outputs))
