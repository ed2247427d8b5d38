"""A simulation of a second, run once for all tests."""

import functools

from twotsrec.theory import simulation
from twotsrec.theory import worlds

# Tastes are far apart, so the threshold is low and few offline steps show it.
SMALL = worlds.Config(
  spread=5.0,
  num_items=32,
  width=6,
  num_users=600,
  offline_steps=80,
  online_steps=10,
)


@functools.cache
def simulated(seed: int) -> simulation.Simulation:
  """The small world of a seed."""
  return simulation.simulate(seed, SMALL)
