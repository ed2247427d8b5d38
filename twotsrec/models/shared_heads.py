"""Multi-task heads that read one representation for all behaviors.

Shared bottom, MMoE and PLE (COPF Table 5, after CIGF's code) on
x = [user || item]: hidden experts, a gate per task, a linear tower per task.
The first layer is linear in x, so each side's share of it is computed once per
node and a pair only adds the two.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import experts

NAMES = ('shared_bottom', 'mmoe', 'ple')
_SLOPE = 0.1  # of the leaky rectifier, CIGF's code


class _Layout(NamedTuple):
  """Layout of experts and towers, in which the heads differ.

  Attributes:
    members: experts that each task reads.
    linear: towers on x itself, without experts.
    width: D; a hidden expert has 2 D, as x.
  """

  members: list[list[int]]
  linear: bool
  width: int


def make(
  options: config_lib.HeadConfig,
  width: int,
  num_behaviors: int,
  num_users: int,
) -> types.Head:
  """A head of one input for all tasks.

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
  layout = _Layout(
    members=_members(options, num_behaviors),
    linear=options.name == 'shared_bottom' and options.linear_tower,
    width=width,
  )

  def prepare(net, fused, graphs, task):
    del graphs
    table = fused.behaviors[task]
    halves = (
      _half(layout, net, table[:num_users], task, side=0),
      _half(layout, net, table[num_users:], task, side=1),
    )
    return jax.tree.map(lambda *sides: jnp.concatenate(sides), *halves)

  def score(net, user, item, task):
    summed = jax.tree.map(jnp.add, user, item)
    features = (
      summed['input'] if layout.linear else _mixed(layout, summed, task)
    )
    tower = net['tower']
    total = features @ tower['weight'][task] + tower['bias'][task]
    return experts.task_scale(task, num_behaviors, options) * total

  def rank(net, user, item):
    item = {name: item[name] for name in user}  # an item's row has more
    user = jax.tree.map(lambda leaf: leaf[:, None], user)
    return score(net, user, item, num_behaviors - 1)

  return types.Head(
    init=lambda key: _init(layout, key),
    prepare=prepare,
    score=score,
    serve=lambda net, user, item: (user, item),
    rank=rank,
  )


def _init(layout, key):
  """Parameters: experts side by side, a gate and a tower per task."""
  xavier = jax.nn.initializers.glorot_uniform()
  expert_key, gate_key, tower_key = jax.random.split(key, 3)
  num_behaviors, inputs = len(layout.members), 2 * layout.width
  draw = lambda key, size: xavier(key, (inputs, size), jnp.float32)
  net = {
    'tower': {
      'weight': xavier(tower_key, (num_behaviors, inputs), jnp.float32),
      'bias': jnp.zeros(num_behaviors),
    }
  }
  if layout.linear:
    return net
  count = 1 + max(max(row) for row in layout.members)
  keys = jax.random.split(expert_key, count)
  net['expert'] = {
    'weight': jnp.concatenate([draw(k, inputs) for k in keys], axis=1),
    'bias': jnp.zeros(count * inputs),
  }
  slots = len(layout.members[0])
  if slots > 1:
    keys = jax.random.split(gate_key, num_behaviors)
    net['gate'] = {
      'weight': jnp.stack([draw(k, slots) for k in keys]),
      'bias': jnp.zeros((num_behaviors, slots)),
    }
  return net


def _half(layout, net, table, task, side):
  """One side's share of everything that is linear in x."""
  if layout.linear:
    sides = [jnp.zeros_like(table), jnp.zeros_like(table)]
    sides[side] = table
    return {'input': jnp.concatenate(sides, axis=1)}
  rows = slice(side * layout.width, (side + 1) * layout.width)
  keep = 1.0 - side  # the bias goes with the user
  expert = net['expert']
  half = {'hidden': table @ expert['weight'][rows] + keep * expert['bias']}
  if 'gate' in net:
    gate = net['gate']
    logits = table @ gate['weight'][task][rows]
    half['gate'] = logits + keep * gate['bias'][task]
  return half


def _members(options, num_behaviors):
  """Experts that each task reads."""
  if options.name == 'shared_bottom':
    return [[0]] * num_behaviors
  if options.name == 'mmoe':
    return [list(range(options.num_experts))] * num_behaviors
  # One level of customized gate control: the task's own, and a shared one.
  return [[task, num_behaviors] for task in range(num_behaviors)]


def _mixed(layout, summed, task):
  """Gated sum of a task's hidden experts, f32[..., 2 D]."""
  size = 2 * layout.width
  outputs = [
    jax.nn.leaky_relu(summed['hidden'][..., e * size : (e + 1) * size], _SLOPE)
    for e in layout.members[task]
  ]
  if len(outputs) == 1:
    return outputs[0]
  gate = jax.nn.softmax(summed['gate'], axis=-1)
  return sum(gate[..., i, None] * out for i, out in enumerate(outputs))
