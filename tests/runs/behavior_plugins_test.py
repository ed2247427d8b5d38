import csv
import dataclasses

import jax
import numpy as np
import pytest

from tests import behavior_toys as toys
from tests import finished
from tests import small_runs as runs
from tests.runs import behavior_runs
from twotsrec import recipes
from twotsrec import types
from twotsrec.data import behavior_feeds
from twotsrec.plugins import plugged
from twotsrec.recipes import multi_behavior
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import recommend
from twotsrec.runs import reports
from twotsrec.runs import run as run_lib
from twotsrec.runs import systems as systems_lib

PLUGIN = {
  'plugin__name': 'light',
  'plugin__points': 'Z',
  'plugin__trunk_learning_rate': 0.0,
  'plugin__learning_rate': 0.01,
  'plugin__epochs': 2,
  'behavior__prior': 'pattern',
}


MERGED = {'fusion__post_behavior': 'merged'}
# Of the trunk, `finished.run('copf')`.
SETTINGS = {**behavior_runs.GRAPHS, 'behavior__contrastive': 0.1}


def _config(**changes):
  settings = {**SETTINGS, **PLUGIN, 'plugin__trunk': 'runs/trunk'}
  return runs.config(**{**settings, **changes})


@pytest.fixture(scope='module')
def trunk():
  """Directory of a finished stage 1."""
  return str(finished.run('copf'))


@pytest.fixture(scope='module')
def trained(trunk, tmp_path_factory):
  """Directory and report of stage 2; leave them as they are."""
  workdir = tmp_path_factory.mktemp('plugins') / 'run'
  config = _config(plugin__trunk=trunk, plugin__select='per_group')
  return workdir, run_lib.train(config, str(workdir), quiet=True)


def _evaluate(experiment, params):
  ranker = experiment_lib.ranker(experiment, params)
  return reports.evaluate(experiment, ranker, 'test', quiet=True).part


def test_stage_two_moves_plugins_around_what_the_graphs_gave(trunk, trained):
  workdir, report = trained
  experiment, params = experiment_lib.load(str(workdir))
  theirs, before = experiment_lib.load(trunk)
  system = theirs.system
  expected = jax.jit(system.model.freeze)(before, system.context)
  assert len(params) == experiment.config.groups.num_groups
  for one in params:
    frozen, own = plugged.split(one)
    runs.assert_same_arrays(frozen, expected)
  assert any(np.any(leaf) for leaf in jax.tree.leaves(own['Z']['Q']))
  assert report['protocol']['plugin'] == 'light'
  assert report['dataset']['notes'] == multi_behavior.notes(experiment)
  assert report['training']['epochs'] == 2
  assert 'view_reminder' in report['baselines']


def test_its_report_has_the_prior_and_every_group_its_plugin(trained):
  workdir, report = trained
  experiment, params = experiment_lib.load(str(workdir))
  part = _evaluate(experiment, params)
  # The bootstrap aside, which is the same seed: the whole part.
  assert part['overall'] == report['test']['overall']
  context = experiment.system.context
  without = {k: v for k, v in context.items() if k != 'prior'}
  system = experiment.system._replace(context=without)
  bare = _evaluate(experiment._replace(system=system), params)
  assert bare['overall']['auc'] != part['overall']['auc']


def test_it_recommends_to_known_users_alone(trained, tmp_path):
  workdir, _ = trained
  out = tmp_path / 'top.csv'
  recommend.run(str(workdir), str(out), recommend.Options(k=3), quiet=True)
  with open(out, encoding='utf-8') as file:
    found = list(csv.DictReader(file))
  users = {row['user_id'] for row in found}
  experiment, _ = experiment_lib.load(str(workdir))
  assert users == {str(u) for u in experiment.prepared.user_ids}
  history = recommend.Options(k=3, history=str(out))
  with pytest.raises(types.UserError, match='knows the users'):
    recommend.run(str(workdir), str(tmp_path / 'x.csv'), history, quiet=True)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'plugin__points': 'AZ'}, 'points is AZ, but model.name=multi_behavior'),
    ({'plugin__trunk_learning_rate': 1e-4}, 'learning_rate is 0.0001, but'),
    ({'plugin__select_metric': 'loss'}, "'loss' judges sequence models"),
    ({'train__objective': 'bpr'}, 'train.objective'),
    ({'plugin__name': 'none', 'plugin__points': 'AZ', 'plugin__trunk': '',
      'data__num_negatives': 3}, 'data.num_negatives 3 changes nothing'),
  ],
)  # fmt: skip
def test_settings_that_would_change_nothing_are_refused(changes, message):
  with pytest.raises(types.UserError, match=message) as caught:
    recipes.check(_config(**changes))
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'head__name': 'bilinear'}, "with head.name 'experts', this run has"),
    ({'behavior__temperature': 0.3}, 'behavior.temperature'),
    (
      {'head__name': 'mmoe', **MERGED},
      'head.name=mmoe has no stages',
    ),
  ],
)
def test_a_trunk_of_another_model_is_refused(trunk, tmp_path, changes, message):
  workdir = tmp_path / 'run'
  config = _config(plugin__trunk=trunk, **changes)
  with pytest.raises(types.UserError, match=message) as caught:
    run_lib.train(config, str(workdir), quiet=True)
  assert '\n' not in str(caught.value)
  assert not workdir.exists()


def test_the_three_systems_aggregate_over_groups_where_they_should():
  config = _config(plugin__trunk='')
  systems = multi_behavior.systems(config, 'runs')
  over = {name: one.behavior.aggregate for name, one in systems.items()}
  assert over == {'base': 'loss', 'ga': 'groups', 'ga_pn': 'groups'}
  for one in systems.values():
    recipes.check(one)
  assert systems['ga'].aggregator.name == 'backdoor'
  unlike = dataclasses.replace(
    systems['ga'], behavior=systems['base'].behavior,
    aggregator=systems['base'].aggregator,
  )  # fmt: skip
  assert unlike == systems['base']


def test_three_systems_are_verified_before_one_is_trained(tmp_path):
  systems = multi_behavior.systems(_config(plugin__trunk=''), str(tmp_path))
  systems_lib._verify(systems, str(tmp_path))
  wrong = {**systems, 'ga_pn': _config(head__name='mmoe', **MERGED)}
  with pytest.raises(types.UserError, match='head.name=mmoe has no stages'):
    systems_lib._verify(wrong, str(tmp_path))
  assert not list(tmp_path.iterdir())


def test_examples_are_the_pairs_of_the_target():
  group = np.arange(toys.USERS) % 3
  feed = behavior_feeds.make_target_feed(toys.behaviors(), group)
  users, items = np.nonzero(toys.masks()[-1])
  np.testing.assert_array_equal(feed.user, users)
  np.testing.assert_array_equal(feed.items[feed.target], items + 1)
  np.testing.assert_array_equal(feed.group, group[users])
  np.testing.assert_array_equal(feed.first, feed.last)  # no history


@pytest.mark.parametrize(
  'changes',
  [
    {'aggregator__tau': -1.0},
    {'aggregator__prior': (1.0, 2.0, 3.0)},
    {'aggregator__name': 'pcgrad', 'aggregator__granularity': 'block'},
    {'aggregator__form': 'explicit'},
    {'data__num_negatives': 2, 'data__negative_mode': 'static'},
    {'train__batching': 'balanced'},
    {'routing__cold': 'trunk'},
    {'plugin__name': 'film'},
  ],
)
def test_one_command_gives_each_system_what_it_reads(changes, tmp_path):
  made = {**SETTINGS, **PLUGIN, 'aggregator__name': 'backdoor', **changes}
  config = runs.config(**made)
  found = multi_behavior.systems(config, str(tmp_path))
  for settings in found.values():
    recipes.check(settings)
  read = {
    'aggregator': ('ga', 'ga_pn'),
    'data': ('ga_pn',),
    'train': ('ga_pn',),
    'routing': ('ga_pn',),
    'plugin': ('ga_pn',),
  }
  for path, value in changes.items():
    section, field = path.split('__')
    readers = ('ga',) if field == 'form' else read[section]
    for name, settings in found.items():
      same = getattr(getattr(settings, section), field) == value
      assert same == (name in readers), (path, name)
  assert config == runs.config(**made)
