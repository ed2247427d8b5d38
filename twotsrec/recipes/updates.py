"""From a configuration to the update it names."""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from twotsrec import aggregators
from twotsrec import plugins
from twotsrec import trees
from twotsrec import types
from twotsrec.objectives import sampled as objectives
from twotsrec.plugins import plugged
from twotsrec.recipes import experiment as experiment_lib
from twotsrec.training import optimizers
from twotsrec.training import penalties
from twotsrec.training import plugin_steps
from twotsrec.training import separate
from twotsrec.training import sequential
from twotsrec.training import steps
from twotsrec.training import table_rows


class Update(NamedTuple):
  """What a training step does with a batch.

  Attributes:
    gradient: (params, context, batch, state, key) -> as
      `steps.make_gradient`.
    optimizer: what it is given to.
    init: (key, params) -> state of the method, where the aggregator's is.
    stacked: whether batches have a row per group, [G, B, ...].
    post: from `steps.make_post`, or None.
  """

  gradient: Callable[..., Any]
  optimizer: optax.GradientTransformation
  init: Callable[[jax.Array, types.Params], types.PyTree]
  stacked: bool
  post: Callable[..., Any] | None = None


def make(
  experiment: experiment_lib.Experiment,
  sizes: jax.Array,
  widths: Sequence[int] | None,
) -> Update:
  """The update of this experiment.

  Args:
    experiment: data and model.
    sizes: f32[G], training samples per group.
    widths: rows that each group fills at most in a batch, or None.
  Raises:
    types.UserError: parts that do not go together.
  """
  update = _method(experiment)(experiment, sizes, widths)
  config = experiment.config
  if config.train.method == 'separate' or _is_frozen(config):
    return update  # no table is shared, or none moves
  options = config.aggregator
  by_rows = table_rows.resolve(
    options.table_gradients,
    options.name,
    sizes.shape[0] if update.stacked else 1,
    _table_shapes(experiment),
  )
  if not by_rows:
    return update
  return update._replace(gradient=table_rows.by_rows(update.gradient))


def _method(experiment):
  """What makes the update of this configuration."""
  config = experiment.config
  if config.plugin.name != 'none':
    return _with_plugins
  if config.train.method in sequential.NAMES:
    return _sequential
  if config.train.method == 'separate':
    return _separate
  if config.train.penalty != 'none':
    return _penalized
  return _aggregated


def _table_shapes(experiment):
  shapes = jax.eval_shape(
    lambda key: experiment.model.init(
      key, experiment.context, experiment.sizes
    ),
    jax.random.key(0),
  )
  return shapes.tables


def _aggregated(experiment, sizes, widths):
  """Group gradients, aggregated; one weighted pass where that is the same."""
  config = experiment.config
  objective = objectives.make(config.train.objective, experiment.model)
  aggregator = aggregators.make(config.aggregator)
  form = steps.resolve_form(aggregator, config.aggregator.form)
  group_loss = steps.make_group_loss(objective)
  return Update(
    gradient=steps.make_gradient(objective, aggregator, sizes, form, widths),
    optimizer=optimizers.make(config.train),
    init=_aggregator_init(aggregator, config),
    stacked=form == 'explicit',
    post=steps.make_post(group_loss, aggregator, sizes, widths),
  )


def _penalized(experiment, sizes, widths):
  """Weighted loss and a penalty on how the groups differ, in one pass."""
  del widths  # flat batches
  config = experiment.config
  aggregator = aggregators.make(config.aggregator)
  return Update(
    gradient=penalties.make_gradient(
      experiment.model, aggregator, sizes, config.train
    ),
    optimizer=optimizers.make(config.train),
    init=lambda key, params: penalties.init(
      config.groups.num_groups, params, config.train
    ),
    stacked=False,
  )


def _sequential(experiment, sizes, widths):
  """Inner steps from group to group; the way they went is the gradient."""
  del widths  # a scan takes every group in the same shape
  config, model = experiment.config, experiment.model
  return Update(
    gradient=sequential.make_gradient(model, sizes, config.train),
    optimizer=optimizers.make(config.train),
    init=lambda key, params: sequential.init(
      key,
      config.groups.num_groups,
      params,
      model,
      experiment.sizes,
      config.train,
    ),
    stacked=True,
  )


def _separate(experiment, sizes, widths):
  """A model per group, each on its own group alone (PIN sec. 1)."""
  del sizes  # nothing is weighted
  config = experiment.config
  objective = objectives.make(config.train.objective, experiment.model)
  return Update(
    gradient=separate.make_gradient(objective, widths),
    optimizer=separate.make_optimizer(optimizers.make(config.train)),
    init=lambda key, params: (),
    stacked=True,
  )


def _with_plugins(experiment, sizes, widths):
  """Stage 2 of PIN: every plugin on its group, the trunk on all of them."""
  config, trunk = experiment.config, experiment.trunk
  aggregator = aggregators.make(config.aggregator)
  objective = objectives.make(config.train.objective, trunk)
  plugin_loss = _plugin_loss(config, trunk)
  frozen = _is_frozen(config)
  trunk_gradient = None
  if frozen:
    trunk_gradient = plugin_steps.frozen_trunk
  elif config.plugin.trunk_gradient == 'bare':
    trunk_gradient = steps.make_gradient(
      objective, aggregator, sizes, 'explicit', widths
    )
  group_loss = (
    plugin_steps.make_group_loss(plugin_loss)
    if trunk_gradient is None
    else _bare_group_loss(objective)
  )
  return Update(
    gradient=plugin_steps.make_gradient(
      plugin_loss, trunk_gradient, aggregator, sizes, widths
    ),
    optimizer=_stage_two_optimizer(config),
    init=lambda key, params: aggregator.init(
      config.groups.num_groups, plugged.split(params)[0]
    ),
    stacked=True,
    post=None
    if frozen
    else steps.make_post(group_loss, aggregator, sizes, widths),
  )


def _is_frozen(config):
  plugin = config.plugin
  return plugin.name != 'none' and plugin.trunk_learning_rate == 0


def _plugin_loss(config, trunk):
  """Mean loss of one group's examples, the group's plugin attached."""
  plugin = plugins.make(config.plugin)

  def plugin_loss(params, own, context, batch, key):
    one = trees.take(own, None)
    model = plugged.attached(trunk, plugin, one, jnp.ones(1))
    objective = objectives.make(config.train.objective, model)
    loss = steps.make_group_loss(objective)
    return loss(params, context, batch, key)

  return plugin_loss


def _bare_group_loss(objective):
  loss = steps.make_group_loss(objective)

  def group_loss(params, context, batch, key):
    return loss(plugged.split(params)[0], context, batch, key)

  return group_loss


def _stage_two_optimizer(config):
  with_rate = lambda rate: optimizers.make(
    dataclasses.replace(config.train, learning_rate=rate)
  )
  trunk_rate = config.plugin.trunk_learning_rate
  trunk = with_rate(trunk_rate) if trunk_rate else optax.set_to_zero()
  return plugin_steps.make_optimizer(
    trunk, with_rate(optimizers.plugin_rate(config.plugin))
  )


def _aggregator_init(aggregator, config):
  num_groups = config.groups.num_groups
  return lambda key, params: aggregator.init(num_groups, params)
