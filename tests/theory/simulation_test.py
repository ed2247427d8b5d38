import jax
import numpy as np
import pytest
from scipy import optimize
from scipy import special

from tests.theory import small_worlds
from twotsrec import types
from twotsrec.theory import bounds
from twotsrec.theory import power_law
from twotsrec.theory import shrunk
from twotsrec.theory import simulation
from twotsrec.theory import worlds


@pytest.fixture(params=[0, 1])
def found(request):
  return small_worlds.simulated(request.param)


@pytest.fixture(scope='module')
def world():
  config = small_worlds.SMALL._replace(num_users=7, num_items=5, width=3)
  return worlds.make_world(jax.random.key(3), config)


def test_the_measured_optimum_follows_the_rule(found):
  rule = bounds.t_opt(found.Q_tail, found.V)
  assert found.t_star == rule > 3
  assert abs(found.best - rule) <= max(2, 0.1 * rule)
  assert abs(found.risk_crossing - found.error_crossing) <= 1
  assert found.best == found.risk_crossing


def test_a_common_start_for_some_beats_all_and_none(found):
  assert found.J[0] > found.J[found.t_star]
  assert found.R_in > found.J[found.t_star]


def test_the_shrunk_start_beats_every_threshold(found):
  assert found.J_shrunk < min(found.J.min(), found.R_in)
  near = slice(found.t_star // 2, 2 * found.t_star)
  smaller = np.minimum(found.e, found.V)[near]
  assert np.all(found.e_shrunk[near] < 0.8 * smaller)
  risks = np.minimum(found.R_act, found.R_in)[near]
  assert np.all(found.R_shrunk[near] < risks)


def test_what_is_measured_of_the_shrunk_start_is_what_the_theory_says(found):
  counts = np.arange(len(found.e))
  w = shrunk.weight(counts, found.Q_tail, found.V)
  # The identity, whatever the bias.
  expected = w**2 * found.e + (1.0 - w) ** 2 * found.V
  expected -= 2.0 * w * (1.0 - w) * found.bias
  np.testing.assert_allclose(found.e_shrunk, expected, rtol=1e-4)
  assert found.bias[0] == pytest.approx(-found.V, rel=1e-4)
  limit = np.minimum(found.V, found.Q_tail / (counts + 1.0)) / 2.0
  assert np.all(found.bias[1:] > -limit[1:])
  chances = power_law.pmf(counts, 1.5)
  chances[-1] = power_law.survival(counts[-1], 1.5)
  assert found.J_shrunk == pytest.approx(chances @ found.R_shrunk, rel=1e-10)
  # Without events it is the common start.
  assert found.R_shrunk[0] == pytest.approx(found.R_in, rel=1e-6)
  for Q in (found.Q_worst, found.Q_tail):
    assert found.shrunk_bound(Q) < found.bound(Q).min()
  assert found.J_shrunk <= found.shrunk_bound(found.Q_worst)


def test_the_bound_holds_for_every_threshold(found):
  bound = found.bound(found.Q_worst)
  expected = bounds.bound(
    np.arange(81), 1.5, found.Q_worst, found.V, 1.0 + 0.5, 10
  )
  np.testing.assert_allclose(bound, expected, rtol=1e-14)
  assert np.all(found.J <= bound)
  assert np.all(found.J <= found.bound(found.Q_moment))
  assert found.R_in <= found.B * np.sqrt(found.V / 10)


def test_offline_errors_are_below_the_proposition(found):
  counts = np.arange(1.0, len(found.e) + 1.0)
  assert np.all(found.e <= found.Q_worst / counts)
  assert np.all(found.e <= found.Q_moment / counts)
  assert found.Q_tail < found.Q_moment < found.Q_worst
  assert found.V < found.Q_tail
  tail = slice(len(found.e) // 2, None)
  assert found.Q_tail == pytest.approx(np.mean((counts * found.e)[tail]))


def test_active_users_want_the_smaller_steps(found):
  assert found.gamma_act < found.gamma_in
  assert found.gammas[0] < found.gamma_act
  assert found.gamma_in < found.gammas[-1]


def test_j_is_the_sum_over_activity(found):
  last = len(found.J) - 1
  chances = power_law.pmf(np.arange(last + 1), 1.5)
  chances[last] += power_law.survival(last + 1, 1.5)
  for t in (0, 1, 9, last):
    risks = np.where(np.arange(last + 1) >= t, found.R_act, found.R_in)
    assert found.J[t] == pytest.approx(chances @ risks, rel=1e-10)


def test_a_key_gives_what_its_seed_gives():
  found = simulation.simulate(jax.random.key(1), small_worlds.SMALL)
  np.testing.assert_array_equal(found.J, small_worlds.simulated(1).J)
  assert np.all(found.J != small_worlds.simulated(0).J)


def test_tastes_minimize_the_risk(world):
  items = np.asarray(world.items, float)
  np.testing.assert_allclose(np.linalg.norm(items, axis=1), 1.0, rtol=1e-6)
  for chances, taste, least in zip(world.chances, world.tastes, world.least):
    chances = np.asarray(chances, float)

    def risk(phi, chances=chances):
      logits = items @ phi
      errors = np.logaddexp(0.0, logits) - chances * logits
      return errors.mean() + 0.25 * phi @ phi

    best = optimize.minimize(risk, np.zeros(3), tol=1e-12)
    np.testing.assert_allclose(taste, best.x, atol=1e-5)
    assert float(least) == pytest.approx(best.fun, rel=1e-6)


def test_gradients_are_those_of_the_loss_and_events_those_of_the_world(world):
  phi = jax.random.normal(jax.random.key(0), world.tastes.shape)
  x, y = worlds.events(jax.random.key(1), world)
  logit = np.sum(np.asarray(x) * np.asarray(phi), axis=1)
  expected = (special.expit(logit) - y)[:, None] * x + 0.5 * phi
  actual = worlds.gradient(world, phi, x, y)
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
  # Their mean over many events is the gradient of the risk.
  many = 10_000
  repeated = world._replace(chances=np.repeat(world.chances, many, axis=0))
  x, y = worlds.events(jax.random.key(2), repeated)
  drawn = worlds.gradient(world, np.repeat(phi, many, axis=0), x, y)
  mean = np.asarray(drawn).reshape(7, many, 3).mean(axis=1)
  slope = jax.grad(lambda phi: worlds.risk(world, phi).sum())(phi)
  np.testing.assert_allclose(mean, slope, atol=4.0 / np.sqrt(many))


def test_projection_ends_at_the_ball(world):
  inside = 0.2 * np.eye(7, 3, dtype=np.float32)
  np.testing.assert_allclose(worlds.project(world, inside), inside)
  outside = worlds.project(world, 50.0 * inside)
  np.testing.assert_allclose(outside, 5.0 * inside, rtol=1e-6)


def test_scans_are_the_loops_they_stand_for(world):
  key, steps = jax.random.key(4), 2
  starts, errors, moments, variance = simulation._offline(
    key, world, steps=steps
  )
  phi, squares = np.zeros((7, 3), np.float32), []
  for j, event_key in enumerate(jax.random.split(key, steps), 1):
    g = worlds.gradient(world, phi, *worlds.events(event_key, world))
    squares.append(np.mean(np.sum(np.asarray(g) ** 2, axis=1)))
    phi = worlds.project(world, phi - g / (0.5 * j))
    np.testing.assert_allclose(starts[j], phi, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(moments, squares, rtol=1e-5)
  tastes = np.asarray(world.tastes, float)
  np.testing.assert_allclose(
    variance, np.sum(np.var(tastes, axis=0)), rtol=1e-5
  )
  distance = np.mean(np.sum((np.asarray(phi) - tastes) ** 2, axis=1))
  np.testing.assert_allclose(errors[-1], distance, rtol=1e-5)

  risks = simulation._online(
    key, world, starts, np.array([1, 3]), np.float32([0.1, 0.3]), steps=steps
  )
  for start, gamma, actual in zip(
    (starts[1], tastes.mean(0)), (0.1, 0.3), risks
  ):
    phi, total = np.broadcast_to(start, (7, 3)).astype(np.float32), 0.0
    for event_key in jax.random.split(key, steps):
      total += np.mean(worlds.risk(world, phi) - world.least) / steps
      g = worlds.gradient(world, phi, *worlds.events(event_key, world))
      phi = worlds.project(world, phi - gamma * g)
    np.testing.assert_allclose(actual, total, rtol=1e-4)


def test_counts_are_run_one_by_one_and_then_apart():
  at = simulation._grid(400, 60)
  np.testing.assert_array_equal(at[:61], np.arange(61))
  assert at[-1] == 400 and np.all(np.diff(at) > 0)
  assert len(simulation._grid(400, 8, 0.1)) < len(at) / 2
  assert np.all(np.diff(at)[60:] <= np.maximum(1, 0.03 * at[60:-1]))
  np.testing.assert_array_equal(simulation._grid(3, 60), np.arange(4))


def test_worlds_that_show_nothing_are_refused():
  for change, message in (
    (dict(B_phi=0.05), 'below the longest taste'),
    (dict(c=1e-4), 'not found'),
    (dict(spread=0.01), 'offline_steps = 80'),
    (dict(spread=0.0), 'spread = 0'),
    (dict(alpha=1.0), 'above 1'),
  ):
    with pytest.raises(types.UserError, match=message):
      simulation.simulate(0, small_worlds.SMALL._replace(**change))
