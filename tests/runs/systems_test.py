import csv
import dataclasses
import functools
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from tests import asked
from tests import finished
from tests import small_runs as runs
from tests.runs import methods_test
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import choices
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import routing as routing_lib
from twotsrec.plugins import plugged
from twotsrec.recipes import pin
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import recommend
from twotsrec.runs import reports
from twotsrec.runs import run as run_lib
from twotsrec.runs import systems as systems_lib
from twotsrec.runs import tables
from twotsrec.training import files
from twotsrec.training import run_directory

GROUPS = 3


def _config(**changes):
  """Stage 2 moves enough to be seen."""
  return runs.config(
    **{
      'train__log_groups': False,
      'train__checkpoint_every': 60.0,
      'plugin__epochs': 4,
      'plugin__learning_rate': 0.03,
      'plugin__trunk_learning_rate': 0.003,
      **changes,
    }
  )


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """Directory and reports of the three systems; leave them as they are.

  Those of stage 1 are taken over, as if they had been trained by this call.
  """
  workdir = tmp_path_factory.mktemp('pin')
  settings = pin.systems(_config(), str(workdir))
  for name in ('base', 'ga'):
    shutil.copytree(finished.run(name), workdir / name)
    config = dataclasses.asdict(settings[name])
    files.write_json(run_directory.config_path(workdir / name), config)
  return workdir, systems_lib.train(_config(), str(workdir), quiet=True)


def _stage_two(trained, **changes):
  """The configuration of +GA+PN, on the trunk that is there."""
  workdir, _ = trained
  changes = {'plugin__trunk': str(workdir / 'ga'), **changes}
  return _config(**{'plugin__name': 'light', **changes})


@pytest.fixture(scope='module')
def per_group(trained, tmp_path_factory):
  """Stage 2 where every group keeps its own best epoch."""
  workdir = tmp_path_factory.mktemp('per_group') / 'run'
  config = _stage_two(trained, plugin__select='per_group')
  run_lib.train(config, str(workdir), quiet=True)
  return workdir


def _evaluate(experiment, params, split='test'):
  """The part of the report and the rows per held-out item."""
  ranker = experiment_lib.ranker(experiment, params)
  return reports.evaluate(experiment, ranker, split, quiet=True)[:2]


def _same(first, second):
  """Runs that ended with the same bits, wherever they are."""
  assert runs.untimed_report(first) == runs.untimed_report(second)
  assert runs.untimed_metrics(first) == runs.untimed_metrics(second)
  (_, a), (_, b) = map(experiment_lib.load, (first, second))
  runs.assert_same_arrays(a, b)


# ---- Three systems from one command


def test_three_runs_stand_side_by_side(trained, tmp_path):
  workdir, found = trained
  assert list(found) == list(pin.SYSTEMS) == ['base', 'ga', 'ga_pn']
  assert sorted(path.name for path in workdir.iterdir()) == sorted(found)
  paths = [str(workdir / name) for name in found]
  table = tables.evaluated(paths, ['base', '+GA', '+GA+PN'], 'test', []).text
  shown = tables.of_reports(
    dict(zip(['base', '+GA', '+GA+PN'], found.values()))
  )
  rows = len(table.splitlines()) - 1
  assert table.splitlines()[:rows] == shown.splitlines()[:rows]
  for name, path in zip(found, paths):
    experiment, _ = experiment_lib.load(path)
    out = tmp_path / f'{name}.csv'
    recommend.run(path, str(out), recommend.Options(k=2), quiet=True)
    assert len(out.read_text('utf-8').splitlines()) == 1 + 2 * 25
    assert (
      found[name]['protocol']['dataset_digest']
      == (experiment.prepared.manifest['digest'])
    )


def test_a_base_model_trained_beside_the_others_has_the_same_bits(
  trained, tmp_path
):
  workdir = shutil.copytree(trained[0], tmp_path / 'pin')
  shutil.rmtree(workdir / 'base')
  reports = systems_lib.train(_config(), str(workdir), quiet=True, beside=True)
  assert list(reports) == list(pin.SYSTEMS)
  both = finished.run('base'), workdir / 'base'
  assert len({repr(runs.untimed_report(path)) for path in both}) == 1
  runs.assert_same_arrays(*(experiment_lib.load(path)[1] for path in both))


def test_the_systems_differ_in_what_they_are_named_for(trained):
  told = {
    name: {
      field: report['protocol'][field]
      for field in ('aggregator', 'method', 'penalty', 'plugin', 'selection')
    }
    for name, report in trained[1].items()
  }
  base = {
    'aggregator': 'joint', 'method': 'aggregator', 'penalty': 'none',
    'plugin': 'none', 'selection': 'validation loss',
  }  # fmt: skip
  assert told['base'] == base
  assert told['ga'] == {**base, 'aggregator': 'backdoor'}
  assert told['ga_pn'] == {
    **told['ga'], 'plugin': 'light', 'selection': 'validation group_auc'
  }  # fmt: skip
  routing = [report['protocol']['routing'] for report in trained[1].values()]
  frozen = {'mode': 'frozen', 'cold': 'group1', 'hysteresis': 0.1}
  assert routing == [None, None, frozen]
  values = [report['test']['overall'] for report in trained[1].values()]
  assert values[0] != values[1] != values[2] != values[0]


def test_the_repeated_call_trains_nothing(trained, monkeypatch):
  workdir, found = trained
  before = sorted(workdir.rglob('*'))
  monkeypatch.setattr(experiment_lib, 'load_data', None)
  monkeypatch.setattr(experiment_lib, 'make', None)
  assert systems_lib.train(_config(), str(workdir), quiet=True) == found
  assert sorted(workdir.rglob('*')) == before


def test_joint_counts_as_backdoor_and_no_plugin_as_light(tmp_path):
  config = _config(aggregator__name='joint', aggregator__tau=-1.0)
  found = pin.systems(config, str(tmp_path))
  assert [x.aggregator.name for x in found.values()] == [
    'joint', 'backdoor', 'backdoor'
  ]  # fmt: skip
  assert [x.plugin.name for x in found.values()] == ['none', 'none', 'light']
  assert found['ga_pn'].plugin.trunk == str(tmp_path / 'ga')
  assert config == _config(aggregator__name='joint', aggregator__tau=-1.0)
  other = _config(aggregator__name='pcgrad', plugin__name='film')
  found = pin.systems(other, str(tmp_path))
  assert found['ga_pn'].aggregator.name == 'pcgrad'
  assert found['ga_pn'].plugin.name == 'film'


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'plugin__name': 'lite'}, 'known: light, naive, film'),
    ({'plugin__trunk': 'there'}, 'stage 1 is trained here'),
    ({'plugin__select_metric': 'hr@7'}, 'known: loss, none, auc'),
    ({'plugin__ratio': 0.1}, 'no hidden unit'),
    ({'plugin__points': 'B'}, 'known: AZ, A, Z'),
    ({'aggregator__name': 'mean'}, 'known: joint, backdoor'),
    ({'aggregator__prior': (1.0, 2.0)}, '2 values for 3 groups'),
    ({'train__penalty': 'vrex'}, 'is for stage 1'),
    ({'train__method': 'fish'}, 'changes nothing'),
    ({'data__validation': False}, 'no validation events to select on'),
  ],
  ids=lambda value: '-'.join(value) if isinstance(value, dict) else '',
)
def test_what_is_wrong_with_any_stage_shows_before_the_first(
  tmp_path, monkeypatch, changes, message
):
  monkeypatch.setattr(run_lib, 'train', None)
  with pytest.raises(types.UserError) as error:
    systems_lib.train(_config(**changes), str(tmp_path / 'runs'), quiet=True)
  assert message in str(error.value)
  assert len(str(error.value).splitlines()) == 1
  assert not list(tmp_path.iterdir())


# ---- Stage 2


def test_it_starts_as_the_trunk(trained):
  """Plugins are the identity at first, so every rank is the trunk's."""
  workdir, found = trained
  config = _stage_two(trained)
  experiment = experiment_lib.make(config, experiment_lib.load_data(config))
  start = asked.first(experiment, experiment_lib.load).start().params
  bare, trunk = experiment_lib.load(str(workdir / 'ga'))
  runs.assert_same_arrays(plugged.split(start)[0], trunk)
  for split in ('validation', 'test'):
    part, per_target = _evaluate(experiment, start, split)
    assert files.jsonable(part) == found['ga'][split]
    _, expected = _evaluate(bare, trunk, split)
    for name in ('event', 'user', 'item', 'group', 'better', 'tied', 'rank'):
      np.testing.assert_array_equal(per_target[name], expected[name])


def _stopped(config, workdir):
  """Stops in the middle of an epoch, and mostly at the end of one."""
  answers, stops, report = 0, 0, None

  def should_stop():
    nonlocal answers
    answers += 1
    return answers in (1, 3)

  while report is None:
    report = run_lib.train(config, str(workdir), should_stop, quiet=True)
    if report is None:
      stops += 1
      yield stops


def test_interrupted_it_ends_with_the_same_bits(trained, per_group, tmp_path):
  config = _stage_two(
    trained, plugin__select='per_group', train__checkpoint_every=0.0
  )
  stopped = _stopped(config, tmp_path / 'run')
  assert next(stopped) == 1
  latest = files.read_json(_newest(tmp_path / 'run') / 'host.json')
  assert 0 < latest['step_in_epoch'] < 38 and latest['epoch'] == 0
  # Another trunk is no trunk of this run, the same one elsewhere is.
  other = dataclasses.replace(
    config,
    plugin=dataclasses.replace(config.plugin, trunk=str(trained[0] / 'base')),
  )
  with pytest.raises(types.UserError, match='started from other') as error:
    run_lib.train(other, str(tmp_path / 'run'), quiet=True)
  assert len(str(error.value).splitlines()) == 1
  moved = shutil.copytree(trained[0] / 'ga', tmp_path / 'moved')
  config.plugin.trunk = str(moved)
  assert list(stopped)[-1] == 2
  _same(tmp_path / 'run', per_group)


def _newest(workdir) -> pathlib.Path:
  latest = run_directory.latest_path(workdir)
  return max(latest.iterdir(), key=lambda path: int(path.name))


def test_every_group_keeps_its_own_best_epoch(trained, per_group):
  report = runs.untimed_report(per_group)
  experiment, params = experiment_lib.load(str(per_group))
  training = report['training']
  lines = run_directory.read_metrics(per_group)
  values = np.array(
    [line['validation']['group_auc_by_group'] for line in lines]
  )
  best = np.argmax(values, axis=0)
  assert training['selected_epoch'] == (best + 1).tolist()
  assert training['selected_step'] == [lines[e]['step'] for e in best]
  assert training['selected_value'] == values.max(axis=0).tolist()
  assert len(set(training['selected_epoch'])) > 1
  assert report['protocol']['selection'] == 'validation group_auc by group'
  assert len(params) == GROUPS
  for group, own in enumerate(params):
    for split in ('validation', 'test'):
      part, _ = _evaluate(experiment, own, split)
      part = files.jsonable(part)
      assert part['groups'][group] == report[split]['groups'][group]
    value = _evaluate(experiment, own, 'validation')[0]['groups'][group]['auc']
    assert value['value'] == training['selected_value'][group]


def test_a_snapshot_per_group_recommends(per_group, tmp_path):
  experiment, params = experiment_lib.load(str(per_group))
  for group, own in enumerate(params):
    users = np.flatnonzero(experiment.groups.user_group == group)
    (tmp_path / 'users').write_text(
      '\n'.join(map(str, experiment.prepared.user_ids[users])), 'utf-8'
    )
    found = _recommended(per_group, tmp_path, users=str(tmp_path / 'users'))
    with pytest.MonkeyPatch.context() as patch:
      loaded = (experiment, own)
      patch.setattr(experiment_lib, 'load', lambda _, loaded=loaded: loaded)
      expected = _recommended(per_group, tmp_path, str(tmp_path / 'users'))
    assert found == expected and len(found) == len(users) * 3


def _recommended(workdir, folder, users=None, **options):
  out = folder / 'top.csv'
  options = recommend.Options(k=3, users=users, **options)
  recommend.run(str(workdir), str(out), options, quiet=True)
  with open(out, encoding='utf-8') as file:
    return [(line['user_id'], line['item_id']) for line in csv.DictReader(file)]


def test_a_finished_run_is_of_its_trunk(trained, tmp_path):
  workdir, found = trained
  moved = shutil.copytree(workdir / 'ga', tmp_path / 'moved')
  config = _stage_two(trained, plugin__trunk=str(moved))
  again = run_lib.train(config, str(workdir / 'ga_pn'), quiet=True)
  assert again == found['ga_pn']
  # Nor does it become longer on another one.
  for epochs in (4, 5):
    config = _stage_two(
      trained, plugin__trunk=str(workdir / 'base'), plugin__epochs=epochs
    )
    with pytest.raises(types.UserError, match='started from other'):
      run_lib.train(config, str(workdir / 'ga_pn'), quiet=True)
  assert files.read_json(workdir / 'ga_pn' / 'report.json') == again


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'groups__num_groups': 4}, 'groups.num_groups 3, this run has 4'),
    ({'groups__key': 'user_seq_len'}, "this run has 'user_seq_len'"),
    ({'data__seed': 1}, 'trained on other data'),
    ({'data__history_length': 5}, 'data.history_length 4, this run has 5'),
    ({'model__width': 8}, 'model.width 4, this run has 8'),
    ({'plugin__trunk': 'ga_pn'}, 'parameters for every group already'),
    ({'plugin__trunk': 'none'}, 'not a run directory'),
    ({'plugin__trunk': 'unfinished'}, 'training has not finished'),
    ({'plugin__trunk': 'on_test'}, 'was selected on the test items'),
  ],
)
def test_a_trunk_of_something_else_is_refused(
  trained, tmp_path, changes, message
):
  made = tmp_path / 'made'
  shutil.copytree(trained[0] / 'ga_pn', made / 'ga_pn')
  for name in ('unfinished', 'on_test'):
    shutil.copytree(trained[0] / 'ga', made / name)
  (made / 'unfinished' / 'report.json').unlink()
  path = made / 'on_test' / 'config.json'
  saved = files.read_json(path)
  saved['train']['select_on'] = 'test'
  path.write_text(json.dumps(saved), 'utf-8')
  if name := changes.get('plugin__trunk'):
    changes = {'plugin__trunk': str(made / name)}
  config = _stage_two(trained, **changes)
  with pytest.raises(types.UserError) as error:
    run_lib.train(config, str(tmp_path / 'run'), quiet=True)
  assert message in str(error.value)
  assert len(str(error.value).splitlines()) == 1
  assert not (tmp_path / 'run').exists()


def test_stage_two_does_not_start_from_nothing(tmp_path):
  config = _config(plugin__name='light')
  with pytest.raises(types.UserError, match='needs plugin.trunk'):
    run_lib.train(config, str(tmp_path / 'run'), quiet=True)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ('changes', 'trunk_moves'),
  [
    (
      {
        'plugin__name': 'film',
        'plugin__trunk_learning_rate': 0.0,
        'plugin__select_metric': 'loss',
        'train__log_groups': True,
      },
      False,
    ),
    ({'plugin__name': 'naive', 'plugin__trunk_gradient': 'bare'}, True),
  ],
  ids=['film-frozen', 'naive-bare'],
)
def test_other_plugins_and_trunks(trained, tmp_path, changes, trunk_moves):
  config = _stage_two(trained, plugin__epochs=1, **changes)
  report = run_lib.train(config, str(tmp_path / 'run'), quiet=True)
  assert report['protocol']['plugin'] == changes['plugin__name']
  methods_test.check_finite(report)
  _, params = experiment_lib.load(str(tmp_path / 'run'))
  _, before = experiment_lib.load(str(trained[0] / 'ga'))
  trunk, own = plugged.split(params)
  moved = jax.tree.map(lambda a, b: np.any(a != b), trunk, before)
  assert all(x == trunk_moves for x in jax.tree.leaves(moved))
  spread = [np.ptp(np.asarray(x), axis=0).max() for x in jax.tree.leaves(own)]
  assert min(spread) > 0  # no group's plugin is another's
  (line,) = run_directory.read_metrics(tmp_path / 'run')
  if config.train.log_groups:
    assert min(line['diagnosis']['norm']) > 0
    cosine = np.array(line['diagnosis']['cosine'])
    np.testing.assert_allclose(np.diagonal(cosine), 1.0, atol=1e-5)


# ---- Who is served by what


@pytest.mark.parametrize('mode', choices.ROUTING)
def test_a_run_is_evaluated_as_it_is_routed(trained, mode):
  workdir, found = trained
  experiment, params = experiment_lib.load(str(workdir / 'ga_pn'))
  options = config_lib.RoutingConfig(mode, hysteresis=0.0, shrinkage=1e3)
  config = dataclasses.replace(experiment.config, routing=options)
  experiment = experiment._replace(config=config)
  part, per_target = _evaluate(experiment, params)
  assert reports.protocol(experiment)['routing']['mode'] == mode
  if mode == 'frozen':
    assert files.jsonable(part) == found['ga_pn']['test']
    return
  # Whoever is sent to another plugin is ranked by it.
  prepared, groups = experiment.prepared, experiment.groups
  route = routing_lib.of_targets(
    prepared,
    groups,
    prepared_lib.targets(prepared, prepared_lib.TEST),
    config.groups.key,
    options,
  )
  by_group = _ranks_by_group(experiment, params)
  home = groups.user_group
  alone = np.max(route.weights, axis=1) == 1
  chosen = route.groups[np.arange(len(home)), np.argmax(route.weights, 1)]
  expected = by_group[chosen, np.arange(len(home))]
  np.testing.assert_array_equal(per_target['rank'][alone], expected[alone])
  assert np.any(chosen != home) or not np.all(alone)


def test_stage_2_estimates_how_much_of_a_plugin_to_use(trained, tmp_path):
  config = _stage_two(trained, routing__mode='shrunk', plugin__epochs=2)
  report = run_lib.train(config, str(tmp_path / 'run'), quiet=True)
  spread = report['training']['routing']
  assert spread['q'] > 0.0 and spread['steps'] % 2 == 0
  shown = report['protocol']['routing']
  assert shown['mode'] == 'shrunk'
  assert shown['shrinkage'] == spread['shrinkage'] > 0.0
  experiment, params = experiment_lib.load(str(tmp_path / 'run'))
  assert experiment.config.routing.shrinkage == spread['shrinkage']
  part, _ = _evaluate(experiment, params)
  assert files.jsonable(part) == report['test']
  # The directory is resumed, not estimated into another configuration.
  assert run_lib.is_finished(config, str(tmp_path / 'run'))


def _ranks_by_group(experiment, params):
  """Ranks f64[G, U] where one plugin serves everybody."""
  trunk, own = plugged.split(params)
  ranks = []
  for group in range(GROUPS):
    take = functools.partial(_everywhere, group=group)
    everybody = plugged.join(trunk, jax.tree.map(take, own))
    ranks.append(_evaluate(experiment, everybody)[1]['rank'])
  return np.array(ranks)


def _everywhere(leaf, group):
  return np.repeat(np.asarray(leaf)[group : group + 1], GROUPS, axis=0)
