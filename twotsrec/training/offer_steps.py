"""Stage 1 of 2TS: updates of the softmax over an offer set (2TS sec. 3.1).

    L = mean of log sum_{j in O} exp(phi_u . v_j) - phi_u . v_i,
    O = {i} and p uniform items

Dense updates differentiate through the lookup and move every row (Adam's
moments of rows at rest decay). Row-wise ones differentiate with respect to the
rows of the batch alone, for catalogues of millions.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import losses
from twotsrec import types
from twotsrec.data import event_feeds
from twotsrec.models import ccf
from twotsrec.objectives import sampled as objectives
from twotsrec.ops import rows
from twotsrec.training import optimizers
from twotsrec.training import row_optimizers
from twotsrec.training import steps
from twotsrec.training import updates

DENSE = 'adam'
BY_ROWS = ('row_adagrad', 'lazy_adam')


def make(config: config_lib.Config, sizes: jax.Array) -> updates.Update:
  """The update that `two_time.stage1_optimizer` and the aggregator name.

  Args:
    config: widths, stage 1, aggregator.
    sizes: f32[G], training events of every group.
  Raises:
    types.UserError: an unknown optimizer, a rate or penalty out of range, or
      row-wise tables with an aggregator that needs every group's gradient.
  """
  _check(config.two_time)
  if config.two_time.stage1_optimizer == DENSE:
    return _dense(config, sizes, make_objective(config))
  return _by_rows(config, sizes)


def freeze_items(
  params: types.Params, context: dict[str, Any]
) -> tuple[types.Params, dict[str, Any]]:
  """Parameters and context of a refit: item vectors are given, not trained.

  Trained by any update of `make`, so, users follow events that were held out
  without the space turning under them. `thaw_items` puts the users back.

  Args:
    params: of `ccf.init`, trained.
    context: 'item_counts', and what the vectors are made of.
  """
  vectors = {'embedding': ccf.item_vectors(params, context)}
  users = {'user': params.tables['user']}
  return types.Params(users, {}), {**context, 'frozen_items': vectors}


def thaw_items(params: types.Params, users: types.Params) -> types.Params:
  """The parameters with the user table that was trained alone.

  Args:
    params: given to `freeze_items`.
    users: what became of its result.
  """
  return params._replace(tables={**params.tables, **users.tables})


def make_objective(config: config_lib.Config) -> objectives.Objective:
  """(params, context, OfferBatch, key) -> loss per event, f32[B].

  Args:
    config: `two_time.stage1_l2` is on |phi_u|^2 and |x_i|^2 of an event, and
      the mean |x_j|^2 of what was on offer beside i.
  """
  of_rows = _make_loss_of_rows(config)

  def objective(params, context, batch, key=None):
    local = types.Params(_gather(params.tables, batch), params.net)
    return of_rows(local, context, batch, key)

  return objective


def _ids(batch: event_feeds.OfferBatch) -> jax.Array:
  """Items of a batch: i32[B, 1 + p], the chosen one first, or i32[B + S]."""
  if batch.negatives.ndim == 1:
    return jnp.concatenate([batch.item, batch.negatives])
  return jnp.concatenate([batch.item[:, None], batch.negatives], axis=1)


def _gather(tables, batch):
  """Rows of a batch from every table; filling takes what is first."""
  ids = {'user': batch.user, 'item': _ids(batch)}
  return {
    entity: rows.gather(table, jnp.maximum(ids[entity], 0))
    for entity, table in tables.items()
  }


def _make_loss_of_rows(config):
  """As an objective, for parameters whose tables are the rows of the batch."""
  l2 = config.two_time.stage1_l2

  def of_rows(local, context, batch, key=None):
    del key  # nothing is dropped
    user = local.tables['user']['embedding']
    ids = jnp.maximum(_ids(batch), 0)
    if 'frozen_items' in context:  # their features are in them
      items = rows.gather(context['frozen_items'], ids)
      vectors = items['embedding']
    else:
      items = local.tables['item']
      vectors = ccf.with_features(local.net, items, context, ids)
    chosen, others = _split(vectors, batch)
    if others.ndim == 2:
      positive, scores = jnp.sum(user * chosen, axis=-1), user @ others.T
    else:
      scores = jnp.einsum('bd,bcd->bc', user, vectors)
      positive, scores = scores[:, 0], scores[:, 1:]
    hidden = batch.negatives == batch.item[:, None]
    values = losses.offer_softmax_loss(positive, scores, hidden)
    return values + l2 * _squares(user, items, batch) if l2 else values

  return of_rows


def _split(items, batch):
  """Rows of the chosen items [B, d], and of the others [B, p, d] or [S, d]."""
  if batch.negatives.ndim == 1:
    size = batch.item.shape[0]
    return items[:size], items[size:]
  return items[:, 0], items[:, 1:]


def _squares(user, items, batch):
  """|phi_u|^2 + |x_i|^2 + mean_j |x_j|^2, f32[B]."""
  norm = jnp.sum(jnp.square(items['embedding']), axis=-1)
  chosen, others = _split(norm[..., None], batch)
  others = jnp.mean(others[..., 0], axis=-1)
  return jnp.sum(jnp.square(user), axis=-1) + chosen[..., 0] + others


def _dense(config, sizes, objective):
  """Gradients of whole tables, any aggregator, Adam."""
  aggregator = aggregators.make(config.aggregator)
  form = steps.resolve_form(aggregator, config.aggregator.form)
  return updates.of_gradient(
    steps.make_gradient(objective, aggregator, sizes, form),
    optimizers.make(_adam(config)),
    lambda key, params: aggregator.init(sizes.shape[0], params),
    stacked=form == 'explicit',
    post=steps.make_post(steps.make_group_loss(objective), aggregator, sizes),
  )


def _by_rows(config, sizes):
  """Gradients of the rows of a batch, a linear aggregator, lazy updates."""
  options = config.two_time
  aggregator = aggregators.make(config.aggregator)
  if aggregator.weights is None or config.aggregator.form == 'explicit':
    raise types.UserError(
      f'two_time.stage1_optimizer {options.stage1_optimizer!r} makes no'
      f' gradient per group, which aggregator {config.aggregator.name!r} in'
      f' form {config.aggregator.form!r} needs; use stage1_optimizer={DENSE},'
      ' or aggregator joint, backdoor or class_balanced'
    )
  gradient = steps.make_gradient(
    _make_loss_of_rows(config), aggregator, sizes, 'fused'
  )
  row_optimizer = row_optimizers.make(
    options.stage1_optimizer, options.stage1_rate, config.train.beta2
  )
  net_optimizer = _net_optimizer(config)

  def init(params, key, method_key=None):
    del method_key  # a linear aggregator starts the same for everybody
    by_entity = {k: row_optimizer.init(t) for k, t in params.tables.items()}
    return steps.TrainState(
      jnp.zeros((), jnp.int32),
      params,
      {'rows': by_entity, 'net': net_optimizer.init(params.net)},
      aggregator.init(sizes.shape[0], params),
      key,
    )

  def step(state, totals, context, batch):
    key = jax.random.fold_in(state.key, state.step)
    tables, opt_state = state.params.tables, state.opt_state
    local = types.Params(_gather(tables, batch), state.params.net)
    grads, aggregator_state, sums, counts = gradient(
      local, context, batch, state.aggregator_state, key
    )
    tables, by_entity = _move_rows(
      row_optimizer, tables, opt_state['rows'], batch, grads.tables
    )
    changes, net_state = net_optimizer.update(
      grads.net, opt_state['net'], state.params.net
    )
    net = optax.apply_updates(state.params.net, changes)
    totals = steps.add_totals(totals, state.step, sums, counts, grads)
    opt_state = {'rows': by_entity, 'net': net_state}
    params = types.Params(tables, net)
    state = steps.TrainState(
      state.step + 1, params, opt_state, aggregator_state, state.key
    )
    return state, totals

  return updates.Update(step, init)


def _move_rows(optimizer, tables, states, batch, grads):
  """Tables and their states after an update of the rows of a batch."""
  ids = {'user': batch.user, 'item': jnp.ravel(_offered(batch))}
  moved = {
    entity: optimizer.update(
      table,
      states[entity],
      ids[entity],
      jax.tree.map(
        lambda grad: grad.reshape(-1, grad.shape[-1]), grads[entity]
      ),
    )
    for entity, table in tables.items()
  }
  return (
    {entity: table for entity, (table, _) in moved.items()},
    {entity: state for entity, (_, state) in moved.items()},
  )


def _offered(batch):
  """Items in use, -1 where a filling event has none."""
  ids = _ids(batch)
  if ids.ndim == 1:
    return ids
  return jnp.where(batch.item[:, None] < 0, -1, ids)


def _net_optimizer(config):
  """What moves the feature net beside row-wise tables: the same, but dense."""
  options = config.two_time
  if options.stage1_optimizer == 'row_adagrad':
    return optax.adagrad(
      options.stage1_rate, initial_accumulator_value=0.0, eps=1e-20
    )
  return optimizers.make(_adam(config))


def _adam(config):
  rate = config.two_time.stage1_rate
  return dataclasses.replace(config.train, learning_rate=rate)


def _check(options):
  known = (DENSE, *BY_ROWS)
  if options.stage1_optimizer not in known:
    raise types.UserError(
      f'two_time.stage1_optimizer {options.stage1_optimizer!r}; known:'
      f' {", ".join(known)}'
    )
  if not options.stage1_rate > 0:
    raise types.UserError(
      f'two_time.stage1_rate is {options.stage1_rate}; it must be positive'
    )
  if not options.stage1_l2 >= 0:
    raise types.UserError(
      f'two_time.stage1_l2 is {options.stage1_l2}; it must not be negative'
    )
