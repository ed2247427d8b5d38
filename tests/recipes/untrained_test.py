import json

import pytest

from tests import configured
from tests.runs import behavior_runs
from twotsrec import recipes
from twotsrec import types
from twotsrec.runs import compare as compare_lib
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import recommend
from twotsrec.runs import reports
from twotsrec.runs import run as run_lib
from twotsrec.training import files

NAMES = ('cascading_rank', 'pair_experts')


def _config(name, **changes):
  named = {
    'data.dataset': behavior_runs.SETTINGS['data__dataset'],
    'data.users': 60,
    'groups.num_groups': 3,
    'evaluation.bootstrap': 20,
    'model.name': name,
    **changes,
  }
  return configured.by(named)


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  folder = tmp_path_factory.mktemp('of_behaviors')
  for name in NAMES:
    by = 'each' if name == 'pair_experts' else 'scores'
    config = _config(name, **{'discovery.by': by, 'evaluation.rules': NAMES})
    run_lib.train(config, str(folder / name), quiet=True)
  return folder


@pytest.mark.parametrize('name', NAMES)
def test_a_run_reports_reloads_and_recommends(name, folders, tmp_path):
  folder = folders / name
  report = files.read_json(folder / 'report.json')
  assert [row['name'] for row in report['test']['parts']] == [
    'cart', 'view', 'new'
  ]  # fmt: skip
  assert len(report['test']['groups']) == 3
  other = NAMES[1 - NAMES.index(name)]
  assert other in report['baselines'] and name not in report['baselines']
  # Repeated, it is found finished; reloaded, it ranks the same.
  experiment, params = experiment_lib.load(str(folder))
  ranker = experiment_lib.ranker(experiment, params)
  again = reports.evaluate(experiment, ranker, 'test', quiet=True)
  assert json.loads(json.dumps(again.part)) == report['test']
  out = tmp_path / 'top.jsonl'
  recommend.run(str(folder), str(out), recommend.Options(k=5), quiet=True)
  rows = [json.loads(line) for line in out.read_text().splitlines()]
  prepared = experiment.prepared
  assert len(rows) == 5 * prepared.num_users
  bought = prepared.behaviors == 2
  pairs = {
    (str(prepared.user_ids[u]), str(prepared.item_ids[i - 1]))
    for u, i in zip(prepared.event_users[bought], prepared.items[bought])
  }
  assert not pairs & {(str(r['user_id']), str(r['item_id'])) for r in rows}


def test_a_model_beside_another_is_that_model(folders):
  beside = files.read_json(folders / 'pair_experts' / 'report.json')
  alone = files.read_json(folders / 'cascading_rank' / 'report.json')
  assert beside['baselines']['cascading_rank'] == alone['test']
  assert alone['baselines']['pair_experts'] != beside['test']  # by scores


def test_runs_are_compared(folders):
  made = compare_lib.compare({name: [str(folders / name)] for name in NAMES})
  (rows,) = [rows['hr@10'] for rows in made['comparisons'].values()]
  reports_of = [files.read_json(folders / n / 'report.json') for n in NAMES]
  expected = [r['test']['overall']['hr@10']['value'] for r in reports_of]
  (every,) = [row for row in rows if row['group'] == 'all']
  assert [every['reference'], every['other']] == pytest.approx(expected)


@pytest.mark.parametrize(
  ('changes', 'words'),
  [
    ({'discovery.by': 'each', 'discovery.share': 1.5}, 'must be at most 1'),
    ({'discovery.by': 'each', 'discovery.share': -0.1}, 'must be at least 0'),
    ({'discovery.share': 0.5}, 'use discovery.by=average or each'),
    ({'cascade.alpha': 0.5}, 'sum to more than 0'),
    ({'closed_form.neighbors': 3}, 'leave it at 100'),
    ({'train.epochs': 3}, 'leave it at 20'),
  ],
)
def test_settings_that_cannot_work_are_refused(changes, words):
  with pytest.raises(types.UserError) as error:
    recipes.check(_config('cascading_rank', **changes))
  assert words in str(error.value)
  assert len(str(error.value).splitlines()) <= 2
