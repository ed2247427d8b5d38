"""Updates beside those of TorchJD, in float64 there."""

import numpy as np
import pytest

from tests.aggregators import cases

torch = pytest.importorskip('torch')
aggregation = pytest.importorskip('torchjd.aggregation')

SEEDS = range(12)


def _theirs(aggregator, vectors):
  return aggregator(torch.tensor(vectors, dtype=torch.float64)).numpy()


def _stacks(decades=3, bias=0.0):
  """Gradients of so many decades of length; a large bias leaves no conflict."""
  for seed in SEEDS:
    generator = np.random.default_rng(seed)
    lengths = 10.0 ** generator.uniform(-decades, 0, (cases.GROUPS, 1))
    vectors = (cases.draw(seed) + bias) * lengths
    yield np.asarray(vectors, np.float32).astype(np.float64)


@pytest.mark.parametrize(
  ('name', 'peer', 'decades', 'tolerance'),
  [
    ('imtl_g', 'IMTLG', 3, 1e-4),
    ('aligned', 'AlignedMTL', 3, 1e-4),
    # Its ridge is absolute, ours relative to each gradient.
    ('upgrad', 'UPGrad', 0, 5e-3),
  ],
)
def test_deterministic_updates(name, peer, decades, tolerance):
  try:
    theirs = getattr(aggregation, peer)()
    _theirs(theirs, cases.draw(0))
  except ImportError as error:  # a solver of an extra of TorchJD
    pytest.skip(str(error))
  for vectors in _stacks(decades):
    expected = _theirs(theirs, vectors)
    error = np.linalg.norm(cases.apply(name, vectors) - expected)
    assert error <= tolerance * np.linalg.norm(expected)


def test_mgda_is_as_short_as_many_steps_of_frank_and_wolfe():
  theirs = aggregation.MGDA(epsilon=1e-9, max_iters=20_000)
  for vectors in _stacks():
    expected = _theirs(theirs, vectors)
    ours = cases.apply('mgda', vectors)
    assert np.linalg.norm(ours) <= np.linalg.norm(expected) * (1 + 1e-5)
    error = np.linalg.norm(ours - expected)
    assert error <= 5e-2 * np.linalg.norm(expected)


def test_two_gradients_have_one_order_of_projections():
  """Two are present; TorchJD adds up where we take the mean."""
  present = cases.info(np.array([5.0, 5.0, 0.0, 0.0]))
  theirs = aggregation.PCGrad()
  for vectors in _stacks():
    vectors[1] = -np.abs(vectors[1]) * np.sign(vectors[0])
    expected = _theirs(theirs, vectors[:2]) / 2
    update = cases.apply('pcgrad', vectors, present)
    np.testing.assert_allclose(
      update, expected, atol=1e-5 * np.abs(vectors[:2]).max()
    )


def test_without_conflict_all_of_them_are_the_mean():
  theirs = aggregation.Mean()
  for vectors in _stacks(bias=9.0):
    expected = _theirs(theirs, vectors)
    for name in ('joint', 'pcgrad', 'upgrad'):
      np.testing.assert_allclose(
        cases.apply(name, vectors), expected, rtol=1e-3, err_msg=name
      )
