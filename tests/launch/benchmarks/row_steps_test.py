import numpy as np

import row_steps
from twotsrec import config as config_lib


def test_every_optimizer_is_timed_and_compared_with_adam():
  measured = row_steps.measure([300], 1)
  rows = measured['rows']
  names = [row['optimizer'] for row in rows]
  assert sorted(names) == sorted(config_lib.TABLE_OPTIMIZERS)
  assert all(row['milliseconds_per_step']['median'] > 0 for row in rows)
  assert all(row['over_adam']['median'] > 0 for row in rows)
  assert measured['exponents'] == {}  # of one size nothing grows


def test_an_exponent_is_the_slope_of_logarithms():
  rows = [
    {
      'optimizer': name,
      'users': users,
      'milliseconds_per_step': {'median': 3.0 * users**power},
    }
    for name, power in (('adam', 1.0), ('row_sgd', 0.05))
    for users in (1e4, 1e5, 1e6)
  ]
  found = row_steps.exponents(rows)
  np.testing.assert_allclose([found['adam'], found['row_sgd']], [1.0, 0.05])
