import numpy as np
import pytest

import ranking_speed
from twotsrec import config as config_lib
from twotsrec.evaluation import tiles


def test_a_log_holds_out_two_events_of_users_with_three_or_more():
  made = ranking_speed.log(2000, 300)
  counts = np.diff(made.user_offsets)
  assert 15 < counts.mean() < 19 and 0.79 < np.mean(counts > 2) < 0.85
  held = [
    made.split[a:b] for a, b in zip(made.user_offsets, made.user_offsets[1:])
  ]
  for own in held:
    assert own[-2:].tolist() == ([1, 2] if len(own) > 2 else [0] * len(own))
  assert 1 <= made.items.min() and made.items.max() <= 300


def test_both_programs_are_timed_and_another_rank_is_an_error(monkeypatch):
  monkeypatch.setattr(tiles, '_WORTH', 1)
  config = config_lib.Config()
  config.data.history_length, config.evaluation.users = 12, 50
  config.model.width, config.model.hidden = 4, (6, 4)
  config.train.batch_size = 256
  measured = ranking_speed.measure(config, ranking_speed.log(120, 200), 1)
  assert 0 < measured['ranked'] < measured['held_out'] < measured['users']
  for name in ('before', 'after', 'before_over_after'):
    for clock in ('wall', 'processor'):
      assert measured[name][clock]['min'] > 0
  assert measured['auc_terms_moved_at_most'] < 1e-3
  rows = {name: np.arange(3) for name in ranking_speed._RANKS}
  with pytest.raises(ValueError, match='better of 1 held-out items differ'):
    ranking_speed._same(rows, rows | {'better': np.array([0, 1, 3])})
