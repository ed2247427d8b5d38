"""What a training step does with a batch, as a configuration names it."""

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
from twotsrec.training import optimizers
from twotsrec.training import penalties
from twotsrec.training import plugin_steps
from twotsrec.training import separate
from twotsrec.training import sequential
from twotsrec.training import steps
from twotsrec.training import table_rows

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
  gradient: Callable[..., Any],
  optimizer: optax.GradientTransformation,
  init_method: Callable[..., types.PyTree] = lambda key, params: (),
  stacked: bool = False,
  post: Callable[..., Any] | None = None,
) -> Update:
  """A gradient function and the optimizer that it is given to.

  Args:
    gradient: as `steps.make_gradient` returns it.
    optimizer: of optax.
    init_method: (key, params) -> state of the method, `aggregator_state`.
    stacked: see `Update`.
    post: from `steps.make_post`.
  """

  def init(params, train_key, method_key=None):
    return steps.init_state(
      params, optimizer, init_method(method_key, params), train_key
    )

  return Update(steps.make_step(gradient, optimizer, post), init, stacked)


def adam(config: config_lib.Config) -> OptimizerOf:
  """The optimizer of a sequence model at a learning rate (PIN sec. 4.1.4)."""
  return lambda rate: optimizers.make(
    dataclasses.replace(config.train, learning_rate=rate)
  )


def aggregated(
  config: config_lib.Config,
  learner: contracts.Learner,
  source: contracts.Source,
  optimizer: optax.GradientTransformation,
) -> Update:
  """Group gradients, aggregated; one weighted pass where that is the same.

  Raises:
    types.UserError: a form that the aggregator does not have.
  """
  aggregator = aggregators.make(config.aggregator)
  form = steps.resolve_form(aggregator, config.aggregator.form)
  gradient = steps.make_gradient(
    learner.loss, aggregator, source.sizes, form, source.widths
  )
  group_loss = steps.make_group_loss(learner.loss)
  return of_gradient(
    _by_rows(config, gradient, learner, source, form == 'explicit'),
    optimizer,
    _aggregator_init(aggregator, source),
    stacked=form == 'explicit',
    post=steps.make_post(group_loss, aggregator, source.sizes, source.widths),
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
    optimizers.make(config.train),
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
  gradient = sequential.make_gradient(model, source.sizes, config.train)
  init = lambda key, params: sequential.init(
    key, len(source.sizes), params, model, sizes, config.train
  )
  return of_gradient(
    _by_rows(config, gradient, learner, source, stacked=True),
    optimizers.make(config.train),
    init,
    stacked=True,
  )


def by_itself(
  config: config_lib.Config,
  learner: contracts.Learner,
  source: contracts.Source,
) -> Update:
  """A model per group, each on its own group alone (PIN sec. 1)."""
  number = len(source.sizes)
  update = of_gradient(
    separate.make_gradient(learner.loss, source.widths),
    separate.make_optimizer(optimizers.make(config.train)),
    stacked=True,
  )
  return update._replace(
    init=lambda params, *keys: update.init(
      separate.stack(params, number), *keys
    )
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
    optimizer_of: learning rate -> optimizer, of trunk and plugins.
  """
  aggregator = aggregators.make(config.aggregator)
  plugin_loss = _plugin_loss(config, trunk)
  rate, sizes = config.plugin.trunk_learning_rate, source.sizes
  trunk_gradient, group_loss = None, plugin_steps.make_group_loss(plugin_loss)
  if not rate:
    trunk_gradient = plugin_steps.frozen_trunk
  elif config.plugin.trunk_gradient == 'bare':
    loss = trunk.learner.loss
    trunk_gradient = steps.make_gradient(
      loss, aggregator, sizes, 'explicit', source.widths
    )
    group_loss = _bare_group_loss(loss)
  gradient = plugin_steps.make_gradient(
    plugin_loss, trunk_gradient, aggregator, sizes, source.widths
  )
  if rate:  # else no table moves
    gradient = _by_rows(config, gradient, learner, source, stacked=True)
  optimizer = plugin_steps.make_optimizer(
    optimizer_of(rate) if rate else optax.set_to_zero(),
    optimizer_of(optimizers.plugin_rate(config.plugin)),
  )
  return of_gradient(
    gradient,
    optimizer,
    lambda key, params: aggregator.init(len(sizes), plugged.split(params)[0]),
    stacked=True,
    post=steps.make_post(group_loss, aggregator, sizes, source.widths)
    if rate
    else None,
  )


def _plugin_loss(config, trunk):
  """Mean loss of one group's examples, the group's plugin attached."""
  plugin = plugins.make(config.plugin)

  def plugin_loss(params, own, context, batch, key):
    stages = plugin.attach(trunk.stages, trees.take(own, None), jnp.ones(1))
    loss = steps.make_group_loss(trunk.loss_of(stages))
    return loss(params, context, batch, key)

  return plugin_loss


def _bare_group_loss(bare_loss):
  loss = steps.make_group_loss(bare_loss)

  def group_loss(params, context, batch, key):
    return loss(plugged.split(params)[0], context, batch, key)

  return group_loss


def _aggregator_init(aggregator, source):
  return lambda key, params: aggregator.init(len(source.sizes), params)


def _by_rows(config, gradient, learner, source, stacked):
  """The same gradient; of the table rows of a batch where tables are large."""
  options = config.aggregator
  tables = jax.eval_shape(learner.init, jax.random.key(0)).tables
  rows = len(source.sizes) if stacked else 1
  by_rows = table_rows.resolve(
    options.table_gradients, options.name, rows, tables
  )
  return table_rows.by_rows(gradient) if by_rows else gradient
