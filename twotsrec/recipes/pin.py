"""PIN: common knowledge in the trunk, a group's own in its plugin (sec. 3).

Stage 1 trains the trunk on back-door weighted gradients (eq. 7); stage 2 adds
a plugin per activeness group and trains both (Alg. 1). Here is what the stages
of all recipes have in common.

Departure: PIN stops on a validation set that it does not define (sec. 4.1.1,
4.1.4). Here it is the second-to-last event of a user, because the test set must
not decide.
Departure: eq. 14 has a strict inequality. Here ties get half credit, because a
constant scorer should get .5; `evaluation.auc_ties=0` is strict.
Departure: PIN's negatives are static files. Here they are drawn for every
epoch, which we recommend; `data.negative_mode=static` is the preset of
reproductions.
"""

from collections.abc import Callable, Sequence
import dataclasses
import hashlib
import pathlib
from typing import Any

import jax
import numpy as np

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import fields
from twotsrec import own
from twotsrec import plugins
from twotsrec import types
from twotsrec.data import routing as routing_lib
from twotsrec.plugins import plugged
from twotsrec.training import diagnostics
from twotsrec.training import optimizers
from twotsrec.training import settings

# Directory of each system and its name in tables (PIN Table 4).
SYSTEMS = {'base': 'base', 'ga': '+GA', 'ga_pn': '+GA+PN'}


def systems(
  config: config_lib.Config,
  workdir: str,
  reads: Sequence[fields.Reads] = settings.SEQUENCE,
) -> dict[str, config_lib.Config]:
  """Configuration of base, +GA and +GA+PN, by directory.

  Args:
    config: of all three; `aggregator` is that of both stages (joint counts as
      backdoor) and `plugin` that of stage 2 (none counts as light).
    workdir: its folder `ga` is the run that stage 2 starts from.
    reads: what the recipe reads; the base model is given nothing else.
  Raises:
    types.UserError: a trunk of stage 2, which is trained here.
  """
  replace = dataclasses.replace
  if config.plugin.trunk:
    raise types.UserError(
      f'plugin.trunk {config.plugin.trunk!r}: stage 1 is trained here; leave'
      ' it out, or train stage 2 alone with launch/train.py'
    )
  aggregator, plugin = config.aggregator, config.plugin
  if aggregator.name == 'joint':
    aggregator = replace(aggregator, name='backdoor')
  if not has_plugins(config):
    plugin = replace(plugin, name='light')
  plugin = replace(plugin, trunk=str(pathlib.Path(workdir) / 'ga'))
  grouped = replace(
    config, aggregator=aggregator, plugin=config_lib.PluginConfig()
  )
  joint = replace(config.aggregator, name='joint')
  return {
    'base': fields.only_read(replace(grouped, aggregator=joint), reads),
    'ga': grouped,
    'ga_pn': replace(grouped, plugin=plugin),
  }


def has_plugins(config: config_lib.Config) -> bool:
  """Whether a run trains plugins."""
  return config.plugin.name != 'none'


def of_stage(config: config_lib.Config) -> config_lib.Config:
  """With plugins, `train` is how stage 2 stops and selects (PIN sec. 3.3)."""
  plugin = config.plugin
  if not has_plugins(config):
    return config
  train = dataclasses.replace(
    config.train,
    epochs=plugin.epochs,
    patience=plugin.patience,
    select_metric=plugin.select_metric,
    learning_rate=optimizers.plugin_rate(plugin),
  )
  return dataclasses.replace(config, train=train)


def diagnose(
  config: config_lib.Config,
  learner: contracts.Learner,
  source: contracts.Source,
) -> Callable[..., dict[str, Any]] | None:
  """How groups pull on what they share, for the log; None if nobody asked."""
  if not config.train.log_groups:
    return None
  shared = lambda gradient: gradient
  if has_plugins(config):
    shared = lambda gradient: plugged.split(gradient)[0]
  return diagnostics.make_diagnose(learner.loss, source, shared=shared)


def by_group(config: config_lib.Config) -> Callable[[Any], list[Any]] | None:
  """What every group keeps of its own best epoch; None if one is for all."""
  if config.plugin.select != 'per_group':
    return None
  # The trunk of that epoch too: G snapshots of everything.
  return lambda params: [params] * config.groups.num_groups


def selects_by_group(config: config_lib.Config) -> bool:
  """Whether every group takes its own best epoch."""
  own_snapshot = has_plugins(config) and config.plugin.select == 'per_group'
  return own_snapshot or config.train.method == 'separate'


def plugged_model(
  config: config_lib.Config, trunk: types.Model | None, name: str = ''
) -> types.Model:
  """The trunk and the plugins of all groups as one model.

  Args:
    config: names the plugin.
    trunk: what they attach to.
    name: of the trunk, for the message; '' is that of the model.
  Raises:
    types.UserError: a trunk without stages, or an unknown plugin.
  """
  plugin = plugins.make(config.plugin)
  name = name or config.model.name
  return plugged.plugged(trunk, plugin, config.groups.num_groups, name)


def start(
  experiment: contracts.Experiment,
  work: contracts.Work,
  stages: types.Stages,
  sizes: types.Sizes,
  as_trunk: Callable[..., types.Params] = lambda experiment, params: params,
) -> contracts.Start:
  """The selected trunk of stage 1 and plugins that change nothing yet.

  Args:
    experiment: of this run.
    work: loads the trunk's run.
    stages: of the trunk.
    sizes: what plugins are initialized for.
    as_trunk: (experiment, parameters) of stage 1 -> parameters of the trunk.
  Raises:
    types.UserError: a trunk trained on other data, groups or with another
      model.
  """
  config = experiment.config
  theirs, params = work.load(config.plugin.trunk)
  _check_trunk(experiment, theirs)
  trunk = as_trunk(theirs, params)
  plugin = plugins.make(config.plugin).init(
    jax.random.fold_in(jax.random.key(config.train.seed), 2),
    stages,
    trunk,
    config.groups.num_groups,
    sizes,
  )
  return contracts.Start(plugged.join(trunk, plugin), origin(params))


def origin(trunk: types.PyTree) -> dict[str, Any]:
  """What a run of stage 2 remembers of its trunk."""
  return {'trunk_digest': digest(trunk)}


def digest(params: types.PyTree) -> str:
  """Of all numbers, in the order of the tree."""
  hashed = hashlib.sha256()
  for leaf in jax.tree.leaves(jax.device_get(params)):
    hashed.update(np.ascontiguousarray(leaf).tobytes())
  return hashed.hexdigest()


def selected_on_test(config: config_lib.Config) -> bool:
  """Whether the test items decided which epoch is taken."""
  train = config.train
  return train.select_metric != 'none' and train.select_on == 'test'


def _check_trunk(experiment, trunk):
  """Refuses a trunk of another experiment."""
  ours, theirs = experiment.config, trunk.config
  where = f'plugin.trunk {ours.plugin.trunk}'
  if routing_lib.from_config(theirs) is not None:
    raise types.UserError(
      f'{where} has parameters for every group already; give a run of one'
      ' model for all users'
    )
  for name in _shared_fields():
    section, field = name.split('.')
    here = getattr(getattr(ours, section), field)
    there = getattr(getattr(theirs, section), field)
    if not own.is_same(here, there):
      raise types.UserError(
        f'{where} was trained with {name} {there!r}, this run has {here!r}; use'
        ' the same, or train another trunk'
      )
  here, there = (e.prepared.manifest['digest'] for e in (experiment, trunk))
  if here != there:
    raise types.UserError(
      f'{where} was trained on other data than this run; use the same, or train'
      ' another trunk'
    )
  if selected_on_test(theirs) and not selected_on_test(ours):
    raise types.UserError(
      f'{where} was selected on the test items, and nothing in the report of'
      ' this run would tell; set train.select_on=test, or train another trunk'
    )


def _shared_fields():
  """Settings that trunk and plugins must agree in."""
  default = config_lib.Config()
  for section in ('groups', 'model', 'fusion', 'head', 'behavior'):
    for field in dataclasses.fields(getattr(default, section)):
      # The prior is fitted apart from the model, and added when it ranks.
      if not field.name.startswith('prior'):
        yield f'{section}.{field.name}'
  yield 'data.history_length'
  yield 'data.strip_heldout'
