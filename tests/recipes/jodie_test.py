import dataclasses
import functools
import itertools
import json

import numpy as np
import pytest

from tests import jodie_toys as toys
from tests import small_runs as runs
from twotsrec import recipes
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.recipes import jodie as jodie_recipe
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import recommend
from twotsrec.runs import reports
from twotsrec.runs import run as run_lib
from twotsrec.training import files
from twotsrec.training import run_directory

FORMS = {
  'published': {},
  'two_time': {
    'jodie__static': 'learned',
    'jodie__loss': 'triplet',
    'aggregator__name': 'backdoor',
  },
}


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  folder = tmp_path_factory.mktemp('jodie')
  data = prepared_lib.save(toys.log(), str(folder / 'data'))
  made = {}
  for form, changes in FORMS.items():
    config = _config(data.path, **changes)
    run_lib.train(config, str(folder / form), quiet=True)
    made[form] = folder / form
  return made, data.path


def _config(prepared, **changes):
  made = toys.config(**changes)
  made.data = type(made.data)(prepared=prepared)
  return made


@pytest.mark.parametrize('form', FORMS)
def test_a_run_reports_by_group_reloads_and_recommends(form, folders, tmp_path):
  made, _ = folders
  report = files.read_json(made[form] / 'report.json')
  assert len(report['test']['groups']) == 3
  assert 0 < report['test']['overall']['mrr']['value'] < 1
  assert report['test']['overall']['mrr']['low'] is not None
  assert {'popularity', 'seen_again'} <= set(report['baselines'])
  assert report['online']['model']['test']['lists_digest']
  experiment, params = experiment_lib.load(str(made[form]))
  ranker = experiment_lib.ranker(experiment, params)
  again = reports.evaluate(experiment, ranker, 'test', quiet=True)
  assert files.jsonable(again.part) == report['test']
  out = tmp_path / 'top.jsonl'
  options = recommend.Options(k=3)
  recommend.run(str(made[form]), str(out), options, quiet=True)
  rows = [json.loads(line) for line in out.read_text().splitlines()]
  named = {str(row['user_id']) for row in rows}
  assert len(named) > 1 and named <= {str(u) for u in range(toys.USERS)}


def test_epochs_train(folders):
  made, _ = folders
  for folder in made.values():
    losses = [x['train_loss'] for x in run_directory.read_metrics(folder)]
    assert len(losses) == 2 and losses[1] < losses[0]


def test_a_run_that_stops_again_and_again_ends_with_the_same_report(
  folders, tmp_path
):
  made, data = folders
  expected = runs.untimed_report(made['published'])
  report, stops = None, 0
  while report is None:
    asked, last = itertools.count(), 5 * stops
    stop = lambda asked=asked, last=last: next(asked) > last
    report = run_lib.train(_config(data), str(tmp_path), stop, quiet=True)
    stops += 1
    assert stops < 60
  assert stops > 1
  assert runs.untimed_report(tmp_path) == expected


@functools.cache
def _small():
  return toys.log()


def _experiment(prepared=None, **changes):
  config = toys.config(**changes)
  return experiment_lib.make(config, prepared or _small())


def test_wrong_input_gets_a_line():
  def refused(words, **changes):
    with pytest.raises(types.UserError, match=words):
      config = toys.config(**changes)
      recipes.check(config)
      jodie_recipe.make_parts(experiment_lib.make(config, _small()))

  refused('needs an aggregator whose weights', aggregator__name='pcgrad')
  refused('jodie.static_width 3 changes nothing', jodie__static_width=3)
  refused('jodie.spans 0 must be at least 1', jodie__spans=0)
  refused('train.batch_size 7 changes nothing', train__batch_size=7)
  bare = prepared_lib.Prepared(*_small())._replace(times=None)
  with pytest.raises(types.UserError, match='plays events in order of time'):
    _experiment(bare)


def test_a_prediction_layer_beyond_memory_is_refused_with_its_bytes():
  data = prepared_lib.Prepared(*_small())
  many = data._replace(item_ids=np.arange(60_000))
  experiment = _experiment()._replace(prepared=prepared_lib.Prepared(*many))
  rows = toys.USERS + 60_000 + 1 + 2 * toys.WIDTH + 1
  number = 4 * rows * (toys.WIDTH + 60_001)
  with pytest.raises(types.UserError, match=f'{number:,} bytes') as error:
    jodie_recipe.build(experiment)
  assert 'use jodie.static=learned' in str(error.value)
  config = dataclasses.replace(
    experiment.config, jodie=toys.config(jodie__static='learned').jodie
  )
  jodie_recipe.build(experiment._replace(config=config))
