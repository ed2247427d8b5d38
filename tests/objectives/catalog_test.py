import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twotsrec.objectives import catalog

_ITEMS, _WIDTH = 23, 3


def _score(encoded, items):
  product = jnp.einsum('...d,...cd->...c', encoded, items['embedding'])
  return product + items['bias'][..., 0]


@functools.cache
def _case(number):
  generator = np.random.default_rng(number)
  draw = lambda *shape: jnp.asarray(generator.normal(size=shape), jnp.float32)
  items = {'embedding': draw(_ITEMS + 1, _WIDTH), 'bias': draw(_ITEMS + 1, 1)}
  positive = generator.integers(1, _ITEMS + 1, number)
  counts = generator.random(number) < 0.4
  return draw(number, _WIDTH), items, jnp.asarray(positive), jnp.asarray(counts)


def _literal(encoded, items, positive, counts):
  """All scores at once."""
  real = jax.tree.map(lambda leaf: leaf[1:], items)
  logits = jax.nn.log_softmax(_score(encoded, real), axis=-1)
  own = jnp.take_along_axis(logits, positive[:, None] - 1, axis=1)[:, 0]
  return jnp.where(counts, -own, 0.0)


@pytest.mark.parametrize('tiles', [(4, 5), (4, 64), (64, 64)])
def test_tiles_give_the_loss_and_gradient_of_all_scores(monkeypatch, tiles):
  monkeypatch.setattr(catalog, '_POSITIONS', tiles[0])
  monkeypatch.setattr(catalog, '_ITEMS', tiles[1])
  encoded, items, positive, counts = _case(26)

  def slopes(loss):
    total = lambda encoded, items: jnp.sum(
      loss(encoded, items, positive, counts) * jnp.arange(26.0)
    )
    return jax.value_and_grad(total, argnums=(0, 1))(encoded, items)

  tiled = functools.partial(catalog.cross_entropy, _score)
  actual, expected = (
    jax.jit(lambda f=f: slopes(f))() for f in (tiled, _literal)
  )
  for new, old in zip(
    jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
  ):
    np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-5)


def test_huge_scores_overflow_nothing():
  encoded, items, positive, counts = _case(6)
  loss = lambda scale: jax.jit(
    lambda: catalog.cross_entropy(
      _score, scale * encoded, items, positive, counts
    )
  )()
  assert np.all(np.isfinite(loss(1e4)))


def test_no_array_has_a_score_for_every_position_and_item():
  number, num_items = 3000, 50_000
  shapes = (
    jax.ShapeDtypeStruct((number, 8), jnp.float32),
    {
      'embedding': jax.ShapeDtypeStruct((num_items + 1, 8), jnp.float32),
      'bias': jax.ShapeDtypeStruct((num_items + 1, 1), jnp.float32),
    },
    jax.ShapeDtypeStruct((number,), jnp.int32),
    jax.ShapeDtypeStruct((number,), jnp.bool),
  )
  total = lambda *arguments: jnp.sum(catalog.cross_entropy(_score, *arguments))
  compiled = jax.jit(jax.grad(total, argnums=(0, 1))).lower(*shapes).compile()
  analysis = compiled.memory_analysis()
  assert analysis is not None
  assert analysis.temp_size_in_bytes < number * num_items * 4 / 4
