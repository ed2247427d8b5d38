import json
import pathlib

import numpy as np
import pytest

from tests import finished
from twotsrec import config
from twotsrec import types
from twotsrec.evaluation import report as report_lib
from twotsrec.runs import compare
from twotsrec.runs import compared_runs

GROUPS, KS = 3, [5, 10]
_EVALUATION = config.EvaluationConfig(ks=tuple(KS), bootstrap=0)
PROTOCOL = {
  'dataset_digest': 'd' * 64,
  'split': 'leave_last_out',
  'candidates': 'all',
  'negatives': 'items the user never interacted with in the whole data',
  'auc_ties': 0.5,
  'rank_ties': 0.5,
  'groups': {'num_groups': GROUPS, 'key': 'user_train_count'},
  'group_thresholds': [5, 9],
  'ks': KS,
  'model': 'din',
  'aggregator': 'joint',
  'selection': 'validation loss',
  'selected_on_test': False,
}


def make_targets(seed=0, shift=0.0, users=60) -> dict[str, np.ndarray]:
  """One held-out item per user, as `evaluate` returns them."""
  auc = np.random.default_rng(seed).beta(4, 2, size=users)
  auc = np.clip(auc + shift, 0, 1)
  user = np.arange(users)
  return {
    'event': user * 7,
    'user': user,
    'item': user + 1,
    'group': user % GROUPS,
    'num_negatives': np.full(users, 40),
    'better': np.floor((1 - auc) * 40).astype(int),
    'tied': user % 2,
    'user_auc': auc,
    'placement_group': auc,
    'placement_all': auc,
  }


def write_run(
  folder: pathlib.Path, per_target=None, built=None, **protocol
) -> str:
  """A finished run directory without its model."""
  per_target = make_targets() if per_target is None else per_target
  activity = np.arange(100)
  built = built or report_lib.build(per_target, activity, GROUPS, _EVALUATION)
  folder.mkdir()
  report = {
    'schema': compared_runs.SCHEMA,
    'protocol': {**PROTOCOL, **protocol},
    'test': built,
  }
  (folder / 'config.json').write_text('{}')
  (folder / 'report.json').write_text(json.dumps(report))
  np.savez(folder / 'per_target.npz', **per_target)
  return str(folder)


@pytest.fixture
def pair(tmp_path) -> list[str]:
  """Two runs, the second better."""
  return [
    write_run(tmp_path / 'base', make_targets(0)),
    write_run(tmp_path / 'ga', make_targets(1, 0.1), aggregator='backdoor'),
  ]


def differing(path: str, **changes) -> None:
  """Changes the protocol of a run; None takes a field away."""
  file = pathlib.Path(path) / 'report.json'
  report = json.loads(file.read_text())
  protocol = {**report['protocol'], **changes}
  report['protocol'] = {k: v for k, v in protocol.items() if v is not None}
  file.write_text(json.dumps(report))


# ---- What comes out


def with_parts(folder: pathlib.Path, *arguments) -> str:
  """A run on data with behaviors; the parts are of very unequal size."""
  per_target = make_targets(*arguments)
  per_target['part'] = np.repeat([0, 1, 2], [40, 16, 4])
  names = ('cart', 'view', 'new')
  built = report_lib.build(
    per_target, np.arange(100), GROUPS, _EVALUATION, names
  )
  return write_run(folder, per_target, built)


def test_parts_are_compared_like_groups(tmp_path):
  a = with_parts(tmp_path / 'a', 0)
  b = with_parts(tmp_path / 'b', 1, 0.1)
  result = compare.compare({'a': [a], 'b': [b]}, (), 200, by='parts')
  gain = make_targets(1, 0.1)['user_auc'] - make_targets(0)['user_auc']
  rows = result['comparisons']['b']['auc']
  names = [row['group'] for row in rows]
  assert names == ['cart', 'view', 'new', 'all', 'mean of parts']
  assert [row['users'] for row in rows] == [40, 16, 4, 60, 60]
  for row, part in zip(rows, np.split(gain, [40, 56])):
    np.testing.assert_allclose(row['difference'], part.mean())
    assert row['holm'] >= row['p']
  by_group = compare.compare({'a': [a], 'b': [b]}, (), 200)
  assert by_group['comparisons']['b']['auc'][3] == rows[3]
  text = compare.run({'a': [a], 'b': [b]}, resamples=200, by='parts')
  assert '(40 + 16 + 4 in parts cart to new)' in text
  assert 'after Holm over the parts of a metric' in text


def test_runs_without_parts_or_with_others_are_refused(pair, tmp_path):
  a = with_parts(tmp_path / 'a', 0)
  named = {'a': [a], 'base': pair[:1]}
  message = 'base has no parts, since its data have no behaviors'
  for systems in (named, dict(reversed(named.items()))):
    assert message in refusal(systems, (), 200, 0, 'parts')
  assert "by is 'users'; known: groups, parts" in refusal(
    named, (), 200, 0, 'users'
  )
  per_target = make_targets(1)
  per_target['part'] = np.repeat([0, 1, 2], [4, 16, 40])
  other = write_run(
    tmp_path / 'other',
    per_target,
    report_lib.build(
      per_target, np.arange(100), GROUPS, _EVALUATION, ('a', 'b', 'c')
    ),
  )
  named = {'a': [a], 'b': [other]}
  assert '(part differs)' in refusal(named, (), 200, 0, 'parts')


def test_every_group_metric_and_system_is_compared(pair, tmp_path):
  third = write_run(tmp_path / 'third', make_targets(2))
  named = {'base': pair[:1], '+GA': pair[1:], 'third': [third]}
  result = compare.compare(named, resamples=200)
  assert result['reference'] == 'base' and result['users'] == 60
  assert result['metrics'] == ['auc', 'user_auc', 'hr@10', 'ndcg@10']
  assert list(result['comparisons']) == ['+GA', 'third']
  gain = make_targets(1, 0.1)['user_auc'] - make_targets(0)['user_auc']
  rows = result['comparisons']['+GA']['auc']
  assert [row['group'] for row in rows] == [1, 2, 3, 'all', 'mean of groups']
  assert [row['users'] for row in rows] == [20, 20, 20, 60, 60]
  for group, row in enumerate(rows[:GROUPS]):
    expected = gain[group::GROUPS].mean()
    assert row['difference'] == pytest.approx(expected)
    assert row['low'] < expected < row['high']
    assert row['other'] - row['reference'] == pytest.approx(expected)
    assert row['p'] <= row['holm'] <= GROUPS * row['p']
    assert row['by_seed'] == [pytest.approx(expected)]
  assert rows[3]['difference'] == pytest.approx(gain.mean())
  assert rows[3]['holm'] is None and rows[4]['holm'] is None


def test_a_metric_that_no_run_has_takes_no_rows(tmp_path):
  absent = dict.fromkeys(
    ('placement_group', 'placement_all'), np.full(60, np.nan)
  )
  without = [
    write_run(tmp_path / f'online{seed}', make_targets(seed) | absent)
    for seed in range(2)
  ]
  shown = lambda a, b, *metrics: compare.compare(
    {'a': [a], 'b': [b]}, metrics, 200
  )['metrics']
  assert shown(*without) == ['user_auc', 'hr@10', 'ndcg@10']
  assert shown(*without, 'auc') == ['auc']


def test_values_are_those_of_the_reports(pair):
  result = compare.compare({'a': pair[:1], 'b': pair[1:]}, ['mrr'], 200)
  for path, side in zip(pair, ('reference', 'other')):
    test = json.loads((pathlib.Path(path) / 'report.json').read_text())['test']
    expected = [part['mrr'] for part in (*test['groups'], test['overall'])]
    rows = result['comparisons']['b']['mrr'][:-1]
    assert [row[side] for row in rows] == pytest.approx(
      [part['value'] for part in expected]
    )


def test_a_finished_run_and_its_copy_do_not_differ(tmp_path):
  again = finished.copy(tmp_path)
  named = {'once': [str(finished.run())], 'again': [str(again)]}
  result = compare.compare(named, resamples=200)
  for rows in result['comparisons']['again'].values():
    for row in rows:
      values = [row[name] for name in ('difference', 'low', 'high', 'p')]
      assert values == [0.0, 0.0, 0.0, 1.0]
  assert '*' not in compare.format(result).splitlines()[2]


def test_seeds_are_joined_and_their_spread_is_shown(tmp_path):
  paths = {
    name: [
      write_run(
        tmp_path / f'{name}{seed}', make_targets(seed + 10 * i, 0.1 * i)
      )
      for seed in range(3)
    ]
    for i, name in enumerate('ab')
  }
  result = compare.compare(paths, ['auc'], 200)
  row = result['comparisons']['b']['auc'][3]
  alone = [
    compare.compare({'a': [a], 'b': [b]}, ['auc'], 200) for a, b in
    zip(paths['a'], paths['b'])
  ]  # fmt: skip
  expected = [one['comparisons']['b']['auc'][3]['difference'] for one in alone]
  assert row['by_seed'] == pytest.approx(expected)
  assert row['difference'] == pytest.approx(np.mean(expected))
  text = compare.format(result)
  assert f'{min(expected):+.4f} to {max(expected):+.4f}' in text
  assert 'mean of 3 seeds' in text and 'over seeds' in text


def test_the_text_tells_what_its_marks_mean(pair):
  named = compare.systems(pair, ['base', '+GA'])
  text = compare.run(named, ['auc', 'hr@10'], 400)
  lines = text.splitlines()
  assert lines[0] == '+GA against base'
  assert lines[1].split()[:5] == ['metric', 'group', 'users', 'base', '+GA']
  assert lines[2].split()[:3] == ['auc', '1', '20']
  assert len(lines) == 2 + 2 * (GROUPS + 2) + 2
  assert '400 resamples of the 60 users (20 + 20 + 20 in groups 1 to 3)' in text
  assert '* is p < 0.05, in groups after Holm' in lines[-2]
  assert 'one training each' in lines[-2]
  assert lines[-1] == 'leave_last_out, all candidates'
  overall = lines[5].split()
  assert overall[0] == 'all' and '*' in overall


def test_markdown_has_the_same_cells(pair):
  result = compare.compare(compare.systems(pair), ['auc'], 200)
  text = compare.format(result).splitlines()
  marked = compare.markdown(result)
  rows = [line for line in marked.splitlines() if line.startswith('|')]
  assert len(rows) == GROUPS + 4 and rows[1].startswith('| --- | ---: |')
  for plain, row in zip(text[2:], rows[2:]):
    cells = row.replace(r'\*', '*').strip('|').split('|')
    assert plain.split() == ' '.join(cells).split()
  assert marked.startswith('**ga against base**\n\n|')


def test_results_are_written(pair, tmp_path):
  named = compare.systems(pair)
  text = compare.run(named, resamples=200, out=str(tmp_path / 'out.json'))
  written = json.loads((tmp_path / 'out.json').read_text())
  again = compare.compare(compare.systems(pair), resamples=200)
  assert written == again and compare.format(written) == text
  compare.run(named, resamples=200, out=str(tmp_path / 'out.md'))
  shown = (tmp_path / 'out.md').read_text(encoding='utf-8')
  assert shown == compare.markdown(again) + '\n'


def test_a_run_selected_on_test_is_marked(pair):
  differing(pair[1], selected_on_test=True)
  text = compare.run(compare.systems(pair), resamples=200)
  assert 'ga was SELECTED ON TEST' in text


def test_another_model_training_or_list_of_cut_offs_may_differ(pair):
  differing(pair[1], model='sasrec', selection='last epoch', ks=[5, 20])
  result = compare.compare(compare.systems(pair), ['ndcg@5'], 200)
  assert result['metrics'] == ['ndcg@5']
  with pytest.raises(types.UserError, match="unknown metric 'hr@10'; known"):
    compare.compare(compare.systems(pair), ['hr@10'], 200)


# ---- Names


def test_systems_are_named_by_their_directories():
  assert compare.systems(['x/a', 'y/b']) == {'a': ['x/a'], 'b': ['y/b']}
  assert compare.systems(['x/a', 'y/a']) == {'x/a': ['x/a'], 'y/a': ['y/a']}
  assert compare.systems(['x/a0+x/a1', 'b0+b1']) == {
    'a0+a1': ['x/a0', 'x/a1'],
    'b0+b1': ['b0', 'b1'],
  }
  assert compare.systems(['a', 'b'], ['1', '2']) == {'1': ['a'], '2': ['b']}


def test_a_plus_in_the_name_of_a_directory_is_part_of_it(tmp_path):
  (tmp_path / 'a+b').mkdir()
  plus = str(tmp_path / 'a+b')
  assert compare.systems([plus, 'c'])['a+b'] == [plus]


# ---- What is refused


@pytest.mark.parametrize(
  ('given', 'names', 'message'),
  [
    (['a', 'b'], ['one'], '1 names for 2 systems'),
    (['a', 'b'], ['x', 'x'], "two systems are named 'x'"),
    (['a', 'a'], [], 'a is named twice; name each run once'),
    (['a+', 'b'], [], 'a run without a name'),
    (['a', ''], [], 'a run without a name'),
  ],
)
def test_runs_that_cannot_be_named_are_refused(given, names, message):
  with pytest.raises(types.UserError, match=message) as refused:
    compare.systems(given, names)
  assert '\n' not in str(refused.value)


def refusal(systems, *arguments) -> str:
  with pytest.raises(types.UserError) as refused:
    compare.compare(systems, *arguments)
  assert '\n' not in str(refused.value)
  return str(refused.value)


def test_what_is_no_pair_of_systems_is_refused(pair, tmp_path):
  a, b = pair
  third = write_run(tmp_path / 'third')
  dotted = str(pathlib.Path(b) / '..' / 'base')
  assert '1 system to compare (a); name two' in refusal({'a': [a]})
  assert 'named twice' in refusal({'a': [a], 'b': [dotted]})
  assert 'named twice' in refusal({'a': [a, a], 'b': [b, third]})
  assert '(a 2, b 1)' in refusal({'a': [a, third], 'b': [b]})
  assert '(a 1, b 0)' in refusal({'a': [a], 'b': []})
  assert '119 resamples are too few for 3 groups' in refusal(
    {'a': [a], 'b': [b]}, (), 119
  )
  assert 'known: auc, user_auc' in refusal({'a': [a], 'b': [b]}, ['hr@7'])


def test_seeds_of_different_systems_are_refused(pair, tmp_path):
  more = [write_run(tmp_path / name) for name in ('c', 'd')]
  message = refusal({'x': pair, 'y': more})
  assert 'x joins runs that are no seeds of one system' in message
  assert 'aggregator is "backdoor"' in message


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'dataset_digest': 'e' * 64}, 'dataset_digest is "eeeeeeeeeeee...eee" in'),
    ({'split': 'global_time'}, 'split is "global_time" in'),
    ({'groups': {**PROTOCOL['groups'], 'key': 'x'}}, 'groups.key is "x" in'),
    ({'groups': None}, 'groups.num_groups is absent in'),
    ({'group_thresholds': [5, 10]}, 'group_thresholds is [5, 10] in'),
    ({'candidates': 'sampled'}, 'candidates is "sampled" in'),
    ({'num_candidates': 100}, 'num_candidates is 100 in'),
    ({'negatives_digest': 'f'}, 'negatives_digest is "f" in'),
    ({'auc_ties': 0.0}, 'auc_ties is 0.0 in'),
    ({'rank_ties': 1.0}, 'rank_ties is 1.0 in'),
  ],
)
def test_another_footing_is_refused_by_the_field(pair, changes, message):
  differing(pair[1], **changes)
  assert refusal(compare.systems(pair)).startswith(message)


@pytest.mark.parametrize('name', ['event', 'user', 'item', 'num_negatives'])
def test_other_held_out_items_are_refused(pair, tmp_path, name):
  targets = make_targets()
  targets[name] = targets[name] + 1
  other = write_run(tmp_path / 'other', targets)
  assert f'({name} differs)' in refusal({'a': pair[:1], 'b': [other]})


def test_what_is_no_finished_run_is_refused(pair, tmp_path):
  named, path = compare.systems(pair), pathlib.Path(pair[1])
  missing = str(tmp_path / 'nowhere')
  assert 'not a run directory' in refusal({'a': pair[:1], 'b': [missing]})
  (path / 'per_target.npz').unlink()
  assert 'per_target.npz' in refusal(named)
  (path / 'report.json').unlink()
  assert 'training has not finished (no report.json)' in refusal(named)
  (path / 'config.json').unlink()
  assert 'not a run directory' in refusal(named)


@pytest.mark.parametrize(
  ('report', 'message'),
  [
    ('{"protocol": ', 'not valid JSON'),
    ('[]', 'lacks test'),
    ('{"test": null}', 'lacks protocol'),
    (json.dumps({'test': {}, 'protocol': {}}), 'lacks protocol.dataset_digest'),
    (json.dumps({'test': {}, 'protocol': PROTOCOL}), 'lacks test.groups'),
    (
      json.dumps({'test': {}, 'protocol': {**PROTOCOL, 'ks': 3}}),
      'lacks protocol.ks',
    ),
    (json.dumps({'test': None, 'protocol': PROTOCOL}), 'has no test events'),
    (
      json.dumps({'test': {'groups': [1, 2, 3]}, 'protocol': PROTOCOL}),
      'damaged: it lacks auc',
    ),
  ],
)
def test_a_damaged_report_is_refused(pair, report, message):
  (pathlib.Path(pair[1]) / 'report.json').write_text(report)
  assert message in refusal(compare.systems(pair))


def test_damaged_arrays_are_refused(pair):
  named, path = compare.systems(pair), pathlib.Path(pair[0], 'per_target.npz')
  whole = path.read_bytes()
  for content in (b'', b'nothing', whole[:-100], whole[:2000]):
    path.write_bytes(content)
    assert 'per_target.npz is damaged: its arrays' in refusal(named)
  np.savez(path, **{**make_targets(), 'group': make_targets()['group'] + 1})
  assert 'groups 1..3 where there are 3' in refusal(named)


def test_arrays_of_another_run_are_refused(pair):
  np.savez(pathlib.Path(pair[1]) / 'per_target.npz', **make_targets(5))
  message = refusal(compare.systems(pair))
  assert (
    'where report.json has' in message and 'per_target.npz gives' in message
  )


def test_an_output_of_another_kind_is_refused_before_anything_is_read():
  with pytest.raises(types.UserError, match=r'must end in \.json or \.md'):
    compare.run({'no': ['no'], 'where': ['where']}, out='table.txt')
