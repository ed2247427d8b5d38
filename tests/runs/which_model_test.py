"""Advice on prepared data: numbers of reports, and commands that run."""

import functools
import pathlib
import re
import shlex

import numpy as np
import pytest

from tests import finished
from tests.launch import scripts
from tests.launch.conftest import undone  # noqa: F401
from twotsrec import config as config_lib
from twotsrec import recipes
from twotsrec import types
from twotsrec.data import pipeline
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import splits
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import run as run_lib
from twotsrec.runs import systems
from twotsrec.runs import tail
from twotsrec.runs import which_model

# ml_collections reads config files with a function that Python deprecates.
pytestmark = pytest.mark.filterwarnings(
  'ignore:the load_module:DeprecationWarning'
)
KINDS = {
  'plain': ('synthetic', ''),
  'by_time': ('', 'global_time'),
  'behaviors': ('synthetic-behaviors', ''),
  'labels': ('synthetic-impressions', ''),
}


@pytest.fixture(scope='module')
def advised(tmp_path_factory):
  """Kind of data -> what is advised."""
  folder = tmp_path_factory.mktemp('data')

  @functools.cache
  def of(kind):
    dataset, split = KINDS[kind]
    options = pipeline.Options(dataset=dataset, users=40)
    if split:
      table = folder / 'events.csv'
      table.write_text(_events(), encoding='utf-8')
      reading = pipeline.TableOptions(
        columns=pipeline.tables.Columns(time='time')
      )
      options = pipeline.Options(
        table=str(table), reading=reading, split=pipeline.SplitOptions(split)
      )
    pipeline.prepare(options, str(folder / kind))
    return which_model.of(str(folder / kind), num_groups=3, quiet=True)

  return of


def _events():
  rng = np.random.default_rng(0)
  rows = [
    f'{u},{i},{t}' for t, (u, i) in enumerate(rng.integers(0, 30, (900, 2)))
  ]
  return '\n'.join(['user_id,item_id,time', *rows, ''])


def test_numbers_are_those_of_the_report_of_a_run(advised, tmp_path):
  found = advised('plain')
  config = config_lib.Config()
  config.model.name, config.groups.num_groups = 'ease', 3
  config.data.prepared = found['data']
  report = run_lib.train(config, str(tmp_path), quiet=True)
  expected = {**report['baselines'], 'ease': report['test']}
  assert found['rules'] == expected
  assert found['metric'] == report['verdict']['metric'] == 'hr@10'
  text = which_model.text(found)
  for where, row_of in (
    ('overall', lambda part: part['overall']),
    ('group 1', lambda part: part['groups'][0]),
  ):
    values = {k: row_of(part)['hr@10']['value'] for k, part in expected.items()}
    best = found['best'][where]
    assert values[best] == max(values.values())
    cell = row_of(expected[best])['hr@10']
    interval = f'[{cell["low"]:.4f}, {cell["high"]:.4f}]'
    assert f'beat {best}: {cell["value"]:.4f} {interval}' in text


@pytest.mark.parametrize(
  ('kind', 'rules', 'files'),
  [
    ('plain', ['popularity', 'item_knn', 'ease'], ['own.py']),
    (
      'by_time',
      ['popularity', 'seen_again'],
      ['two_time_scale/ml100k.py:shrunk'],
    ),
    (
      'behaviors',
      ['buy_popularity', 'cart_reminder', 'view_reminder', 'ease'],
      ['closed_form.py:pair_experts', 'copf/taobao.py'],
    ),
    ('labels', ['popularity', 'click_rate'], ['pin/own.py']),
  ],
)
def test_what_is_tried_fits_the_data(advised, kind, rules, files):
  found = advised(kind)
  assert set(rules) <= set(found['rules'])
  commands = [one['command'] for one in found['try']]
  for file in files:
    assert any(f'--config=configs/{file} ' in command for command in commands)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.usefixtures('undone')
def test_every_command_is_accepted(advised, kind, capsys, monkeypatch):
  """By what trains: the settings, and parts made of the data."""
  seen = []

  def verified(config, workdir, *how, **named):
    recipes.check(config)
    prepared = experiment_lib.load_data(config)
    run_lib.first_phase(config, experiment_lib.make(config, prepared))
    seen.append(workdir)

  def verified_all(config, workdir, *how):
    systems._verify(recipes.of(config).systems(config, workdir), workdir)
    seen.append(workdir)

  for module in (run_lib, tail):
    monkeypatch.setattr(module, 'train', verified)
  monkeypatch.setattr(systems, 'train', verified_all)
  monkeypatch.chdir(scripts.ROOT)
  commands = [one['command'] for one in advised(kind)['try']]
  for command in commands:
    python, script, *flags = shlex.split(command)
    assert python == 'python'
    ended = scripts.run(capsys, pathlib.Path(script).stem, *flags)
    assert ended.code == 143, (command, ended.err)  # as if it was stopped
  assert len(seen) == len(commands) == len(set(seen)) >= 2


@pytest.mark.usefixtures('undone')
def test_the_first_command_trains(advised, capsys, monkeypatch, tmp_path):
  monkeypatch.chdir(scripts.ROOT)
  _, _, *flags = shlex.split(advised('plain')['try'][0]['command'])
  flags = [flag for flag in flags if not flag.startswith('--workdir')]
  small = ['train.epochs=1', 'train.min_epochs=0', 'model.width=4']
  ended = scripts.run(
    capsys,
    'train',
    *flags,
    *(f'--config.{one}' for one in small),
    f'--workdir={tmp_path}',
    '--quiet',
  )
  assert ended.code == 0, ended.err
  assert (tmp_path / 'report.json').is_file()
  assert 'sasrec' in ended.out


def test_a_large_catalog_is_left_to_a_run_of_its_own(advised, monkeypatch):
  data = advised('plain')['data']
  monkeypatch.setattr(which_model, 'EASE_ITEMS', 10)
  found = which_model.of(data, num_groups=3, quiet=True)
  assert 'ease' not in found['rules'] and 'item_knn' in found['rules']
  assert 'EASE is left out: its matrix of' in which_model.text(found)


def test_where_there_is_much_a_sample_is_ranked_and_the_commands_say_so(
  advised, monkeypatch
):
  data = advised('plain')['data']
  monkeypatch.setattr(which_model, '_PRODUCTS', 1.0)
  monkeypatch.setattr(which_model, '_FEW_USERS', 15)
  found = which_model.of(data, num_groups=3, quiet=True)
  assert found['users'] == 15
  assert sum(g['users'] for g in found['rules']['ease']['groups']) <= 15
  for one in found['try']:
    assert '--config.evaluation.users=15' in one['command']
  assert 'a fixed sample of 15 users' in which_model.text(found)


def test_without_validation_the_last_epoch_is_taken(tmp_path, monkeypatch):
  user = np.repeat(np.arange(20, dtype=np.int32), 5)
  item = (1 + np.arange(100) % 17).astype(np.int32)
  data = prepared_lib.build(
    user,
    item,
    splits.leave_last_out(user, False),
    user_ids=np.arange(20),
    item_ids=np.arange(17),
  )
  prepared_lib.save(data, str(tmp_path / 'data'))
  found = which_model.of(str(tmp_path / 'data'), 2, quiet=True)
  first, *others = [one['command'] for one in found['try']]
  assert '--config.train.select_metric=none' in first
  assert '--config.prior.terms="()"' in first
  assert not any('tail.py' in command for command in others)


def test_users_who_come_back_are_told(tmp_path):
  data = finished.folder() / 'coming_back.data'
  finished.coming_back()
  found = which_model.of(str(data), 3, quiet=True)
  assert 'seen_again' in found['rules']
  assert re.search(r'\d+% of the test items are ones', which_model.text(found))


def test_data_without_test_events_are_refused(tmp_path):
  user = np.repeat(np.arange(6, dtype=np.int32), 4)
  data = prepared_lib.build(
    user,
    (1 + np.arange(24) % 9).astype(np.int32),
    np.zeros(24, np.int8),
    user_ids=np.arange(6),
    item_ids=np.arange(9),
  )
  prepared_lib.save(data, str(tmp_path / 'data'))
  with pytest.raises(types.UserError, match='no test events.*prepare it with'):
    which_model.of(str(tmp_path / 'data'), 2)
