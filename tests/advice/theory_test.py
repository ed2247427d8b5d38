"""Numbers that the theory refuses, and those that its messages allow."""

import re

import numpy as np
import pytest

from tests.advice import following
from tests.advice import messages
from tests.advice.following import Case
from twotsrec import types
from twotsrec.theory import bounds
from twotsrec.theory import estimates
from twotsrec.theory import power_law
from twotsrec.theory import worlds

COUNTS = np.array([2, 3, 3, 5, 9, 17, 40])
VECTORS = np.random.default_rng(0).normal(size=(2, len(COUNTS), 4))

# Words, a call, what is refused, a pattern, and what it means (... its number).
CASES_OF = [
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
    'edges are {}; give ascending counts from 2',
    lambda edges: estimates.q_profile(*VECTORS, COUNTS, edges),
    [5, 2],
    'give (ascending counts from 2)',
    [2, 5],
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
]
CASES = [Case(words, [], []) for words, *_ in CASES_OF]


@pytest.mark.parametrize(
  ('words', 'call', 'wrong', 'says', 'right'),
  CASES_OF,
  ids=[case.name for case in CASES],
)
def test_numbers_that_are_allowed_are_taken(words, call, wrong, says, right):
  with following.made() as at, pytest.raises(types.UserError) as error:
    call(wrong)
  assert messages.says(at[-1], words)
  match = re.search(says, str(error.value))
  assert match, error.value
  call(int(match[1]) if right is ... else right)
