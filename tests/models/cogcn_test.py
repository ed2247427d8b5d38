import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from tests import behavior_toys as toys
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import cogcn
from twotsrec.ops import graph as graph_lib


def _options(**changes):
  return dataclasses.replace(config_lib.FusionConfig(), **changes)


def _nodes(width=toys.WIDTH):
  generator = np.random.default_rng(5)
  return generator.normal(size=(toys.NODES, width))


def _encode(options, nodes, dense=None):
  dense = toys.masks() if dense is None else dense
  shape = dense[0].shape
  config = config_lib.Config(fusion=options)
  sizes = types.NodeSizes(len(dense), *shape, nodes.shape[1])
  made = cogcn.make(config, sizes)
  context = made.context(graph_lib.make_edges(toys.edges(dense), *shape))
  fused = made.encode({}, jnp.asarray(nodes, jnp.float32), context)
  assert made.merged == (options.post_behavior == 'merged')
  return [np.asarray(table) for table in fused.behaviors]


def _operators(options, dense):
  """Dense P of each behavior, and how many I are added."""
  found = []
  for k in range(len(dense)):
    members = {
      'own': [k], 'upstream': range(k + 1), 'all': range(len(dense))
    }[options.in_behavior]  # fmt: skip
    single = [toys.adjacency(dense[j]) for j in members]
    if options.operator == 'summed':
      matrix = sum(toys.normalize(a, options.normalization) for a in single)
    else:
      matrix = sum(single)
      if options.operator == 'union':
        matrix = (matrix > 0).astype(float)
      matrix = toys.normalize(matrix, options.normalization)
    count = len(single) if options.operator == 'summed' else 1
    found.append((matrix, count if options.self_loop else 0))
  return found


def _dense(options, nodes, dense=None):
  """COPF eq. 4-7, with each E^{k,0} written out rather than carried."""
  dense = toys.masks() if dense is None else dense
  outputs, lasts = [], []
  for k, (matrix, loops) in enumerate(_operators(options, dense)):
    start = nodes
    if k and options.pre_behavior == 'all':
      start = nodes + sum(lasts)
    if k and options.pre_behavior == 'nearest':
      start = lasts[-1] + (nodes if options.keep_initial else 0)
    layers = [start]
    for _ in range(options.num_layers[k] if options.num_layers else 1):
      layers.append(matrix @ layers[-1] + loops * layers[-1])
    lasts.append(layers[-1])
    outputs.append(sum(layers))
    if options.combine == 'mean':
      outputs[-1] = outputs[-1] / len(layers)
  if options.post_behavior == 'merged':
    return [sum(outputs)] * len(outputs)
  return outputs


@pytest.mark.parametrize(
  'changes',
  [
    {},
    {'num_layers': (2, 0, 3)},
    {'operator': 'summed', 'num_layers': (1, 2, 1)},
    {'operator': 'union'},
    {'pre_behavior': 'none'},
    {'pre_behavior': 'nearest'},
    {'pre_behavior': 'nearest', 'keep_initial': True},
    {'in_behavior': 'own'},
    {'in_behavior': 'all'},
    {'in_behavior': 'all', 'operator': 'summed'},
    {'in_behavior': 'all', 'operator': 'union', 'pre_behavior': 'none'},
    {
      'in_behavior': 'all',
      'operator': 'union',
      'pre_behavior': 'none',
      'num_layers': (1, 2, 1),
    },
    {'in_behavior': 'own', 'pre_behavior': 'nearest'},
    {'post_behavior': 'merged'},
    {'normalization': 'symmetric'},
    {'normalization': 'right'},
    {'normalization': 'none'},
    {
      'pre_behavior': 'none', 'in_behavior': 'own', 'self_loop': False,
      'normalization': 'symmetric', 'combine': 'mean',
    },
  ],
)  # fmt: skip
def test_representations_equal_dense_algebra(changes):
  options, nodes = _options(**changes), _nodes()
  for ours, theirs in zip(
    _encode(options, nodes), _dense(options, nodes), strict=True
  ):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_hand_made_graph_of_two_users_and_two_items():
  view = np.array([[True, True], [False, True]])
  buy = np.array([[True, False], [False, False]])
  nodes = np.array([[1.0], [2.0], [4.0], [8.0]])
  # Views: user 0 - items 1, 2; user 1 - item 2. P views, then I.
  viewed = np.array([[6.0], [8.0], [1.0], [1.5]]) + nodes
  first = nodes + viewed
  start = nodes + viewed
  # With the buy, the edge from user 0 to item 1 weighs 2 of 3.
  both = np.array(
    [
      [(2 * start[2, 0] + start[3, 0]) / 3],
      [start[3, 0]],
      [start[0, 0]],
      [(start[0, 0] + start[1, 0]) / 2],
    ]
  )
  second = start + (both + start)
  ours = _encode(_options(), nodes, (view, buy))
  np.testing.assert_allclose(ours[0], first, rtol=1e-6)
  np.testing.assert_allclose(ours[1], second, rtol=1e-6)


def test_merged_and_summed_agree_on_the_first_behavior_only():
  nodes = _nodes()
  merged = _encode(_options(operator='merged'), nodes)
  summed = _encode(_options(operator='summed'), nodes)
  np.testing.assert_allclose(merged[0], summed[0], rtol=1e-6)
  assert np.abs(merged[1] - summed[1]).max() > 0.1


def test_all_upstream_outputs_flow_into_the_third_behavior():
  # Without layers of its own a behavior's output is what flowed in.
  nodes = _nodes()
  options = _options(num_layers=(1, 2, 0), operator='union')
  first, second, _ = _operators(options, toys.masks())
  eye = np.eye(toys.NODES)
  after_first = (first[0] + eye) @ nodes
  walk = second[0] + eye
  after_second = walk @ walk @ (nodes + after_first)
  np.testing.assert_allclose(
    _encode(options, nodes)[2],
    nodes + after_first + after_second,
    rtol=1e-5,
    atol=1e-5,
  )


@pytest.mark.parametrize('pre', ['all', 'nearest', 'none'])
@pytest.mark.parametrize('walked', ['upstream', 'own', 'all'])
def test_the_target_reaches_upstream_only_through_graphs_of_all(pre, walked):
  *upstream, target = toys.masks()
  nodes, options = _nodes(), _options(pre_behavior=pre, in_behavior=walked)
  before = _encode(options, nodes)
  after = _encode(options, nodes, (*upstream, ~target))
  for k in range(2):
    same = np.array_equal(before[k], after[k])
    assert same == (walked != 'all')
  assert not np.array_equal(before[2], after[2])


def test_without_any_constraint_before_and_inside_all_tables_are_one():
  options = _options(pre_behavior='none', in_behavior='all')
  first, *rest = _encode(options, _nodes())
  for other in rest:
    np.testing.assert_array_equal(first, other)


def test_an_idle_node_keeps_exactly_its_residual():
  nodes = _nodes()
  idle = toys.USERS + toys.IDLE_ITEM - 1
  outputs = _encode(_options(), nodes)
  # x + x, and each next behavior starts with twice as much.
  for k, table in enumerate(outputs):
    np.testing.assert_array_equal(
      table[idle], 2.0 ** (k + 1) * nodes[idle].astype(np.float32)
    )


def test_products_in_half_precision_are_close():
  nodes = _nodes()
  exact = _encode(_options(), nodes)[2]
  rough = _encode(_options(product_dtype='bfloat16'), nodes)[2]
  assert 0 < np.abs(rough - exact).max() < 0.02 * np.abs(exact).max()


def test_behaviors_without_pairs_pass_on_what_they_got():
  view, cart, buy = toys.masks()
  nodes = _nodes()
  dense = (view, np.zeros_like(cart), buy)
  options = _options(in_behavior='own')
  for ours, theirs in zip(
    _encode(options, nodes, dense), _dense(options, nodes, dense)
  ):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_layers_are_those_of_every_behavior():
  made = config_lib.Config(fusion=_options(num_layers=(1, 1)))
  sizes = types.NodeSizes(3, toys.USERS, toys.ITEMS, toys.WIDTH)
  with pytest.raises(types.UserError, match='2 numbers, .* are 3 behaviors'):
    cogcn.make(made, sizes)
