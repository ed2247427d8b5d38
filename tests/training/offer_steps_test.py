import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import event_feeds
from twotsrec.data import plans
from twotsrec.models import ccf
from twotsrec.training import checkpoints
from twotsrec.training import loop
from twotsrec.training import offer_steps
from twotsrec.training import phases
from twotsrec.training import row_optimizers
from twotsrec.training import run_directory
from twotsrec.training import steps

USERS, ITEMS, WIDTH, GROUPS, BATCH = 9, 7, 4, 2, 8
SIZES = types.Sizes(USERS, ITEMS, 0)
KEY = jax.random.key(3)
OPTIMIZERS = config_lib.TABLE_OPTIMIZERS
POOLS = event_feeds.POOLS
# Category of every item, two to a brand; 0 for padding.
BRANDS = np.array([0, 1, 1, 2, 2, 3, 3, 0], np.int32)


def _config(optimizer='adam', pool='event', featured=False, **two_time):
  config = config_lib.Config()
  config.model.width = WIDTH
  config.two_time = config_lib.TwoTimeConfig(
    stage1_rate=0.1 if optimizer == 'row_adagrad' else 0.02,
    pool=pool,
    pool_size=4,
    negatives=3,
    feature_width=2 if featured else 0,
    **two_time,
  )
  config.train.epochs = 3
  config.train.table_optimizer = optimizer
  config.train.checkpoint_every = 0.0
  return config


@functools.cache
def _feed():
  """Users of two brands each; user 8 is never trained."""
  generator = np.random.default_rng(0)
  user = np.repeat(np.arange(USERS - 1), 5)
  item = 1 + (2 * (user % 3) + generator.integers(0, 2, len(user))) % ITEMS
  as_i32 = lambda x: jnp.asarray(x, jnp.int32)
  weight = jnp.ones(len(user))
  return event_feeds.EventFeed(
    as_i32(user), as_i32(item), as_i32(user % GROUPS), weight
  )


def _sizes():
  return jnp.asarray(np.bincount(_feed().group, minlength=GROUPS), jnp.float32)


def _context(featured=False):
  context = event_feeds.make_context(_feed(), USERS, ITEMS)
  if featured:
    context['features'] = {'categorical': {'brand': jnp.asarray(BRANDS)}}
  return context


@functools.cache
def _first(featured):
  config = _config(featured=featured)
  return jax.device_get(ccf.init(KEY, _context(featured), SIZES, config))


def _params(config, scale=None):
  params = _first(config.two_time.feature_width > 0)
  if scale is None:
    return jax.tree.map(jnp.asarray, params)
  generator = np.random.default_rng(4)
  draw = lambda leaf: scale * generator.normal(size=leaf.shape)
  return jax.tree.map(lambda leaf: jnp.asarray(draw(leaf), 'f4'), params)


def _batch(config, examples=(3, 11, 3, 39, -1, 20)):
  batch_of = event_feeds.make_batch_of(ITEMS, config.two_time)
  return jax.jit(batch_of)(_feed(), jnp.asarray(examples), KEY)


def _literal(params, context, batch, l2=0.0):
  """Losses f64[B], and the gradient of their sum by user and item row."""
  user = np.asarray(params.tables['user']['embedding'], np.float64)
  item = np.asarray(params.tables['item']['embedding'], np.float64)
  negatives = np.asarray(batch.negatives)
  values = np.zeros(len(batch.user))
  by_user, by_item = np.zeros_like(user), np.zeros_like(item)
  for b, (u, i) in enumerate(zip(*map(np.asarray, (batch.user, batch.item)))):
    if u < 0:
      continue
    drawn = negatives if negatives.ndim == 1 else negatives[b]
    offer = [i, *(j for j in drawn if j != i)]
    chance = np.exp([user[u] @ item[j] for j in offer])
    chance /= chance.sum()
    values[b] = -np.log(chance[0])
    for j, share in zip(offer, chance - np.eye(len(offer))[0]):
      by_user[u] += share * item[j]
      by_item[j] += share * user[u]
    values[b] += l2 * (user[u] @ user[u] + item[i] @ item[i])
    by_user[u] += 2 * l2 * user[u]
    by_item[i] += 2 * l2 * item[i]
    for j in drawn:
      values[b] += l2 * item[j] @ item[j] / len(drawn)
      by_item[j] += 2 * l2 * item[j] / len(drawn)
  return values, by_user, by_item


@pytest.mark.parametrize(
  ('pool', 'l2'), [('event', 0.0), ('event', 0.3), ('shared', 0.3)]
)
def test_losses_and_gradients_are_those_of_a_loop_over_the_offer_sets(pool, l2):
  config = _config(pool=pool, stage1_l2=l2)
  batch = _batch(config)
  # Some negatives are the chosen item again.
  hidden = np.asarray(batch.negatives) == np.asarray(batch.item)[:, None]
  assert hidden.any() and not hidden.all()
  params, context = _params(config, 1.0), _context()
  objective = offer_steps.make_objective(config)

  @jax.jit
  def values_and_grad(params):
    def total(params):
      values = objective(params, context, batch)
      return jnp.sum(values * batch.weight), values

    grads, values = jax.grad(total, has_aux=True)(params)
    return values, grads

  values, grads = values_and_grad(params)
  expected, by_user, by_item = _literal(params, context, batch, l2)
  real = np.asarray(batch.weight) > 0
  close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
  close(np.asarray(values)[real], expected[real])
  close(grads.tables['user']['embedding'], by_user)
  close(grads.tables['item']['embedding'], by_item)


def test_an_offer_of_nothing_but_the_chosen_item_has_no_loss():
  config = _config()
  batch = _batch(config)
  batch = batch._replace(negatives=jnp.repeat(batch.item[:, None], 3, axis=1))
  objective = offer_steps.make_objective(config)
  total = lambda p: jnp.sum(batch.weight * objective(p, _context(), batch))
  value, grads = jax.jit(jax.value_and_grad(total))(_params(config, 1.0))
  np.testing.assert_allclose(value, 0.0, atol=1e-6)
  for leaf in jax.tree.leaves(grads):
    np.testing.assert_array_equal(leaf, 0.0)


_LONGEST = 150  # steps of a plan
_RUNNERS = {}  # by configuration: tracing takes longer than running


def _runner(config):
  name = repr(config)
  if name not in _RUNNERS:
    update = offer_steps.make(config, _sizes())
    batch_of = event_feeds.make_batch_of(ITEMS, config.two_time)
    _RUNNERS[name] = update, steps.make_runner(update.step, batch_of)
  return _RUNNERS[name]


def _run(config, plan, params=None, context=None, cuts=None):
  """State and totals after a plan; filled, so that all have one length."""
  featured = config.two_time.feature_width > 0
  update, runner = _runner(config)
  params = _params(config) if params is None else params
  context = _context(featured) if context is None else context
  copied = jax.tree.map(jnp.array, params)
  state = update.init(copied, jax.random.key(1), None)
  totals = steps.init_totals(GROUPS)
  filled = np.full((_LONGEST, *plan.shape[1:]), -1, np.int32)
  filled[: len(plan)] = plan
  for start, stop in cuts or [(0, len(plan))]:
    state, totals = runner(
      state,
      totals,
      context,
      _feed(),
      jnp.asarray(filled),
      KEY,
      jnp.int32(start),
      jnp.int32(stop),
    )
  return state, totals


def _plan(epochs=1, batch=BATCH):
  size = len(_feed().user)
  made = [event_feeds.make_plan(size, batch, 0, e) for e in range(epochs)]
  return np.concatenate(made)


@pytest.mark.parametrize(
  ('pool', 'aggregator'), [('event', 'backdoor'), ('shared', 'joint')]
)
def test_a_row_wise_step_is_the_dense_gradient_on_the_rows_in_use(
  pool, aggregator
):
  config = _config('row_adagrad', pool, stage1_l2=0.1)
  config.aggregator.name = aggregator
  plan = np.array([[3, 11, 3, 39, -1, 20]])
  params = _params(config, 0.5)
  state, totals = _run(config, plan, params)
  dense = _config('adam', pool, stage1_l2=0.1)
  batch = _batch(config, plan[0])
  objective = offer_steps.make_objective(dense)
  count = np.array([np.sum(batch.weight * (batch.group == g)) for g in (0, 1)])
  weight = np.asarray(batch.weight) / 5
  if aggregator == 'backdoor':
    weight = np.asarray(batch.weight) / (2 * count[np.asarray(batch.group)])

  def total(params):
    return jnp.sum(weight * objective(params, _context(), batch))

  grads = jax.jit(jax.grad(total))(params)
  for entity, used in (
    ('user', set(np.asarray(batch.user).tolist())),
    ('item', {*np.ravel(batch.item).tolist(), *_drawn(batch)}),
  ):
    before = np.asarray(params.tables[entity]['embedding'])
    grad = np.asarray(grads.tables[entity]['embedding'])
    acc = np.mean(grad**2, axis=1, keepdims=True)
    step = 0.1 * grad / np.sqrt(np.where(acc > 0, acc, 1.0))
    after = np.asarray(state.params.tables[entity]['embedding'])
    np.testing.assert_allclose(after, before - step, rtol=1e-4, atol=1e-5)
    idle = sorted(set(range(len(before))) - used)
    assert idle
    np.testing.assert_array_equal(after[idle], before[idle])
  np.testing.assert_array_equal(totals.weight, count)


def _drawn(batch):
  """Negatives on offer, without those of filling events."""
  negatives = np.asarray(batch.negatives)
  if negatives.ndim == 1:
    return negatives.tolist()
  return negatives[np.asarray(batch.user) >= 0].ravel().tolist()


def test_lazy_adam_is_dense_adam_where_every_row_is_in_use():
  plan = _plan(6, batch=len(_feed().user))
  finals = []
  for optimizer in ('adam', 'lazy_adam'):
    config = _config(optimizer, featured=True)
    config.two_time.negatives = 40
    finals.append(_run(config, plan)[0].params)
  # User 8 and padding are never in use; dense Adam leaves them as well.
  chex.assert_trees_all_close(*finals, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('optimizer', OPTIMIZERS)
def test_training_lowers_the_loss_and_beats_popularity(optimizer):
  config = _config(optimizer, featured=True)
  plan = _plan(30)
  _, first = _run(config, plan, cuts=[(0, 3)])
  state, _ = _run(config, plan)
  _, last = _run(config, plan[-3:], state.params)
  loss = lambda totals: float(jnp.sum(totals.loss) / jnp.sum(totals.weight))
  assert loss(last) < 0.6 * loss(first)
  context = _context(featured=True)
  scores = {
    'ccf': np.asarray(ccf.user_vectors(state.params, context)[:-1])
    @ np.asarray(ccf.item_vectors(state.params, context)).T,
    'popularity': np.tile(context['item_counts'], (USERS, 1)),
  }
  rank = {name: _mean_rank(values) for name, values in scores.items()}
  # A user likes two items of seven; chance is in the middle.
  assert rank['ccf'] < 2.0 < rank['popularity'] < (ITEMS + 1) / 2 + 0.5


def _mean_rank(scores):
  user, item = np.asarray(_feed().user), np.asarray(_feed().item)
  own, others = scores[user, item][:, None], scores[user, 1:]
  above = np.sum(others > own, axis=1)
  return np.mean(1 + above + 0.5 * (np.sum(others == own, axis=1) - 1))


@pytest.mark.parametrize(
  ('name', 'pool'), [('backdoor', 'event'), ('pcgrad', 'shared')]
)
def test_dense_tables_take_any_aggregator_in_any_form(name, pool):
  config = _config(pool=pool)
  config.aggregator.name = name
  config.aggregator.form = 'explicit'
  plan = _plan(batch=20)
  stacked = plans.stack_plan(plan, np.asarray(_feed().group), GROUPS, 20)
  assert offer_steps.make(config, _sizes()).stacked
  state, totals = _run(config, stacked)
  assert int(totals.bad_step) == -1
  np.testing.assert_array_equal(totals.weight, _sizes())
  config.aggregator.form = 'auto'
  assert offer_steps.make(config, _sizes()).stacked == (name == 'pcgrad')
  if name == 'pcgrad':
    return
  fused, _ = _run(config, plan)
  chex.assert_trees_all_close(state.params, fused.params, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('optimizer', ['adam', 'row_adagrad'])
def test_a_refit_moves_users_alone(optimizer):
  config = _config(optimizer, featured=True)
  params, context = _params(config, 0.5), _context(featured=True)
  users, frozen = offer_steps.freeze_items(params, context)
  state, totals = _run(config, _plan(), users, frozen)
  assert set(state.params.tables) == {'user'} and state.params.net == {}
  assert int(totals.bad_step) == -1
  thawed = offer_steps.thaw_items(params, state.params)
  np.testing.assert_array_equal(
    ccf.item_vectors(thawed, context), ccf.item_vectors(params, context)
  )
  before, after = (p.tables['user']['embedding'] for p in (params, thawed))
  moved = np.any(np.asarray(before) != np.asarray(after), axis=1)
  np.testing.assert_array_equal(moved, context['user_counts'] > 0)
  # For one step it is as where items are trained; those that are cold are 0.
  first, items = _plan()[:1], params.tables['item']['embedding']
  warm = (context['item_counts'] > 0)[:, None]
  params.tables['item']['embedding'] = jnp.where(warm, items, 0.0)
  alone, _ = _run(config, first, users, frozen)
  together, _ = _run(config, first, params, context)
  chex.assert_trees_all_close(
    alone.params.tables['user'],
    together.params.tables['user'],
    rtol=1e-4,
    atol=1e-5,
  )


@pytest.mark.parametrize('optimizer', OPTIMIZERS)
def test_cuts_of_an_epoch_change_no_bit(optimizer):
  config, plan = _config(optimizer, featured=True), _plan()
  whole, _ = _run(config, plan)
  cut, _ = _run(config, plan, cuts=[(0, 1), (1, 4), (4, len(plan))])
  bits = lambda state: jax.device_get((state.params, state.opt_state))
  chex.assert_trees_all_equal(bits(whole), bits(cut))


@functools.cache
def _phase(optimizer):
  config = _config(optimizer, pool='shared', featured=True)
  update, runner = _runner(config)
  size = len(_feed().user)
  init = lambda key=KEY: _params(config)
  return phases.Phase(
    runner=runner,
    init_state=lambda: update.init(init(), jax.random.key(1), None),
    learner=contracts.Learner(init, context=_context(featured=True)),
    source=contracts.Source(
      feed=_feed(),
      sizes=_sizes(),
      batch_of=event_feeds.make_batch_of(ITEMS, config.two_time),
      plan_of=lambda epoch: event_feeds.make_plan(size, BATCH, 0, epoch),
    ),
    how=phases.How(config.train, update, phases.keys_of(KEY)),
    num_losses=GROUPS,
  )


@pytest.mark.parametrize('optimizer', row_optimizers.NAMES)
def test_a_stopped_run_ends_with_the_same_bits(optimizer, tmp_path):
  phase = _phase(optimizer)
  fit = lambda name, stop: loop.fit(
    phase, str(tmp_path / name), stop, quiet=True
  )
  for name in ('whole', 'cut'):
    (tmp_path / name).mkdir()
  never = fit('whole', lambda: False)
  asked = iter([False, True])
  assert fit('cut', lambda: next(asked)).params is None
  resumed = fit('cut', lambda: False)
  chex.assert_trees_all_equal(
    jax.device_get(never.params), jax.device_get(resumed.params)
  )
  template = {'train': phase.init_state(), 'totals': steps.init_totals(GROUPS)}
  states = [
    checkpoints.restore(
      run_directory.latest_path(str(tmp_path / name)), template
    )
    .state['train']
    .opt_state
    for name in ('whole', 'cut')
  ]
  chex.assert_trees_all_equal(*map(jax.device_get, states))


@pytest.mark.parametrize('optimizer', OPTIMIZERS)
def test_a_number_that_is_not_finite_stops_at_its_step(optimizer):
  config, plan = _config(optimizer, featured=True), _plan()
  params = _params(config)
  user = _feed().user[plan[-1, 0]]
  table = params.tables['user']['embedding'].at[user].set(jnp.nan)
  tables = {**params.tables, 'user': {'embedding': table}}
  state, totals = _run(config, plan, params._replace(tables=tables))
  first = next(n for n, row in enumerate(plan) if _has(row, user))
  assert int(totals.bad_step) == first and bool(totals.bad_loss)
  assert int(state.step) == first + 1


def _has(examples, user):
  return np.any(np.asarray(_feed().user)[examples[examples >= 0]] == user)


@pytest.mark.parametrize(
  ('name', 'form'), [('pcgrad', 'auto'), ('joint', 'explicit')]
)
def test_rows_refuse_what_needs_the_gradient_of_every_group(name, form):
  config = _config('row_adagrad')
  config.aggregator.name, config.aggregator.form = name, form
  with pytest.raises(types.UserError, match=f'{name!r}.*optimizer=adam') as it:
    offer_steps.make(config, _sizes())
  assert '\n' not in str(it.value)
