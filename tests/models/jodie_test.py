import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import jodie_toys as toys
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import span_feeds
from twotsrec.data import timelines
from twotsrec.models import jodie
from twotsrec.objectives import spans as objectives

STATIC = ('one_hot', 'learned')


def _spans(line, layout, negatives=False):
  """Span after span, as a step is given them."""
  feed = span_feeds.make(line, layout, np.zeros(len(line.event)))
  batch_of = span_feeds.make_batch_of(toys.ITEMS, negatives)
  return [
    batch_of(feed, jnp.asarray(n), jax.random.key(1))
    for n in range(line.num_spans)
  ]


def _one_by_one(line, layout):
  """The same spans with every event in a row of its own, in order of time."""
  size, most = layout.events.shape
  order = np.where(layout.events < len(line.event), np.arange(most), most)
  return layout._replace(rows=order.reshape(size, most, 1).astype('i4'))


@pytest.fixture(scope='module')
def line():
  return timelines.make(toys.log(), prepared_lib.TEST, toys.SPANS)


def test_t_batches_are_a_sequential_replay(line):
  net, replay = toys.net(), jax.jit(jodie.replay)
  layout = timelines.lay_out(line, width=3)
  assert layout.rows.shape[1] < layout.events.shape[1]  # some at once
  states = jodie.init_states(toys.USERS, toys.ITEMS, toys.WIDTH)
  by_hand, place = toys.Replay(net), 0
  for span in _spans(line, layout):
    states, moves = replay(net, span, states)
    for row in range(int(span.weight.sum())):
      user, item, previous = (
        getattr(line, name)[place] for name in ('user', 'item', 'previous')
      )
      close = lambda ours, theirs: np.testing.assert_allclose(
        ours, theirs, rtol=1e-5, atol=1e-5
      )
      close(moves.user[row], by_hand.users[user])
      close(moves.item[row], by_hand.items[item])
      close(moves.previous[row], by_hand.items[previous])
      by_hand.event(user, item, line.gaps[place])
      close(moves.new_user[row], by_hand.users[user])
      close(moves.new_item[row], by_hand.items[item])
      place += 1
  assert place == len(line.event)
  some = [x < line.num_spans for x in line.first]
  np.testing.assert_allclose(
    states.user[some[0]], by_hand.users[some[0]], atol=1e-5
  )
  np.testing.assert_allclose(
    states.item[some[1]], by_hand.items[some[1]], atol=1e-5
  )
  assert not np.all(some[0]) and not np.all(some[1][1:])


@pytest.mark.parametrize(
  ('static', 'loss'), [('one_hot', 'mse'), ('learned', 'triplet')]
)
def test_losses_and_gradients_are_those_of_a_sequential_replay(
  static, loss, line
):
  config = toys.config(jodie__static=static, jodie__loss=loss)
  objective, layout = objectives.make(config), timelines.lay_out(line, width=3)
  context = {'first_item': jnp.asarray(line.first[1])}

  @jax.jit
  def gradient(net, span, states):
    def total(net):
      values, after = objective(net, context, span, states)
      return jnp.sum(span.weight * values), (values * span.weight, after)

    return jax.grad(total, has_aux=True)(net)

  net = toys.net(static)
  states = jodie.init_states(toys.USERS, toys.ITEMS, toys.WIDTH)
  others = states
  both = (_spans(line, x, True) for x in (layout, _one_by_one(line, layout)))
  for span, alone in zip(*both, strict=True):
    grads, (values, states) = gradient(net, span, states)
    theirs, (expected, others) = gradient(net, alone, others)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)
    assert np.any(values) and np.all(np.isfinite(values))
    for ours, one in zip(*map(jax.tree.leaves, (grads, theirs)), strict=True):
      size = max(np.abs(one).max(), 1e-3)
      np.testing.assert_allclose(ours, one, rtol=1e-4, atol=1e-5 * size)
  moved = [bool(np.any(leaf)) for leaf in jax.tree.leaves(grads)]
  assert sum(moved) >= len(moved) - 4  # the starts: nobody was new in the last


@pytest.mark.parametrize('loss', ['mse', 'triplet'])
@pytest.mark.parametrize('static', STATIC)
def test_a_loss_is_its_equation(static, loss, line):
  config = toys.config(jodie__static=static, jodie__loss=loss)
  span = _spans(line, timelines.lay_out(line), True)[0]
  net = toys.net(static)
  context = {'first_item': jnp.asarray(line.first[1])}
  states = jodie.init_states(toys.USERS, toys.ITEMS, toys.WIDTH)
  values, _ = jax.jit(objectives.make(config))(net, context, span, states)
  by_hand = toys.Replay(net)
  start = by_hand.items.copy()
  for row in range(int(span.weight.sum())):
    user, item, previous, other = (
      int(getattr(span, name)[row])
      for name in ('user', 'item', 'previous', 'negative')
    )
    assert other != item and 1 <= other <= toys.ITEMS
    predicted = by_hand.predict(user, previous, float(span.gaps[row, 0]))
    near = by_hand.distances(predicted)[item - 1]
    before = by_hand.users[user].copy(), by_hand.items[item].copy()
    by_hand.event(user, item, np.asarray(span.gaps[row], np.float64))
    drift = np.mean((by_hand.users[user] - before[0]) ** 2)
    drift += np.mean((by_hand.items[item] - before[1]) ** 2)
    target = np.concatenate([start[other], by_hand.static('item', other)])
    far = np.sum((predicted - target) ** 2)
    main = near / predicted.size if loss == 'mse' else max(0, 1 + near - far)
    np.testing.assert_allclose(values[row], main + drift, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('static', STATIC)
def test_without_a_gap_and_with_an_identity_it_is_the_last_item(static):
  net = jax.tree.map(jnp.zeros_like, toys.net(static))
  width, blocks = toys.WIDTH, dict(net['predict'])
  outputs = blocks['bias'].size
  # j~ is [k, s_k].
  blocks['previous'] = jnp.eye(width, outputs)
  inputs = blocks['item'].shape[0]
  blocks['item'] = jnp.eye(inputs, outputs, k=width)
  net = {**net, 'predict': blocks}
  if static == 'learned':
    net['static'] = toys.net(static)['static']
  items = toys.unit(
    np.random.default_rng(0).normal(size=(toys.ITEMS + 1, width))
  )
  last = jnp.arange(1, toys.ITEMS + 1)
  users = jnp.zeros(toys.ITEMS, jnp.int32)
  predicted = jodie.predict(
    net, jnp.ones((toys.ITEMS, width)), items[last], jnp.zeros(toys.ITEMS),
    (users, last),
  )  # fmt: skip
  query, rows = jodie.factors(net, predicted, jnp.asarray(items))
  nearest = np.argmax(np.asarray(query @ rows.T)[:, 1:], axis=1) + 1
  assert nearest.tolist() == last.tolist()
  near = jodie.distance(net, predicted, items[last], last)
  np.testing.assert_allclose(near, 0, atol=1e-5)


@pytest.mark.parametrize('static', STATIC)
def test_a_product_of_factors_ranks_by_the_distance(static):
  net = toys.net(static)
  draw = np.random.default_rng(1).normal
  user, last, items = (
    jnp.asarray(draw(size=(n, toys.WIDTH)), jnp.float32)
    for n in (5, 5, toys.ITEMS + 1)
  )
  ids = jnp.asarray([0, 3, 8, 3, 2]), jnp.asarray([0, 7, 1, 2, 2])
  predicted = jodie.predict(net, user, last, jnp.arange(5.0), ids)
  query, rows = jodie.factors(net, predicted, items)
  product = np.asarray(query @ rows.T)
  every = np.stack(
    [
      jodie.distance(
        net, predicted, jnp.tile(items[i], (5, 1)), jnp.full(5, i, jnp.int32)
      )
      for i in range(toys.ITEMS + 1)
    ],
    axis=1,
  )
  np.testing.assert_allclose(
    product[:, 1:] - product[:, :1], (every[:, :1] - every[:, 1:]) / 2,
    rtol=1e-3, atol=1e-4,
  )  # fmt: skip
