import importlib.util

import numpy as np
import pytest

from tests.studies import online_finished
from tests.theory import small_worlds
from twotsrec import types
from twotsrec.evaluation import comparison
from twotsrec.studies import document
from twotsrec.studies import theory as theory_lib
from twotsrec.theory import bounds
from twotsrec.theory import simulation
from twotsrec.theory import worlds


@pytest.fixture(scope='module')
def runs():
  return [
    theory_lib.Run(seed, small_worlds.simulated(seed), 1.0) for seed in (0, 1)
  ]


def test_every_spread_is_simulated_with_every_seed(monkeypatch):
  simulate = lambda seed, config: (seed, config)
  monkeypatch.setattr(simulation, 'simulate', simulate)
  made = theory_lib.simulate([2, 5.0], iter([0, 1]), small_worlds.SMALL)
  assert [(run.seed, run.simulation) for run in made] == [
    (seed, (seed, small_worlds.SMALL._replace(spread=spread)))
    for spread in (2.0, 5.0)
    for seed in (0, 1)
  ]


def test_every_simulation_is_a_row(runs):
  table = theory_lib.rows(runs)
  head, *body = table
  assert [len(row) for row in table] == [len(head)] * 3
  for seed, cells in enumerate(body):
    found = small_worlds.simulated(seed)
    row = dict(zip(head, cells))
    assert (row['spread'], row['seed']) == ('5', str(seed))
    assert int(row['t by tail']) == bounds.t_opt(found.Q_tail, found.V)
    assert int(row['best t']) == np.argmin(found.J)
    assert int(row['t by worst']) == bounds.t_opt(found.Q_worst, found.V)
    assert row['holds'] == '8 of 8'
    assert float(row['J(shrunk)']) < float(row['J(best)'])
  assert len(comparison.piped(table).splitlines()) == 4


def test_the_predicted_ratio_is_that_of_the_step_sizes(runs):
  found = runs[0].simulation
  active = bounds.gamma_act(found.t_star, 1.5, found.Q_tail, found.B, 10)
  expected = active / bounds.gamma_in(found.V, found.B, 10)
  assert theory_lib.predicted_ratio(found) == pytest.approx(expected)
  assert expected < 1.0


def test_what_does_not_hold_is_told():
  found = small_worlds.simulated(0)
  wrong = found._replace(J=found.J[::-1], R_act=found.e + found.R_in)
  true = theory_lib.holds(wrong)
  assert sum(theory_lib.holds(found).values()) == len(true) == 8
  assert not true['the best threshold is that of the rule, within 2 or 10 %']
  assert not true['risks cross where errors cross, within 1']
  assert '-' in theory_lib.rows([theory_lib.Run(0, wrong, 1.0)])[1]


def test_the_figure_is_a_picture_of_all_spreads(runs, tmp_path):
  if not importlib.util.find_spec('matplotlib'):
    pytest.skip('no matplotlib here')
  one = [run.simulation for run in runs]
  other = one[0]._replace(config=one[0].config._replace(spread=2.0))
  sizes = []
  for shown in (one, [*one, other]):
    assert theory_lib.draw(shown, tmp_path / 'theory.png')
    content = (tmp_path / 'theory.png').read_bytes()
    assert content.startswith(b'\x89PNG')
    sizes.append(int.from_bytes(content[16:20], 'big'))
  assert sizes[1] == 2 * sizes[0]
  with pytest.raises(types.UserError, match='cannot write'):
    theory_lib.draw(one, tmp_path / 'missing' / 'theory.png')


def test_nothing_is_drawn_without_simulations_or_matplotlib(
  tmp_path, monkeypatch
):
  assert not theory_lib.draw([], tmp_path / 'theory.png')
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  found = [small_worlds.simulated(0)]
  assert not theory_lib.draw(found, tmp_path / 'theory.png')
  assert not list(tmp_path.iterdir())


def simulated() -> simulation.Simulation:
  """Risks that cross where errors do, at T = 2."""
  counts = np.arange(1.0, 6.0)
  return simulation.Simulation(
    J=np.array([0.5, 0.4, 0.2, 0.3, 0.4]), R_act=0.9 / counts, R_in=0.4,
    e=1.8 / counts, J_shrunk=0.15, R_shrunk=0.4 / counts,
    e_shrunk=0.7 / counts, bias=0.1 / counts, V=0.8, Q_worst=9.0,
    Q_moment=3.0, Q_tail=2.0, t_star=2,
    gamma=0.1, gammas=np.array([0.1, 0.2]), risk_in=np.array([1.0, 0.5]),
    risk_act=np.array([0.5, 1.0]), longest=1.0, config=worlds.Config(),
  )  # fmt: skip


def test_the_theorem_is_simulated_once(tmp_path, monkeypatch):
  asked = []

  def simulate(spreads, seeds, config):
    asked.append((spreads, seeds, config))
    return [theory_lib.Run(0, simulated(), 1.0)]

  monkeypatch.setattr(theory_lib, 'simulate', simulate)
  made = theory_lib.collect(tmp_path / 'out', [5.0], [0])
  assert asked == [([5.0], [0], worlds.Config())]
  assert made['runs'] == 1 and len(made['table']) == 2
  drawn = importlib.util.find_spec('matplotlib') is not None
  assert (tmp_path / 'out' / theory_lib.PICTURE).is_file() == drawn
  assert theory_lib.collect(tmp_path / 'out', [5.0], [0]) == made
  assert len(asked) == 1
  theory_lib.collect(tmp_path / 'out', [5.0], [0, 1])
  assert len(asked) == 2
  plan = online_finished.plan(tmp_path, table=(), figure=('theory',))
  page = document.Page(plan, {}, {'theory': made}, {})
  text = document.markdown(page)
  assert '- 1: active users want smaller steps' in text
  assert ('](two_time_scale_theory.png)' in text) == drawn
  assert 'runs took' not in text
