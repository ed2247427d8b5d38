import io

import chex
import hypothesis
from hypothesis import strategies
from hypothesis.extra import numpy as arrays
import numpy as np
import pytest
from scipy import stats

from twotsrec import config
from twotsrec import types
from twotsrec.evaluation import bootstrap
from twotsrec.evaluation import comparison
from twotsrec.evaluation import report

KS = (5, 10)
METRICS = ('auc', 'user_auc', 'hr@10', 'ndcg@10', 'recall@5')
GROUPS = 3
SETTINGS = hypothesis.settings(max_examples=40, deadline=None, derandomize=True)


def make_targets(seed, users=40, items=2, shift=0.0, layout=0):
  """Held-out items of users in three groups; `layout` fixes who has which."""
  fixed, rng = np.random.default_rng(layout), np.random.default_rng(seed)
  count = fixed.integers(1, items + 1, size=users)
  user = np.repeat(fixed.permutation(users), count)
  group = user % GROUPS
  auc = np.clip(rng.beta(4, 2, size=(3, user.size)) + shift, 0, 1)
  return {
    'user': user,
    'item': np.arange(user.size),
    'group': group,
    'better': np.floor((1 - auc[0]) * 30).astype(int),
    'tied': fixed.integers(3, size=user.size),
    'num_negatives': np.full(user.size, 40),
    'user_auc': auc[0],
    'placement_group': auc[1],
    'placement_all': auc[2],
  }


def make_system(*per_targets, metrics=METRICS):
  return comparison.pool(
    comparison.tabulate(one, GROUPS, metrics) for one in per_targets
  )


def against(*per_targets, resamples=300, seed=0, metrics=METRICS):
  systems = [make_system(one, metrics=metrics) for one in per_targets]
  return comparison.compare(systems, resamples, seed)[-1]


# ---- Values


def test_values_are_those_of_the_report():
  targets = make_targets(0)
  table = comparison.tabulate(targets, GROUPS, METRICS)
  activity = np.arange(40)
  options = config.EvaluationConfig(ks=KS, bootstrap=0)
  built = report.build(targets, activity, GROUPS, options)
  parts = [*built['groups'], built['overall']]
  expected = np.array([[part[m]['value'] for m in METRICS] for part in parts])
  actual = comparison.values(table)
  np.testing.assert_allclose(actual[:-1], expected, rtol=1e-12)
  np.testing.assert_allclose(actual[-1], expected[:-1].mean(axis=0))


def test_several_seeds_are_averaged_per_item_and_shown_by_themselves():
  base, other = [[make_targets(10 * k + s) for s in range(3)] for k in (1, 2)]
  (result,) = comparison.compare(
    [make_system(*base), make_system(*other)], resamples=200, seed=0
  )
  mean = lambda name, runs: np.mean([run[name] for run in runs], axis=0)
  chosen = base[0]['group'] == 1
  difference = mean('placement_group', other) - mean('placement_group', base)
  np.testing.assert_allclose(
    result.difference[1, 0], difference[chosen].mean(), rtol=1e-10
  )
  alone = [against(a, b).difference for a, b in zip(base, other)]
  np.testing.assert_allclose(result.by_seed, alone, atol=1e-12)
  np.testing.assert_allclose(result.difference, np.mean(alone, axis=0))
  np.testing.assert_allclose(result.other - result.reference, result.difference)


def test_one_seed_given_twice_is_that_seed():
  a, b = make_targets(1), make_targets(2)
  once = against(a, b)
  (twice,) = comparison.compare(
    [make_system(a, a), make_system(b, b)], resamples=300, seed=0
  )
  chex.assert_trees_all_close(
    once._replace(by_seed=0), twice._replace(by_seed=0), rtol=1e-10
  )


def test_items_without_rivals_are_as_if_they_were_not_there():
  base, other = make_targets(1), make_targets(2)
  number = np.random.default_rng(0).choice([0, 40], size=base['user'].size)
  lacking = [one | {'num_negatives': number} for one in (base, other)]
  without = [
    {name: values[number > 0] for name, values in one.items()}
    for one in lacking
  ]
  differences = [against(*pair).difference for pair in (lacking, without)]
  np.testing.assert_allclose(*differences, rtol=1e-10)


def test_ties_are_the_mean_over_their_places_unless_asked_otherwise():
  targets = make_targets(3)
  for ties in (0.0, 0.5, 1.0):
    table = comparison.tabulate(targets, GROUPS, ['hr@10'], ties=ties)
    hits = [
      np.mean([place <= 10 for place in places])
      if ties == 0.5
      else float(places[-int(ties)] <= 10)
      for better, tied in zip(targets['better'], targets['tied'])
      for places in [range(better + 1, better + tied + 2)]
    ]
    assert comparison.values(table)[-2, 0] == pytest.approx(np.mean(hits))


# ---- Intervals and p-values


def test_resamples_equal_a_literal_loop_over_users_and_their_items():
  resamples = 60
  base, other = (make_targets(seed, users=12, items=3) for seed in (3, 4))
  result = against(base, other, resamples=resamples, seed=7)
  users = np.unique(base['user'])
  drawn = np.concatenate(list(bootstrap.weights(users.size, resamples, 7)))
  differences = []
  for times in drawn.astype(int):
    sample = [u for u, n in zip(users, times) for _ in range(n)]
    pooled, by_group = [], [[] for _ in range(GROUPS)]
    for user in sample:
      for t in np.flatnonzero(base['user'] == user):
        pooled.append(other['placement_all'][t] - base['placement_all'][t])
        by_group[base['group'][t]].append(
          other['placement_group'][t] - base['placement_group'][t]
        )
    differences.append(
      [
        *(np.mean(group) if group else np.nan for group in by_group),
        np.mean(pooled),
      ]
    )
  differences = np.array(differences)
  mean = differences[:, :-1].mean(axis=1, keepdims=True)
  differences = np.concatenate([differences, mean], axis=1)
  low, high = np.nanquantile(differences, (0.025, 0.975), axis=0)
  np.testing.assert_allclose(result.low[:, 0], low, rtol=1e-9)
  np.testing.assert_allclose(result.high[:, 0], high, rtol=1e-9)
  known = np.isfinite(differences).sum(axis=0)
  tails = [(differences <= 0).sum(axis=0), (differences >= 0).sum(axis=0)]
  expected = np.minimum(1, 2 * (1 + np.min(tails, axis=0)) / (1 + known))
  np.testing.assert_allclose(result.p[:, 0], expected)


def test_interval_of_paired_means_approaches_the_normal_one():
  base, other = make_targets(5, 3000, 1), make_targets(6, 3000, 1, 0.02)
  result = against(base, other, resamples=3000, metrics=('auc',))
  gain = other['placement_all'] - base['placement_all']
  half = stats.norm.ppf(0.975) * gain.std() / np.sqrt(gain.size)
  assert result.low[-2, 0] == pytest.approx(gain.mean() - half, abs=0.1 * half)
  assert result.high[-2, 0] == pytest.approx(gain.mean() + half, abs=0.1 * half)


def test_equal_runs_differ_by_nothing():
  result = against(make_targets(0), make_targets(0))
  for values in (result.difference, result.low, result.high):
    np.testing.assert_array_equal(values, 0.0)
  np.testing.assert_array_equal(result.p, 1.0)
  np.testing.assert_array_equal(result.holm, 1.0)


def test_seeds_in_another_order_differ_by_nothing():
  seeds = [make_targets(seed) for seed in range(3)]
  (result,) = comparison.compare(
    [make_system(*seeds), make_system(*seeds[::-1])], resamples=300, seed=0
  )
  np.testing.assert_allclose(result.difference, 0.0, atol=1e-15)
  np.testing.assert_array_equal(result.p, 1.0)


def test_a_shifted_run_has_the_smallest_p_there_is():
  base = make_targets(0)
  better = {
    **base,
    **{name: base[name] + 0.01 for name in base if '_' in name},
  }
  result = against(base, better, resamples=500, metrics=('auc', 'user_auc'))
  np.testing.assert_allclose(result.p, 2 / 501)
  np.testing.assert_allclose(result.holm, GROUPS * 2 / 501)
  np.testing.assert_allclose((result.low, result.high), 0.01)


def test_swapping_the_systems_turns_the_sign():
  forth = against(make_targets(1), make_targets(2, shift=0.05))
  back = against(make_targets(2, shift=0.05), make_targets(1))
  chex.assert_trees_all_close(
    (forth.difference, forth.low, forth.high, forth.p, forth.holm),
    (-back.difference, -back.high, -back.low, back.p, back.holm),
    atol=1e-12,
  )


def test_the_order_of_the_held_out_items_does_not_matter():
  a, b = make_targets(1), make_targets(2)
  order = np.random.default_rng(0).permutation(a['user'].size)
  shuffled = [{k: v[order] for k, v in one.items()} for one in (a, b)]
  chex.assert_trees_all_close(against(a, b), against(*shuffled), atol=1e-12)


def test_a_third_system_does_not_change_the_second():
  a, b, c = (make_targets(seed) for seed in range(3))
  first, second = comparison.compare(
    [make_system(one) for one in (a, b, c)], resamples=200, seed=0
  )
  chex.assert_trees_all_close(first, against(a, b, resamples=200), atol=1e-12)
  chex.assert_trees_all_close(second, against(a, c, resamples=200), atol=1e-12)


def test_p_is_uniform_where_there_is_no_difference():
  simulations = 400
  found = []
  for seed in range(simulations):
    gains = np.random.default_rng(seed).normal(size=(80, 1))
    ratios = bootstrap.resampled_ratios(gains, np.ones((80, 1)), 199, seed)
    found.append(bootstrap.p_values(ratios)[0])
  for level in (0.05, 0.2, 0.5):
    # The spread of a sample of 80 is estimated, hence slightly too small.
    low = stats.binom.ppf(1e-3, simulations, level * 0.8)
    high = stats.binom.ppf(1 - 1e-3, simulations, level * 1.2)
    assert low <= np.sum(np.array(found) < level) <= high


@SETTINGS
@hypothesis.given(
  arrays.arrays(float, (120, 1), elements=strategies.floats(-0.1, 1.0))
)
def test_what_is_significant_has_an_interval_without_zero(ratios):
  (low,), (high,) = bootstrap.percentiles(ratios)
  if bootstrap.p_values(ratios)[0] < 0.05:
    assert low > 0 or high < 0


# ---- Edges


def test_a_group_without_items_is_unknown_and_not_in_the_family():
  a, b = make_targets(1), make_targets(2, shift=0.2)
  for one in (a, b):
    one['group'] = np.where(one['group'] == 1, 2, one['group'])
  result = against(a, b)
  for values in (result.difference, result.low, result.p, result.holm):
    assert np.isnan(values[1]).all()
  np.testing.assert_allclose(
    result.difference[-1], result.difference[[0, 2]].mean(axis=0)
  )
  family = result.p[[0, 2], 0]
  np.testing.assert_allclose(
    result.holm[[0, 2], 0],
    multipletests_by_definition(family),
  )


def test_a_resample_that_misses_a_group_is_left_out():
  a, b = make_targets(1, users=4, items=1), make_targets(2, users=4, items=1)
  result = against(a, b, resamples=2000)
  # One user: whenever it is drawn the difference is its own.
  alone = [g for g in range(GROUPS) if np.sum(a['group'] == g) == 1][0]
  for bound in (result.low, result.high):
    np.testing.assert_allclose(bound[alone], result.difference[alone])
  assert np.isfinite(result.low).all()


def test_users_with_items_in_several_groups_count_in_each():
  a, b = make_targets(1), make_targets(2)
  for one in (a, b):
    one['group'] = np.arange(one['user'].size) % GROUPS
  result = against(a, b, metrics=('auc',))
  for group in range(GROUPS):
    chosen = a['group'] == group
    gain = b['placement_group'] - a['placement_group']
    np.testing.assert_allclose(result.difference[group, 0], gain[chosen].mean())


def test_other_users_or_items_cannot_be_paired():
  for other in (make_targets(0, users=41), make_targets(0, layout=1)):
    with pytest.raises(types.UserError, match='cannot be paired'):
      against(make_targets(0), other)
    with pytest.raises(types.UserError, match='cannot be paired'):
      make_system(make_targets(0), other)


# ---- Arrays of a run


def saved(**changes):
  """Bytes of an .npz file with the arrays that a comparison reads."""
  targets = make_targets(0)
  size = targets['user'].size
  more = {n: np.arange(size) for n in ('event', 'item')}
  arrays = {**targets, **more, **changes}
  file = io.BytesIO()
  np.savez_compressed(
    file, **{k: v for k, v in arrays.items() if v is not None}
  )
  return file.getvalue()


def test_arrays_come_back_as_they_were_saved():
  read = comparison.read_targets(saved(), GROUPS)
  names = (*comparison.KEYS, *comparison.COUNTS, *comparison.VALUES)
  assert sorted(read) == sorted(names)
  for name, values in make_targets(0).items():
    np.testing.assert_array_equal(read[name], values)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'tied': None}, 'cannot be read'),
    ({'item': np.array(['a', None])}, 'cannot be read'),
    ({'item': np.ones(3, int)}, 'item has another length than event'),
    ({'item': np.ones(3)}, r'item is float64\[3\]'),
    ({'better': np.ones(3)}, r'better is float64\[3\]'),
    ({'event': np.ones((2, 2), int)}, r'event is int64\[2, 2\]'),
    ({'event': np.ones(0, int)}, r'event is int64\[0\]'),
    ({'group': make_targets(0)['group'] - 1}, r'groups -1\.\.1'),
    ({'group': make_targets(0)['group'] + 1}, r'groups 1\.\.3 where .* 3'),
    ({'better': make_targets(0)['better'] - 40}, 'better is -'),
    ({'tied': make_targets(0)['tied'] - 1}, 'tied is -1'),
  ],
)
def test_other_arrays_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    comparison.read_targets(saved(**changes), GROUPS)


@SETTINGS
@hypothesis.given(strategies.data())
def test_damaged_bytes_are_refused_or_change_nothing(data):
  content = bytearray(saved())
  position = data.draw(strategies.integers(0, len(content) - 1))
  if data.draw(strategies.booleans()):
    content[position] ^= data.draw(strategies.integers(1, 255))
  else:
    del content[position:]
  try:
    read = comparison.read_targets(bytes(content), GROUPS)
  except ValueError:
    return
  for name, values in make_targets(0).items():
    np.testing.assert_array_equal(read[name], values)


# ---- Holm


def multipletests_by_definition(p):
  """Smallest alpha at which the step-down procedure rejects each."""
  n, order = len(p), np.argsort(p, kind='stable')
  adjusted = np.empty(n)
  for j in range(n):
    # Rejected once all smaller ones are: p_(i) <= alpha / (n - i), from 0.
    needed = [(n - i) * p[order[i]] for i in range(j + 1)]
    adjusted[order[j]] = min(1.0, max(needed))
  return adjusted


@SETTINGS
@hypothesis.given(
  arrays.arrays(
    float, strategies.integers(1, 8), elements=strategies.floats(0, 1)
  )
)
def test_holm_is_its_definition(p):
  adjusted = comparison.holm(p)
  np.testing.assert_allclose(adjusted, multipletests_by_definition(p))
  for alpha in (0.01, 0.05, 0.3):
    rejected = np.zeros(p.size, bool)
    for i, index in enumerate(np.argsort(p, kind='stable')):
      if (p.size - i) * p[index] > alpha:
        break
      rejected[index] = True
    np.testing.assert_array_equal(adjusted <= alpha, rejected)
  assert (adjusted >= p).all() and (adjusted <= np.minimum(1, p.size * p)).all()


@SETTINGS
@hypothesis.given(strategies.permutations([0.001, 0.02, 0.02, 0.4, 0.9]))
def test_holm_does_not_depend_on_the_order(p):
  expected = dict(
    zip([0.001, 0.02, 0.4, 0.9], [5 * 0.001, 4 * 0.02, 2 * 0.4, 0.9])
  )
  adjusted = comparison.holm(np.array(p))
  np.testing.assert_allclose(adjusted, [expected[value] for value in p])


def test_holm_leaves_out_what_is_not_known():
  adjusted = comparison.holm(np.array([0.01, np.nan, 0.04]))
  np.testing.assert_allclose(adjusted, [0.02, np.nan, 0.04])
  assert comparison.holm(np.full(2, np.nan)).shape == (2,)


# ---- Rows and tables


def test_rows_say_null_where_nothing_is_known():
  a, b = make_targets(1), make_targets(2)
  for one in (a, b):
    one['group'] = np.where(one['group'] == 1, 2, one['group'])
  rows = comparison.rows(against(a, b), 0, [14, 0, 26, 40])
  assert [row['group'] for row in rows] == [1, 2, 3, 'all', 'mean of groups']
  assert [row['users'] for row in rows] == [14, 0, 26, 40, 40]
  assert [rows[1][name] for name in ('difference', 'low', 'holm')] == [None] * 3
  assert rows[1]['by_seed'] == [None]
  assert [row['holm'] is None for row in rows] == [
    False,
    True,
    False,
    True,
    True,
  ]
  table = comparison.table('base', '+GA', {'auc': rows})
  assert table[2][3:] == ['-', '-', '-', '', '- to -', '-', '-']


def test_the_star_follows_holm_in_groups_and_p_elsewhere():
  row = {
    'users': 1000, 'reference': 0.5, 'other': 0.52, 'difference': 0.02,
    'low': 0.01, 'high': 0.03, 'p': 0.03, 'by_seed': [0.01, 0.03],
  }  # fmt: skip
  rows = [
    {**row, 'group': 1, 'holm': 0.06},
    {**row, 'group': 2, 'holm': 0.049},
    {**row, 'group': 'all', 'holm': None},
  ]
  head, *body = comparison.table('base', 'a|b', {'auc': rows, 'mrr': rows})
  assert [cells[6] for cells in body] == ['', '*', '*'] * 2
  assert [cells[0] for cells in body] == ['auc', '', '', 'mrr', '', '']
  assert body[0][1:] == [
    '1', '1,000', '0.5000', '0.5200', '+0.0200', '', '+0.0100 to +0.0300',
    '0.0300', '0.0600', '+0.0100 to +0.0300',
  ]  # fmt: skip
  lines = comparison.aligned([head, *body]).splitlines()
  assert len({line.index('+0.0200') for line in lines[1:]}) == 1
  piped = comparison.piped([head, *body]).splitlines()
  assert piped[0].split(' | ')[4] == r'a\|b' and piped[3].count(r'\*') == 1
  assert piped[1].strip('| ').split(' | ') == ['---'] + ['---:'] * 10
