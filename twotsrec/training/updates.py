"""Updates of a training step, as a configuration names them."""

from collections.abc import Callable
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import plugins
from twotsrec import trees
from twotsrec import types
from twotsrec.plugins import plugged
from twotsrec.training import grouped
from twotsrec.training import optimizers
from twotsrec.training import penalties
from twotsrec.training import plugin_steps
from twotsrec.training import row_optimizers
from twotsrec.training import sequential
from twotsrec.training import steps
from twotsrec.training import table_rows
from twotsrec.training import transfer

Optimizer = optax.GradientTransformation | steps.Mover
# learning rate -> optimizer
OptimizerOf = Callable[[float], optax.GradientTransformation]


class Update(NamedTuple):
  """An update and its start.

  Attributes:
    step: (state, totals, context, batch) -> (state, totals), for
      `steps.make_runner`.
    init: (params, train key, method key=None) -> TrainState; the last is for
      methods that start at random.
    stacked: whether it wants batches [G, n, ...], a row per group.
    num_losses: losses a step tells apart; None for those of G groups.
  """

  step: Callable[..., Any]
  init: Callable[..., steps.TrainState]
  stacked: bool = False
  num_losses: int | None = None


def of_gradient(
  gradient: steps.Gradient,
  optimizer: Optimizer,
  init_method: Callable[..., types.PyTree] = lambda key, params: (),
  stacked: bool = False,
  post: Callable[..., Any] | None = None,
) -> Update:
  """A gradient function and the optimizer that it is given to.

  Args:
    gradient: as in `steps`.
    optimizer: of optax, or one that moves parameters in place.
    init_method: (key, params) -> state of the method, `aggregator_state`.
    stacked: see `Update`.
    post: from `steps.make_post`.
  """

  def init(params, train_key, method_key=None):
    method = init_method(method_key, params)
    return steps.init_state(params, optimizer, method, train_key)

  return Update(steps.make_step(gradient, optimizer, post), init, stacked)


def adam(config: config_lib.Config) -> OptimizerOf:
  """Adam over all parameters at a learning rate (PIN sec. 4.1.4)."""
  return lambda rate: optimizers.make(
    dataclasses.replace(config.train, learning_rate=rate)
  )


def with_tables(
  config: config_lib.Config, rate: float, net: optax.GradientTransformation
) -> Optimizer:
  """The optimizer of a model: one for all of it, or rows of tables apart.

  Args:
    config: `train.table_optimizer` and its rate.
    rate: of tables without a rate of their own.
    net: of everything, or of all but the tables.
  """
  if config.train.table_optimizer == 'adam':
    return net
  return row_optimizers.mover(config.train, rate, net)


def of_model(config: config_lib.Config) -> Optimizer:
  """The optimizer of a sequence model, at its learning rate."""
  rate = config.train.learning_rate
  return with_tables(config, rate, adam(config)(rate))


def aggregated(
  config: config_lib.Config,
  learner: contracts.Learner,
  source: contracts.Source,
  optimizer: Optimizer,
) -> Update:
  """Group gradients, aggregated; one weighted pass where that is the same.

  Raises:
    types.UserError: a form that the aggregator does not have.
  """
  aggregator = aggregators.make(config.aggregator)
  sizes, widths = source.sizes, source.widths
  loss, form = _loss_of(learner), config.aggregator.form
  explicit = steps.resolve_form(aggregator, form) == 'explicit'
  gradient = steps.make_gradient(loss, aggregator, sizes, form, widths)
  losses = steps.make_losses(
    steps.of_shared(steps.make_group_loss(loss)), widths
  )
  return of_gradient(
    _by_rows(config, gradient, learner, source, explicit),
    optimizer,
    lambda key, params: aggregator.init(len(sizes), params),
    stacked=explicit,
    post=steps.make_post(losses, aggregator, sizes),
  )


def penalized(
  config: config_lib.Config,
  model: types.Model,
  learner: contracts.Learner,
  source: contracts.Source,
) -> Update:
  """A weighted loss and a penalty on how the groups differ, in one pass."""
  aggregator = aggregators.make(config.aggregator)
  gradient = penalties.make_gradient(
    model, aggregator, source.sizes, config.train
  )
  return of_gradient(
    _by_rows(config, gradient, learner, source, stacked=False),
    of_model(config),
    lambda key, params: penalties.init(len(source.sizes), params, config.train),
  )


def in_sequence(
  config: config_lib.Config,
  model: types.Model,
  sizes: types.Sizes,
  learner: contracts.Learner,
  source: contracts.Source,
) -> Update:
  """Fish and Grad-Transfer: inner steps from group to group.

  The total displacement serves as the gradient.
  """
  gradient = sequential.make_gradient(
    model, _loss_of(learner), source.sizes, config.train
  )
  return of_gradient(
    _by_rows(config, gradient, learner, source, stacked=True),
    of_model(config),
    lambda key, params: sequential.init(
      key, params, model, sizes, config.train
    ),
    stacked=True,
  )


def by_itself(
  config: config_lib.Config,
  learner: contracts.Learner,
  source: contracts.Source,
) -> Update:
  """A model per group, each on its own group alone (PIN sec. 1)."""
  group_loss = steps.make_group_loss(_loss_of(learner))
  update = of_gradient(
    grouped.own_gradient(group_loss, source.widths),
    grouped.own_optimizer(optimizers.make(config.train)),
    stacked=True,
  )
  stacked = lambda params: grouped.stack(params, len(source.sizes))
  return update._replace(
    init=lambda params, *keys: update.init(stacked(params), *keys)
  )


def with_plugins(
  config: config_lib.Config,
  trunk: contracts.Trunk,
  learner: contracts.Learner,
  source: contracts.Source,
  optimizer_of: OptimizerOf,
) -> Update:
  """Stage 2 of PIN: every plugin on its group, the trunk on all of them.

  Args:
    config: aggregator and plugin.
    trunk: what the plugins stand on.
    learner: of the trunk and all plugins.
    source: examples with a row per group.
    optimizer_of: learning rate -> optimizer, of the plugins and of what the
      trunk has beside its tables.
  """
  aggregator = aggregators.make(config.aggregator)
  rate = config.plugin.trunk_learning_rate
  sizes, widths = source.sizes, source.widths
  own_loss = trunk_loss = plugin_loss(config, trunk)
  trunk_gradient = None
  if not rate:
    trunk_gradient = plugin_steps.frozen_trunk
  elif config.plugin.trunk_gradient == 'bare':
    bare = _loss_of(trunk.learner)
    trunk_loss = steps.of_shared(steps.make_group_loss(bare))
    trunk_gradient = steps.make_gradient(
      bare, aggregator, sizes, 'explicit', widths
    )
  gradient = plugin_steps.make_gradient(
    own_loss,
    trunk_gradient,
    aggregator,
    sizes,
    widths,
    _beside if config.plugin.transfer else None,
  )
  post = None
  if rate:  # else no table moves
    gradient = _by_rows(config, gradient, learner, source, stacked=True)
    losses = steps.make_losses(trunk_loss, widths, plugged.split)
    post = steps.make_post(losses, aggregator, sizes)
  optimizer = plugin_steps.make_optimizer(
    with_tables(config, rate, optimizer_of(rate))
    if rate
    else optax.set_to_zero(),
    optimizer_of(optimizers.plugin_rate(config.plugin)),
  )
  return of_gradient(
    gradient,
    optimizer,
    lambda key, params: aggregator.init(len(sizes), plugged.split(params)[0]),
    stacked=True,
    post=post,
  )


def _beside(context, batch):
  """The most active group beside every other one."""
  return transfer.Beside(context, trees.take(batch, -1))


def plugin_loss(
  config: config_lib.Config, trunk: contracts.Trunk
) -> plugin_steps.PluginLoss:
  """Mean loss of one group's examples, the group's plugin attached.

  What a `transfer.Beside` brings as context is learned from as well.
  """
  plugin, options = plugins.make(config.plugin), config.plugin
  border = config.routing.groups

  def group_loss(params, own, context, batch, key):
    weights = jnp.ones(1)
    if border:
      group = jnp.max(jnp.where(batch.weight > 0, batch.group, 0))
      weights = jnp.where(group < border, weights, 0.0)
    stages = plugin.attach(trunk.stages, trees.take(own, None), weights)
    loss = steps.make_group_loss(trunk.loss_of(stages))
    if not isinstance(context, transfer.Beside):
      return loss(params, context, batch, key)
    of_states = (trunk.stages, stages, params, batch, context.active)
    more = transfer.loss(*of_states, jax.random.fold_in(key, 3))
    if options.near:
      more = more + transfer.near(*of_states, options.near)
    # A group without a plugin has nothing to learn, nor one without examples.
    more = jnp.where(jnp.any(batch.weight > 0), weights[0] * more, 0.0)
    ranked = loss(params, context.context, batch, key)
    return ranked + options.transfer * more

  return group_loss


def _loss_of(learner: contracts.Learner) -> Callable[..., jax.Array]:
  if learner.loss is None:
    raise ValueError('this update needs a loss per example')
  return learner.loss


def _by_rows(config, gradient, learner, source, stacked):
  """The same gradient; of the table rows of a batch where tables are large.

  Or where rows are what the optimizer moves.
  """
  options = config.aggregator
  tables = jax.eval_shape(learner.init, jax.random.key(0)).tables
  rows = len(source.sizes) if stacked else 1
  if tables and config.train.table_optimizer != 'adam':
    return table_rows.by_rows(gradient, spread=False)
  everything = config.train.objective == 'cross_entropy'
  by_rows = not everything and table_rows.resolve(
    options.table_gradients, options.name, rows, tables
  )
  return table_rows.by_rows(gradient) if by_rows else gradient
