import functools
import logging

import chex
import jax
import numpy as np
import pytest

from tests import asked
from tests import finished
from tests import small_runs as runs
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.recipes import pin
from twotsrec.recipes import sequence
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import run as run_lib
from twotsrec.training import checkpoints
from twotsrec.training import phases
from twotsrec.training import run_directory
from twotsrec.training import sources


@functools.cache
def _prepared():
  return experiment_lib.load_data(runs.config())


def _experiment(**changes):
  return experiment_lib.make(runs.config(**changes), _prepared())


@functools.cache
def _initial():
  """First parameters; they are the same in all experiments here."""
  learner, _, how = asked.first(_experiment()).parts
  return jax.device_get(learner.init(how.keys.init))


# ---- A run and its repetition


def test_epochs_are_logged_once_and_the_best_one_is_kept():
  lines = run_directory.read_metrics(finished.run())
  assert [line['epoch'] for line in lines] == [1, 2, 3]
  best = min(lines, key=lambda line: line['validation']['loss'])
  training = runs.untimed_report(finished.run())['training']
  assert training['selected_epoch'] == best['epoch']
  assert training['selected_step'] == best['step']
  assert training['selected_value'] == best['validation']['loss']
  assert training['epochs'] == 3
  assert training['steps'] == lines[-1]['step']


def test_groups_are_logged_when_asked_for():
  for line in run_directory.read_metrics(finished.run()):
    groups = {name: np.array(x) for name, x in line['diagnosis'].items()}
    assert groups['loss'].shape == groups['norm'].shape == (3,)
    assert np.all(groups['norm'] > 0)
    cosine = groups['cosine']
    np.testing.assert_allclose(cosine, cosine.T, atol=1e-6)
    np.testing.assert_allclose(np.diagonal(cosine), 1.0, atol=1e-5)
    assert np.all(np.abs(cosine) < 1 + 1e-5)


def test_a_repeated_command_trains_nothing(monkeypatch):
  monkeypatch.setattr(experiment_lib, 'load_data', None)
  monkeypatch.setattr(experiment_lib, 'make', None)
  workdir = finished.run()
  before = sorted(workdir.rglob('*'))
  report = run_lib.train(runs.config(), str(workdir), quiet=True)
  assert report['training']['epochs'] == 3
  assert sorted(workdir.rglob('*')) == before


def test_an_unfinished_run_goes_on_from_the_last_good_checkpoint(
  tmp_path, caplog
):
  workdir = finished.copy(tmp_path)
  (workdir / 'report.json').unlink()
  latest = run_directory.latest_path(workdir)
  newest = checkpoints.steps(latest)[-1]
  (latest / str(newest) / 'manifest.json').write_text('{}', encoding='utf-8')
  leftover = workdir / '.ids.0123'
  leftover.mkdir()
  # Where the data were and how often it saves may change in between.
  moved = runs.config(data__data_root='elsewhere', train__checkpoint_every=9.0)
  with caplog.at_level(logging.WARNING, 'twotsrec'):
    run_lib.train(moved, str(workdir), quiet=True)
  assert str(latest / str(newest)) in caplog.text
  assert not leftover.exists()
  reports = [runs.untimed_report(w) for w in (workdir, finished.run())]
  for report in reports:
    del report['verdict']['try']  # commands, which name where the data are
  assert reports[0] == reports[1]
  lines = runs.untimed_metrics(workdir)
  assert lines == runs.untimed_metrics(finished.run())
  (_, again), (_, once) = map(experiment_lib.load, (workdir, finished.run()))
  runs.assert_same_arrays(again, once)


def test_a_signal_after_the_last_epoch_ends_before_the_report(tmp_path):
  workdir = finished.copy(tmp_path)
  (workdir / 'report.json').unlink()
  assert run_lib.train(runs.config(), str(workdir), lambda: True) is None
  assert not (workdir / 'report.json').exists()


def test_another_config_in_the_same_directory_is_refused(tmp_path):
  other = runs.config(train__learning_rate=0.5, model__hidden=(3,))
  for workdir in (finished.run(), finished.copy(tmp_path)):
    with pytest.raises(types.UserError) as error:
      run_lib.train(other, str(workdir), quiet=True)
    assert 'train.learning_rate: 0.01 there, 0.5 here' in str(error.value)
    assert 'model.hidden: [4] there, [3] here' in str(error.value)
    assert 'another --workdir' in str(error.value)
    (tmp_path / 'run' / 'report.json').unlink(missing_ok=True)


# ---- What is wrong shows before anything is written


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'data__dataset': 'ml-2m'}, "'ml-2m' is unknown; known: ml-1m"),
    ({'data__dataset': 'ml-1m'}, 'pass --data_root=DIR'),
    ({'data__prepared': 'nowhere'}, 'not a prepared directory'),
    ({'data__split': 'random'}, 'known: leave_last_out'),
    ({'data__negative_exclude': 'some'}, 'known: all, train'),
    ({'data__min_user': 5000}, 'min_user'),
    ({'data__validation': False}, 'train.select_metric=none'),
    ({'groups__num_groups': 26}, 'lower num_groups'),
    ({'groups__key': 'age'}, 'known: user_train_count'),
    ({'model__name': 'dim'}, 'known models: din'),
    ({'model__compute_dtype': 'int8'}, 'float32, bfloat16'),
    (
      {
        'model__name': 'sasrec',
        'model__hidden': (128, 64),
        'model__num_heads': 3,
      },
      'must divide',
    ),
    ({'model__dropout': 0.2}, 'din has no such option; it takes width'),
    ({'data__prepared': 'x', 'data__min_user': 5}, 'give it to launch/prepare'),
    ({'aggregator__name': 'mean'}, 'known: joint, backdoor'),
    ({'aggregator__form': 'fast'}, 'known: auto, fused'),
    (
      {'aggregator__name': 'pcgrad', 'aggregator__form': 'fused'},
      'only for weights known before',
    ),
    ({'aggregator__weighting': 'no'}, 'known: self_norm, importance'),
    ({'aggregator__prior': (1.0, 2.0)}, '2 values for 3 groups'),
    ({'aggregator__prior': (1.0, -2.0, 1.0)}, 'must be at least 0'),
    ({'train__objective': 'mse'}, 'known: bce, bpr, hinge, softmax'),
    ({'train__positions': 'every'}, 'needs a causal encoder'),
    ({'train__batching': 'sorted'}, 'known: proportional, natural, balanced'),
    ({'train__batch_size': 2}, 'below the 3 groups'),
    ({'train__select_metric': 'hr@7'}, 'known: loss, none, auc, user_auc'),
    ({'evaluation__candidates': 'some'}, 'known: auto, all, sampled'),
    ({'evaluation__auc_ties': 2.0}, 'must be at most 1'),
    ({'evaluation__ks': (0,)}, 'ks 0 must be at least 1'),
    (
      {'evaluation__candidates': 'sampled', 'evaluation__num_candidates': 999},
      'set evaluation.num_candidates to at most',
    ),
  ],
  ids=lambda value: '-'.join(value) if isinstance(value, dict) else '',
)
def test_wrong_settings_leave_nothing_behind(tmp_path, changes, message):
  workdir = tmp_path / 'run'
  changes = {'data__cache_dir': str(tmp_path / 'cache'), **changes}
  with pytest.raises(types.UserError) as error:
    run_lib.train(runs.config(**changes), str(workdir), quiet=True)
  assert message in str(error.value)
  assert len(str(error.value).splitlines()) <= 2
  assert not list(tmp_path.iterdir())


# ---- Forms and aggregators


@functools.cache
def _trained(name, form):
  """Parameters after an epoch."""
  experiment = _experiment(aggregator__name=name, aggregator__form=form)
  phase = phases.make(*asked.first(experiment).parts, start=_initial())
  state, _ = asked.epoch(phase, phase.init_state())
  assert int(state.step) == len(phase.source.plan_of(0))
  return jax.device_get(state.params)


def test_one_backward_pass_trains_like_a_gradient_per_group():
  fused, explicit = (_trained('backdoor', f) for f in ('fused', 'explicit'))
  chex.assert_trees_all_close(fused, explicit, rtol=1e-3, atol=1e-4)


def test_backdoor_trains_something_else_than_joint():
  base, adjusted = _trained('joint', 'fused'), _trained('backdoor', 'fused')
  for a, b in zip(jax.tree.leaves(base), jax.tree.leaves(adjusted)):
    assert np.abs(a - b).max() > 1e-4


def test_groups_are_logged_from_the_same_batches_in_both_forms(monkeypatch):
  seen = []
  monkeypatch.setattr(
    pin.diagnostics,
    'make_diagnose',
    lambda objective, source, shared: seen.append(source),
  )
  batches = []
  for form in ('fused', 'explicit'):
    parts = asked.first(_experiment(aggregator__form=form)).parts
    phase, source = phases.make(*parts), seen.pop()
    plan = np.asarray(phase.source.plan_of(0)[:1])
    examples = plan[0] if plan.ndim > 2 else source.stack(plan)[0]
    # A row of examples at a time, whatever the form of the update.
    batch_of = jax.jit(source.batch_of)
    batches.append(batch_of(phase.source.feed, examples[0], jax.random.key(0)))
  runs.assert_same_arrays(*batches)
  assert np.all(np.asarray(batches[0].group)[batches[0].weight > 0] == 0)


# ---- Negatives and selection


def test_negatives_are_fresh_or_fixed_as_configured():
  key = lambda epoch, **changes: jax.random.key_data(
    sources.keys(runs.config(**changes)).negatives(epoch)
  ).tolist()
  static = {'data__negative_mode': 'static'}
  assert key(0) != key(1) and key(1) == key(1)
  assert key(0) != key(0, train__seed=1)
  assert key(0, **static) == key(1, train__seed=1, **static)
  assert key(0, **static) != key(0, data__seed=1, **static)


def test_without_validation_the_last_epoch_can_be_taken():
  split = np.array(_prepared().split)
  split[split == prepared_lib.VALIDATION] = prepared_lib.TRAIN
  prepared = _prepared()._replace(split=split)
  make = lambda **changes: sequence.judge_of(
    experiment_lib.make(runs.config(**changes), prepared)
  )
  assert make(train__select_metric='none') is None
  assert make(train__select_on='test') is not None
  for metric in ('loss', 'ndcg@10'):
    with pytest.raises(types.UserError, match='train.select_metric=none'):
      make(train__select_metric=metric)


def test_a_metric_of_the_report_can_select():
  experiment, params = experiment_lib.load(finished.run())
  config = runs.config(train__select_metric='ndcg@10')
  judged = sequence.judge_of(experiment._replace(config=config))(params)
  report = runs.untimed_report(finished.run())['validation']
  expected = {name: x['value'] for name, x in report['overall'].items()}
  for name in list(expected):
    by_group = [group[name]['value'] for group in report['groups']]
    expected[f'{name}_by_group'] = by_group
  expected['group_auc_by_group'] = expected['auc_by_group']
  expected['group_auc'] = np.mean(expected['auc_by_group'])
  assert judged.pop('group_auc') == pytest.approx(expected.pop('group_auc'))
  assert judged == expected
  for name, of in (('group', np.mean), ('worst', np.min)):
    config = runs.config(train__select_metric=f'{name}_ndcg@10')
    judged = sequence.judge_of(experiment._replace(config=config))(params)
    values = expected['ndcg@10_by_group']
    assert judged[f'{name}_ndcg@10'] == pytest.approx(of(values))
    assert judged[f'{name}_ndcg@10_by_group'] == values
