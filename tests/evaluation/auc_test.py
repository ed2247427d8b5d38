from absl.testing import absltest
import numpy as np
from sklearn import metrics as sklearn_metrics

from twotsrec.evaluation import auc


def _pooled(positive, negative):
  labels = np.repeat([1, 0], [len(positive), len(negative)])
  return sklearn_metrics.roc_auc_score(
    labels, np.concatenate([positive, negative])
  )


class PooledCountsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.group = np.sort(rng.integers(3, size=40)).astype(np.int32)
    self.positive = rng.integers(0, 6, size=40).astype(np.float32)
    self.scores = rng.integers(-3, 6, size=(40, 25)).astype(np.float32)
    self.kept = rng.random((40, 25)) < 0.7

  def _count(self, row_tile, item_tile):
    fold = auc.pooled_counts(self.group, 3)
    counts = fold.init(self.positive)
    for first in range(0, 40, row_tile):
      rows = np.arange(first, min(first + row_tile, 40))
      for left in range(0, 25, item_tile):
        columns = slice(left, left + item_tile)
        counts = fold.step(
          counts, rows, self.scores[rows, columns], self.kept[rows, columns]
        )
    return counts

  def test_mean_placement_equals_sklearn_by_group_and_overall(self):
    own, everybody = auc.placements(self._count(7, 10))
    np.testing.assert_allclose(
      everybody.mean(), _pooled(self.positive, self.scores[self.kept])
    )
    for group in range(3):
      rows = self.group == group
      negative = self.scores[rows][self.kept[rows]]
      np.testing.assert_allclose(
        own[rows].mean(), _pooled(self.positive[rows], negative)
      )

  def test_counts_do_not_depend_on_the_tiles(self):
    whole = self._count(40, 25)
    for row_tile, item_tile in ((1, 25), (9, 4), (40, 1)):
      tiled = self._count(row_tile, item_tile)
      for name in whole._fields:
        np.testing.assert_array_equal(
          getattr(whole, name), getattr(tiled, name), err_msg=name
        )

  def test_strict_inequality_gives_ties_nothing(self):
    counts = self._count(8, 8)
    _, strict = auc.placements(counts, ties=0.0)
    negative = self.scores[self.kept]
    expected = [np.mean(negative < score) for score in self.positive]
    np.testing.assert_allclose(strict, expected)

  def test_group_without_negatives_has_no_placement(self):
    self.kept[self.group == 1] = False
    own, everybody = auc.placements(self._count(8, 8))
    self.assertTrue(np.isnan(own[self.group == 1]).all())
    self.assertFalse(np.isnan(own[self.group != 1]).any())
    self.assertFalse(np.isnan(everybody).any())
