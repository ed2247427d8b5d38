"""Stage 1 of 2TS: updates of the softmax over an offer set (2TS sec. 3.1).

    L = mean of log sum_{j in O} exp(phi_u . v_j) - phi_u . v_i,
    O = {i} and p uniform items

Dense updates differentiate through the lookup and move every row (Adam's
moments of rows at rest decay). Row-wise ones differentiate with respect to the
rows of the batch alone, for catalogues of millions.
"""

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
from twotsrec.training import row_optimizers
from twotsrec.training import steps
from twotsrec.training import table_rows
from twotsrec.training import updates


def make(config: config_lib.Config, sizes: jax.Array) -> updates.Update:
  """The update that `train.table_optimizer` and the aggregator name.

  Args:
    config: widths, stage 1, aggregator.
    sizes: f32[G], training events of every group.
  Raises:
    types.UserError: row-wise tables with an aggregator that needs every
      group's gradient.
  """
  options, aggregator = config.two_time, aggregators.make(config.aggregator)
  form = steps.resolve_form(aggregator, config.aggregator.form)
  init_method = lambda key, params: aggregator.init(sizes.shape[0], params)
  if config.train.table_optimizer == 'adam':
    objective = make_objective(config)
    loss = steps.of_shared(steps.make_group_loss(objective))
    return updates.of_gradient(
      steps.make_gradient(objective, aggregator, sizes, form),
      updates.adam(config)(options.stage1_rate),
      init_method,
      stacked=form == 'explicit',
      post=steps.make_post(steps.make_losses(loss), aggregator, sizes),
    )
  if form == 'explicit':
    raise types.UserError(
      f'train.table_optimizer {config.train.table_optimizer!r} makes no'
      f' gradient per group, which aggregator {config.aggregator.name!r} in'
      f' form {config.aggregator.form!r} needs; use table_optimizer=adam, or'
      ' aggregator joint, backdoor or class_balanced'
    )
  of_rows = steps.make_gradient(
    _make_loss_of_rows(config), aggregator, sizes, form
  )

  def gradient(params, context, batch, state, key):
    local = types.Params(_gather(params.tables, batch), params.net)
    grads, *rest = of_rows(local, context, batch, state, key)
    ids = {'user': batch.user, 'item': jnp.ravel(_offered(batch))}
    tables: Any = {
      entity: table_rows.Touched(ids[entity], _flat(grad))
      for entity, grad in grads.tables.items()
    }
    return types.Params(tables, grads.net), *rest

  return updates.of_gradient(gradient, _mover(config), init_method)


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
  """The objective as a function of gathered rows in place of tables."""
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


def _mover(config) -> steps.Mover:
  """Moves the rows of a batch in place, and the feature net beside them."""
  rate = config.two_time.stage1_rate
  net = updates.adam(config)(rate)
  if config.train.table_optimizer == 'row_adagrad':
    net = optax.adagrad(rate, initial_accumulator_value=0.0, eps=1e-20)
  return row_optimizers.mover(config.train, rate, net)


def _flat(grads):
  """Leaves [..., d] as [N, d]."""
  return jax.tree.map(lambda grad: grad.reshape(-1, grad.shape[-1]), grads)


def _offered(batch):
  """Items in use, -1 where a filling event has none."""
  ids = _ids(batch)
  if ids.ndim == 1:
    return ids
  return jnp.where(batch.item[:, None] < 0, -1, ids)
