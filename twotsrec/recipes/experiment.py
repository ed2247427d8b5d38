"""What every recipe starts from: data, groups, model, and their reload."""

from collections.abc import Callable
import dataclasses
import shutil
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config as config_lib
from twotsrec import models
from twotsrec import plugins
from twotsrec import types
from twotsrec.data import behavior_feeds
from twotsrec.data import behaviors as behaviors_lib
from twotsrec.data import groups as groups_lib
from twotsrec.data import pipeline
from twotsrec.data import prepared as prepared_lib
from twotsrec.models import behavior_heads
from twotsrec.models import behavior_ranker
from twotsrec.models import multi_behavior
from twotsrec.plugins import plugged
from twotsrec.recipes import two_time_serving
from twotsrec.serving import two_time_ranker
from twotsrec.training import checkpoints
from twotsrec.training import files
from twotsrec.training import optimizers
from twotsrec.training import run_directory


class Experiment(NamedTuple):
  """Data and model of one configuration.

  Attributes:
    config: the configuration, with the settings of its stage under `train`.
    prepared: the data.
    groups: activeness groups of its users.
    model: the scorer.
    context: given arrays of the model.
    sizes: what it is initialized for.
    behaviors: training pairs by behavior, of a multi-behavior model.
    serve: (params, context) -> parameters of `ranker`, of a model whose
      training form does not rank; None where `model` ranks as it is.
    ranker: what ranks with them.
    trunk: the model that plugins attach to, if there are any.
  """

  config: config_lib.Config
  prepared: prepared_lib.Prepared
  groups: groups_lib.Groups
  model: types.Model | multi_behavior.MultiBehavior
  context: Any
  sizes: types.Sizes
  behaviors: behaviors_lib.Behaviors | None = None
  serve: Callable[..., types.Params] | None = None
  ranker: types.Model | None = None
  trunk: types.Model | None = None


def make(
  config: config_lib.Config, prepared: prepared_lib.Prepared
) -> Experiment:
  """Groups the users and builds the model, with plugins if there are any."""
  config = of_stage(config)
  groups = groups_lib.assign(prepared, config.groups)
  sizes = types.Sizes(
    prepared.num_users, prepared.num_items, config.data.history_length
  )
  context = {'item_counts': item_counts(prepared)}
  if config.model.name == models.MULTI_BEHAVIOR:
    return _with_behaviors(config, prepared, groups, context, sizes)
  if config.model.name == models.TWO_TIME:
    models.check_options(config.model, ('width',))
    model = two_time_ranker.make(config)
    return Experiment(config, prepared, groups, model, context, sizes)
  model, trunk = models.make(config.model), None
  if config.plugin.name != 'none':
    model, trunk = _plugged(config, model), model
  return Experiment(
    config, prepared, groups, model, context, sizes, trunk=trunk
  )


def _plugged(config, trunk):
  plugin = plugins.make(config.plugin)
  name = config.model.name
  if name == models.MULTI_BEHAVIOR:
    name = f'{name} with head.name={config.head.name}'
  return plugged.plugged(trunk, plugin, config.groups.num_groups, name)


def _with_behaviors(config, prepared, groups, context, sizes):
  """A model that reads the graphs of several behaviors."""
  behaviors = behaviors_lib.of_prepared(prepared, config.data.strip_heldout)
  behavior_heads.check_behaviors(behaviors.names)
  shape = (behaviors.num_users, behaviors.num_items)
  model = multi_behavior.make(config, len(behaviors.names), *shape)
  context |= model.context(behavior_feeds.edges(behaviors))
  parts = Experiment(config, prepared, groups, model, context, sizes, behaviors)
  if config.plugin.name == 'none':
    return parts._replace(serve=jax.jit(model.serve), ranker=model.ranker)
  joined = _plugged(config, model.trunk)
  return parts._replace(
    model=joined,
    sizes=sizes._replace(history_length=1),  # users are known, not read
    serve=_serve_plugged,
    ranker=joined,
    trunk=model.trunk,
  )


def _serve_plugged(params, context):
  """The same parameters, with what the prior adds to scores."""
  if 'prior' not in context:
    return params
  trunk, own = plugged.split(params)
  trunk = behavior_ranker.with_prior(trunk, context['prior'])
  return plugged.join(trunk, own)


def served(
  experiment: Experiment, params: types.Params | list[types.Params]
) -> tuple[types.Model, types.Params | list[types.Params]]:
  """What ranks with trained parameters, or with those of every group."""
  if experiment.serve is None:
    return experiment.model, params
  serve = lambda one: experiment.serve(one, experiment.context)
  several = isinstance(params, list)
  ranking = [serve(one) for one in params] if several else serve(params)
  return experiment.ranker, ranking


def as_trunk(experiment: Experiment, params: types.Params) -> types.Params:
  """Trained parameters of a run as those of the model plugins attach to."""
  if not isinstance(experiment.model, multi_behavior.MultiBehavior):
    return params
  return jax.jit(experiment.model.freeze)(params, experiment.context)


def initial(experiment: Experiment, key: jax.Array) -> types.Params:
  """Fresh parameters, in the form that a finished run keeps."""
  if experiment.config.model.name == models.TWO_TIME:
    return two_time_serving.template(experiment)
  return experiment.model.init(key, experiment.context, experiment.sizes)


def of_stage(config: config_lib.Config) -> config_lib.Config:
  """With plugins, `train` is how stage 2 stops and selects (PIN sec. 3.3)."""
  plugin = config.plugin
  if plugin.name == 'none' or config.model.name == models.TWO_TIME:
    return config
  train = dataclasses.replace(
    config.train,
    epochs=plugin.epochs,
    patience=plugin.patience,
    select_metric=plugin.select_metric,
    learning_rate=optimizers.plugin_rate(plugin),
  )
  if config.model.name == models.MULTI_BEHAVIOR:
    train = dataclasses.replace(train, objective='bpr')  # as in stage 1
  return dataclasses.replace(config, train=train)


def selects_by_group(config: config_lib.Config) -> bool:
  """Whether every group takes its own best epoch."""
  plugin = config.plugin
  own_snapshot = plugin.name != 'none' and plugin.select == 'per_group'
  return own_snapshot or config.train.method == 'separate'


def item_counts(prepared: prepared_lib.Prepared) -> jax.Array:
  """Training events per item, f32[I + 1]."""
  train = np.asarray(prepared.split) == prepared_lib.TRAIN
  items = np.asarray(prepared.items)[train]
  counts = np.bincount(items, minlength=prepared.num_items + 1)
  return jnp.asarray(counts, jnp.float32)


def popularity(experiment: Experiment) -> tuple[types.Model, types.Params]:
  """The ranking every table is read against."""
  model = models.make(config_lib.ModelConfig(name='popularity'))
  params = model.init(jax.random.key(0), experiment.context, experiment.sizes)
  return model, params


def keep_data(workdir: str, prepared: prepared_lib.Prepared) -> None:
  """Copies the prepared data into the run, which then needs nothing else.

  Raises:
    types.UserError: the run was started on other data.
  """
  path = run_directory.ids_path(workdir)
  for unfinished in path.parent.glob(f'.{path.name}.*'):
    shutil.rmtree(unfinished)  # of a process that was killed
  if path.exists():
    kept = prepared_lib.load(str(path)).manifest['digest']
    if kept != prepared.manifest['digest']:
      raise types.UserError(
        f'the data have changed since the run in {workdir} was started;'
        ' restore them, or use another --workdir'
      )
  prepared_lib.save(prepared, str(path))


def load_data(config: config_lib.Config) -> prepared_lib.Prepared:
  """The prepared data a configuration names."""
  return pipeline.from_config(config.data)


def load(
  workdir: str,
) -> tuple[Experiment, types.Params | list[types.Params]]:
  """A finished run: its experiment and the selected parameters.

  The parameters are a list by group if every group selected its own.

  Args:
    workdir: run directory.
  Raises:
    types.UserError: not a run directory, or training has not finished.
  """
  config = config_from_dict(run_directory.read_config(workdir))
  report_path = run_directory.report_path(workdir)
  if not report_path.is_file():
    raise types.UserError(
      f'{workdir}: training has not finished (no {report_path.name}); run'
      ' launch/train.py with the same --workdir to finish it'
    )
  report = files.read_json(report_path)
  selected = report['training']['selected_step']
  if config.model.name == models.TWO_TIME:
    config = two_time_serving.in_force(config, report)
  prepared = prepared_lib.load(str(run_directory.ids_path(workdir)))
  experiment = make(config, prepared)
  template = jax.eval_shape(
    lambda key: initial(experiment, key), jax.random.key(0)
  )
  several = isinstance(selected, list)
  paths = run_directory.best_paths(workdir, len(selected) if several else None)
  params = [
    checkpoints.restore(path, {'params': template}, step).state['params']
    for path, step in zip(paths, selected if several else [selected])
  ]
  return experiment, params if several else params[0]


def config_from_dict(values: dict[str, Any]) -> config_lib.Config:
  """The typed configuration behind a `config.json`.

  Raises:
    types.UserError: a field this version does not know.
  """
  sections = {}
  for field in dataclasses.fields(config_lib.Config):
    section = field.default_factory
    given = dict(values.get(field.name, {}))
    known = {f.name: f for f in dataclasses.fields(section)}
    unknown = sorted(set(given) - set(known))
    if unknown:
      raise types.UserError(
        f'config.json has an unknown field {field.name}.{unknown[0]}; known:'
        f' {", ".join(known)}'
      )
    tupled = {
      name: tuple(value) if isinstance(value, list) else value
      for name, value in given.items()
    }
    sections[field.name] = section(**tupled)
  return config_lib.Config(**sections)
