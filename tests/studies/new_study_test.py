"""A study of one file outside of the package: planned, trained, documented.

It asks what plugins add to a fusion of behaviors. Its two small runs stand for
the trainings of all studies.
"""

import json
import pathlib

import pytest

from tests import configured
from tests import small_runs as small
from tests.runs import behavior_runs
from twotsrec import types
from twotsrec.data import settings
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import tables as result_tables
from twotsrec.studies import claims
from twotsrec.studies import document
from twotsrec.studies import figures
from twotsrec.studies import plans
from twotsrec.studies import sections
from twotsrec.studies import study as study_lib
from twotsrec.studies import tables
from twotsrec.training import loop

# ---- The study

DATASET = settings.SYNTHETIC_BEHAVIORS
METRICS = {'hr@10': 'HR@10', 'user_auc': 'user AUC'}
PLUGIN = {
  'plugin.name': 'light',
  'plugin.points': 'Z',
  'plugin.trunk_learning_rate': 0.0,
}
SYSTEMS = {'plain': {}, 'plugged': PLUGIN, 'again': {}}
_SMALL = {
  **small.SETTINGS,
  **configured.paths(behavior_runs.SETTINGS),
  'model.name': 'multi_behavior',
  'model.hidden': (128, 64),
  'behavior.samples': 3,
  'behavior.contrastive': 0.0,
  'train.select_metric': 'none',
}


def _preset(place, system):
  del system
  return configured.by(_SMALL | {'data.dataset': place[0]})


TABLES = {
  'main': study_lib.Table(
    rows=('plain', 'plugged', 'again'),
    title='What plugins add',
    parts=(
      tables.table(
        'main',
        columns=(
          *(tables.mean(head, metric) for metric, head in METRICS.items()),
          tables.minus('HR@10 - plain', 'plain', 'hr@10'),
          tables.seeds,
          *tables.COSTS,
        ),
        paper={'hr@10': 'paper HR@10'},
      ),
    ),
  ),
  'epochs': study_lib.Table(
    rows=('plain', 'plugged'),
    title='HR@1 by epoch',
    parts=(tables.curves('epoch', block=''),),
    picture=figures.curves('', 'epoch', 'HR@1', 'plugged'),
  ),
}
STUDY = study_lib.Study(
  name='plugins',
  axes={'datasets': study_lib.Choice((DATASET,))},
  systems=tuple(SYSTEMS),
  tables=TABLES,
  preset=_preset,
  file=lambda place, system: 'plugins.py',
  changes=lambda request, run: {
    'train.epochs': request.numbers['epochs'],
    'train.seed': run.seed,
    **SYSTEMS[run.system],
    **({'plugin.epochs': 2} if run.system == 'plugged' else {}),
  },
  needed=study_lib.rows_of_tables(TABLES),
  claims=(
    claims.exceeds('plugins help', 'plugged', 'plain', 'hr@10', 'groups'),
  ),
  printed={'main': {DATASET: {'': {'plugged': (0.75,)}}}},
  measures=study_lib.Offline(
    metrics=tuple(METRICS),
    pairs={'plain': ('plugged',)},
    by=('groups', 'parts'),
    curve=('hr@1', 'plain', 'plugged'),
  ),
  title='Plugins on behaviors',
  head=('Trained for {epochs} epochs.',),
  sections=(
    sections.about(with_selection=True),
    sections.claims(''),
    document.tables,
    tables.by_place('parts', 'hr@10', 'By part', 'plain'),
    sections.runs(),
  ),
  follows=plans.after({'plugged': ('plugin.trunk', 'plain')}),
  numbers={'epochs': study_lib.Number(1, 'Of stage 1.')},
)

# ---- What is made of it

TRAINED = ('plain', 'plugged')


def _plan(out, given=None, changes=None):
  request = study_lib.ask(STUDY, given or {}, out, changes=changes)
  return plans.plan(STUDY, request)


@pytest.fixture(scope='module')
def plan(tmp_path_factory):
  """The study, trained."""
  made, said = _plan(tmp_path_factory.mktemp('out')), []
  assert plans.train(made, quiet=True, tell=said.append)
  # `again` has the settings of `plain`, so its run stands for both.
  assert len(said) == len(TRAINED) == len(plans.runs(made))
  assert said[0].endswith('plain (1 of 2 runs)')
  return made


def _run(system):
  return study_lib.Run((DATASET,), 0, system)


def _refuse(*arguments, **named):
  raise AssertionError('something is trained')


def test_what_is_finished_is_not_trained_again(plan, monkeypatch):
  monkeypatch.setattr(loop, 'fit', _refuse)
  monkeypatch.setattr(experiment_lib, 'load_data', _refuse)
  assert plans.train(plan, quiet=True, tell=_refuse)


def test_every_cell_is_that_of_the_report(plan):
  page = document.collect(plan, 200)
  assert document.missing(page) == 0
  chapter = page.chapters[DATASET]
  assert [*chapter.details.users['parts']] == ['cart', 'view', 'new']
  block = chapter.blocks['']
  for system in TRAINED:
    report = plans.report(plan, _run(system))
    for by, places in chapter.details.users.items():
      parts = [*report['test'][by], report['test']['overall']]
      for metric in METRICS:
        keys = [(metric, place) for place in (*places, 'all')]
        values = [block.systems[system].cells[key].value for key in keys]
        assert values == pytest.approx(
          [part[metric]['value'] for part in parts]
        )
    for rule, part in report['baselines'].items():
      cell = chapter.rules[rule].cells['hr@10', 'view']
      assert cell.value == part['parts'][1]['hr@10']['value']
  [curve] = block.curves
  assert len(curve.by_epoch) == 1 + 2
  groups = len(chapter.details.groups)
  assert all(len(epoch) == groups for epoch in curve.by_epoch)
  [judged] = block.claims
  assert judged.verdict and claims.seeds(judged)[1] == 1


def test_the_document_shows_all_of_it(plan):
  path = document.write(plan, 200)
  text = path.read_text('utf-8')
  assert path.name == 'plugins.md' and 'missing' not in text
  assert text.startswith('# Plugins on behaviors\n')
  assert 'Trained for 1 epochs.' in text and '2 runs took' in text
  assert '| again (the run of plain) |' in text and '| 0.7500 |' in text
  assert 'plugins help' in text and '### HR@1 by epoch' in text
  for run in plans.runs(plan):
    assert f'\n{plans.train_command(plan, run)}\n' in text
  numbers = json.loads(path.with_suffix('.json').read_text('utf-8'))
  block = numbers['datasets'][DATASET]['blocks']['']
  assert block['tables']['main']['again'] == 'plain'
  assert {*block['systems']} == {*TRAINED}


def test_runs_work_like_any_other(plan):
  report = plans.report(plan, _run('plugged'))
  assert report['protocol']['plugin'] == 'light'
  assert 'multi_behavior' in result_tables.of_report(report)


def test_a_stop_leaves_the_rest_for_the_next_time(plan, tmp_path):
  """One run is stopped in its midst, and goes on."""
  made, said = _plan(tmp_path), []
  stop = lambda: len(said) > 1
  assert not plans.train(made, stop, True, said.append)
  runs = plans.runs(made)
  assert [bool(plans.report(made, run)) for run in runs] == [True, False]
  # The second was started: its state is there.
  assert pathlib.Path(plans.workdir(made, runs[1]), 'checkpoints').is_dir()
  assert plans.train(made, quiet=True, tell=said.append)
  assert [line.split(',')[0].rstrip(')') for line in said[1:]] == (
    [f'{plans.workdir(made, runs[1])} (2 of 2 runs'] * 2
  )
  for run in runs:
    once, again = (plans.workdir(one, run) for one in (plan, made))
    assert small.untimed_metrics(once) == small.untimed_metrics(again)


def test_other_settings_are_refused_before_anything_is_trained(
  plan, monkeypatch
):
  monkeypatch.setattr(loop, 'fit', _refuse)
  other = _plan(plan.request.out, changes={'train.learning_rate': 0.5})
  with pytest.raises(types.UserError, match='train.learning_rate: .*0.5 here'):
    plans.train(other, quiet=True)
  with pytest.raises(types.UserError, match='train.learning_rate'):
    document.collect(other, 200)


def test_a_run_of_other_settings_that_is_under_way_is_refused_at_once(
  plan, tmp_path, monkeypatch
):
  place = pathlib.Path(plans.workdir(plan, _run('plain')))
  made = _plan(tmp_path, changes={'train.batch_size': 7})
  copy = pathlib.Path(plans.workdir(made, _run('plain')))
  copy.mkdir(parents=True)
  (copy / 'config.json').write_text((place / 'config.json').read_text())
  monkeypatch.setattr(experiment_lib, 'load_data', _refuse)
  with pytest.raises(types.UserError, match='train.batch_size: 48 there, 7 he'):
    plans.train(made, quiet=True)


def test_missing_data_show_before_anything_is_trained(tmp_path):
  absent = str(tmp_path / 'none')
  made = _plan(tmp_path, changes={'data.prepared': absent})
  with pytest.raises(types.UserError, match='none'):
    plans.train(made, quiet=True, tell=_refuse)
  assert not list(tmp_path.iterdir())
