"""Metrics of lists beside those of RecTools."""

import numpy as np
import pytest

from tests.peers import worlds

pytestmark = pytest.mark.filterwarnings('ignore')
pd = pytest.importorskip('pandas')
metrics = pytest.importorskip('rectools.metrics')


def test_metrics_of_lists():
  ranked = worlds.ranked()
  lists, users = [], ranked.targets.user
  for row, (user, among) in enumerate(zip(users, ranked.candidates)):
    best = among[np.argsort(-ranked.scores[row, among])]
    lists += [(user, item, place + 1) for place, item in enumerate(best)]
  given = pd.DataFrame(lists, columns=['user_id', 'item_id', 'rank'])
  held_out = pd.DataFrame({'user_id': users, 'item_id': ranked.targets.item})
  for k in worlds.KS:
    theirs = {
      'hr': metrics.HitRate(k),
      # One item is relevant: the ideal gain is 1, not that of k items.
      'ndcg': metrics.NDCG(k, divide_by_achievable=True),
      'recall': metrics.Recall(k),
    }
    for name, metric in theirs.items():
      np.testing.assert_allclose(
        ranked.metrics[f'{name}@{k}'], metric.calc(given, held_out), rtol=1e-9
      )
  everything = metrics.MRR(given['rank'].max()).calc(given, held_out)
  np.testing.assert_allclose(ranked.metrics['mrr'], everything, rtol=1e-9)
