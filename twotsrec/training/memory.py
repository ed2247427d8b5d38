"""How much memory a phase takes on its device, before it is trained."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.training import loop
from twotsrec.training import machine
from twotsrec.training import phases
from twotsrec.training import steps


class Memory(NamedTuple):
  """Bytes of a phase, by what they hold.

  Attributes:
    tables: of ids.
    network: all other parameters.
    optimizer: moments and the like.
    method: what the aggregator or another method remembers.
    data: examples and given arrays, which are there already.
  """

  tables: int
  network: int
  optimizer: int
  method: int
  data: int

  @property
  def state(self) -> int:
    """What training writes."""
    return self.tables + self.network + self.optimizer + self.method


def of_phase(phase: phases.Phase) -> Memory:
  """Bytes of a phase; nothing is compiled or made."""
  state = jax.eval_shape(phase.init_state)
  params = state.params
  tables = params.tables if isinstance(params, types.Params) else {}
  return Memory(
    tables=_bytes(tables),
    network=_bytes(params) - _bytes(tables),
    optimizer=_bytes(state.opt_state),
    method=_bytes(state.aggregator_state),
    data=_bytes((phase.learner.context, phase.source.feed)),
  )


def temporary(phase: phases.Phase) -> int | None:
  """Bytes that the compiled steps need beside all that; None if unknown."""
  compiled = loop.compiled(
    phase,
    jax.eval_shape(phase.init_state),
    jax.eval_shape(lambda: steps.init_totals(phase.num_losses)),
    jnp.asarray(phase.source.plan_of(0)),
  )
  analysis = compiled.memory_analysis()
  return None if analysis is None else analysis.temp_size_in_bytes


def check(phase: phases.Phase, config: config_lib.Config) -> None:
  """Refuses what cannot fit, before anything is made.

  Raises:
    types.UserError: parameters and what the optimizer remembers of them take
      more than the device has free; the message says how much, and what would
      fit.
  """
  needed, free = of_phase(phase).state, machine.free_bytes()
  if free is None or needed <= free:
    return
  width = config.model.width * free // needed
  raise types.UserError(
    f'parameters and optimizer take {needed:,} bytes, and {free:,} are free on'
    f' {jax.devices()[0].device_kind}; use model.width={max(width, 1)}'
    f' in place of {config.model.width}, or fewer users and items (--min_user'
    ' and --min_item of launch/prepare.py)'
  )


def _bytes(tree: Any) -> int:
  leaves = [x for x in jax.tree.leaves(tree) if hasattr(x, 'dtype')]
  is_key = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
  return sum(x.size * x.dtype.itemsize for x in leaves if not is_key(x))
