"""Metrics of a ranking beside those of ranx."""

import numpy as np
import pytest

from tests.peers import worlds

pytestmark = pytest.mark.filterwarnings('ignore')
ranx = pytest.importorskip('ranx')


def test_metrics_of_a_ranking():
  ranked = worlds.ranked()
  relevant, run = {}, {}
  for row, (item, among) in enumerate(
    zip(ranked.targets.item, ranked.candidates)
  ):
    relevant[f'q{row}'] = {str(item): 1}
    run[f'q{row}'] = {str(i): float(ranked.scores[row, i]) for i in among}
  names = {'mrr': 'mrr'}
  for k in worlds.KS:
    names |= {
      f'hr@{k}': f'hit_rate@{k}',
      f'ndcg@{k}': f'ndcg@{k}',
      f'recall@{k}': f'recall@{k}',
    }
  theirs = ranx.evaluate(
    ranx.Qrels(relevant), ranx.Run(run), list(names.values())
  )
  for ours, name in names.items():
    np.testing.assert_allclose(
      ranked.metrics[ours], theirs[name], rtol=1e-9, err_msg=name
    )
