import copy
import csv
import dataclasses
import functools
import itertools
import json

import jax
import numpy as np
import pytest

from tests import finished
from tests import small_runs as runs
from tests import two_time_toys as toys
from twotsrec import config as config_lib
from twotsrec import recipes
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import stream_jobs
from twotsrec.evaluation import offline
from twotsrec.runs import compare
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import recommend
from twotsrec.runs import reports
from twotsrec.runs import run as runs_lib
from twotsrec.runs import tables
from twotsrec.runs import verdict
from twotsrec.training import files
from twotsrec.training import online_rows
from twotsrec.training import run_directory

# Every kind of phase: two lengths of stage 1, plugins, users fitted again.
EVERYTHING = {
  'two_time__variant': '2ts_plus',
  'two_time__stage1_epochs': (1, 2),
  'two_time__holdout': 'refit',
  'plugin__name': 'film',
  'plugin__points': 'Z',
}
PHASES = {
  'stage1', 'inactive_1', 'inactive_2', 'active', 'inactive_plugins', 'refit',
}  # fmt: skip


pytestmark = pytest.mark.usefixtures('small_programs')


@functools.cache
def _loaded(variant):
  return experiment_lib.load(str(finished.two_time(variant)))


def _untimed(report):
  """A report without what the clock decides."""
  if isinstance(report, dict):
    dropped = (*runs.TIMING, 'stage1_seconds')
    return {k: _untimed(v) for k, v in report.items() if k not in dropped}
  return [_untimed(v) for v in report] if isinstance(report, list) else report


def _report(workdir):
  return files.read_json(run_directory.report_path(workdir))


@pytest.mark.parametrize('variant', list(stream_jobs.PARTS))
def test_a_variant_trains_loads_and_evaluates(variant):
  report = _report(finished.two_time(variant))
  prepared, _ = toys.log()
  for name in ('validation', 'test'):
    events = np.sum(
      np.asarray(prepared.split) == prepared_lib.SPLITS.index(name)
    )
    row = report['online']['model'][name]['rows'][0]
    assert row['all']['events'] == events
    assert 0 < row['all']['expected']['mrr']['by_event']['value'] < 1
  experiment, params = _loaded(variant)
  assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(params))
  assert files.jsonable(_ranked(experiment, params).part) == report['test']


def _ranked(experiment, params, split='test'):
  ranker = experiment_lib.ranker(experiment, params)
  return reports.evaluate(experiment, ranker, split, quiet=True)


def _known_scores(variant):
  """f32[U, I] of all users, as they are served."""
  _, params = _loaded(variant)
  items = np.asarray(params.tables['item']['embedding'])[1:]
  return np.asarray(params.net['user']['query']) @ items.T


def test_embeddings_alone_are_served_as_they_are():
  _, params = _loaded('ccf')
  user = params.net['user']
  np.testing.assert_array_equal(user['query'], user['start'])
  assert params.net['networks'] == {}
  mean = np.mean(np.asarray(user['start']), axis=0)
  np.testing.assert_allclose(params.net['new'], mean, rtol=1e-5, atol=1e-7)


# ---- Resuming


@functools.cache
def _uninterrupted():
  return toys.train('everything', **EVERYTHING)


def test_a_run_that_stops_again_and_again_ends_with_the_same_report(tmp_path):
  expected = _report(_uninterrupted())
  assert set(expected['training']['phases']) == PHASES
  config = toys.config(data__prepared=toys.prepared_path(), **EVERYTHING)
  report, stops = None, 0
  while report is None:
    # Later from call to call: in the middle and at the ends of phases.
    asked, last = itertools.count(), 2 * stops
    report = runs_lib.train(
      config,
      str(tmp_path / 'run'),
      should_stop=lambda asked=asked, last=last: next(asked) >= last,
      quiet=True,
    )
    stops += report is None
  assert stops > 3
  assert _untimed(report) == _untimed(expected)
  kept = [
    experiment_lib.load(str(path))[1]
    for path in (tmp_path / 'run', _uninterrupted())
  ]
  runs.assert_same_arrays(*kept)


def test_the_number_of_epochs_of_stage_1_is_the_best_of_stage_2():
  told = _report(_uninterrupted())['two_time']
  trials = {int(k): v for k, v in told['stage1_trials'].items()}
  assert set(trials) == {1, 2}
  assert told['stage1_epochs'] == max(trials, key=trials.get)


def test_a_finished_run_is_not_trained_again():
  workdir = finished.two_time('2ts')
  before = run_directory.report_path(workdir).stat().st_mtime_ns
  config = toys.config(data__prepared=toys.prepared_path())
  runs_lib.train(config, str(workdir), quiet=True)
  assert run_directory.report_path(workdir).stat().st_mtime_ns == before


# ---- Serving and comparing


def _recommended(workdir, out, **options):
  recommend.run(
    str(workdir), str(out), recommend.Options(k=3, **options), quiet=True
  )
  found = {}
  with open(out, encoding='utf-8') as file:
    for line in csv.DictReader(file):
      found.setdefault(line['user_id'], []).append(int(line['item_id']))
  return found


@pytest.mark.parametrize('variant', ['2ts_plus', 'ccf'])
def test_known_users_are_recommended_from_their_states(tmp_path, variant):
  found = _recommended(
    finished.two_time(variant), tmp_path / 'top.csv', exclude_seen=False
  )
  prepared, _ = toys.log()
  scores = _known_scores(variant)
  assert list(found) == [str(user) for user in prepared.user_ids]
  for user, items in enumerate(found.values()):
    best = np.argsort(-scores[user], kind='stable')[:3]
    assert items == prepared.item_ids[best].tolist()


def test_a_raw_history_is_served_like_an_inactive_user(tmp_path):
  prepared, _ = toys.log()
  jobs = toys.jobs(two_time__variant='2ts_plus')
  count = np.diff(prepared.user_offsets)
  user = int(np.flatnonzero(jobs['inactive'].serves & (count > 3))[0])
  own = slice(*prepared.user_offsets[user : user + 2])
  names = prepared.item_ids[np.asarray(prepared.items[own]) - 1]
  table = tmp_path / 'new.csv'
  lines = [f'7,{name}' for name in names]
  table.write_text('\n'.join(['user_id,item_id', *lines]), encoding='utf-8')
  workdir = finished.two_time('2ts_plus')
  raw = _recommended(workdir, tmp_path / 'raw.csv', history=str(table))
  known = _recommended(workdir, tmp_path / 'known.csv')
  assert raw == {'7': known[str(prepared.user_ids[user])]}


def test_two_variants_are_compared_event_by_event():
  text = compare.run(
    {v: [str(finished.two_time(v))] for v in ('2ts', 'one_gru')},
    metrics=['mrr'],
    resamples=200,
  )
  assert '2ts' in text and 'one_gru' in text


def test_the_protocol_says_how_events_are_ranked():
  report = _report(finished.two_time('2ts'))
  protocol, prepared = report['protocol'], _loaded('2ts')[0].prepared
  # Users of the small log come back to items, so these compete.
  test = np.asarray(prepared.split) == prepared_lib.TEST
  assert protocol['had_before'] == np.mean(prepared.known[test]) > 0.05
  assert protocol['candidates'] == 'catalog'
  assert 'those of the earlier events among them' in protocol['negatives']
  with np.load(finished.two_time('2ts') / 'per_target.npz') as rows:
    assert np.all(rows['num_negatives'] == prepared.num_items - 1)
  assert 'catalog: every other item competes' in tables.of_report(report)
  # So does the rule that ranks what they had first, as of each event.
  rules = ['popularity', 'seen_again', 'item_knn']
  assert list(report['baselines']) == rules == list(report['verdict']['rules'])
  assert list(report['online']) == ['model', *rules]
  assert not [line for line in report['verdict']['lines'] if 'not bes' in line]
  again = report['baselines']['seen_again']['parts'][0]
  assert again['name'] == 'again' and again['hr@10']['value'] > 0.5
  assert protocol['candidate_lists'] == 10
  assert protocol['selection'] == 'validation mrr of each network'


def test_rules_that_would_take_long_are_named(monkeypatch):
  experiment, _ = _loaded('2ts')
  monkeypatch.setattr(offline, '_AFFORDABLE', 100)
  rules = recipes.of(experiment.config).rules(experiment)
  assert list(rules) == ['popularity']
  again, neighbors = verdict._absent(experiment, rules)
  assert again == 'not beside seen_again, which takes long on such a log'
  assert neighbors.startswith('not beside item_knn') and 'rules=' in neighbors
  asked = copy.deepcopy(experiment.config)
  config_lib.change(asked, {'evaluation.rules': ('item_knn',)})
  recipes.check(asked)
  rules = recipes.of(asked).rules(experiment._replace(config=asked))
  assert list(rules) == ['popularity', 'item_knn']


def test_what_is_told_of_lists_and_items_fits_the_data():
  """There are 19 other items, and no model was trained on all of them."""
  experiment, params = _loaded('2ts')
  options = dataclasses.replace(
    experiment.config.two_time, evaluation_lists=499
  )
  config = dataclasses.replace(experiment.config, two_time=options)
  ranked = _ranked(experiment._replace(config=config), params)
  told = ranked.protocols['online']
  kept = online_rows.read(finished.two_time('2ts')).model
  np.testing.assert_array_equal(kept['event'], ranked.events['event'])
  item = np.asarray(experiment.prepared.items)[kept['event']]
  assert told['options']['lists'] == 19
  left_out = stream_jobs.left_out_items(experiment.prepared, options)
  assert told['share_left_out'] == np.mean(left_out[item])
  report = _report(finished.two_time('2ts'))
  report['online']['model']['test']['share_left_out'] = 0.25
  text = tables.of_report(report)
  assert 'online, 1 + 10 candidates' in text
  assert '25.0% of the events have an item that stage 1 left out' in text


# ---- What is refused, before anything is written


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'two_time__threshold': 18}, 'choose 1 to 17'),
    ({'two_time__window': 9}, 'must lie in 1..6, the threshold'),
    ({'two_time__variant': '3ts'}, "'3ts'; known: 2ts, 2ts_plus"),
    ({'two_time__threshold_rule': 'best'}, 'known: given, validation, theory'),
    ({'two_time__holdout': 'last'}, 'known: last_k, none, refit'),
    ({'two_time__warmup': 'half'}, 'known: replay, none'),
    ({'two_time__loader': 'dense'}, 'known: packed, padded'),
    ({'two_time__stage1_epochs': ()}, 'names no number of epochs'),
    ({'two_time__stage1_epochs': (0, 3)}, 'stage1_epochs 0 must be at least 1'),
    ({'two_time__negatives': 0}, 'negatives 0 must be at least 1'),
    ({'two_time__rate': 0.0}, 'two_time.rate 0.0 must be positive'),
    ({'two_time__cell': 'rnn'}, 'known: gru, lstm'),
    ({'two_time__feature_width': 6}, 'feature_width is 6; allowed is 0 up to'),
    ({'two_time__feature_width': 2}, 'the data have no item features'),
    ({'train__table_optimizer': 'sgd'}, 'known: adam, row_adagrad'),
    ({'two_time__share_readout': True}, 'variant 2ts has none to share'),
    (
      {'two_time__variant': 'one_gru', 'aggregator__name': 'pcgrad'},
      'carries states between steps; use joint, backdoor or class_balanced',
    ),
    (
      {'two_time__variant': 'single_stage', 'aggregator__form': 'explicit'},
      'trained together take one pass; use joint, backdoor or class_balanced',
    ),
    (
      {'two_time__variant': 'one_gru', 'plugin__name': 'naive'},
      'has no network of inactive users of its own',
    ),
    ({'plugin__name': 'light'}, 'use plugin.history_only=True or'),
    ({'plugin__name': 'heavy'}, 'known: light, naive, film'),
    ({'train__epochs': 5}, 'train.epochs 5 changes nothing'),
    ({'train__method': 'fish'}, "train.method 'fish' changes nothing"),
    ({'train__select_on': 'test'}, 'selects on validation events alone'),
    ({'model__dropout': 0.1}, 'model.dropout is 0.1, but two_time_scale has'),
  ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path, changes, message):
  config = toys.config(data__prepared=toys.prepared_path(), **changes)
  with pytest.raises(types.UserError) as error:
    runs_lib.train(config, str(tmp_path / 'run'), quiet=True)
  assert message in str(error.value)
  assert len(str(error.value).splitlines()) <= 2
  assert not (tmp_path / 'run').exists()


def test_settings_of_2ts_are_refused_for_other_models(tmp_path):
  config = runs.config(two_time__window=7)
  with pytest.raises(types.UserError, match='use model.name=two_time_scale'):
    runs_lib.train(config, str(tmp_path / 'run'), quiet=True)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'two_time__stage1_epochs': (1, 2)}, 'stage1_epochs 1,2 are chosen by'),
    (
      {
        'two_time__threshold_rule': 'validation',
        'two_time__thresholds': (2, 4),
      },
      'threshold_rule validation: the data have no validation events',
    ),
  ],
)
def test_a_choice_needs_validation_events(tmp_path, changes, message):
  prepared, _ = toys.log()
  split = np.array(prepared.split)
  split[split == prepared_lib.VALIDATION] = prepared_lib.TRAIN
  data = prepared_lib.build(
    prepared.event_users,
    np.asarray(prepared.items),
    split,
    user_ids=np.asarray(prepared.user_ids),
    item_ids=np.asarray(prepared.item_ids),
  )
  path = str(tmp_path / 'prepared')
  prepared_lib.save(data, path)
  config = toys.config(data__prepared=path, **changes)
  with pytest.raises(types.UserError, match=message):
    runs_lib.train(config, str(tmp_path / 'run'), quiet=True)
  assert not (tmp_path / 'run').exists()


def test_a_report_is_strict_json():
  text = run_directory.report_path(finished.two_time('2ts')).read_text()
  json.loads(text, parse_constant=lambda name: pytest.fail(name))
