import dataclasses

import pytest

from tests.recipes.reproduction import finished
from twotsrec import config as config_lib
from twotsrec import recipes
from twotsrec import types
from twotsrec.recipes.reproduction import pin


def test_a_table_asks_for_its_runs_alone(tmp_path):
  systems = lambda **changes: pin.systems(
    finished.settings(tmp_path, **changes)
  )
  assert systems(tables=('fig4',)) == {'din': ['ga', 'ga_pn']}
  assert systems(tables=('tau',)) == {'din': ['base', 'ga', 'ga_tau_minus1']}
  assert systems(tables=('2',)) == systems(tables=('3',))
  parts = ['base', 'ga', 'ga_pn', 'base_long', 'ga_long']
  assert systems(tables=('4',), models=('sasrec',)) == {'sasrec': parts}
  everything = systems()
  assert everything == {
    'din': list(pin.SYSTEMS), 'gru4rec': parts, 'sasrec': parts
  }  # fmt: skip


def test_every_run_is_named_once_and_a_trunk_before_its_plugins(tmp_path):
  made = finished.settings(tmp_path, datasets=('ml-1m', 'ml-100k'))
  runs = pin.runs(made)
  assert len(runs) == len(set(runs)) == 2 * 2 * (9 + 5 + 5)
  assert len({pin.workdir(made, run) for run in runs}) == len(runs)
  for run in runs:
    if run.system == 'ga_pn':
      assert runs.index(run._replace(system='ga')) < runs.index(run)
  seeds = [run.seed for run in runs]
  assert seeds == sorted(seeds)


def test_runs_lie_by_dataset_model_seed_and_system(tmp_path):
  made = finished.settings(tmp_path)
  place = pin.workdir(made, pin.Run('ml-1m', 'din', 2, 'ga_pn'))
  assert place == str(tmp_path / 'ml-1m' / 'din' / 'seed2' / 'ga_pn')


def test_systems_differ_in_their_method_alone(tmp_path):
  """Field by field against the defaults."""
  made = finished.settings(tmp_path, data_root='there', cache_dir='here')

  def changed(system, dataset='ml-1m'):
    run = pin.Run(dataset, 'gru4rec', 7, system)
    config = pin.config(made, run)
    recipes.check(config)
    default = config_lib.Config()
    return {
      f'{section.name}.{name}': value
      for section in dataclasses.fields(config)
      for name, value in vars(getattr(config, section.name)).items()
      if value != getattr(getattr(default, section.name), name)
    }

  common = {
    'data.dataset': 'ml-1m',
    'data.data_root': 'there',
    'data.cache_dir': 'here',
    'model.name': 'gru4rec',
    'train.epochs': 2,
    'train.seed': 7,
  }
  backdoor = {'aggregator.name': 'backdoor'}
  assert changed('base') == common
  assert changed('ga') == common | backdoor
  trunk = str(tmp_path / 'ml-1m' / 'gru4rec' / 'seed7' / 'ga')
  assert changed('ga_pn') == common | backdoor | {
    'plugin.name': 'light', 'plugin.epochs': 1, 'plugin.trunk': trunk
  }  # fmt: skip
  assert changed('pcgrad') == common | {'aggregator.name': 'pcgrad'}
  assert changed('agr_rand') == common | {'aggregator.name': 'agr_rand'}
  assert changed('grad_transfer') == common | {
    'train.method': 'grad_transfer', 'train.batching': 'balanced'
  }  # fmt: skip
  assert changed('base_long') == common | {'train.epochs': 2 + 1}
  assert changed('ga_long') == changed('base_long') | backdoor
  assert changed('ga_tau_minus1') == common | backdoor | {
    'aggregator.tau': -1.0
  }
  beauty = {'data.dataset': 'amazon-beauty-5core'}
  assert changed('base', 'amazon-beauty-5core') == common | beauty | {
    'evaluation.candidates': 'sampled', 'evaluation.num_candidates': 99
  }  # fmt: skip


def test_settings_of_a_command_line_are_read(tmp_path):
  given = finished.settings(
    tmp_path, tables=('2', '2'), seeds=('2', '0', '2'), models=('din', 'din')
  )
  made = pin.check(given)
  assert made.tables == ('2',) and made.models == ('din',)
  assert made.seeds == (2, 0)
  assert pin.check(made) == made


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'tables': ('5',)}, "--table: unknown '5'; known: 2, 3, 4, fig4, tau"),
    ({'tables': ()}, '--table is empty; known: 2'),
    ({'datasets': ('ml-2m',)}, "--datasets: unknown 'ml-2m'; known: ml-1m"),
    ({'datasets': ()}, '--datasets is empty'),
    ({'models': ('dim',)}, "--models: unknown 'dim'; known: din, gru4rec"),
    ({'models': ()}, '--models is empty'),
    ({'seeds': ('one',)}, "--seeds: 'one' is not a whole number"),
    ({'seeds': ('0', '')}, "--seeds: '' is not"),
    ({'seeds': ('-1',)}, "--seeds: '-1' is not"),
    ({'seeds': ()}, '--seeds is empty'),
  ],
  ids=str,
)
def test_wrong_settings_are_one_line(tmp_path, changes, message):
  with pytest.raises(types.UserError) as error:
    pin.check(finished.settings(tmp_path, **changes))
  assert message in str(error.value)
  assert '\n' not in str(error.value)


def test_the_command_repeats_the_settings(tmp_path):
  made = finished.settings(tmp_path / 'a b', data_root='d')
  shown = pin.command(made)
  assert shown.startswith('python launch/reproduce/pin.py --table=2,3,4,fig4')
  assert '--seeds=0,1 --epochs=2 --stage2_epochs=1 --data_root=d' in shown
  assert f"'--out={tmp_path}/a b'" in shown
