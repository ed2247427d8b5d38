import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from twotsrec import config
from twotsrec import types
from twotsrec.models import closed_form
from twotsrec.ops import rows

USERS, ITEMS = 30, 12


@pytest.fixture(scope='module')
def dense_pairs():
  mask = np.random.default_rng(0).random((USERS, ITEMS)) < 0.3
  mask[:, 0] = False  # an item that nobody has
  return mask.astype(np.float64)


def _scores(model, params, histories, candidates):
  """f32[B, C] for candidates i32[C] or i32[B, C]."""
  inputs = {'history': jnp.asarray(histories)}
  encoded = model.encode({}, None, {}, inputs)
  table = rows.gather(params.tables['item'], jnp.asarray(candidates))
  return np.asarray(model.score({}, encoded, table))


def _histories(mask):
  """Items of every user, right-padded."""
  own = [1 + np.flatnonzero(row) for row in mask]
  padded = np.zeros((len(own), 1 + max(map(len, own))), np.int32)
  for row, items in zip(padded, own, strict=True):
    row[: len(items)] = items
  return padded


def _check(model, params, pairs, weights):
  """Scores are x W, for candidates that all share and for everybody's own."""
  expected = pairs @ weights
  histories, every = _histories(pairs), np.arange(1, ITEMS + 1)
  found = _scores(model, params, histories, every)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
  own = np.stack([every[::-1]] * USERS)
  found = _scores(model, params, histories, own)
  np.testing.assert_allclose(found, expected[:, ::-1], rtol=1e-4, atol=1e-5)


def test_ease_solves_its_problem(dense_pairs):
  """The gradient of |X - XB|^2 + l2 |B|^2 is 0 off the diagonal of B."""
  l2 = 3.0
  params = closed_form.ease(scipy.sparse.csr_matrix(dense_pairs), l2)
  weights = np.asarray(params.tables['item']['weights'], np.float64)
  weights = weights[1:, 1:].T
  assert np.all(np.diag(weights) == 0)
  residual = dense_pairs @ weights - dense_pairs
  gradient = dense_pairs.T @ residual + l2 * weights
  gradient[np.diag_indices(ITEMS)] = 0.0
  np.testing.assert_allclose(gradient, 0.0, atol=1e-5)
  _check(closed_form.dense(ITEMS), params, dense_pairs, weights)


@pytest.mark.parametrize(
  ('neighbors', 'shrinkage'), [(ITEMS, 0.0), (3, 5.0), (1, 0.0)]
)
def test_neighbors_are_the_largest_cosines(dense_pairs, neighbors, shrinkage):
  norms = np.linalg.norm(dense_pairs, axis=0)
  products = dense_pairs.T @ dense_pairs
  cosines = products / np.maximum(np.outer(norms, norms) + shrinkage, 1e-12)
  np.fill_diagonal(cosines, 0.0)
  expected = np.zeros_like(cosines)
  for item in range(ITEMS):
    best = np.argsort(-cosines[item], kind='stable')[:neighbors]
    expected[best, item] = cosines[item, best]
  pairs = scipy.sparse.csr_matrix(dense_pairs)
  params = closed_form.item_knn(pairs, neighbors, shrinkage)
  k = params.tables['item']['ids'].shape[1]
  assert k == min(neighbors, ITEMS - 1)
  _check(closed_form.sparse(ITEMS, k), params, dense_pairs, expected)


def test_tiles_of_items_change_nothing(dense_pairs, monkeypatch):
  pairs = scipy.sparse.csr_matrix(dense_pairs)
  whole = closed_form.item_knn(pairs, 4, 1.0)
  monkeypatch.setattr(closed_form, '_TILE', 5)
  tiled = closed_form.item_knn(pairs, 4, 1.0)
  jax.tree.map(np.testing.assert_array_equal, whole, tiled)


def test_templates_have_the_shapes_of_what_is_made(dense_pairs):
  pairs = scipy.sparse.csr_matrix(dense_pairs)
  sizes = types.Sizes(USERS, ITEMS, 5)
  for model, params in (
    (closed_form.dense(ITEMS), closed_form.ease(pairs, 1.0)),
    (closed_form.sparse(ITEMS, 4), closed_form.item_knn(pairs, 4, 0.0)),
  ):
    template = jax.eval_shape(lambda m=model: m.init(None, {}, sizes))
    shape = lambda leaf: (leaf.shape, leaf.dtype)
    assert jax.tree.map(shape, template) == jax.tree.map(shape, params)


def test_a_matrix_that_no_machine_holds_is_refused(monkeypatch, dense_pairs):
  monkeypatch.setattr(closed_form, 'LARGEST', 4)
  with pytest.raises(types.UserError, match='use item_knn') as error:
    closed_form.ease(scipy.sparse.csr_matrix(dense_pairs), 1.0)
  assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize('name', closed_form.NAMES)
def test_what_items_of_a_history_count_is_the_score_in_sum(name, dense_pairs):
  """x_ui W_ij by dense algebra; an item that was taken twice counts once."""
  options = config.ClosedFormConfig(neighbors=5, shrinkage=1.0, l2=3.0)
  pairs = scipy.sparse.csr_matrix(dense_pairs)
  params = closed_form.make(name, pairs, options)
  model = closed_form.make_model(name, ITEMS, options)
  table = params.tables['item']
  if name == 'ease':
    weights = np.asarray(table['weights'])[1:, 1:].T
  else:
    weights = np.zeros((ITEMS, ITEMS))
    for item, (ids, values) in enumerate(zip(table['ids'], table['weights'])):
      for other, value in zip(np.asarray(ids), np.asarray(values)):
        if item and other:
          weights[other - 1, item - 1] = value
  histories = _histories(dense_pairs)
  histories[:, -1] = histories[:, 0]  # again
  own = np.tile(np.arange(1, ITEMS + 1), (USERS, 1))
  scores = _scores(model, params, histories, own)
  encoded = model.encode({}, None, {}, {'history': jnp.asarray(histories)})
  for asked in (own, own[0]):
    terms = np.asarray(
      model.reasons({}, encoded, histories, rows.gather(table, asked))
    )
    np.testing.assert_allclose(terms.sum(axis=2), scores, rtol=1e-4, atol=1e-5)
    for user, history in enumerate(histories):
      for place, item in enumerate(history):
        first = item > 0 and item not in history[:place]
        expected = weights[item - 1] if first else np.zeros(ITEMS)
        np.testing.assert_allclose(terms[user, :, place], expected, 1e-5, 1e-7)
