"""Ways to serve people with little history, tried on a small base."""

import json
import pathlib
import re

import numpy as np
import pytest

from tests import small_runs as runs
from twotsrec import types
from twotsrec.runs import compare
from twotsrec.runs import tail

_WAYS = ('backdoor', 'insert', 'mix', 'transfer')


def _config(**changes):
  return runs.config(
    **{
      'model__name': 'gru4rec',
      'model__hidden': (128, 64),
      'train__epochs': 2,
      'train__log_groups': False,
      'plugin__epochs': 1,
      'plugin__learning_rate': 0.03,
      'evaluation__bootstrap': 10,
      **changes,
    }
  )


@pytest.fixture(scope='module')
def tried(tmp_path_factory):
  """The folder and what it has; leave it as it is."""
  workdir = tmp_path_factory.mktemp('tail')
  return workdir, tail.train(_config(), str(workdir), _WAYS, quiet=True)


def test_every_way_is_a_run_and_is_paired_with_the_base(tried):
  workdir, result = tried
  assert json.loads((workdir / 'tail.json').read_text()) == result
  assert set(_WAYS) <= set(result['validation'])
  for way in _WAYS:
    (rows,) = compare.compare(
      {'base': [str(workdir / 'base')], way: [str(workdir / way)]},
      ('ndcg@10',),
    )['comparisons'].values()
    differences = [row['difference'] for row in rows['ndcg@10']]
    there = result['test']['comparisons'][way]['ndcg@10']
    np.testing.assert_allclose(
      [row['difference'] for row in there], differences
    )


def test_a_plugin_of_the_tail_leaves_the_others_alone(tried):
  _, result = tried
  for rows in (
    result['validation']['transfer']['rows'],
    result['test']['comparisons']['transfer']['ndcg@10'],
  ):
    assert [row['difference'] for row in rows[1:-2]] == [0.0] * (len(rows) - 3)


def test_what_is_chosen_gains_most_and_harms_nobody(tried):
  _, result = tried
  gains = {
    name: entry['rows'][0]['difference']
    for name, entry in result['validation'].items()
    if all(row['high'] >= 0 for row in entry['rows'][:-2])
  }
  best = max(gains, key=lambda name: gains[name]) if gains else 'base'
  best = best if gains and gains[best] > 0 else 'base'
  assert result['chosen'] == best
  assert f'chosen: {"the base" if best == "base" else best}' in tail.format(
    result
  )


def test_the_same_call_again_trains_nothing(tried):
  workdir, result = tried
  written = lambda: {
    path: path.stat().st_mtime_ns
    for path in workdir.rglob('*')
    if path.is_file() and path.name in ('report.json', 'metrics.jsonl')
  }
  before = written()
  assert len(before) >= 2 * len(result['test']['systems'])
  again = tail.train(_config(), str(workdir), _WAYS, quiet=True)
  assert again == result
  assert written() == before


def test_a_way_that_the_base_cannot_go_is_named_with_the_reason(tmp_path):
  base = runs.config(train__epochs=1, train__log_groups=False)  # DIN
  result = tail.train(base, str(tmp_path), ('mix', 'backdoor'), quiet=True)
  assert result is not None and set(result['validation']) == {'backdoor'}
  assert 'has no state to mix' in result['not_tried']['mix']
  assert not (tmp_path / 'mix').exists()
  assert 'mix: not tried, augment.mix' in tail.format(result)


def test_the_script_names_all_ways():
  text = (pathlib.Path(runs.__file__).parents[1] / 'launch/tail.py').read_text()
  named = re.findall(r'\w+', text[text.index("'ways'") :])
  assert set(tail.WAYS) <= set(named)


def test_a_metric_that_is_not_there_is_refused_before_training(tmp_path):
  with pytest.raises(types.UserError, match="'hr@7'.*known"):
    tail.train(_config(), str(tmp_path / 'x'), ('backdoor',), 'hr@7')
  assert not (tmp_path / 'x').exists()


def test_a_way_that_is_not_there_is_refused(tmp_path):
  with pytest.raises(types.UserError, match="'magic'.*backdoor.*transfer"):
    tail.train(_config(), str(tmp_path / 'x'), ('magic',))
  assert not pathlib.Path(tmp_path / 'x').exists()


def test_plugins_of_several_ways_stand_on_the_others_together():
  trunk = tail._trunk
  assert trunk('transfer') == trunk('base') == 'base'
  assert trunk('backdoor+insert+transfer') == 'backdoor+insert'
  config = tail.settings(
    _config(), 'insert+transfer', trunk('insert+transfer'), 'ndcg@10', 2
  )
  assert config.plugin.trunk == 'insert' and config.augment.insert == 0.2
  assert config.augment.groups == config.routing.groups == 2
