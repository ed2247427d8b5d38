"""Sizes of representations and experts, and the gate, of a target behavior."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config as config_lib
from twotsrec.data import behaviors as behaviors_lib
from twotsrec.models import experts
from twotsrec.models import multi_behavior

_PAIRS = 4096


def make_diagnose(
  config: config_lib.Config,
  model: multi_behavior.MultiBehavior,
  behaviors: behaviors_lib.Behaviors,
) -> Callable[..., dict[str, Any]]:
  """Compiles (state, context, feed, plan, key) -> how a run is doing.

  Size of the representations, of the transferred experts against the own one,
  and the gate's mean and spread over random pairs.
  """
  target = len(behaviors.names) - 1
  generator = np.random.default_rng(0)
  draw = lambda count: jnp.asarray(generator.integers(count, size=_PAIRS))
  users, items = draw(behaviors.num_users), draw(behaviors.num_items)
  rms = lambda x, axis=None: jnp.sqrt(jnp.mean(jnp.square(x), axis=axis))

  @jax.jit
  def look(params, context):
    encoded = model.encode(params, context, (target,))
    sizes = {'table_rms': jnp.stack([rms(b) for b in encoded.behaviors])}
    if config.head.name != 'experts':
      return sizes
    table = encoded.tasks[target]
    user, item = table[users], table[behaviors.num_users + items]
    slots = experts.sources(target, target + 1, config.head)
    by_slot = (user * item).reshape(_PAIRS, len(slots), -1)
    sizes['expert_rms'] = rms(by_slot, (0, 2))
    if 'gate' not in params.net['head']:
      return sizes
    halves = experts.gate_halves(
      params.net['head']['gate'], user, item, slots.index(target)
    )
    gate = jax.nn.softmax(sum(halves))
    return sizes | {'gate_mean': gate.mean(0), 'gate_std': gate.std(0)}

  def diagnose(state, context, feed, plan, key):
    del feed, plan, key
    return jax.device_get(look(state.params, context))

  return diagnose
