import importlib.util

import numpy as np
import pytest

from tests.theory import small_worlds
from twotsrec import theory
from twotsrec import types
from twotsrec.evaluation import comparison
from twotsrec.recipes.reproduction import theory_figure
from twotsrec.recipes.reproduction import theory_report


@pytest.fixture(scope='module')
def runs():
  return theory_report.run([5.0], [0, 1], small_worlds.SMALL)


def test_every_spread_and_seed_is_a_row(runs):
  table = theory_report.theory_rows(runs)
  head, *body = table
  assert [len(row) for row in table] == [len(theory_report.HEAD)] * 3
  for seed, cells in enumerate(body):
    found = small_worlds.simulated(seed)
    row = dict(zip(head, cells))
    assert (row['spread'], row['seed']) == ('5', str(seed))
    assert int(row['t by tail']) == theory.t_opt(found.Q_tail, found.V)
    assert int(row['best t']) == np.argmin(found.J)
    assert int(row['t by worst']) == theory.t_opt(found.Q_worst, found.V)
    assert row['holds'] == '6 of 6'
  assert len(comparison.piped(table).splitlines()) == 4


def test_the_predicted_ratio_is_that_of_the_step_sizes(runs):
  found = runs[0].simulation
  active = theory.gamma_act(found.t_star, 1.5, found.Q_tail, found.B, 10)
  expected = active / theory.gamma_in(found.V, found.B, 10)
  assert theory_report.predicted_ratio(found) == pytest.approx(expected)
  assert expected < 1.0


def test_what_does_not_hold_is_told():
  found = small_worlds.simulated(0)
  wrong = found._replace(J=found.J[::-1], R_act=found.e + found.R_in)
  true = theory_report.holds(wrong)
  assert sum(theory_report.holds(found).values()) == len(true) == 6
  assert not true['the best threshold is that of the rule, within 2 or 10 %']
  assert not true['risks cross where errors cross, within 1']
  assert '-' in theory_report.theory_rows([theory_report.Run(0, wrong, 1.0)])[1]


def test_the_figure_is_a_picture_of_all_spreads(runs, tmp_path):
  if not importlib.util.find_spec('matplotlib'):
    pytest.skip('no matplotlib here')
  one = [run.simulation for run in runs]
  other = one[0]._replace(config=one[0].config._replace(spread=2.0))
  sizes = []
  for shown in (one, [*one, other]):
    path = theory_figure.draw(shown, tmp_path / 'theory.png')
    content = path.read_bytes()
    assert content.startswith(b'\x89PNG')
    sizes.append(int.from_bytes(content[16:20], 'big'))
  assert sizes[1] == 2 * sizes[0]
  with pytest.raises(types.UserError, match='cannot write'):
    theory_figure.draw(one, tmp_path / 'missing' / 'theory.png')


def test_nothing_is_drawn_without_simulations_or_matplotlib(
  tmp_path, monkeypatch
):
  assert theory_figure.draw([], tmp_path / 'theory.png') is None
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  found = [small_worlds.simulated(0)]
  assert theory_figure.draw(found, tmp_path / 'theory.png') is None
  assert not list(tmp_path.iterdir())
