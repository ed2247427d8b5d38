import dataclasses

import pytest

from tests.recipes.reproduction import copf_finished
from twotsrec import config as config_lib
from twotsrec import recipes
from twotsrec import types
from twotsrec.data import datasets
from twotsrec.recipes import copf as copf_lib
from twotsrec.recipes.reproduction import copf

ABLATIONS = copf.TABLES['3']


def test_every_variant_is_in_a_table():
  """What nobody shows would be no ablation of the paper."""
  shown = {row for rows in copf.TABLES.values() for row in rows}
  assert shown == set(copf.SYSTEMS) >= set(copf_lib.VARIANTS)
  assert set(copf.FILES) <= set(datasets.DATASETS)
  assert len(ABLATIONS) == 8 + 6 + 1
  assert len(copf.TABLES['4']) == 5 + 1 and len(copf.TABLES['5']) == 7
  for table in ('2', '3', '4', '5'):
    assert copf.TABLES[table][-1] == copf.REFERENCE


def test_a_table_asks_for_its_runs_alone(tmp_path):
  systems = lambda **changes: copf.systems(
    copf_finished.settings(tmp_path, **changes), 'taobao-copf'
  )
  assert systems(tables=('fig5',)) == [
    'copf', 'alpha_0.2', 'alpha_0.4', 'alpha_0.8'
  ]  # fmt: skip
  assert set(systems(tables=('3',))) == set(ABLATIONS)
  assert systems(tables=('2', '3'), variants=('wo_con', 'copf')) == [
    'copf', 'wo_con'
  ]  # fmt: skip
  everything = systems()
  assert everything[0] == 'copf'
  assert len(everything) == len(copf.SYSTEMS) - 4


def test_equal_settings_are_trained_once():
  """Table 3's w/o DFME is Table 5's Bilinear; sweeps pass COPF itself."""
  shared = lambda dataset: {
    system: copf.trained_as(dataset, system)
    for system in copf.SYSTEMS
    if copf.trained_as(dataset, system) != system
  }
  common = {'bilinear': 'wo_dfme', 'layers_1': 'copf', 'alpha_0.1': 'copf'}
  assert shared('taobao-copf') == common | {'temperature_0.2': 'copf'}
  assert shared('beibei-copf-noview') == common | {'temperature_0.1': 'copf'}


def test_every_run_is_named_once(tmp_path):
  made = copf_finished.settings(tmp_path, datasets=tuple(copf.FILES))
  runs = copf.runs(made)
  assert len({copf.workdir(made, run) for run in runs}) == len(runs)
  assert len(runs) == len(set(runs)) == 2 * 5 * (len(copf.SYSTEMS) - 4)
  seeds = [run.seed for run in runs]
  assert seeds == sorted(seeds)
  place = copf.workdir(made, copf.Run('taobao-copf', 1, 'wo_con'))
  assert place == str(tmp_path / 'taobao-copf' / 'seed1' / 'wo_con')


def _changed(made, run):
  """Fields in which a run departs from COPF on the same data."""
  config = copf.config(made, run)
  recipes.check(config)
  default = copf_lib.preset(run.dataset)
  return {
    f'{section.name}.{name}': value
    for section in dataclasses.fields(config)
    for name, value in vars(getattr(config, section.name)).items()
    if value != getattr(getattr(default, section.name), name)
  }


def test_systems_differ_in_their_settings_alone(tmp_path):
  made = copf_finished.settings(
    tmp_path,
    data_root='there',
    cache_dir='here',
    changes=(('model.width', 8),),
  )
  common = {
    'data.data_root': 'there',
    'data.cache_dir': 'here',
    'train.epochs': 2,
    'train.seed': 7,
    'model.width': 8,
  }
  for system, expected in {
    'copf': {},
    'wo_con': {'behavior.contrastive': 0.0},
    'wo_back': {'head.gradient_policy': 'none'},
    'layers_3': {'fusion.num_layers': (3, 3)},
    'temperature_0.6': {'behavior.temperature': 0.6},
    'alpha_0.8': {'head.alpha': 0.8},
  }.items():
    run = copf.Run('beibei-copf-noview', 7, system)
    assert _changed(made, run) == common | expected
  # Three behaviors have three numbers of layers.
  run = copf.Run('taobao-copf', 7, 'layers_2')
  assert _changed(made, run)['fusion.num_layers'] == (2, 2, 2)


def test_presets_are_left_as_they_are(tmp_path):
  made = copf_finished.settings(tmp_path, changes=(('train.patience', 1),))
  before = copf_lib.preset('taobao-copf')
  copf.config(made, copf.Run('taobao-copf', 3, 'layers_2'))
  assert copf_lib.preset('taobao-copf') == before != config_lib.Config()


def test_settings_of_a_command_line_are_read(tmp_path):
  given = copf_finished.settings(
    tmp_path,
    tables=('2', '2'),
    variants=('copf', 'copf'),
    seeds=('2', '0', '2'),
  )
  made = copf.check(given)
  assert made.tables == ('2',) and made.variants == ('copf',)
  assert made.seeds == (2, 0)
  assert copf.check(made) == made


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'tables': ('6',)}, "--table: unknown '6'; known: 2, 3, 4, 5, fig3"),
    ({'tables': ()}, '--table is empty; known: 2'),
    ({'datasets': ('taobao',)}, "--datasets: unknown 'taobao'; known: taobao-"),
    ({'datasets': ()}, '--datasets is empty'),
    ({'variants': ('copf_x',)}, "--variants: unknown 'copf_x'; known: copf,"),
    ({'variants': ()}, '--variants is empty'),
    (
      {'variants': ('wo_con', 'mmoe'), 'tables': ('4', '2')},
      'no --table=4,2 has any of --variants=wo_con,mmoe',
    ),
    ({'seeds': ('one',)}, "--seeds: 'one' is not a whole number"),
    ({'seeds': ('-1',)}, "--seeds: '-1' is not"),
    ({'seeds': ()}, '--seeds is empty'),
  ],
  ids=str,
)
def test_wrong_settings_are_one_line(tmp_path, changes, message):
  with pytest.raises(types.UserError) as error:
    copf.check(copf_finished.settings(tmp_path, **changes))
  assert message in str(error.value)
  assert '\n' not in str(error.value)


def test_the_command_repeats_the_settings(tmp_path):
  made = copf_finished.settings(tmp_path / 'a b', data_root='d')
  shown = copf.command(made)
  assert shown.startswith('python launch/reproduce/copf.py --table=2,3,4,5,fig')
  assert '--seeds=0,1 --epochs=2 --data_root=d --cache_dir=data' in shown
  assert f"'--out={tmp_path}/a b'" in shown and '--variants' not in shown
  some = made._replace(variants=('copf', 'wo_con'))
  assert '--variants=copf,wo_con --seeds' in copf.command(some)
