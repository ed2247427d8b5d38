import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import two_time_toys as toys
from twotsrec import types
from twotsrec.data import stream_feeds
from twotsrec.data import streams
from twotsrec.models import two_rnn
from twotsrec.objectives import streams as stream_objectives

CLOSE = {'rtol': 1e-5, 'atol': 1e-5}
# Name of the cell and the variant; the part that starts at psi.
CASES = (
  ('gru', '2ts'),
  ('gru', '2ts_plus'),
  ('lstm', '2ts_plus'),
  ('residual', '2ts'),
  ('scaled_gru', '2ts'),
)


pytestmark = pytest.mark.usefixtures('small_programs')


def _job(cell, variant, name='inactive'):
  changes = {'two_time__cell': cell, 'two_time__variant': variant}
  return toys.jobs(**changes)[name], changes


def _few(runs, count=8):
  """Some of the runs, of different lengths."""
  picked = np.linspace(0, len(runs.start) - 1, count).astype(int)
  picked = np.sort(np.argsort(runs.length, kind='stable')[picked])
  return streams.Runs(runs.start[picked], runs.length[picked])


@functools.cache
def _loss(cell, variant, name):
  """(job, net, jitted (net, batch) -> ((mean loss, losses), gradient))."""
  job, changes = _job(cell, variant, name)
  stages = two_rnn.make_stages(toys.config(**changes).two_time, toys.WIDTH)
  objective = stream_objectives.make(stages, job.part.own_start)

  def mean(net, batch):
    context = {'vectors': toys.vectors()}
    values = objective(types.Params({}, net), context, batch)
    total = jnp.sum(jnp.where(batch.weight > 0, values, 0.0))
    return total / jnp.sum(batch.weight), values

  run = jax.jit(jax.value_and_grad(mean, has_aux=True))
  return job, toys.net(job.part, **changes), run


def _assert_loop(cell, variant, name, layout, runs):
  """A layout of one step against a loop over users and events."""
  job, net, run = _loss(cell, variant, name)
  entries = layout.plan_of(0, 0)
  assert len(entries) == 1
  (loss, values), grads = run(net, toys.batch(job, entries[0]))
  user = toys.vectors().user if job.part.own_start else None
  play = lambda net: toys.play(net, cell, runs, user=user)
  events = play(net)
  np.testing.assert_allclose(loss, toys.mean_loss(events), **CLOSE)
  real = entries[0].ravel() >= 0
  expected = [events[e].loss for e in entries[0].ravel()[real] // 2]
  np.testing.assert_allclose(np.asarray(values)[real], expected, **CLOSE)
  assert len(expected) == len(events)
  toys.assert_gradient(grads, lambda net: toys.mean_loss(play(net)), net)
  return grads


@pytest.mark.parametrize(('cell', 'variant'), CASES)
def test_streams_equal_a_loop_over_users_and_events(cell, variant):
  job, _, _ = _loss(cell, variant, 'inactive')
  runs = _few(job.runs)
  layout = streams.packed(runs, int(runs.length.max()), 0, steps=1)
  grads = _assert_loop(cell, variant, 'inactive', layout, runs)
  assert np.all(np.abs(grads['extractor']['psi']) > 1e-4)


def test_every_layout_equals_the_loop():
  runs = _few(_loss('gru', '2ts_plus', 'inactive')[0].runs)
  longest, total = int(runs.length.max()), int(runs.length.sum())
  for layout in (
    streams.padded(runs, longest, len(runs.start) * longest),
    # Long enough that no state has to go on in another step.
    streams.carried(runs, total, 2),
  ):
    _assert_loop('gru', '2ts_plus', 'inactive', layout, runs)


def test_windows_of_active_users_are_dense_and_equal_the_loop():
  job, _, _ = _loss('gru', '2ts_plus', 'active')
  layout = streams.packed(job.runs, toys.WINDOW, 0, steps=1)
  assert layout.filled == 1.0
  _assert_loop('gru', '2ts_plus', 'active', layout, job.runs)


@functools.cache
def _scores_of(name):
  """Jitted (items of all events) -> scores f32[n, I + 1] of the longest run."""
  job, changes = _job('gru', '2ts_plus', name)
  stages = two_rnn.make_stages(toys.config(**changes).two_time, toys.WIDTH)
  longest = np.argmax(job.runs.length)
  runs = streams.Runs(*(x[[longest]] for x in job.runs))
  entries = streams.padded(runs, int(runs.length[0]), 1).plan_of(0, 0)[0]
  feed = stream_feeds.make_feed(toys.log()[0], job.group)
  net, vectors = toys.net(job.part, **changes), toys.vectors()

  @jax.jit
  def run(items):
    previous = jnp.where(feed.previous > 0, jnp.roll(items, 1), 0)
    changed = feed._replace(item=items, previous=previous)
    batch = stream_feeds.look_up(changed, jnp.asarray(entries))
    summary = stream_objectives.summarize(
      stages, net, vectors, batch, job.part.own_start
    )
    features = stages.extract(net['extractor'], summary, None)
    return stages.classify({}, features, {'embedding': vectors.item})[:, 0]

  return run, range(runs.start[0], runs.start[0] + runs.length[0])


@pytest.mark.parametrize('name', ['inactive', 'active'])
def test_an_event_is_scored_before_it_is_consumed(name):
  run, events = _scores_of(name)
  items = np.array(toys.log()[0].items)
  scores = np.asarray(run(items))
  assert len(scores) == len(events) > 3
  for at, event in enumerate(events):
    changed = items.copy()
    changed[event] = 1 + items[event] % 20
    actual = np.asarray(run(changed))
    np.testing.assert_array_equal(actual[: at + 1], scores[: at + 1])
    moved = np.abs(actual[at + 1 : at + 2] - scores[at + 1 : at + 2])
    assert np.all(moved.max(axis=1, initial=0) > 1e-4)


def _one_step(name='inactive'):
  job, changes = _job('gru', '2ts', name)
  layout = streams.packed(job.runs, int(job.runs.length.max()), 0, steps=1)
  stages = two_rnn.make_stages(toys.config(**changes).two_time, toys.WIDTH)
  objective = jax.jit(stream_objectives.make(stages, job.part.own_start))
  batch = toys.batch(job, layout.plan_of(0, 0)[0])
  params = types.Params({}, toys.net(job.part, **changes))
  return objective, params, {'vectors': toys.vectors()}, batch


def test_a_shared_pool_is_the_same_offer_for_every_event():
  objective, params, context, batch = _one_step()
  pool = jnp.array([3, 9, 3, 14])
  shape = (*batch.item.shape, len(pool))
  each = batch._replace(negatives=jnp.broadcast_to(pool, shape))
  np.testing.assert_allclose(
    objective(params, context, batch._replace(negatives=pool)),
    objective(params, context, each),
    **CLOSE,
  )


def test_an_event_that_meets_itself_alone_costs_nothing():
  objective, params, context, batch = _one_step('active')
  itself = jnp.broadcast_to(batch.item[..., None], (*batch.item.shape, 3))
  values = objective(params, context, batch._replace(negatives=itself))
  np.testing.assert_allclose(values, 0.0, atol=1e-6)


def test_two_batches_are_one_after_the_other():
  batches = [_one_step(name)[3] for name in ('inactive', 'active')]
  both = stream_objectives.pair(*batches)
  assert both.parts == tuple(batches)
  for name in ('group', 'weight'):
    joined = np.concatenate([getattr(b, name) for b in batches])
    np.testing.assert_array_equal(getattr(both, name), joined)


def test_the_pool_decides_how_many_negatives_there_are():
  options = toys.config(two_time__pool_size=7).two_time
  assert stream_objectives.negatives(options) == (3, False)
  options.pool = 'shared'
  assert stream_objectives.negatives(options) == (7, True)


def test_runs_begin_between_psi_and_vectors_but_first_events_at_psi():
  job, changes = _job('gru', 'shrunk_plus', 'everyone')
  stages = two_rnn.make_stages(toys.config(**changes).two_time, toys.WIDTH)
  net, (prepared, _) = toys.net(job.part, **changes), toys.log()
  draw = np.random.default_rng(3).uniform(0.2, 0.8, prepared.num_users)
  vectors = toys.vectors()._replace(weight=jnp.float32(draw))
  psi = np.asarray(net['extractor']['psi'], np.float64)
  starts = psi + draw[:, None] * (np.asarray(vectors.user) - psi)
  owner, first = np.asarray(prepared.event_users), prepared.user_offsets
  begin = {
    event: psi if event == first[owner[event]] else starts[owner[event]]
    for event in job.runs.start.tolist()
  }
  kinds = [event == first[owner[event]] for event in begin]
  assert any(kinds) and not all(kinds)
  expected = toys.play(net, 'gru', job.runs, entering=begin)
  layout = streams.packed(job.runs, int(job.runs.length.max()), 64)
  objective = stream_objectives.make(stages)
  context = {'vectors': vectors}
  run = jax.jit(lambda batch: objective(types.Params({}, net), context, batch))
  seen = 0
  for entries in layout.plan_of(0, 0):
    values = run(toys.batch(job, entries.reshape(layout.shape[1:])))
    flat = np.asarray(entries).ravel()
    for entry, value in zip(flat.tolist(), np.asarray(values).tolist()):
      if entry >= 0:
        np.testing.assert_allclose(value, expected[entry >> 1].loss, **CLOSE)
        seen += 1
  assert seen == len(expected)


def test_weights_of_nothing_and_all_are_psi_and_the_vectors():
  job, changes = _job('gru', 'shrunk', 'everyone')
  stages = two_rnn.make_stages(toys.config(**changes).two_time, toys.WIDTH)
  net = toys.net(job.part, **changes)
  owner = np.asarray(toys.log()[0].event_users)
  later = job.runs.start > toys.log()[0].user_offsets[owner[job.runs.start]]
  runs = streams.Runs(*(column[later] for column in job.runs))
  layout = streams.packed(runs, int(runs.length.max()), 64)
  batch = toys.batch(job, layout.plan_of(0, 0)[0].reshape(layout.shape[1:]))
  before = lambda vectors, own: (
    stream_objectives.summarize(stages, net, vectors, batch, own).hidden
  )
  plain = toys.vectors()
  for weight, own in ((0.0, False), (1.0, True)):
    weights = jnp.full(plain.user.shape[0], weight)
    actual = before(plain._replace(weight=weights), False)
    np.testing.assert_allclose(actual, before(plain, own), **CLOSE)
