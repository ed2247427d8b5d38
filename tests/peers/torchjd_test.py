"""Updates beside those of TorchJD, in float64 there."""

import pathlib

import jax
import numpy as np
import pytest

from tests.aggregators import cases
from tests.aggregators import exact
from tests.aggregators import remembered_test

torch = pytest.importorskip('torch')
aggregation = pytest.importorskip('torchjd.aggregation')

SEEDS = range(12)
ROOT = pathlib.Path(__file__).parents[2]


def _made(module, peer, **given):
  """Their aggregator; a test is skipped where they do not have it yet."""
  if not hasattr(module, peer):
    pytest.skip(f'this TorchJD has no {peer}')
  try:
    made = getattr(module, peer)(**given)
    if not peer.endswith('Weighting'):
      _theirs(made, cases.draw(0))
  except ImportError as error:  # a solver of an extra of TorchJD
    pytest.skip(str(error))
  if hasattr(made, 'reset'):
    made.reset()
  return made


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
    ('config', 'ConFIG', 3, 1e-4),
    # Its ridge is absolute, ours relative to each gradient.
    ('upgrad', 'UPGrad', 0, 5e-3),
    ('dualproj', 'DualProj', 0, 5e-3),
  ],
)
def test_deterministic_updates(name, peer, decades, tolerance):
  theirs = _made(aggregation, peer)
  for vectors in _stacks(decades):
    expected = _theirs(theirs, vectors)
    error = np.linalg.norm(cases.apply(name, vectors) - expected)
    assert error <= tolerance * np.linalg.norm(expected)


@pytest.mark.parametrize(
  ('name', 'options', 'peer', 'given'),
  [
    ('aligned', {'aligned_scale': s}, 'AlignedMTL', {'scale_mode': s})
    for s in ('median', 'rmse')
  ]
  + [
    # One neighbor: its distances order like our squares of them.
    ('krum', {}, 'Krum', {'n_byzantine': 1, 'n_selected': 2}),
    ('trimmed_mean', {}, 'TrimmedMean', {'trim_number': 1}),
    ('pcd', {'pcd_primary': 1, 'pcd_tau': 0.3}, 'PCD', {'tau': 0.3}),
  ],
)
def test_updates_with_options(name, options, peer, given):
  theirs = _made(aggregation, peer, **given)
  if name == 'krum':
    options = {'krum_selected': 2}
  for vectors in _stacks(0 if name == 'pcd' else 2):
    if name == 'pcd':
      theirs.reset()
    expected = _theirs(theirs, vectors)
    error = np.linalg.norm(cases.apply(name, vectors, **options) - expected)
    assert error <= 2e-3 * np.linalg.norm(expected)


@pytest.mark.parametrize('leak', [0.0, 0.3])
def test_graddrop_is_theirs_for_equal_draws(leak, monkeypatch):
  theirs = aggregation.GradDrop(leak=torch.full((cases.GROUPS,), leak))
  for seed, vectors in enumerate(_stacks()):
    draws = torch.tensor(exact.draws(seed))
    monkeypatch.setattr(torch, 'rand', lambda *_, draws=draws, **__: draws)
    update = cases.apply('graddrop', vectors, seed=seed, graddrop_leak=leak)
    expected = _theirs(theirs, vectors)
    np.testing.assert_allclose(update, expected, rtol=1e-5, atol=1e-6)


def test_random_weights_are_theirs_for_equal_draws(monkeypatch):
  for seed, vectors in enumerate(_stacks()):
    drawn = jax.random.normal(cases.key(seed), (cases.GROUPS,))
    draws = torch.tensor(np.asarray(drawn))
    monkeypatch.setattr(torch, 'randn', lambda *_, draws=draws, **__: draws)
    expected = aggregation.Random()(torch.tensor(vectors).float()).numpy()
    update = cases.apply('rlw', vectors, seed=seed)
    np.testing.assert_allclose(update, expected, rtol=1e-4, atol=1e-6)


def _steps(name, number=6, **options):
  """Gradients and our updates of several steps."""
  gradients = list(_stacks(0))[:number]
  return gradients, remembered_test.run(name, gradients, **options)[0]


@pytest.mark.parametrize(
  ('name', 'peer', 'options', 'given'),
  [
    ('modo', 'MoDoWeighting', {'modo_gamma': 0.05}, {'gamma': 0.05}),
    ('sdmgrad', 'SDMGradWeighting', {'sdmgrad_rate': 0.5}, {'lr': 0.5}),
  ],
)
def test_weights_of_double_sampling(name, peer, options, given):
  """Theirs of the last two batches are ours of the next one."""
  gradients, updates = _steps(name, **options)
  theirs = _made(aggregation, peer, **given)
  nothing = torch.zeros((cases.GROUPS, cases.GROUPS), dtype=torch.float64)
  weights = theirs(nothing).numpy()
  if name == 'sdmgrad':  # its first products are those of two batches
    theirs.reset()
  for step, vectors in enumerate(gradients):
    np.testing.assert_allclose(updates[step], weights @ vectors, atol=2e-4)
    earlier = gradients[step - 1] if step else None
    if earlier is not None:
      weights = theirs(torch.tensor(vectors @ earlier.T)).numpy()


def test_excess_risks():
  options = {'excess_rate': 0.4, 'excess_warmup': 2}
  gradients, updates = _steps('excess_mtl', **options)
  theirs = _made(
    aggregation, 'ExcessMTL', robust_step_size=0.4, n_warmup_steps=2
  )
  for vectors, update in zip(gradients, updates):
    np.testing.assert_allclose(update, _theirs(theirs, vectors), atol=1e-4)


def test_smoothed_weights():
  gradients, updates = _steps('aligned', cr_mogm_alpha=0.7)
  theirs = aggregation.GramianWeightedAggregator(
    _made(
      aggregation,
      'CRMOGMWeighting',
      weighting=aggregation.AlignedMTLWeighting(),
      alpha=0.7,
    )
  )
  for vectors, update in zip(gradients, updates):
    np.testing.assert_allclose(update, _theirs(theirs, vectors), atol=1e-3)


@pytest.mark.parametrize(
  ('name', 'peer', 'options', 'given', 'factor'),
  [
    ('gls', 'GeometricMean', {}, {}, 1.0),
    ('cosmos', 'COSMOS', {}, {'lambda_': 1.0, 'weights': 0.25}, 1.0),
    # Ours are over the sum of the direction; theirs over the groups.
    ('pbi', 'PBI', {}, {'theta': 5.0, 'weights': 0.25}, 0.5),
    ('stch', 'STCH', {'stch_values': 'raw', 'stch_mu': 0.2}, {'mu': 0.2}, 4.0),
    ('uw', 'UW', {}, {'shape': 4}, 0.5),
    ('imtl_l', 'IMTLL', {}, {'shape': 4}, 0.25),
    ('dwa', 'DWA', {}, {}, 0.25),
  ],
)
def test_weights_are_slopes_of_their_scalarizers(
  name, peer, options, given, factor
):
  scalarization = pytest.importorskip('torchjd.scalarization')
  given = {**given}
  if 'weights' in given:
    given['weights'] = torch.full((4,), given['weights'], dtype=torch.float64)
  losses = torch.tensor(cases.LOSSES, dtype=torch.float64, requires_grad=True)
  getattr(scalarization, peer)(**given)(losses).backward()
  weights = factor * losses.grad.numpy()
  for vectors in _stacks(0):
    update = cases.apply(name, vectors, **options)
    np.testing.assert_allclose(update, weights @ vectors, rtol=1e-4, atol=1e-5)


def test_dwa_after_two_epochs():
  scalarization = pytest.importorskip('torchjd.scalarization')
  theirs = scalarization.DWA(temperature=0.5)
  factors = np.random.default_rng(0).uniform(0.5, 1.0, (8, 4))
  losses = np.array(cases.LOSSES) * factors
  gradients = list(_stacks(0))[:8]
  updates, _ = remembered_test.run(
    'dwa', gradients, losses, dwa_steps=2, dwa_temperature=0.5
  )
  for step, vectors in enumerate(gradients):
    given = torch.tensor(losses[step], requires_grad=True)
    theirs(given).backward()
    weights = given.grad.numpy() / cases.GROUPS
    np.testing.assert_allclose(updates[step], weights @ vectors, atol=1e-4)
    if step % 2:
      theirs.step()


def test_every_one_of_theirs_is_named_in_the_list():
  """Their classes but for contracts and for what turns one into another."""
  scalarization = pytest.importorskip('torchjd.scalarization')
  page = (ROOT / 'configs' / 'AGGREGATORS.md').read_text(encoding='utf-8')
  contracts = {'Aggregator', 'Weighting', 'Scalarizer', 'WeightedAggregator'}
  contracts |= {'GramianWeightedAggregator', 'GeneralizedWeighting'}
  contracts |= {'Flattening'}  # of tensors of losses, in older versions
  names = {*aggregation.__all__, *scalarization.__all__} - contracts
  named = {name.removesuffix('Weighting') for name in names}
  assert sorted(n for n in named if f'`{n}`' not in page) == []


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
