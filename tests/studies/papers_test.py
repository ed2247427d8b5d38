"""Every declared study keeps these rules; a new one in configs/papers/, too."""

import importlib.util
import json
import pathlib
import re

import pytest

from tests.studies import finished
from tests.studies import online_finished
from tests.studies import papers
from tests.studies import written
from twotsrec import config as config_lib
from twotsrec import recipes
from twotsrec import types
from twotsrec.data import choices
from twotsrec.data import datasets
from twotsrec.studies import document
from twotsrec.studies import plans
from twotsrec.studies import study as study_lib

ROOT = papers.FOLDER.parents[1]


def _plan(name, out, **given):
  """Everything a study has, with two seeds."""
  study = papers.load(name)
  every = {flag: choice.values for flag, choice in study.axes.items()}
  if study.option:
    every[study.option] = study.systems
  every |= {'seeds': (2, 5), 'tried': tuple(study.tried)}
  request = study_lib.ask(study, every | given, out, 'there', 'here')
  return plans.plan(study, request)


@pytest.fixture(params=papers.NAMES)
def name(request):
  return request.param


class TestDeclaration:
  def test_its_name_is_that_of_its_file_and_script(self, name):
    study = papers.load(name)
    assert study.name == name
    script = ROOT / 'launch' / 'reproduce' / f'{name}.py'
    text = script.read_text('utf-8')
    assert f"main_of('{name}')" in text and f'configs/papers/{name}.py' in text

  def test_every_system_is_in_a_table(self, name):
    """A system that no table has would be no experiment of the paper."""
    study = papers.load(name)
    shown = {row for table in study.tables.values() for row in table.rows}
    assert shown == {*study.systems}
    assert len(study.systems) == len({*study.systems})
    assert {*study.asked} <= {*study.systems}

  def test_its_datasets_and_defaults_exist(self, name):
    study = papers.load(name)
    known = {*datasets.DATASETS, *choices.BUILT_IN}
    assert {*study.axes['datasets'].values} <= known
    for choice in study.axes.values():
      assert {*choice.default, *choice.also} <= {*choice.values}
    assert {*study.inside} <= {*study.axes}

  def test_printed_numbers_belong_to_rows(self, name):
    study = papers.load(name)
    for of_table in study.printed.values():
      assert {*of_table} <= {*study.axes['datasets'].values}
      for of_dataset in of_table.values():
        rows = {row for block in of_dataset.values() for row in block}
        assert rows <= {*study.systems}

  def test_what_is_tried_can_be_chosen_on_validation(self, name):
    """The preset comes first; others need a metric that is better if higher."""
    study = papers.load(name)
    assert [*study.tried][0] == study_lib.OWN and not study.tried[study_lib.OWN]
    if len(study.tried) > 1:
      assert isinstance(study.measures, study_lib.Offline)
      place = tuple(choice.values[0] for choice in study.axes.values())
      for system in study.systems:
        metric = study.preset(place, system).train.select_metric
        assert metric not in ('none', 'loss')

  def test_systems_have_names(self, name):
    study = papers.load(name)
    names = [document.name(study, system, 'X') for system in study.systems]
    assert len({*names}) == len(names)
    assert not any('_' in shown for shown in names)


class TestRuns:
  def test_every_run_is_named_once_and_after_those_it_follows(
    self, name, tmp_path
  ):
    plan, study = _plan(name, tmp_path), papers.load(name)
    runs = plans.runs(plan)
    places = [plans.workdir(plan, run) for run in runs]
    assert len({*places}) == len(places) == len({*runs})
    seeds = [run.seed for run in runs]
    assert seeds == sorted(seeds)
    for run, place in zip(runs, places):
      assert (run.setting == '') == (run.seed == 5 and len(study.tried) > 1)
      named = '' if run.setting in ('', study_lib.OWN) else f'-{run.setting}'
      parts = [*run.place, f'seed{run.seed}', f'{run.system}{named}']
      assert place == str(tmp_path.joinpath(*parts))
      follows = plan.study.follows(plan, run) or {}
      for named in {*map(str, follows.values())} & {*places}:
        assert places.index(named) < places.index(place)

  def test_no_two_runs_of_a_place_have_equal_settings(self, name, tmp_path):
    plan = _plan(name, tmp_path)
    for place in plan.systems:
      made = [
        repr(plans.settings(plan, run))
        for run in plans.runs(plan)
        if run.place == place and run.seed == 2
      ]
      assert len({*made}) == len(made)
      for system, same in plan.same[place].items():
        here, there = (
          plans.settings(plan, study_lib.Run(place, 0, s))
          for s in (system, same)
        )
        assert here == there

  def test_every_run_can_be_trained_as_its_file_with_its_changes(
    self, name, tmp_path
  ):
    plan = _plan(name, tmp_path)
    for run in plans.runs(plan):
      config = plans.config(plan, run)
      if config is None or run.seed != 2:
        continue
      recipes.check(config)
      assert config.train.seed == 2
      built_in = config.data.dataset in choices.BUILT_IN
      folders = ('', 'data') if built_in else ('there', 'here')
      assert (config.data.data_root, config.data.cache_dir) == folders
      file, *flags = plans.train_flags(plan, run)
      path, _, argument = file.removeprefix('--config=').partition(':')
      made = _load(path, argument)
      fields = [
        flag.removeprefix('--config.').split('=', 1)
        for flag in flags
        if flag.startswith('--config.')
      ]
      given = {field: _value(made, field, text) for field, text in fields}
      config_lib.change(made, given | {'data.data_root': folders[0]})
      assert made == config

  def test_presets_are_left_as_they_are(self, name, tmp_path):
    plan = _plan(name, tmp_path)
    run = plans.runs(plan)[-1]
    before = plan.study.preset(run.place, run.system)
    plans.config(plan, run)
    assert plan.study.preset(run.place, run.system) == before

  def test_the_command_asks_for_the_same(self, name, tmp_path):
    plan = _plan(name, tmp_path / 'a b')
    line = plans.command(plan)
    assert line.startswith(f'python launch/reproduce/{name}.py --table=')
    assert '--data_root=there --cache_dir=here' in line
    assert f"'--out={tmp_path}/a b'" in line and '--seeds=2,5' in line
    flags = dict(re.findall(r'--(\w+)=([^ \']+)', line))
    known = {*study_lib.choices(plan.study), 'seeds'}
    given = {k: v.split(',') for k, v in flags.items() if k in known}
    again = study_lib.ask(plan.study, given, tmp_path / 'a b', 'there', 'here')
    assert again == plan.request
    nowhere = plan._replace(request=plan.request._replace(data_root=''))
    assert '--data_root=DIR' in plans.command(nowhere)


_LOADED = {}


def _load(path, argument) -> config_lib.Config:
  if path not in _LOADED:
    spec = importlib.util.spec_from_file_location('experiment', ROOT / path)
    _LOADED[path] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(_LOADED[path])
  return _LOADED[path].get_config(*([argument] if argument else []))


def _value(config, field, text):
  """A flag's text as the type of its field."""
  section, name = field.split('.')
  now = getattr(getattr(config, section), name)
  if isinstance(now, tuple):
    return tuple(json.loads(one) for one in text.split(',') if one)
  return type(now)(text)


class TestDocument:
  def test_it_begins_with_the_title_and_the_command(self, name):
    made = written.of(name)
    assert made.text.startswith(f'# {made.plan.study.title}\n')
    assert f'```\n{plans.command(made.plan)}\n```' in made.text

  def test_seconds_and_missing_runs_are_counted(self, name):
    made = written.of(name)
    assert f'{made.done} runs took {made.seconds:,} seconds' in made.text
    missing = len(plans.runs(made.plan)) - made.done
    assert document.missing(made.page) == missing
    assert f'{missing} are missing, their cells are -' in made.text
    [chapter] = made.page.chapters.values()
    assert [*chapter.runs] == plans.runs(made.plan)

  def test_each_run_is_a_command(self, name):
    made = written.of(name)
    for run in plans.runs(made.plan):
      line = plans.train_command(made.plan, run)
      assert (f'\n{line}\n' in made.text) == (run.seed == 0)

  def test_the_tables_asked_for_stand_in_their_order(self, name):
    made = written.of(name)
    titles = [
      f'# {table.title}\n'
      for table in made.plan.study.tables.values()
      if table.title and not table.first
    ]
    at = [made.text.index(title) for title in titles]
    assert at == sorted(at)

  def test_the_files_are_written(self, name):
    made = written.of(name)
    path = document.write(made.plan, written.RESAMPLES)
    drawn = importlib.util.find_spec('matplotlib') is not None
    pictures = {
      key: f'{name}_{table.picture_name or key}.png'
      for key, table in made.plan.study.tables.items()
      if drawn and table.picture and not table.data  # which nobody gave
    }
    for picture in pictures.values():
      assert (path.parent / picture).read_bytes().startswith(b'\x89PNG')
    assert path == pathlib.Path(made.plan.request.out, f'{name}.md')
    page = made.page._replace(pictures=pictures)
    assert path.read_text('utf-8') == document.markdown(page)
    numbers = json.loads(path.with_suffix('.json').read_text('utf-8'))
    assert numbers['command'] == plans.command(made.plan)
    assert {*numbers['datasets']} == {*made.page.chapters}
    [chapter] = numbers['datasets'].values()
    assert len(chapter['runs']) == len(plans.runs(made.plan))

  def test_nothing_finished_is_one_line(self, name, tmp_path):
    with pytest.raises(types.UserError, match='no run of these') as error:
      document.collect(_plan(name, tmp_path), written.RESAMPLES)
    assert '\n' not in str(error.value)

  def test_another_run_in_its_place_is_refused(self, name, tmp_path):
    plan, place = _one_run(name, tmp_path)
    config = json.loads((place / 'config.json').read_text())
    config['train']['learning_rate'] = 0.5
    (place / 'config.json').write_text(json.dumps(config))
    with pytest.raises(types.UserError, match='train.learning_rate: 0.5 there'):
      document.collect(plan, written.RESAMPLES)


def _one_run(name, out):
  """A plan and the directory of its only finished run."""
  if name == 'two_time_scale':
    plan = online_finished.plan(out, seeds=(0,))
    return plan, online_finished.write(plan, plans.runs(plan)[0])
  plan = finished.plan(name, out, seeds=(0,))
  write = {'pin': finished.write_pin, 'copf': finished.write_copf}[name]
  return plan, write(plan, plans.runs(plan)[0])


@pytest.mark.parametrize(
  ('name', 'part'),
  [
    (name, part)
    for name in papers.NAMES
    for part in ('training', 'dataset', 'versions', *(
      ('two_time', 'online')
      if name == 'two_time_scale'
      else ('test', 'baselines')
    ))
  ],
)  # fmt: skip
def test_a_damaged_report_is_named(name, part, tmp_path):
  plan, place = _one_run(name, tmp_path)
  path = place / 'report.json'
  report = json.loads(path.read_text())
  if part == 'two_time':
    del report[part]['stage1_seconds']
  else:
    del report[part]
  path.write_text(json.dumps(report))
  with pytest.raises(types.UserError, match='report.json is damaged or of'):
    document.collect(plan, written.RESAMPLES)
