"""Numbers that the theory refuses, and those that its messages allow."""

import contextlib
import re
from unittest import mock

import numpy as np
import pytest

from tests.advice import following
from tests.advice import messages
from twotsrec import types
from twotsrec.theory import bounds
from twotsrec.theory import estimates
from twotsrec.theory import power_law
from twotsrec.theory import shrunk
from twotsrec.theory import simulation
from twotsrec.theory import user_vectors
from twotsrec.theory import worlds

COUNTS = np.array([2, 3, 3, 5, 9, 17, 40])
VECTORS = np.random.default_rng(0).normal(size=(2, len(COUNTS), 4))


def world(slope: float, radius: float) -> worlds.World:
  """Tastes of length 1 in a ball, by how far from found they are."""
  drawn = worlds.World(
    *(np.eye(2) if name == 'tastes' else None for name in worlds.World._fields)
  )
  with mock.patch.object(
    worlds, '_draw_world', lambda *_, **__: (drawn, slope)
  ):
    return worlds.make_world(None, worlds.Config(B_phi=radius, B_x=1.0))


def simulated(steps: int, spread: float) -> None:
  """The experiment up to its best threshold, near 4 over the spread."""
  offline = lambda *_, steps: (
    None,
    np.full(steps, 4.0 / np.arange(1, steps + 1)),
    None,
    spread,
  )
  with (
    mock.patch.object(worlds, 'make_world', lambda *_: None),
    mock.patch.object(simulation, '_offline', offline),
    mock.patch.object(simulation, '_gradient_bound', further),
    contextlib.suppress(Further),
  ):
    simulation.simulate(0, worlds.Config(offline_steps=steps))


class Further(Exception):
  """Nothing was refused."""


def further(config):
  raise Further


# Words, a call, what is refused, a pattern, and what it means (... its number).
CASES = [
  (
    'no weight follows from Q = {} and V = {}',
    lambda q: shrunk.weight(3, q, 1.0),
    -1.0,
    'and the numbers of events (not negative)',
    1.0,
  ),
  (
    'the variance of the tastes must be positive',
    lambda v: shrunk.beta(2.0, 1.0, v),
    0.0,
    'must be (positive)',
    1.0,
  ),
  (
    'all of them must be positive',
    lambda c: bounds.prop_a1_Q(1.0, 1.0, c),
    0.0,
    'must be (positive)',
    1.0,
  ),
  (
    'no threshold follows from Q = {} and V = {}',
    lambda v: bounds.t_opt(1.0, v),
    0.0,
    'and V (positive)',
    0.5,
  ),
  (
    'does not exist; the exponent must be above',
    lambda s: power_law.zeta(s),
    1.0,
    'exponent must be (above 1)',
    1.5,
  ),
  (
    'a power law over all counts needs an exponent',
    power_law.check_exponent,
    1.0,
    'needs an exponent (above 1)',
    1.5,
  ),
  (
    'or the minimum is negative; choose one from 0',
    lambda minimum: power_law.fit_alpha(COUNTS, minimum),
    99,
    r'choose one from (\d+)',
    ...,
  ),
  (
    'minimum is {}; choose it from 2, so that',
    lambda minimum: estimates.estimate_variance(
      VECTORS[0], COUNTS, 1.0, minimum=minimum
    ),
    1,
    r'choose it from (\d+)',
    ...,
  ),
  (
    'too small for a simulation; raise it',
    lambda number: worlds.check(worlds.Config(num_items=number)),
    0,
    '(raise it)',
    9,
  ),
  (
    'events or more has no variance; lower minimum',
    lambda minimum: estimates.estimate_variance(
      VECTORS[0], COUNTS, 1.0, minimum=minimum
    ),
    40,
    '(lower minimum)',
    5,
  ),
  (
    'a user vector is not finite; raise the',
    lambda value: estimates.estimate_variance(
      np.full_like(VECTORS[0], value), COUNTS, 1.0, minimum=2
    ),
    np.inf,
    '(raise the regularization) of the fit',
    1.0,
  ),
  (
    'no power law fits {} users with {} to {} events',
    lambda minimum: power_law.fit_alpha(np.append(COUNTS, [40] * 9), minimum),
    40,
    r'(lower the minimum), now 40',
    2,
  ),
  (
    'no power law fits {} users with {} to {} events',
    lambda counts: power_law.fit_alpha(np.array(counts), 40),
    [40] * 9,
    '(give more users)',
    [40] * 9 + [41, 50, 70, 99],
  ),
  (
    'halves need users with two events or more',
    lambda lengths: user_vectors._check(np.array(lengths), user_vectors.Fit()),
    [1, 2, 5],
    '(leave the others out)',
    [2, 5],
  ),
  *(
    (
      'they must be positive, at least 1 and at least',
      lambda how: user_vectors._check(
        COUNTS, user_vectors.Fit()._replace(**how)
      ),
      {name: 0},
      'must be (positive, at least 1 and at least 2)',
      {name: value},
    )
    for name, value in (('c', 0.1), ('negatives', 1), ('max_events', 2))
  ),
  (
    'the tastes were not found with c = {} in {}',
    lambda slope: world(slope, 1.0),
    1.0,
    '(raise either)',
    0.0,
  ),
  (
    'B_phi = {} is below the longest taste, {}; raise',
    lambda radius: world(0.0, radius),
    0.5,
    r'the longest taste, ([\d.]+); raise it',
    1.0,
  ),
  (
    'is not below offline_steps = {}; raise it, or',
    lambda steps: simulated(steps, 1.0),
    3,
    r'offline_steps = \d+; (raise it)',
    99,
  ),
  (
    'is not below offline_steps = {}; raise it, or',
    lambda spread: simulated(3, spread),
    1.0,
    'or (the spread of the users)',
    50.0,
  ),
]


@pytest.mark.parametrize(
  ('words', 'function', 'wrong', 'says', 'right'),
  CASES,
  ids=[following.name_of(words) for words, *_ in CASES],
)
def test_numbers_that_are_allowed_are_taken(
  words, function, wrong, says, right
):
  with following.made() as at, pytest.raises(types.UserError) as error:
    function(wrong)
  assert messages.says(at[-1].message, words)
  match = re.search(says, str(error.value))
  assert match, error.value
  function(int(match[1]) if right is ... else right)
