import jax
import pytest

from tests.training import loops
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.training import machine
from twotsrec.training import memory


def _nbytes(tree):
  return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))


def test_bytes_are_those_of_the_arrays_that_training_makes():
  phase = loops.phase()
  state = phase.init_state()  # kept by the small run, so not under a trace
  found = memory.of_phase(phase)
  assert found.tables == _nbytes(state.params.tables) > 0
  assert found.network == _nbytes(state.params.net) > 0
  assert found.optimizer == _nbytes(state.opt_state)
  assert found.optimizer >= 2 * (found.tables + found.network)  # two moments
  assert found.data == _nbytes((phase.learner.context, phase.source.feed))
  assert found.state == _nbytes(
    (state.params, state.opt_state, state.aggregator_state)
  )


def test_a_step_needs_a_gradient_of_all_parameters_beside_them():
  phase = loops.phase()
  phase.init_state()
  found = memory.of_phase(phase)
  assert memory.temporary(phase) >= found.tables + found.network


def test_what_cannot_fit_is_refused_with_a_width_that_would(monkeypatch):
  phase, config = loops.phase(), config_lib.Config()
  phase.init_state()
  needed = memory.of_phase(phase).state
  monkeypatch.setattr(machine, 'free_bytes', lambda: needed)
  memory.check(phase, config)
  monkeypatch.setattr(machine, 'free_bytes', lambda: needed // 2)
  with pytest.raises(types.UserError, match=f'take {needed:,} bytes') as it:
    memory.check(phase, config)
  assert f'use model.width={config.model.width // 2} ' in str(it.value)
  assert '\n' not in str(it.value)
  monkeypatch.setattr(machine, 'free_bytes', lambda: None)  # nobody knows
  memory.check(phase, config)
