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

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import fnmatch
import functools
import hashlib
import itertools
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import fields
from twotsrec import own
from twotsrec import plugins
from twotsrec import types
from twotsrec.data import routing as routing_lib
from twotsrec.models import stages as stages_lib
from twotsrec.objectives import beside
from twotsrec.objectives import sampled as objectives
from twotsrec.plugins import plugged
from twotsrec.training import diagnostics
from twotsrec.training import optimizers
from twotsrec.training import phases
from twotsrec.training import plugin_spread
from twotsrec.training import settings
from twotsrec.training import sources
from twotsrec.training import summary
from twotsrec.training import transfer
from twotsrec.training import updates

# Directory of each system and its name in tables (PIN Table 4).
SYSTEMS = {'base': 'base', 'ga': '+GA', 'ga_pn': '+GA+PN'}
# Settings that trunk and plugins must agree in. The prior is fitted apart from
# the model, and added when it ranks.
_SHARED = (
  'groups.* model.* fusion.* head.* behavior.[!p]* data.history_length'
  ' data.strip_heldout'
)


class System(NamedTuple):
  """A sequence model, or what stage 2 makes of any model.

  Attributes:
    model: what is trained, and ranks: a trunk, or one with plugins.
    trunk: what plugins attach to; the model itself without any.
    context: given arrays.
    sizes: what parameters are initialized for.
  """

  model: types.Model
  trunk: types.Model
  context: dict[str, Any]
  sizes: types.Sizes


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
    min_epochs=0,
    select_metric=plugin.select_metric,
    learning_rate=optimizers.plugin_rate(plugin),
  )
  return dataclasses.replace(config, train=train)


def system_of(
  config: config_lib.Config,
  trunk: types.Model | None,
  context: dict[str, Any],
  sizes: types.Sizes,
  name: str,
) -> System:
  """The trunk with the plugins of all groups on it, if there are any.

  Raises:
    types.UserError: a trunk without stages, by its name, an unknown plugin, or
      one that cannot learn from near users.
  """
  if not has_plugins(config) and trunk is not None:
    return System(trunk, trunk, context, sizes)
  plugin, num_groups = plugins.make(config.plugin), config.groups.num_groups
  trunk = plugged.with_stages(trunk, name)
  if config.plugin.near:
    transfer.check(trunk, context, sizes, name)
  model = plugged.plugged(trunk, plugin, num_groups, name)
  return System(model, trunk, context, sizes)


def template(experiment: contracts.Experiment) -> types.Params:
  """Parameters of a `System` as a finished run has them."""
  system = experiment.system
  return system.model.init(jax.random.key(0), system.context, system.sizes)


def loss_of(config: config_lib.Config, sizes: types.Sizes) -> objectives.Loss:
  """What the settings train a model for."""
  return objectives.of_config(config, sizes.num_items)


def learner(
  config: config_lib.Config, model: types.Model, system: System
) -> contracts.Learner:
  """A model and its loss of sampled items."""
  init = jax.jit(model.init, static_argnums=2)
  return contracts.Learner(
    init=lambda key: init(key, system.context, system.sizes),
    context=system.context,
    loss=beside.make(loss_of(config, system.sizes), model),
  )


def how(
  experiment: contracts.Experiment,
  learner: contracts.Learner,
  source: contracts.Source,
  update: updates.Update,
  judge: Callable[..., dict[str, Any]] | None,
) -> phases.How:
  """Update, selection and log of a phase on sampled items."""
  config, diagnose, by_group = experiment.config, None, None
  if config.train.log_groups and learner.loss is not None:
    # The pull of the groups on what they share.
    split, on = plugged.split, has_plugins(config)
    shared = lambda gradient: split(gradient)[0] if on else gradient
    diagnose = diagnostics.make_diagnose(learner.loss, source, shared=shared)
  if config.plugin.select == 'per_group':
    # The trunk of that epoch too: G snapshots of everything.
    by_group = lambda params: [params] * config.groups.num_groups
  return phases.How(
    train=config.train,
    update=update,
    keys=sources.keys(config),
    judge=judge,
    diagnose=diagnose,
    by_group=by_group,
    # Trunk and plugins have rates of their own.
    rate=None if has_plugins(config) else config.train.learning_rate,
  )


def train_plugins(
  experiment: contracts.Experiment,
  work: contracts.Work,
  system: System,
  source: contracts.Source,
  judge_of: Callable[..., Callable[..., dict[str, Any]] | None],
  as_trunk: Callable[..., types.Params] = lambda experiment, params: params,
) -> contracts.Served:
  """Stage 2, one phase: plugins that change nothing yet on a trained trunk.

  Args:
    experiment: of this run.
    work: trains, and loads the trunk's run.
    system: the trunk and the model with plugins.
    source: examples with a row per group.
    judge_of: experiment -> what selects an epoch, or None.
    as_trunk: (experiment, parameters) of stage 1 -> parameters of the trunk.
  Raises:
    types.UserError: a trunk trained on other data, groups or with another
      model.
  """
  config, trunk = experiment.config, system.trunk
  loss = loss_of(config, system.sizes)
  stands_on = contracts.Trunk(
    stages=trunk.stages,
    learner=learner(config, trunk, system),
    loss_of=lambda s: beside.make(loss, stages_lib.from_stages(s)),
  )
  joined = learner(config, system.model, system)
  adam = updates.adam(config)
  update = updates.with_plugins(config, stands_on, joined, source, adam)

  def start():
    theirs, params = work.load(config.plugin.trunk)
    _check_trunk(experiment, theirs)
    trained = as_trunk(theirs, params)
    added = plugins.make(config.plugin).init(
      jax.random.fold_in(jax.random.key(config.train.seed), 2),
      trunk.stages,
      trained,
      config.groups.num_groups,
      system.sizes,
    )
    return contracts.Start(plugged.join(trained, added), origin(params))

  @functools.cache
  def found():
    # Not before a phase asks for it: the trunk may not be trained yet.
    spread = plugin_spread.estimate(
      updates.plugin_loss(config, stands_on),
      phases.by_group(source),
      joined.context,
      start().params,
      jax.random.fold_in(jax.random.key(config.train.seed), 3),
    )
    return {'routing': spread._asdict()}

  settle = lambda: experiment._replace(
    config=in_force(config, {'training': found()})
  )
  judge, unknown = judge_of(experiment), is_unknown(config.routing)
  if judge is not None and unknown:
    judge = _once_settled(judge_of, settle)
  phase = how(experiment, joined, source, update, judge)
  trained = work.fit('', joined, source, phase, start)
  if not unknown:
    return summary.served(experiment, trained)
  served = summary.served(settle(), trained)
  return served._replace(training={**served.training, **found()})


def _once_settled(judge_of, settle):
  """The judge of an experiment that is settled when it is first asked."""
  judge = functools.cache(lambda: judge_of(settle()))
  return lambda params: judge()(params)


def is_unknown(routing: config_lib.RoutingConfig) -> bool:
  """Whether plugins are shrunk by a ratio that is to be estimated."""
  return routing.mode == 'shrunk' and not routing.shrinkage


def in_force(
  config: config_lib.Config, report: Mapping[str, Any]
) -> config_lib.Config:
  """The configuration with the shrinkage that a run has estimated."""
  spread = report['training'].get('routing')
  if not spread:
    return config
  routing = dataclasses.replace(config.routing, shrinkage=spread['shrinkage'])
  return dataclasses.replace(config, routing=routing)


def selects_by_group(config: config_lib.Config) -> bool:
  """Whether every group takes its own best epoch."""
  own_snapshot = has_plugins(config) and config.plugin.select == 'per_group'
  return own_snapshot or config.train.method == 'separate'


def origin(trunk: types.PyTree) -> dict[str, Any]:
  """Record of its trunk that a run of stage 2 keeps."""
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
  check_same(where, experiment, trunk, _SHARED, 'train another trunk')
  if selected_on_test(theirs) and not selected_on_test(ours):
    raise types.UserError(
      f'{where} was selected on the test items, and nothing in the report of'
      ' this run would tell; set train.select_on=test, or train another trunk'
    )


def check_same(
  where: str,
  ours: contracts.Experiment,
  theirs: contracts.Experiment,
  patterns: str,
  way_out: str,
) -> None:
  """Refuses to take parameters over from a run on other settings or data.

  Args:
    where: setting that names the other run, and its value.
    ours: experiment of this run.
    theirs: experiment of the other run.
    patterns: of settings that must be the same, with blanks between them.
    way_out: besides the same settings.
  """
  here, there = (
    {path: value for path, _, value in fields.walk(experiment.config)}
    for experiment in (ours, theirs)
  )
  named = (fnmatch.filter(here, pattern) for pattern in patterns.split())
  for path in itertools.chain.from_iterable(named):
    if not own.is_same(here[path], there[path]):
      raise types.UserError(
        f'{where} was trained with {path} {there[path]!r}, this run has'
        f' {here[path]!r}; use the same, or {way_out}'
      )
  here, there = (e.prepared.manifest['digest'] for e in (ours, theirs))
  if here != there:
    raise types.UserError(
      f'{where} was trained on other data than this run; use the same, or'
      f' {way_out}'
    )
