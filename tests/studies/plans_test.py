"""Which runs the papers' tables ask for, and what they train."""

import dataclasses
import pathlib
import shlex

import pytest

from tests.studies import directories
from tests.studies import finished
from tests.studies import online_finished
from tests.studies import papers
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.presets import copf as copf_lib
from twotsrec.presets import two_time as presets
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import run as run_lib
from twotsrec.studies import document
from twotsrec.studies import plans
from twotsrec.studies import study as study_lib

PIN, COPF = papers.module('pin'), papers.module('copf')
TWO_TIME = papers.module('two_time_scale')
ELSEWHERE = {'data_root': 'there', 'cache_dir': 'here'}
LAST_K, WHOLE = 'ml-100k', 'amazon-beauty-5core'


def _changed(plan, run, default):
  """Fields in which a run departs from a configuration."""
  config = plans.config(plan, run)
  return {
    f'{section.name}.{name}': value
    for section in dataclasses.fields(config)
    for name, value in vars(getattr(config, section.name)).items()
    if value != getattr(getattr(default, section.name), name)
  }


# ---- PIN


def test_a_table_of_pin_asks_for_its_runs_alone(tmp_path):
  def systems(**given):
    plan = finished.plan('pin', tmp_path, **given)
    return {model: [*names] for (_, model), names in plan.systems.items()}

  assert systems(table=('fig4',)) == {'din': ['ga', 'ga_pn']}
  assert systems(table=('tau',)) == {'din': ['base', 'ga', 'ga_tau_minus1']}
  assert systems(table=('2',)) == systems(table=('3',))
  parts = ['base', 'ga', 'ga_pn', 'base_long', 'ga_long']
  assert systems(table=('4',), models=('sasrec',)) == {'sasrec': parts}
  assert systems() == {
    'din': list(PIN.SYSTEMS), 'gru4rec': parts, 'sasrec': parts
  }  # fmt: skip


def test_systems_of_pin_differ_in_their_method_alone(tmp_path):
  """Field by field against the defaults."""
  plan = finished.plan('pin', tmp_path, ELSEWHERE)

  def changed(system, dataset='ml-1m'):
    run = finished.run(dataset, 'gru4rec', system, seed=7)
    return _changed(plan, run, config_lib.Config())

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
  assert changed('separate') == common | {'train.method': 'separate'}
  assert changed('balanced') == common | {'train.batching': 'balanced'}
  beauty = {'data.dataset': 'amazon-beauty-5core'}
  assert changed('base', 'amazon-beauty-5core') == common | beauty | {
    'evaluation.candidates': 'sampled', 'evaluation.num_candidates': 99
  }  # fmt: skip


def test_pin_takes_a_directory_and_the_log_that_is_built_in(tmp_path):
  own = directories.make(tmp_path / 'mine', 0)
  given = {'table': ('4',), 'models': ('gru4rec',), 'seeds': (0,)}
  plan = finished.plan('pin', tmp_path, prepared=(own,), **given)
  runs = plans.runs(plan)
  assert {run.place for run in runs} == {('mine', 'gru4rec')}
  config = plans.config(plan, runs[0])
  assert (config.data.prepared, config.data.data_root) == (own, '')
  assert config.model.name == 'gru4rec' and not config.prior.terms
  assert '--config=configs/pin/own.py:gru4rec' in plans.train_flags(
    plan, runs[0]
  )
  assert 'data_root' not in plans.command(plan)
  built_in = finished.plan(
    'pin', tmp_path, datasets=('synthetic-impressions',), **given
  )
  flags = plans.train_flags(built_in, plans.runs(built_in)[0])
  assert '--config=configs/pin/impressions_gru4rec.py' in flags
  assert not any('data_root' in flag for flag in flags)
  line = plans.command(built_in)
  assert '--datasets=synthetic-impressions' in line and 'data_root' not in line


# ---- COPF


def test_tables_of_copf_have_their_sizes():
  assert set(COPF.SYSTEMS) >= set(copf_lib.VARIANTS)
  sizes = {table: len(COPF.TABLES[table].rows) for table in '23456'}
  assert sizes == {'2': 20, '3': 8 + 6 + 1, '4': 5 + 1, '5': 7, '6': 11}
  for table in '23456':
    assert COPF.TABLES[table].rows[-1] == COPF.REFERENCE


def test_a_table_of_copf_asks_for_its_runs_alone(tmp_path):
  def systems(**given):
    plan = finished.plan('copf', tmp_path, **given)
    return [*plan.systems['taobao-copf',]]

  assert systems(table=('fig5',)) == [
    'copf', 'alpha_0.2', 'alpha_0.4', 'alpha_0.8'
  ]  # fmt: skip
  assert set(systems(table=('3',))) == set(COPF.TABLES['3'].rows)
  assert systems(table=('2', '3'), variants=('wo_con', 'copf')) == [
    'copf', 'wo_con'
  ]  # fmt: skip
  everything = systems()
  assert everything[0] == 'copf'
  assert len(everything) == len(COPF.SYSTEMS) - 4


def test_equal_settings_of_copf_are_trained_once(tmp_path):
  """Table 3's w/o DFME is Table 5's Bilinear; sweeps pass COPF itself."""
  datasets = ('taobao-copf', 'beibei-copf-noview')
  same = finished.plan('copf', tmp_path, datasets=datasets).same
  shared = lambda dataset: {
    system: other for system, other in same[dataset,].items() if other != system
  }
  common = {'bilinear': 'wo_dfme', 'alpha_0.1': 'copf'}
  copf = lambda *points: common | dict.fromkeys(points, 'copf')
  assert shared('taobao-copf') == copf('layers_2', 'temperature_0.2')
  assert shared('beibei-copf-noview') == copf('layers_1', 'temperature_0.1')


def test_systems_of_copf_differ_in_their_settings_alone(tmp_path):
  plan = finished.plan('copf', tmp_path, ELSEWHERE, changes={'model.width': 8})

  def changed(dataset, system):
    default = copf_lib.preset(dataset, COPF._variant(system))
    return _changed(plan, finished.run(dataset, system, seed=7), default)

  common = {
    'data.data_root': 'there',
    'data.cache_dir': 'here',
    'train.epochs': 2,
    'train.seed': 7,
    'model.width': 8,
  }
  for system, expected in {
    'copf': {},
    'wo_con': {},
    'layers_3': {'fusion.num_layers': (3, 3)},
    'temperature_0.6': {'behavior.temperature': 0.6},
    'alpha_0.8': {'head.alpha': 0.8},
  }.items():
    assert changed('beibei-copf-noview', system) == common | expected
  without = finished.run('beibei-copf-noview', 'wo_con', seed=7)
  copf = copf_lib.preset('beibei-copf-noview')
  assert _changed(plan, without, copf) == common | {'behavior.contrastive': 0.0}
  # Three behaviors have three numbers of layers.
  made = changed('taobao-copf', 'layers_3')
  assert made['fusion.num_layers'] == (3, 3, 3)


def test_all_systems_are_no_part_of_the_command(tmp_path):
  plan = finished.plan('copf', tmp_path)
  assert '--variants' not in plans.command(plan)
  some = finished.plan('copf', tmp_path, variants=('copf', 'wo_con'))
  assert '--variants=copf,wo_con --seeds' in plans.command(some)


# ---- Settings that every system is tried with


def _tried(tmp_path, *tried, **given):
  variants = {'variants': ('copf', 'wo_con'), 'table': ('3',)}
  return finished.plan('copf', tmp_path, tried=tried, **variants | given)


def _directories(plan):
  folder = pathlib.Path(plan.request.out, 'taobao-copf')
  return [
    str(pathlib.Path(plans.workdir(plan, run)).relative_to(folder))
    for run in plans.runs(plan)
  ]


def test_every_setting_is_tried_with_the_first_seed(tmp_path):
  plan = _tried(tmp_path, 'fast', 'own')
  first = ['copf-fast', 'copf', 'wo_con-fast', 'wo_con']
  others = ['seed1/copf', 'seed1/wo_con']  # as long as nothing is chosen
  assert _directories(plan) == [f'seed0/{name}' for name in first] + others
  assert [plans.config(plan, run) for run in plans.runs(plan)[4:]] == [None] * 2
  assert '--variants=copf,wo_con --tried=fast,own --se' in plans.command(plan)
  for system, values in {'copf': (0.3, 0.2), 'wo_con': (0.2, 0.2)}.items():
    for setting, value in zip(plan.request.tried, values):
      assert plans.choice(plan, ('taobao-copf',), system) is None
      run = finished.run('taobao-copf', system, setting=setting)
      finished.write_copf(plan, run, value=value)
  # Of equal ones the first that is named.
  others = ['seed1/copf-fast', 'seed1/wo_con-fast']
  assert _directories(plan)[4:] == others
  assert _directories(_tried(tmp_path, 'own', 'fast'))[4:] == [
    'seed1/copf-fast', 'seed1/wo_con'
  ]  # fmt: skip
  assert _directories(_tried(tmp_path, 'fast')) == [*map('{}'.format, (
    'seed0/copf-fast', 'seed0/wo_con-fast', *others
  ))]  # fmt: skip


def test_a_setting_changes_its_fields_alone(tmp_path):
  plan = _tried(tmp_path, 'fast')
  run = plans.runs(plan)[0]
  own = plans.settings(plan, run._replace(setting=study_lib.OWN))
  assert _changed(plan, run, own) == COPF.TRIED['fast'] != {}


def test_what_is_tried_is_trained_before_the_choice_and_resumes(
  tmp_path, monkeypatch
):
  plan, trained = _tried(tmp_path, 'own', 'slow', 'fast'), []
  values = iter([0.1, 0.3, 0.2, 0.3, 0.2, 0.1])

  def train(config, workdir, should_stop, quiet):
    trained.append(workdir)
    path = pathlib.Path(workdir)
    system, _, setting = path.name.partition('-')
    run = finished.run(
      'taobao-copf', system, seed=int(path.parent.name[-1]),
      setting=setting or study_lib.OWN,
    )  # fmt: skip
    finished.write_copf(plan, run, value=next(values, 0.4))
    assert config == plans.config(plan, run)
    return {}

  monkeypatch.setattr(run_lib, 'train', train)
  monkeypatch.setattr(experiment_lib, 'load_data', lambda config: None)
  said = []
  assert not plans.train(plan, lambda: len(said) == 4, True, said.append)
  assert plans.train(plan, quiet=True, tell=said.append)
  assert [line.split(' (')[1].split(' runs')[0] for line in said] == [
    f'{number} of 8' for number in range(1, 9)
  ]  # fmt: skip
  assert trained[-2:] == [
    str(tmp_path / 'taobao-copf' / 'seed1' / name)
    for name in ('copf-slow', 'wo_con')
  ]
  assert _directories(plan) == [
    str(pathlib.Path(place).relative_to(tmp_path / 'taobao-copf'))
    for place in trained
  ]
  assert plans.train(plan, quiet=True, tell=said.append) and len(said) == 8


def test_systems_with_equal_settings_share_what_is_tried(tmp_path):
  plan = finished.plan('copf', tmp_path, tried=tuple(COPF.TRIED), seeds=(0,))
  alone = finished.plan('copf', tmp_path, seeds=(0,))
  assert plan.same == alone.same
  assert len(plans.runs(plan)) == 4 * len(plans.runs(alone))
  # Where a system has a setting by itself, the run of its preset stands for it.
  study = plan.study._replace(
    tried={**COPF.TRIED, 'none': {}, 'as': {'behavior.temperature': 0.6}}
  )
  request = plan.request._replace(tried=('none', 'as'))
  both = plans.plan(study, request)
  place = lambda *named: (
    pathlib.Path(
      plans.workdir(
        both, finished.run('taobao-copf', *named[:1], setting=named[1])
      )
    ).name
  )
  assert place('wo_con', 'none') == 'wo_con'
  assert place('copf', 'as') == place('temperature_0.6', 'none')
  assert place('wo_con', 'as') == 'wo_con-as'


def test_what_data_cannot_serve_is_told_and_the_others_are_trained(
  tmp_path, monkeypatch
):
  asked = {'datasets': (LAST_K,), 'table': ('comparison',), 'figure': ()}
  plan = _two_time(tmp_path, **asked, systems=('gcmc_sage', 'jodie'))
  said, refused = [], {'jodie'}

  def train(config, workdir, should_stop, quiet):
    path = pathlib.Path(workdir)
    if path.name in refused:
      raise types.UserError('no times; prepare them')
    seed = int(path.parent.name[-1])
    online_finished.write(plan, _run(path.name, seed=seed))
    return {}

  monkeypatch.setattr(run_lib, 'train', train)
  monkeypatch.setattr(experiment_lib, 'load_data', lambda config: None)
  assert plans.train(plan, quiet=True, tell=said.append)
  left_out = [line for line in said if line.endswith('no times; prepare them')]
  assert len(left_out) == 2 and 'seed0/jodie is left out: ' in left_out[0]
  place = LAST_K, 'global_time'
  assert plans.refusals(plan, place) == {'jodie': 'no times; prepare them'}
  text = document.markdown(document.collect(plan, 20))
  assert 'JODIE has no row here: no times; prepare them.' in text
  # With other data it is trained, and nothing is left of the refusal.
  refused.clear()
  assert plans.train(plan, quiet=True, tell=said.append)
  assert plans.refusals(plan, place) == {}
  # Whatever else refuses ends it all.
  refused.add('one_gru')
  plan = _two_time(tmp_path, **asked, systems=('one_gru',))
  with pytest.raises(types.UserError, match='no times'):
    plans.train(plan, quiet=True, tell=said.append)


# ---- Prepared directories


def test_a_directory_takes_the_place_of_the_datasets(tmp_path):
  own = directories.make(tmp_path / 'data' / 'my log', 5)
  plan = finished.plan(
    'copf', tmp_path, prepared=(own,), table=('fig3',), variants=('layers_2',)
  )
  assert plan.request.axes == {'datasets': ('my log',)}
  [run, _] = plans.runs(plan)
  config = plans.config(plan, run)
  assert (config.data.prepared, config.data.data_root) == (own, '')
  assert config.fusion.num_layers == (2,) * 5 and not config.behavior.weights
  assert plans.workdir(plan, run) == str(
    tmp_path / 'my log' / 'seed0' / 'layers_2'
  )
  line = plans.command(plan)
  assert f" '--prepared={own}'" in line and 'data_root' not in line
  assert '--datasets' not in line
  # Others stand beside it if they are named.
  both = finished.plan(
    'copf', tmp_path, prepared=(own,), datasets=('taobao-copf',)
  )
  assert both.request.axes == {'datasets': ('taobao-copf', 'my log')}
  line = plans.command(both)
  assert '--datasets=taobao-copf ' in line and '--data_root=DIR' in line


def test_finished_runs_that_should_be_longer_are_missing(tmp_path):
  def plan(epochs):
    return finished.plan(
      'copf', tmp_path, epochs=epochs, changes={'train.evaluate_every': 1}
    )

  run = finished.run('taobao-copf', 'mmoe')
  finished.write_copf(plan(2), run)
  assert plans.report(plan(2), run) is not None
  assert plans.report(plan(5), run) is None
  with pytest.raises(types.UserError, match='train.epochs: 2 there, 1 here'):
    plans.report(plan(1), run)


# ---- 2TS


def _run(system, dataset=LAST_K, seed=0):
  return finished.run(dataset, 'global_time', system, seed=seed)


def _two_time(tmp_path, *arguments, **given):
  datasets = {'datasets': (LAST_K, WHOLE)}
  return online_finished.plan(tmp_path, *arguments, **datasets | given)


def test_2ts_comes_first_and_its_variants_are_the_presets():
  assert TWO_TIME.SYSTEMS[0] == TWO_TIME.REFERENCE
  assert set(TWO_TIME.SYSTEMS) == {*presets.VARIANTS, *presets.BASELINES}
  assert set(TWO_TIME.FILES) <= set(presets.DATASETS)
  assert set(TWO_TIME.COMPARED) < set(TWO_TIME.STUDY.asked)


def test_runs_of_2ts_are_those_asked_for_and_the_reference(tmp_path):
  def systems(**given):
    plan = online_finished.plan(tmp_path, **given)
    return [*plan.systems.get((LAST_K, 'global_time'), ())]

  assert systems(systems=('one_gru', 'ccf')) == ['2ts', 'ccf', 'one_gru']
  assert systems() == list(TWO_TIME.SYSTEMS)
  nothing = {'table': (), 'systems': ('ccf',)}
  assert systems(**nothing, figure=('3',)) == ['2ts', 'ccf']
  assert systems(**nothing, figure=('4', '5')) == ['2ts']
  assert systems(**nothing, figure=('theory',)) == []


def test_equal_settings_of_2ts_are_trained_once(tmp_path):
  """Without hold-out the paper's wording is the preset itself."""
  plan = _two_time(tmp_path)
  whole, last_k = (plan.same[d, 'global_time'] for d in (WHOLE, LAST_K))
  assert whole['2ts_paper'] == '2ts'
  assert whole['2ts_plus_paper'] == '2ts_plus'
  assert last_k['2ts_paper'] == '2ts_paper'
  every = _two_time(
    tmp_path, datasets=tuple(TWO_TIME.FILES), splits=presets.SPLITS
  )
  equal = 2 * 2  # datasets, and 2ts_paper and 2ts_plus_paper
  expected = 2 * 2 * (5 * len(TWO_TIME.SYSTEMS) - equal)
  assert len(plans.runs(every)) == expected


def test_systems_that_see_the_same_events_share_stage_1(tmp_path):
  plan = _two_time(tmp_path)
  source = lambda system, dataset=LAST_K: plans.stage1_source(
    plan, _run(system, dataset)
  )
  for system in ('2ts', '2ts_plus', '2ts_shared_w', 'window_gru'):
    assert source(system) == '2ts'
  for system in ('ccf', 'one_gru', 'two_gru', '2ts_paper', 'shrunk'):
    assert source(system) == 'ccf'
    assert source(system, WHOLE) == '2ts'
  assert source('single_stage') is None
  # Where nobody asks for CCF, the first of the others trains it.
  plan = _two_time(tmp_path, systems=('two_gru', 'one_gru'))
  assert source('two_gru') == source('one_gru') == 'one_gru'


def test_others_wait_for_the_choice_of_the_reference(tmp_path):
  plan = _two_time(tmp_path)
  assert plans.config(plan, _run('ccf')) is None
  for system in ('2ts', '2ts_plus', 'single_stage'):
    assert plans.config(plan, _run(system)) is not None
  assert plans.config(plan, _run('ccf', WHOLE)) is not None
  place = online_finished.write(plan, _run('2ts'))
  options = plans.config(plan, _run('one_gru')).two_time
  assert options.stage1_epochs == (online_finished.EPOCHS,)
  assert options.stage1 == str(place.with_name('ccf'))
  assert plans.config(plan, _run('ccf')).two_time.stage1 == ''
  assert plans.config(plan, _run('one_gru', seed=1)) is None


def test_runs_of_2ts_depart_from_their_preset_as_declared(tmp_path):
  changes = {'two_time.epochs': 3}
  plan = _two_time(tmp_path, ELSEWHERE, changes=changes)
  changed = lambda run: _changed(
    plan, run, presets.preset(run.place[0], variant=run.system)
  )
  common = {
    'data.data_root': 'there',
    'data.cache_dir': 'here',
    'train.seed': 7,
    'two_time.epochs': 3,
  }
  assert changed(_run('2ts', seed=7)) == common
  assert changed(_run('single_stage', seed=7)) == common
  reference = plans.workdir(plan, _run('2ts', seed=7))
  assert changed(_run('2ts_plus', seed=7)) == common | {
    'two_time.stage1': reference
  }
  per_user = study_lib.Run((LAST_K, 'per_user_time'), 7, '2ts')
  split = {'data.split': 'per_user_time'}
  plan = _two_time(
    tmp_path, ELSEWHERE, splits=('per_user_time',), seeds=(7,), changes=changes
  )
  assert changed(per_user) == common | split
  online_finished.write(plan, per_user)
  assert changed(per_user._replace(system='ccf')) == common | split | {
    'two_time.stage1_epochs': (online_finished.EPOCHS,)
  }


@pytest.mark.parametrize('folder', ['x', 'a b'])
def test_a_line_can_be_pasted_into_a_shell(tmp_path, folder):
  plan = finished.plan('pin', tmp_path / folder, {'data_root': 'c d'})
  run = plans.runs(plan)[2]
  words = shlex.split(plans.train_command(plan, run))
  assert words == ['python', 'launch/train.py', *plans.train_flags(plan, run)]
