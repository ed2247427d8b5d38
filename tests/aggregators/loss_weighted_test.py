import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.aggregators import cases
from twotsrec import types
from twotsrec.aggregators import loss_weighted

LOSSES = np.array(cases.LOSSES)


def _run(name, gradients, losses, after=None, counts=None, **options):
  """Updates and states of several steps."""
  update, post = (
    cases.compiled(name, **options),
    cases.make(name, **options).post,
  )
  state, updates, states = cases.first_state(name, **options), [], []
  for step, (vectors, loss) in enumerate(zip(gradients, losses)):
    info = cases.info(None if counts is None else counts[step], losses=loss)
    grads, state, _ = update(
      jnp.asarray(vectors, jnp.float32), info, state, jax.random.key(0)
    )
    if post is not None:
      state = post(info._replace(losses=np.float32(after[step])), state)
    updates.append(np.asarray(grads, np.float64))
    states.append(jax.device_get(state))
  return updates, states


class _Adam:
  """Kingma and Ba 2015, algorithm 1, on one vector."""

  def __init__(self, rate, size):
    self.rate, self.count = rate, 0
    self.mean, self.square = np.zeros(size), np.zeros(size)

  def move(self, slope):
    self.count += 1
    self.mean = 0.9 * self.mean + 0.1 * slope
    self.square = 0.999 * self.square + 0.001 * slope**2
    mean = self.mean / (1 - 0.9**self.count)
    square = self.square / (1 - 0.999**self.count)
    return -self.rate * mean / (np.sqrt(square) + 1e-8)


def _softmax(x):
  powers = np.exp(x - x.max())
  return powers / powers.sum()


def test_group_dro_with_eta_zero_is_the_mean():
  vectors = cases.draw(0)
  np.testing.assert_allclose(
    cases.apply('group_dro', vectors, group_dro_eta=0.0),
    vectors.mean(0),
    atol=1e-6,
  )


def test_group_dro_multiplies_weights_by_exponentials_of_the_losses():
  eta, adjustment = 0.3, 2.0
  options = {'group_dro_eta': eta, 'group_dro_adjustment': adjustment}
  gradients = [cases.draw(seed) for seed in range(3)]
  losses = [LOSSES, LOSSES[::-1], LOSSES]
  updates, _ = _run('group_dro', gradients, losses, **options)
  q = np.full(4, 0.25)
  for vectors, loss, update in zip(gradients, losses, updates):
    q = q * np.exp(eta * (loss + adjustment / np.sqrt(cases.SIZES)))
    q = q / q.sum()
    np.testing.assert_allclose(update, q @ vectors, rtol=1e-4, atol=1e-5)


def test_group_dro_does_not_overflow():
  _, states = _run(
    'group_dro', [cases.draw(0)] * 2, [1e4 * LOSSES] * 2, group_dro_eta=1.0
  )
  np.testing.assert_allclose(np.exp(states[-1]), [1, 0, 0, 0], atol=1e-6)


def test_group_dro_keeps_the_weight_of_an_absent_group():
  eta, counts = 0.5, [np.array([5.0, 5.0, 0.0, 5.0])]
  updates, states = _run(
    'group_dro', [cases.draw(1)], [LOSSES], counts=counts, group_dro_eta=eta
  )
  q = np.exp(eta * LOSSES * (counts[0] > 0)) / 4
  np.testing.assert_allclose(np.exp(states[0]), q / q.sum(), rtol=1e-5)
  present = q * (counts[0] > 0)
  expected = present / present.sum() @ cases.draw(1)
  np.testing.assert_allclose(updates[0], expected, rtol=1e-4, atol=1e-5)


def test_famo_steps_are_those_of_the_paper():
  gradients = [cases.draw(seed) for seed in range(4)]
  losses = [LOSSES * f for f in (1.0, 0.9, 0.85, 0.8)]
  after = [np.array(loss) * (0.9, 0.5, 1.1, 0.99) for loss in losses]
  updates, states = _run('famo', gradients, losses, after)
  xi, adam = np.zeros(4), _Adam(0.025, 4)
  for step, vectors in enumerate(gradients):
    z, loss = _softmax(xi), losses[step] + 1e-8
    c = 1 / np.sum(z / loss)
    np.testing.assert_allclose(
      updates[step], (c * z / loss) @ vectors, rtol=1e-4, atol=1e-5
    )
    delta = np.log(loss) - np.log(after[step] + 1e-8)
    jacobian = np.diag(z) - np.outer(z, z)
    xi = xi + adam.move(jacobian.T @ delta + 1e-3 * xi)
    np.testing.assert_allclose(states[step].logits, xi, atol=1e-5)
  # The group that lags behind weighs most.
  assert np.argmax(xi) == 2 and np.argmin(xi) == 1


def test_gradnorm_steps_are_those_of_the_paper():
  gradients = [cases.draw(seed) * (seed + 1) for seed in range(3)]
  losses = [LOSSES, LOSSES * (0.9, 0.8, 1.0, 0.5), LOSSES * 0.7]
  updates, states = _run('gradnorm', gradients, losses, gradnorm_rate=0.05)
  weights, adam = np.ones(4), _Adam(0.05, 4)
  for step, vectors in enumerate(gradients):
    np.testing.assert_allclose(
      updates[step], np.mean(weights[:, None] * vectors, 0), atol=1e-4
    )
    norms = np.linalg.norm(vectors, axis=1)
    weighted = weights * norms
    ratio = losses[step] / LOSSES
    target = weighted.mean() * (ratio / ratio.mean()) ** 1.5
    weights = weights + adam.move(np.sign(weighted - target) * norms)
    weights = 4 * weights / weights.sum()
    np.testing.assert_allclose(states[step].weights, weights, rtol=1e-4)


def test_gradnorm_measures_the_block_it_is_told():
  """Only the bias differs between groups; the kernel's norms are equal."""
  vectors = np.ones((4, cases.WIDTH))
  vectors[:, :3] *= np.arange(1, 5)[:, None]
  run = lambda block: (
    _run(
      'gradnorm', [vectors], [LOSSES], gradnorm_block=block, gradnorm_rate=0.05
    )[1][0].weights
  )
  np.testing.assert_allclose(run('kernel'), 1.0, rtol=1e-6)
  assert np.ptp(run('bias')) > 0.05
  with pytest.raises(types.UserError, match="'head'; known: bias, kernel"):
    run('head')


def test_db_mtl_averages_log_gradients_and_sums_them_at_the_largest_norm():
  gradients = [cases.draw(seed) for seed in range(3)]
  losses = [LOSSES, 0.8 * LOSSES, 0.7 * LOSSES]
  updates, _ = _run('db_mtl', gradients, losses)
  average = np.zeros((4, cases.WIDTH))
  for step, vectors in enumerate(gradients):
    average = 0.9 * average + 0.1 * vectors / losses[step][:, None]
    debiased = average / (1 - 0.9 ** (step + 1))
    norms = np.linalg.norm(debiased, axis=1)
    expected = np.sum(debiased * (norms.max() / norms)[:, None], axis=0)
    np.testing.assert_allclose(updates[step], expected, rtol=1e-3, atol=1e-4)


def test_db_mtl_remembers_a_group_while_it_is_absent():
  gradients = [cases.draw(seed) for seed in range(3)]
  absent = np.array([5.0, 0.0, 5.0, 5.0])
  counts = [np.full(4, 5.0), absent, absent]
  _, states = _run('db_mtl', gradients, [LOSSES] * 3, counts=counts)
  np.testing.assert_array_equal(
    states[0].average['bias'][1], states[2].average['bias'][1]
  )
  expected = [0.9**3, 0.9, 0.9**3, 0.9**3]
  np.testing.assert_allclose(states[2].forgotten, expected, rtol=1e-6)


def test_losses_are_asked_for():
  info = types.GroupInfo(jnp.ones(2), jnp.ones(2))
  for aggregator in (loss_weighted.group_dro(), loss_weighted.famo()):
    with pytest.raises(ValueError, match='info.losses'):
      aggregator.update(jnp.ones((2, 3)), info, aggregator.init(2, None))
