"""Impressions are judged by what their labels say, group by group."""

import jax
import numpy as np
import pytest
from scipy import special
from sklearn import metrics as sklearn_metrics

from tests import configured
from tests import worlds
from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import impressions
from twotsrec.evaluation import comparison
from twotsrec.evaluation import labeled
from twotsrec.evaluation import offline
from twotsrec.evaluation import protocols
from twotsrec.evaluation import samples
from twotsrec.ops import rows as row_lib

LENGTH = 4


def _experiment(**changes):
  _, prepared, groups = worlds.shown()
  config = configured.by({'evaluation.bootstrap': 20}, **changes)
  return contracts.Experiment(config, prepared, groups)


def _ranker(model=None, scale=1.0):
  model = model or worlds.mean_model()
  sizes = types.Sizes(12, 20, LENGTH)
  params = model.init(jax.random.key(1), {}, sizes)
  params = jax.tree.map(lambda leaf: scale * leaf, params)
  return contracts.Ranker(model, params, {}, LENGTH, log_odds=True)


def _auc(label, scores):
  """NaN where all are of one kind."""
  if label.all() or not label.any():
    return np.nan
  return sklearn_metrics.roc_auc_score(label, scores)


def _one_by_one(ranker, shown, data):
  """Every impression encoded and scored by itself, f64[E]."""
  params, scores = ranker.params, []
  for user, item, end in zip(shown.user, shown.item, shown.history_end):
    history = np.zeros((1, LENGTH), np.int32)
    own = data.items[data.user_offsets[user] : end][-LENGTH:]
    history[0, : len(own)] = own
    inputs = {'history': history, 'user': np.array([user])}
    rows = row_lib.gather(params.tables['item'], history)
    encoded = ranker.model.encode(params.net, rows, {}, inputs)
    candidate = row_lib.gather(params.tables['item'], np.array([[item]]))
    scores.append(ranker.model.score(params.net, encoded, candidate))
  return np.array(scores, np.float64).reshape(-1)


@pytest.mark.parametrize('ties', [False, True])
def test_metrics_equal_their_definition(ties):
  experiment = _experiment()
  data, groups = experiment.prepared, experiment.groups
  ranker = _ranker()
  if ties:  # a rule with few scores
    ranker = offline.popularity(experiment)
  shown = impressions.of_split(data, 2)
  if ties:
    counts = np.asarray(offline.item_counts(data), np.float64)
    scores = counts[shown.item]
  else:
    scores = _one_by_one(ranker, shown, data)
    scores = scores.astype(np.float32)
  ranked = offline.rank(experiment, ranker, 'test')
  rows = ranked.rows
  assert rows['event'].tolist() == shown.number.tolist()
  np.testing.assert_allclose(rows['score'], scores, rtol=1e-5, atol=1e-6)
  scores = rows['score'].astype(np.float64)
  group, label = groups.user_group[shown.user], shown.label
  for number, row in enumerate(
    [*ranked.part['groups'], ranked.part['overall']]
  ):
    mine = group == number if number < 3 else np.ones_like(label)
    auc = _auc(label[mine], scores[mine])
    assert row['auc']['value'] == pytest.approx(auc, abs=1e-12)
    low, high = row['auc']['low'], row['auc']['high']
    assert low - 1e-9 <= auc <= high + 1e-9
    of_users = [
      _auc(label[own], scores[own])
      for user in np.unique(shown.user[mine])
      for own in [mine & (shown.user == user)]
    ]
    assert row['user_auc']['value'] == pytest.approx(np.nanmean(of_users))
    if ties:
      assert row['log_loss']['value'] is None
    else:
      expected = -np.mean(
        special.log_expit(np.where(label, 1, -1) * scores)[mine]
      )
      assert row['log_loss']['value'] == pytest.approx(expected)
      assert row['log_loss']['count'] == np.sum(mine)


def test_strict_ties_earn_nothing():
  """PIN eq. 14 has a strict inequality."""
  strict = _experiment(evaluation__auc_ties=0.0)
  rule = offline.popularity(strict)
  shown = impressions.of_split(strict.prepared, 2)
  scores = np.asarray(offline.item_counts(strict.prepared))[shown.item]
  part = offline.rank(strict, rule, 'test').part
  clicks, others = scores[shown.label], scores[~shown.label]
  strictly = np.mean(clicks[:, None] > others[None])
  assert part['overall']['auc']['value'] == pytest.approx(strictly)


def test_the_click_rate_is_that_of_training():
  experiment = _experiment()
  shown = impressions.of_split(experiment.prepared, 0)
  rates = special.expit(labeled.click_rates(experiment.prepared))
  mean = np.mean(shown.label)
  for item in range(1, 21):
    own = shown.label[shown.item == item]
    expected = (np.sum(own) + 10 * mean) / (len(own) + 10)
    assert rates[item] == pytest.approx(expected, rel=1e-5)
  part = offline.rank(experiment, offline.click_rate(experiment), 'test').part
  assert part['overall']['log_loss']['value'] > 0


@pytest.mark.parametrize('mode', ['frozen', 'dynamic', 'soft'])
def test_tiles_of_routes_give_every_impression_its_own_score(mode):
  """A model without plugins does not look at its route."""
  experiment = _experiment()
  plain = offline.rank(experiment, _ranker(), 'test').rows['score']
  routed = _ranker()._replace(routing=config_lib.RoutingConfig(mode=mode))
  rows = offline.rank(experiment, routed, 'test').rows
  np.testing.assert_allclose(rows['score'], plain, rtol=1e-5, atol=1e-6)


def test_a_sample_of_users_and_what_it_may_lack():
  some = _experiment(evaluation__users=6)
  shown = labeled.of_split(some, 'test')
  assert len(np.unique(shown.user)) <= 6
  rows = offline.rank(some, _ranker(), 'test').rows
  assert rows['event'].tolist() == shown.number.tolist()
  drawn = lambda seed: int(np.argmax(samples.users(12, 1, seed)))
  # The first user never clicks.
  seed = next(seed for seed in range(100) if drawn(seed) == 0)
  alone = _experiment(evaluation__users=1, evaluation__seed=seed)
  with pytest.raises(types.UserError, match='draw more of the 12 users'):
    labeled.of_split(alone, 'test')


def test_labels_are_asked_for_where_there_are_some():
  plain, _ = worlds.log()
  with pytest.raises(types.UserError, match='labels of impressions'):
    protocols.resolved(plain, 'shown')
  assert protocols.resolved(worlds.shown()[1], 'auto') == 'shown'
  assert protocols.resolved(worlds.shown()[1], 'all') == 'all'
  described = offline.protocol(_experiment(), 'test')
  shown = impressions.of_split(worlds.shown()[1], 2)
  assert described['impressions'] == len(shown.user)
  assert described['clicks'] == np.sum(shown.label)


def test_clicks_may_be_ranked_among_all_items_too():
  experiment = _experiment(evaluation__candidates='catalog')
  ranked = offline.rank(experiment, _ranker(), 'test')
  assert len(ranked.rows['event']) == np.sum(experiment.prepared.split == 2)
  assert 'log_loss' not in ranked.part['overall']


def test_systems_are_compared_pair_by_pair():
  experiment = _experiment()
  names = ('auc', 'user_auc', 'log_loss')
  tables = [
    comparison.tabulate(offline.rank(experiment, ranker, 'test').rows, 3, names)
    for ranker in (_ranker(), _ranker(scale=2.0))
  ]
  parts = [
    offline.rank(experiment, ranker, 'test').part
    for ranker in (_ranker(), _ranker(scale=2.0))
  ]
  systems = [comparison.pool([table]) for table in tables]
  (compared,) = comparison.compare(systems, 50, 0)
  one, other = (part['overall']['log_loss']['value'] for part in parts)
  assert compared.difference[3, 2] == pytest.approx(other - one)
