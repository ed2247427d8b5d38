import dataclasses
import json

import pytest

import group_updates
import timing
import training_loop
from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import recipes
from twotsrec import types
from twotsrec.evaluation import comparison
from twotsrec.runs import experiment as experiment_lib


def make_config() -> config_lib.Config:
  config = config_lib.Config()
  config.data.users, config.data.history_length = 60, 8
  config.model.width, config.model.hidden = 8, (8,)
  config.train.batch_size = 64
  return config


def _key(row):
  return tuple(row.labels.values())


def configured(row) -> config_lib.Config:
  return group_updates._configured(make_config(), row)


def test_every_aggregator_has_a_row_and_no_row_is_there_twice():
  rows = group_updates.rows()
  assert _key(rows[0]) == ('joint', 'proportional', 'fused')
  assert set(aggregators.NAMES) < {row.name for row in rows}
  assert len({_key(row) for row in rows}) == len(rows)


def test_every_row_is_an_update_of_the_form_it_says():
  prepared = experiment_lib.load_data(make_config())
  for row in group_updates.rows():
    config = configured(row)
    parts = training_loop.first_phase(experiment_lib.make(config, prepared))
    assert parts.how.update.stacked == (row.form != 'fused'), row.labels
    trunk = 'anywhere' if row.stage else ''
    plugin = dataclasses.replace(config.plugin, trunk=trunk)
    recipes.check(dataclasses.replace(config, plugin=plugin))
    assert row.stage == (plugin.name != 'none')


def test_rows_come_with_what_they_are_compared_with():
  keys = lambda *only: [_key(r) for r in group_updates.select(only)]
  joint = ('joint', 'proportional', 'fused')
  assert keys('joint') == [joint]
  assert keys('nash') == [joint, ('nash', 'balanced', 'explicit')]
  assert keys('film') == [
    joint,
    ('backdoor', 'balanced', 'explicit'),
    ('film', 'balanced', 'explicit'),
  ]
  assert keys() == [_key(row) for row in group_updates.rows()]


def test_an_unknown_row_is_one_line_with_the_known():
  with pytest.raises(types.UserError) as raised:
    group_updates.select(('pcgrad', 'pcgard'))
  message = str(raised.value)
  assert "'pcgard'" in message and 'known: joint, backdoor' in message
  assert '\n' not in message


def test_figures_are_positive_and_joint_is_the_unit():
  said = []
  measured = group_updates.measure(
    make_config(), 2, 3, ('joint', 'film'), 'processor', said.append
  )
  assert measured['rounds'] == 2 and measured['steps'] == 3
  assert measured['clock'] == 'processor'
  assert measured['source'] == 'synthetic' and measured['model'] == 'din'
  rows = {row['name']: row for row in measured['rows']}
  assert list(rows) == ['joint', 'backdoor', 'film']
  assert rows['joint']['over_joint'] == {'median': 1, 'min': 1, 'max': 1}
  for name, row in rows.items():
    figures = [row['milliseconds_per_step'], row['over_joint']]
    assert (row['over_trunk_stage'] is not None) == (name == 'film')
    if name == 'film':
      figures.append(row['over_trunk_stage'])
    for figure in figures:
      assert 0 < figure['min'] <= figure['median'] <= figure['max']
    assert row['compile_seconds'] > 0
  assert (
    said[-3:] == ['warming up', 'round 1/2', 'round 2/2'] and len(said) == 3 + 3
  )
  assert json.loads(json.dumps(measured)) == measured
  shown = comparison.aligned(timing.table(measured))
  assert [line.split()[0] for line in shown.splitlines()[1:]] == list(rows)
