import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import two_time_toys as toys
from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.aggregators import linear
from twotsrec.aggregators import projection
from twotsrec.data import streams
from twotsrec.models import two_rnn
from twotsrec.objectives import streams as stream_objectives
from twotsrec.training import steps
from twotsrec.training import stream_steps

LENGTH = 4


pytestmark = pytest.mark.usefixtures('small_programs')


@functools.cache
def _job():
  return toys.jobs(two_time__variant='one_gru')['everyone']


@functools.cache
def _runs():
  """Some short runs and the longest ones, which cross several steps."""
  job = _job()
  order = np.argsort(job.runs.length, kind='stable')
  picked = np.sort(np.concatenate([order[:6:2], order[-3:]]))
  return streams.Runs(*(x[picked] for x in job.runs))


@functools.cache
def _gradient(name):
  stages = two_rnn.make_stages(toys.config().two_time, toys.WIDTH)
  gradient = stream_steps.make_carried_gradient(
    stream_objectives.make_carried(stages),
    aggregators.make(config_lib.AggregatorConfig(name=name)),
    jnp.asarray(_job().sizes),
  )

  @jax.jit
  def run(net, batch, state):
    context = {'vectors': toys.vectors()}
    return gradient(types.Params({}, net), context, batch, state, None)

  return run


def _weights(entries, name):
  """What a loss counts in the one loss of a step, by event."""
  event = entries[entries >= 0] // 2
  user = np.asarray(toys.batch(_job(), entries).user)[entries >= 0]
  group = _job().group[user]
  present, number, count = np.unique(
    group, return_inverse=True, return_counts=True
  )
  total = len(event) if name == 'joint' else len(present)
  each = np.ones(len(event)) if name == 'joint' else 1.0 / count[number]
  return dict(zip(event.tolist(), (each / total).tolist()))


@pytest.mark.parametrize('name', ['joint', 'backdoor'])
def test_states_go_on_and_gradients_are_cut_between_steps(name):
  layout = streams.carried(_runs(), LENGTH, 2)
  net = toys.net(_job().part)
  events = toys.play(net, 'gru', _runs())  # nothing is cut but gradients
  state = {'carried': jnp.zeros((2, toys.WIDTH)), 'method': ()}
  crossed = 0
  for entries in layout.plan_of(0, 0):
    batch = toys.batch(_job(), entries)
    grads, state, sums, counts = _gradient(name)(net, batch, state)
    weight = _weights(entries, name)
    first = entries[0]
    # Where a step does not begin with a run, its state is a given number.
    goes_on = first[(first >= 0) & (first % 2 == 0)] // 2
    crossed += len(goes_on)
    entering = {int(e): events[int(e)].state for e in goes_on}

    def loss(net, weight=weight, entering=entering):
      played = toys.play(net, 'gru', _runs(), entering=entering)
      return sum(w * played[event].loss for event, w in weight.items())

    toys.assert_gradient(grads.net, loss, net)
    expected = sum(events[event].loss for event in weight)
    np.testing.assert_allclose(jnp.sum(sums), expected, rtol=1e-5)
    assert int(jnp.sum(counts)) == len(weight)
    for b, entry in enumerate(entries[-1].tolist()):
      if entry >= 0:
        after = events[entry // 2].after
        np.testing.assert_allclose(
          state['carried'][b], after, rtol=1e-5, atol=1e-5
        )
  assert crossed > 2


def test_it_updates_like_any_other_gradient():
  layout = streams.carried(_runs(), LENGTH, 2)
  gradient = _gradient('joint')
  net = toys.net(_job().part)
  state = {'carried': jnp.zeros((2, toys.WIDTH)), 'method': ()}
  batch = toys.batch(_job(), layout.plan_of(0, 0)[0])
  grads, following, _, _ = gradient(net, batch, state)
  # The first step begins anew, so nothing is carried into it.
  plain = steps.make_gradient(
    stream_objectives.make(
      two_rnn.make_stages(toys.config().two_time, toys.WIDTH)
    ),
    linear.joint(),
    jnp.asarray(_job().sizes),
  )
  context = {'vectors': toys.vectors()}
  params = types.Params({}, net)
  expected, *_ = jax.jit(plain)(params, context, batch, (), jax.random.key(0))
  chex.assert_trees_all_close(grads, expected, rtol=1e-5, atol=1e-6)
  assert jax.tree.structure(following) == jax.tree.structure(state)


def test_an_aggregator_of_group_gradients_is_refused():
  with pytest.raises(types.UserError, match='joint, backdoor or class_bal'):
    stream_steps.make_carried_gradient(None, projection.pcgrad(), jnp.ones(2))
