from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from twotsrec import types
from twotsrec.ops import graph as graph_lib
from twotsrec.ops import graph_layouts

LAYOUTS = graph_layouts.NAMES


def dense(pairs, num_users, num_items, merge) -> np.ndarray:
  """The adjacency, by counting; f64[n, n]."""
  bipartite = np.zeros((num_users, num_items))
  for users, items in pairs:
    for user, item in {(int(u), int(i)) for u, i in zip(users, items)}:
      bipartite[user, item - 1] += 1
  if merge == 'union':
    bipartite = np.minimum(bipartite, 1)
  users, items = np.zeros((num_users,) * 2), np.zeros((num_items,) * 2)
  return np.block([[users, bipartite], [bipartite.T, items]])


def normalized(adjacency, normalization) -> np.ndarray:
  degrees = adjacency.sum(axis=1)
  with np.errstate(divide='ignore'):
    inverse = np.where(degrees > 0, 1 / degrees, 0.0)
  if normalization == 'left':
    return inverse[:, None] * adjacency
  if normalization == 'right':
    return adjacency * inverse
  if normalization == 'symmetric':
    return np.sqrt(inverse)[:, None] * adjacency * np.sqrt(inverse)
  return adjacency


def random_pairs(seed, num_users, num_items, sizes):
  rng = np.random.default_rng(seed)
  draw = lambda size: (
    rng.integers(0, num_users, size), rng.integers(1, num_items + 1, size)
  )  # fmt: skip
  return [draw(size) for size in sizes]


def as_dense(graph) -> np.ndarray:
  run = jax.jit(graph_lib.propagate)
  return np.asarray(run(graph, jnp.eye(graph.num_nodes)))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
  seed=st.integers(0, 2**16),
  num_users=st.sampled_from([1, 6]),
  num_items=st.sampled_from([1, 5]),
  sizes=st.lists(st.integers(0, 20), min_size=0, max_size=3),
  normalization=st.sampled_from(graph_lib.NORMALIZATIONS),
  merge=st.sampled_from(graph_lib.MERGES),
)
def test_any_graph_is_its_dense_matrix_in_every_layout(
  seed, num_users, num_items, sizes, normalization, merge
):
  pairs = random_pairs(seed, num_users, num_items, sizes)
  adjacency = dense(pairs, num_users, num_items, merge)
  expected = normalized(adjacency, normalization)
  for layout in LAYOUTS:
    graph = graph_lib.from_pairs(
      pairs, num_users, num_items, normalization, merge, layout
    )
    assert graph.num_nodes == num_users + num_items
    np.testing.assert_allclose(as_dense(graph), expected, rtol=1e-6)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_left_rows_sum_to_one_or_zero_and_nodes_alone_get_nothing(layout):
  pairs = [(np.array([0, 0, 2]), np.array([1, 3, 3]))]
  graph = graph_lib.from_pairs(pairs, 3, 4, layout=layout)
  sums = graph_lib.propagate(graph, jnp.ones((7, 1)))[:, 0]
  np.testing.assert_allclose(sums, [1, 0, 1, 1, 0, 1, 0], rtol=1e-6)


def test_merged_edges_weigh_their_behaviors_and_the_union_one():
  view = np.array([0, 0, 1]), np.array([1, 2, 1])
  buy = np.array([0, 0]), np.array([1, 1])  # twice the same pair
  nothing = np.zeros(0, np.int64), np.zeros(0, np.int64)
  weight = lambda merge: as_dense(
    graph_lib.from_pairs([view, nothing, buy], 2, 2, 'none', merge)
  )[:2, 2:]
  np.testing.assert_array_equal(weight('merged'), [[2, 1], [1, 0]])
  np.testing.assert_array_equal(weight('union'), [[1, 1], [1, 0]])


def test_a_larger_graph_is_the_product_of_scipy():
  pairs = random_pairs(3, 300, 200, [4000, 900])
  blocks = [
    scipy.sparse.csr_array(
      (np.ones(len(users)), (users, items - 1)), (300, 200)
    ).astype(bool).astype(float)
    for users, items in pairs
  ]  # fmt: skip
  bipartite = blocks[0] + blocks[1]
  adjacency = scipy.sparse.block_array([[None, bipartite], [bipartite.T, None]])
  x = np.random.default_rng(4).normal(size=(500, 16))
  degrees = adjacency.sum(axis=1)
  expected = (adjacency @ x) / degrees[:, None]
  for layout in LAYOUTS:
    graph = graph_lib.from_pairs(pairs, 300, 200, layout=layout)
    actual = jax.jit(graph_lib.propagate)(graph, x.astype(np.float32))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('normalization', graph_lib.NORMALIZATIONS)
def test_the_gradient_is_that_of_dense_algebra(layout, normalization):
  pairs = random_pairs(5, 6, 5, [12, 5])
  graph = graph_lib.from_pairs(pairs, 6, 5, normalization, layout=layout)
  matrix = as_dense(graph)
  draw = np.random.default_rng(6).normal
  x, target = (draw(size=(11, 2)).astype(np.float32) for _ in range(2))
  loss = lambda product: lambda x: jnp.sum(jnp.tanh(product(x) - target))
  sparse_loss = loss(lambda x: graph_lib.propagate(graph, x))
  dense_loss = loss(lambda x: matrix @ x)
  gradient = jax.jit(jax.grad(sparse_loss))(x)
  np.testing.assert_allclose(
    gradient, jax.jit(jax.grad(dense_loss))(x), rtol=1e-5, atol=1e-6
  )
  # The gradient is a propagation, so it has a gradient in turn.
  squared = lambda loss: lambda x: jnp.sum(jax.grad(loss)(x) ** 2)
  np.testing.assert_allclose(
    jax.jit(jax.grad(squared(sparse_loss)))(x),
    jax.jit(jax.grad(squared(dense_loss)))(x),
    rtol=1e-4,
    atol=1e-5,
  )


@pytest.mark.parametrize('layout', LAYOUTS)
def test_a_graph_is_an_argument_of_jit_scan_and_vmap(layout):
  pairs = random_pairs(7, 6, 5, [15])
  graph = graph_lib.from_pairs(pairs, 6, 5, 'right', layout=layout)
  matrix = as_dense(graph)
  x = jnp.asarray(np.random.default_rng(8).normal(size=(11, 2)), jnp.float32)

  @jax.jit
  def thrice(graph, x):
    step = lambda x, _: (graph_lib.propagate(graph, x), None)
    return jax.lax.scan(step, x, length=3)[0]

  constants = jax.make_jaxpr(thrice)(graph, x).consts
  assert constants == []
  np.testing.assert_allclose(
    thrice(graph, x), matrix @ matrix @ matrix @ x, rtol=1e-4, atol=1e-5
  )
  # As where a gradient per group is taken: x is shared, the gradient is not.
  weights = jnp.array([[1.0, 2.0], [0.5, -1.0], [0.0, 3.0]])
  loss = lambda product: lambda x, w: jnp.sum(product(x) ** 2 * w)
  over_groups = lambda loss: jax.vmap(jax.grad(loss), in_axes=(None, 0))
  np.testing.assert_allclose(
    jax.jit(over_groups(loss(lambda x: graph_lib.propagate(graph, x))))(
      x, weights
    ),
    over_groups(loss(lambda x: jnp.asarray(matrix) @ x))(x, weights),
    rtol=1e-4,
    atol=1e-5,
  )


@pytest.mark.parametrize('layout', LAYOUTS)
def test_stacked_columns_are_the_single_products(layout):
  graph = graph_lib.from_pairs(random_pairs(9, 6, 5, [15]), 6, 5, layout=layout)
  parts = jnp.asarray(np.random.default_rng(9).normal(size=(3, 11, 4)))
  parts = parts.astype(jnp.float32)
  each = jax.vmap(lambda x: graph_lib.propagate(graph, x))(parts)
  stacked = graph_lib.propagate(graph, jnp.concatenate(parts, axis=1))
  np.testing.assert_array_equal(jnp.concatenate(each, axis=1), stacked)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_bfloat16_rounds_the_neighbors_and_not_their_sum(layout):
  pairs = random_pairs(10, 20, 15, [120])
  graph = graph_lib.from_pairs(pairs, 20, 15, 'none', layout=layout)
  x = jnp.asarray(np.random.default_rng(11).normal(size=(35, 4)), jnp.float32)
  run = jax.jit(graph_lib.propagate, static_argnums=2)
  actual = run(graph, x, 'bfloat16')
  assert actual.dtype == jnp.float32
  rounded = np.asarray(x.astype(jnp.bfloat16)).astype(np.float64)
  np.testing.assert_allclose(
    actual, as_dense(graph) @ rounded, rtol=1e-5, atol=1e-5
  )
  assert np.abs(actual - run(graph, x, 'float32')).max() > 1e-3
  gradient = jax.grad(lambda x: jnp.sum(run(graph, x, 'bfloat16') ** 2))(x)
  exact = jax.grad(lambda x: jnp.sum(run(graph, x, 'float32') ** 2))(x)
  np.testing.assert_allclose(gradient, exact, rtol=0.05, atol=0.5)


def test_the_layout_of_a_cpu_is_chosen_and_unknown_names_are_one_line():
  pairs = random_pairs(12, 3, 3, [4])
  automatic = graph_lib.from_pairs(pairs, 3, 3).adjacency
  if jax.default_backend() == 'cpu':
    assert isinstance(automatic, graph_layouts.Csr)
  for name in ('normalization', 'merge', 'layout'):
    with pytest.raises(types.UserError) as raised:
      graph_lib.from_pairs(pairs, 3, 3, **{name: 'lefft'})
    assert f"{name} 'lefft' is unknown" in str(raised.value)
    assert '\n' not in str(raised.value)


def test_ids_out_of_range_and_other_types_are_refused():
  first = np.array([0])
  for user, item in ((0, 0), (0, 4), (2, 1), (-1, 1)):
    with pytest.raises(AssertionError):
      graph_lib.from_pairs([(first + user, first + item)], 2, 3)
  graph = graph_lib.from_pairs([(first, first + 1)], 2, 3)
  for x in (jnp.ones((4, 2)), jnp.ones((5, 2), jnp.bfloat16)):
    with pytest.raises(AssertionError):
      graph_lib.propagate(graph, x)


def test_edges_make_every_graph_once_whoever_asks_for_it():
  pairs = random_pairs(3, 6, 5, (9, 7, 8))
  edges = graph_lib.make_edges(pairs, 6, 5)
  assert edges.graph([1]) is edges.graph((1,), merge='union')
  assert edges.graph(range(2), 'symmetric') is edges.graph([0, 1], 'symmetric')
  for behaviors, how, merge in (
    ([1], 'left', 'merged'),
    ([0, 2], 'symmetric', 'union'),
    ([0, 1, 2], 'left', 'merged'),
  ):
    expected = normalized(
      dense([pairs[k] for k in behaviors], 6, 5, merge), how
    )
    found = as_dense(edges.graph(behaviors, how, merge))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('chosen', [None, (3, 0, 3, 5), (5,)])
def test_neighbors_of_some_users_are_rows_of_the_dense_product(
  layout, chosen, monkeypatch
):
  monkeypatch.setattr(graph_lib, '_EDGES', 4)  # several rounds
  num_users, num_items = 6, 5
  (pairs,) = random_pairs(4, num_users, num_items, [20])
  pairs = tuple(side[pairs[0] != 5] for side in pairs)  # a user alone
  expected = normalized(dense([pairs], num_users, num_items, 'union'), 'left')
  users = None if chosen is None else jnp.asarray(chosen)
  rows = np.arange(num_users) if chosen is None else np.asarray(chosen)
  expected = expected[np.append(rows, num_users + np.arange(num_items))]
  graph = graph_lib.bipartite(pairs, num_users, num_items, layout)
  x, weights = np.random.default_rng(0).normal(size=(2, 11, 3)).astype('f4')
  weights = weights[: len(expected)]

  def total(x):
    means = graph_lib.neighbors(graph, x, users)
    return jnp.sum(weights * means), means

  gradient, means = jax.jit(jax.grad(total, has_aux=True))(jnp.asarray(x))
  np.testing.assert_allclose(means, expected @ x, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(
    gradient, expected.T @ weights, rtol=1e-5, atol=1e-6
  )


def test_neighbors_of_another_type_are_rounded_for_every_user():
  (pairs,) = random_pairs(4, 6, 5, [20])
  graph = graph_lib.bipartite(pairs, 6, 5)
  x = jnp.asarray(np.random.default_rng(0).normal(size=(11, 3)), jnp.float32)
  look = lambda dtype, users: np.asarray(
    graph_lib.neighbors(graph, x, users, dtype)
  )
  everyone, some = look('bfloat16', None), look('bfloat16', jnp.arange(2))
  np.testing.assert_allclose(some[:2], everyone[:2], rtol=1e-6)
  assert np.any(everyone != look('float32', None))
