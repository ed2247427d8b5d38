import dataclasses

import pytest

from tests.recipes.reproduction import two_time_finished as finished
from twotsrec import recipes
from twotsrec import types
from twotsrec.data import datasets
from twotsrec.recipes.reproduction import two_time
from twotsrec.recipes.two_time import presets as presets

LAST_K, WHOLE = 'ml-100k', 'amazon-beauty-5core'


def _run(system, dataset=LAST_K, seed=0):
  return two_time.Run(dataset, 'global_time', seed, system)


def test_every_variant_is_in_a_table():
  shown = {row for rows in two_time.TABLES.values() for row in rows}
  assert shown == set(two_time.SYSTEMS) == set(presets.VARIANTS)
  assert set(two_time.FILES) <= set(datasets.DATASETS) & set(presets.DATASETS)
  assert two_time.SYSTEMS[0] == two_time.REFERENCE
  assert set(two_time.COMPARED) < set(two_time.ASKED)


def test_runs_are_those_asked_for_and_the_reference(tmp_path):
  systems = lambda **changes: two_time.systems(
    finished.settings(tmp_path, **changes), LAST_K
  )
  assert systems(systems=('one_gru', 'ccf')) == ['2ts', 'ccf', 'one_gru']
  assert systems() == list(two_time.SYSTEMS)
  nothing = {'tables': (), 'systems': ('ccf',)}
  assert systems(**nothing, figures=('3',)) == ['2ts', 'ccf']
  assert systems(**nothing, figures=('4', '5')) == ['2ts']
  assert systems(**nothing, figures=('theory',)) == []


def test_every_run_is_named_once(tmp_path):
  made = finished.settings(
    tmp_path, datasets=tuple(two_time.FILES), splits=presets.SPLITS
  )
  runs = two_time.runs(made)
  assert len({two_time.workdir(made, run) for run in runs}) == len(runs)
  # Without hold-out the paper's wording is the preset itself.
  equal = 2 * 2  # datasets, and 2ts_paper and 2ts_plus_paper
  assert len(runs) == 2 * 2 * (5 * len(two_time.SYSTEMS) - equal)
  assert [run.seed for run in runs] == sorted(run.seed for run in runs)
  place = two_time.workdir(made, _run('ccf', seed=1))
  assert place == str(tmp_path / LAST_K / 'global_time' / 'seed1' / 'ccf')


def test_equal_settings_are_trained_once(tmp_path):
  made = finished.settings(tmp_path)
  assert two_time.trained_as(made, WHOLE, '2ts_paper') == '2ts'
  assert two_time.trained_as(made, WHOLE, '2ts_plus_paper') == '2ts_plus'
  assert two_time.trained_as(made, LAST_K, '2ts_paper') == '2ts_paper'


def test_systems_that_see_the_same_events_share_stage_1(tmp_path):
  made = finished.settings(tmp_path)
  source = lambda system, dataset=LAST_K: two_time.stage1_source(
    made, _run(system, dataset)
  )
  for system in ('2ts', '2ts_plus', '2ts_shared_w', 'window_gru'):
    assert source(system) == '2ts'
  for system in ('ccf', 'one_gru', 'two_gru', '2ts_paper'):
    assert source(system) == 'ccf'
    assert source(system, WHOLE) == '2ts'
  assert source('single_stage') is None
  # Where nobody asks for CCF, the first of the others trains it.
  made = made._replace(systems=('two_gru', 'one_gru'))
  assert source('two_gru') == source('one_gru') == 'one_gru'


def test_others_wait_for_the_choice_of_the_reference(tmp_path):
  made = finished.settings(tmp_path)
  assert two_time.plan(made, _run('ccf')) is None
  for system in ('2ts', '2ts_plus', 'single_stage'):
    assert two_time.plan(made, _run(system)) is not None
  assert two_time.plan(made, _run('ccf', WHOLE)) is not None
  place = finished.write(made, _run('2ts'))
  planned = two_time.plan(made, _run('one_gru'))
  assert planned.config.two_time.stage1_epochs == (finished.EPOCHS,)
  assert planned.config.two_time.stage1 == str(place.with_name('ccf'))
  assert two_time.plan(made, _run('ccf')).config.two_time.stage1 == ''
  assert two_time.plan(made, _run('one_gru', seed=1)) is None


def _changed(made, run, epochs=None):
  """Fields in which a run departs from the preset of its variant."""
  config = two_time.config(made, run, epochs)
  recipes.check(config)
  default = presets.preset(run.dataset, variant=run.system)
  return {
    f'{section.name}.{name}': value
    for section in dataclasses.fields(config)
    for name, value in vars(getattr(config, section.name)).items()
    if value != getattr(getattr(default, section.name), name)
  }


def test_runs_depart_from_their_preset_in_what_is_told_alone(tmp_path):
  made = finished.settings(
    tmp_path,
    data_root='there',
    cache_dir='here',
    changes=(('two_time.negatives', 3),),
  )
  common = {
    'data.data_root': 'there',
    'data.cache_dir': 'here',
    'train.seed': 7,
    'two_time.negatives': 3,
  }
  assert _changed(made, _run('2ts', seed=7)) == common
  assert _changed(made, _run('single_stage', seed=7)) == common
  reference = two_time.workdir(made, _run('2ts', seed=7))
  plus = _changed(made, _run('2ts_plus', seed=7))
  assert plus == common | {'two_time.stage1': reference}
  per_user = _run('ccf', seed=7)._replace(split='per_user_time')
  assert _changed(made, per_user, 10) == common | {
    'data.split': 'per_user_time',
    'two_time.stage1_epochs': (10,),
  }


def test_settings_of_a_command_line_are_read(tmp_path):
  given = finished.settings(
    tmp_path, tables=(), figures=(), systems=('ccf', 'ccf'), seeds=('2', '0')
  )
  made = two_time.check(given)
  assert made.tables == tuple(two_time.TABLES)
  assert made.figures == two_time.FIGURES
  assert made.systems == ('ccf',) and made.seeds == (2, 0)
  assert two_time.check(made) == made
  theory = two_time.check(given._replace(figures=('theory', 'theory')))
  assert theory.figures == ('theory',) and theory.tables == ()
  assert two_time.runs(theory) == []


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'tables': ('1',)}, "--table: unknown '1'; known: comparison, ablation"),
    ({'figures': ('2',)}, "--figure: unknown '2'; known: theory, 3, 4, 5"),
    ({'datasets': ('taobao',)}, "--datasets: unknown 'taobao'; known: ml-1m"),
    ({'datasets': ()}, '--datasets is empty'),
    ({'splits': ('date',)}, "--splits: unknown 'date'; known: global_time, pe"),
    ({'systems': ('gru',)}, "--systems: unknown 'gru'; known: 2ts, ccf"),
    ({'seeds': ('x',)}, "--seeds: 'x' is not a whole number"),
    ({'seeds': ()}, '--seeds is empty'),
  ],
  ids=str,
)
def test_wrong_settings_are_one_line(tmp_path, changes, message):
  with pytest.raises(types.UserError) as error:
    two_time.check(finished.settings(tmp_path, **changes))
  assert message in str(error.value) and '\n' not in str(error.value)


def test_the_command_repeats_the_settings(tmp_path):
  made = finished.settings(
    tmp_path / 'a b', figures=(), systems=('2ts', 'ccf'), data_root='d'
  )
  shown = two_time.command(made)
  assert shown.startswith(
    'python launch/reproduce/two_time_scale.py --table=comparison,ablation'
    ' --datasets=ml-100k --splits=global_time --systems=2ts,ccf --seeds=0,1'
    ' --data_root=d --cache_dir=data '
  )
  assert f"'--out={tmp_path}/a b'" in shown and '--figure' not in shown
