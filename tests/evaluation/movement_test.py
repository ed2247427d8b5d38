import json

from absl.testing import absltest
import numpy as np
from scipy import stats

from twotsrec.evaluation import movement


def _per_target(rng, num_users=30):
  length = rng.integers(1, 9, size=num_users)
  user = np.repeat(np.arange(num_users), length)
  position = np.arange(user.size) - np.repeat(
    np.cumsum(length) - length, length
  )
  norm = rng.random(user.size) + 0.5
  norm[rng.random(user.size) < 0.2] = 0.0
  return {
    'user': user,
    'position': position + 1,
    'train_count': rng.integers(0, 10, size=num_users)[user],
    'movement': rng.random(user.size).astype(np.float32),
    'norm': norm.astype(np.float32),
  }


class CurvesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.data = _per_target(np.random.default_rng(0))
    self.curves = movement.curves(self.data, threshold=5, longest=10)

  def test_means_are_over_users_with_so_many_events(self):
    data = self.data
    for name, group in (
      ('inactive', data['train_count'] <= 5),
      ('active', data['train_count'] > 5),
    ):
      curve = self.curves[name]
      self.assertEqual(curve['k'], list(range(1, 11)))
      for k in range(1, 11):
        chosen = group & (data['position'] == k)
        known = chosen & (data['norm'] > 0)
        moved = data['movement'].astype(np.float64)
        shares = moved[known] / data['norm'][known].astype(np.float64)
        self._assert_cell(curve, '', k, moved[chosen])
        self._assert_cell(curve, 'relative_', k, shares)

  def _assert_cell(self, curve, kind, k, values):
    self.assertEqual(curve[f'{kind}users'][k - 1], values.size)
    mean, error = curve[f'{kind}mean'][k - 1], curve[f'{kind}se'][k - 1]
    if not values.size:
      self.assertIsNone(mean)
    else:
      self.assertAlmostEqual(mean, values.mean())
    if values.size < 2:
      self.assertIsNone(error)
    else:
      self.assertAlmostEqual(error, stats.sem(values))

  def test_later_events_are_left_out(self):
    short = movement.curves(self.data, threshold=5, longest=3)
    for name, curve in short.items():
      for column, values in curve.items():
        self.assertEqual(values, self.curves[name][column][:3])

  def test_nobody_gives_nulls(self):
    curve = movement.curves(self.data, threshold=100, longest=2)['active']
    self.assertEqual(curve['users'], [0, 0])
    self.assertEqual(curve['mean'], [None, None])

  def test_curves_are_strict_json(self):
    json.dumps(self.curves, allow_nan=False)
