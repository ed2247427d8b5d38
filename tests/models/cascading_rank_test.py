import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import behavior_toys as toys
from twotsrec import config
from twotsrec import types
from twotsrec.models import cascading_rank
from twotsrec.ops import graph
from twotsrec.ops import rows

EVERYBODY = np.arange(-1, toys.USERS, dtype=np.int32)


def _edges(dense):
  return graph.make_edges(toys.edges(dense), *dense[0].shape)


def _scores(dense, users=EVERYBODY, **options):
  """f32[B, I] of all items."""
  made = config.CascadeConfig(**options)
  model, params, context = cascading_rank.make(_edges(dense), made)
  ids = jnp.arange(1, dense[0].shape[1] + 1)
  encoded = model.encode(params.net, None, context, {'user': users})
  table = rows.gather(params.tables['item'], ids)
  return np.asarray(model.score(params.net, encoded, table))


def _parts(mask):
  """Dense S and the queries of all users, by the definition."""
  users, items = mask.shape
  whole = np.zeros((users + items,) * 2)
  whole[:users, users:] = mask
  whole += whole.T
  degrees = whole.sum(1)
  inverse = np.divide(
    1.0, degrees, where=degrees > 0, out=np.zeros_like(degrees)
  )
  roots = np.sqrt(inverse)
  queries = np.eye(users + items) + whole * inverse
  return roots[:, None] * whole * roots, queries[:, :users]


def _solved(dense, alpha, beta):
  """The fixed point of every behavior, by solving for it."""
  gamma, found = 1 - alpha - beta, None
  for mask in dense:
    smooth, queries = _parts(mask)
    before = queries if found is None else found
    left = np.eye(len(smooth)) - gamma * smooth
    found = np.linalg.solve(left, alpha * queries + beta * before)
  return found[len(mask) :].T


@pytest.mark.parametrize(
  ('alpha', 'beta'), [(0.0, 0.9), (0.7, 0.2), (0.3, 0.3), (0.2, 0.8)]
)
def test_ranks_solve_their_equations(alpha, beta):
  dense = toys.masks()
  found = _scores(dense, alpha=alpha, beta=beta, tolerance=1e-6)
  expected = _solved(dense, alpha, beta)
  assert np.all(found[0] == 0)  # to nobody
  np.testing.assert_allclose(found[1:], expected, rtol=1e-4, atol=1e-6)


def test_steps_are_those_of_the_authors_program():
  """Two steps from the query, column by column; one that is done stays."""
  dense, alpha, beta, tolerance = toys.masks(), 0.1, 0.5, 0.9
  gamma, found = 1 - alpha - beta, None
  for mask in dense:
    smooth, queries = _parts(mask)
    before = queries if found is None else found
    found = queries.copy()
    for user in range(toys.USERS):
      for _ in range(2):
        given = alpha * queries[:, user] + beta * before[:, user]
        moved = gamma * smooth @ found[:, user] + given
        change = np.abs(moved - found[:, user]).sum()
        found[:, user] = moved
        if change <= tolerance:
          break
  options = {'alpha': alpha, 'beta': beta, 'tolerance': tolerance}
  actual = _scores(dense, max_steps=2, **options)
  expected = found[toys.USERS :].T
  np.testing.assert_allclose(actual[1:], expected, rtol=1e-5, atol=1e-6)


def test_scores_do_not_depend_on_who_shares_the_tile():
  dense = toys.masks()
  together = _scores(dense, tolerance=1e-2)
  for place, user in enumerate(EVERYBODY):
    alone = _scores(dense, np.array([user]), tolerance=1e-2)
    np.testing.assert_array_equal(alone[0], together[place])
  # Tiles of more users than are walked together.
  many = np.tile(EVERYBODY, 20)
  repeated = _scores(dense, many, tolerance=1e-2)
  np.testing.assert_array_equal(repeated, np.tile(together, (20, 1)))


def test_a_behavior_without_edges_changes_no_order():
  view, cart, buy = toys.masks()
  empty = _scores((view, np.zeros_like(cart), buy))[1:]
  without = _scores((view, buy))[1:]
  # Its users keep a share of what they had before.
  np.testing.assert_allclose(empty, 0.9 * without, rtol=1e-4, atol=1e-6)


def test_weights_that_leave_no_user_are_refused():
  for alpha, beta in ((0.0, 0.0), (0.5, 0.6)):
    with pytest.raises(types.UserError, match='more than 0 and at most 1'):
      cascading_rank.check(config.CascadeConfig(alpha, beta))
  cascading_rank.check(config.CascadeConfig(0.1, 0.9))


def test_parameters_are_those_that_a_run_reloads():
  dense = toys.masks()
  model, params, context = cascading_rank.make(
    _edges(dense), config.CascadeConfig()
  )
  sizes = types.Sizes(toys.USERS, toys.ITEMS, 1)
  again = model.init(jax.random.key(0), context, sizes)
  jax.tree.map(np.testing.assert_array_equal, params, again)
