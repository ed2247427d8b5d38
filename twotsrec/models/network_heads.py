"""Heads whose score of a pair is a small network, not one product.

NeuMF, NMTR's cascade of logits and GNMR's network on a product (baselines of
COPF Table 2), on whatever tables a fusion gives. What is linear in one side is
computed once per node; all items are ranked a few users at a time, so that no
block is larger than a few users times a tile of items times the widest layer.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import experts

NAMES = ('neumf', 'cascade_logits', 'mlp_product')
_USERS = 8  # ranked at once
_SCALE = 100.0  # of the product, GNMR's code


class _Network(NamedTuple):
  """A head by its parts; each has parameters of its own for every task.

  Attributes:
    init: key -> net.
    prepare: (net, Fused, task) -> table of the nodes.
    half: (net, rows, task, side) -> what of the score is one side's.
    pair: (net, user half, item half, task) -> f32[...], leaves [..., x].
    scorer: as in `types.Head`.
  """

  init: Callable[[jax.Array], Any]
  prepare: Callable[..., Any]
  half: Callable[..., dict[str, jax.Array]]
  pair: Callable[..., jax.Array]
  scorer: tuple[str, ...] | None


def make(
  options: config_lib.HeadConfig, fusion: types.Fusion, sizes: types.NodeSizes
) -> types.Head:
  """The head of a name in `NAMES`.

  Args:
    options: name and scale of the scores.
    fusion: width of its tables, and whether one stands in for all.
    sizes: of the log.
  Raises:
    types.UserError: a width that cannot be divided as NeuMF does.
  """
  number = sizes.num_behaviors
  if options.name == 'neumf':
    network = _neumf(fusion.width, number)
  elif options.name == 'cascade_logits':
    network = _cascade_logits(fusion, sizes)
  else:
    network = _mlp_product(fusion.width, number)
  half, target = network.half, number - 1
  scale_of = lambda task: experts.task_scale(task, number, options)

  def score(net, user, item, task):
    halves = half(net, user, task, 0), half(net, item, task, 1)
    return scale_of(task) * network.pair(net, *halves, task)

  def rank(net, user, item):
    item = {name: item[name] for name in user}  # an item's row has more

    def of_user(row, items):
      row = jax.tree.map(lambda leaf: leaf[None], row)
      return scale_of(target) * network.pair(net, row, items, target)

    if jax.tree.leaves(item)[0].ndim > 2:  # candidates of one's own
      return jax.vmap(of_user)(user, item)
    of_all = lambda row: of_user(row, item)
    return jax.lax.map(of_all, user, batch_size=_USERS)

  return types.Head(
    init=network.init,
    prepare=lambda net, fused, graphs, task: network.prepare(net, fused, task),
    score=score,
    serve=lambda net, user, item: (
      half(net, user, target, 0),
      half(net, item, target, 1),
    ),
    rank=rank,
    scorer=network.scorer,
  )


def _neumf(width, number):
  """w [p o q || MLP([p' || q'])] + b of tables [p || p'] (He et al. 2017).

  With p of width d = D / 2 the layers of the MLP have widths 2d, d and d/2.
  """
  if width % 4:
    raise types.UserError(
      f'head.name=neumf divides tables of width {width} in two, and has a layer'
      ' of half of that; use a multiple of 4 (model.width)'
    )
  inner = width // 2

  def init(key):
    sizes = (width, width, inner, inner // 2)
    *keys, out_key = jax.random.split(key, len(sizes))
    hidden = [
      _layer(k, number, *pair)
      for k, pair in zip(keys, zip(sizes, sizes[1:]), strict=True)
    ]
    return {
      'hidden': hidden,
      'out': _layer(out_key, number, inner + inner // 2, 1),
    }

  def half(net, rows, task, side):
    product, deep = jnp.split(rows, 2, axis=-1)
    first = _of(net['hidden'][0], task)
    own = first['weight'][side * inner : (side + 1) * inner]
    bias = (1.0 - side) * first['bias']  # it goes with the user
    return {'product': product, 'deep': deep @ own + bias}

  def pair(net, user, item, task):
    deep = jax.nn.relu(user['deep'] + item['deep'])
    for layer in net['hidden'][1:]:
      deep = jax.nn.relu(_apply(layer, deep, task))
    out = _of(net['out'], task)
    weight = out['weight'][:, 0]
    shallow = (user['product'] * weight[:inner]) * item['product']
    return jnp.sum(shallow, axis=-1) + deep @ weight[inner:] + out['bias'][0]

  names = ('hidden', 'out')
  return _Network(init, lambda _, f, k: f.behaviors[k], half, pair, names)


def _cascade_logits(fusion, sizes):
  """NMTR's y_k = (f_k + y_{k-1}) / 2 + c_i, y_1 = f_1 + c_i (Gao et al. 2019).

  f_k = h_k relu((p o q) W_k) on the tables of behavior k; an item has one bias
  c_i for all tasks. Prediction is y_K. The form is the code's; in the paper y_k
  is y_{k-1} + f_k + c_i.
  """
  number, width = sizes.num_behaviors, fusion.width

  def init(key):
    hidden_key, out_key = jax.random.split(key)
    xavier = jax.nn.initializers.glorot_uniform(batch_axis=0)
    return {
      'hidden': xavier(hidden_key, (number, width, width), jnp.float32),
      'out': xavier(out_key, (number, width, 1), jnp.float32),
      'bias': jnp.zeros((sizes.num_items, 1)),
    }

  def prepare(net, fused, task):
    tables = fused.behaviors[: 1 if fusion.merged else task + 1]
    users = jnp.zeros((sizes.num_users, 1))
    return {
      'vectors': jnp.concatenate(tables, axis=1),
      'bias': jnp.concatenate([users, net['bias']]),
    }

  def pair(net, user, item, task):
    product = user['vectors'] * item['vectors']
    total, bias = jnp.zeros(()), item['bias'][..., 0]
    for k in range(task + 1):
      start = 0 if fusion.merged else k * width
      own = product[..., start : start + width]
      logit = jax.nn.relu(own @ net['hidden'][k]) @ net['out'][k, :, 0]
      total = (logit + total) / 2 + bias if k else logit + bias
    return total

  half = lambda net, rows, task, side: rows
  # A bias is no vector of a node.
  return _Network(init, prepare, half, pair, scorer=None)


def _mlp_product(width, number):
  """GNMR's s = w z' + b with z' = z + relu(W z + b), z = 100 p o q (2021)."""

  def init(key):
    hidden_key, out_key = jax.random.split(key)
    return {
      'hidden': _layer(hidden_key, number, width, width),
      'out': _layer(out_key, number, width, 1),
    }

  def pair(net, user, item, task):
    z = _SCALE * user['vectors'] * item['vectors']
    z = jax.nn.relu(_apply(net['hidden'], z, task)) + z
    return _apply(net['out'], z, task)[..., 0]

  half = lambda net, rows, task, side: {'vectors': rows}
  names = ('hidden', 'out')
  return _Network(init, lambda _, f, k: f.behaviors[k], half, pair, names)


def _layer(key, number, inputs, outputs):
  """A dense layer for each of some tasks."""
  xavier = jax.nn.initializers.glorot_uniform(batch_axis=0)
  weight = xavier(key, (number, inputs, outputs), jnp.float32)
  return {'weight': weight, 'bias': jnp.zeros((number, outputs))}


def _of(layer, task):
  return {name: leaf[task] for name, leaf in layer.items()}


def _apply(layer, x, task):
  own = _of(layer, task)
  return x @ own['weight'] + own['bias']
