"""PIN: common knowledge in the trunk, a group's own in its plugin (sec. 3).

Stage 1 trains the trunk on back-door weighted gradients (eq. 7); stage 2 adds
a plugin per activeness group and trains both (Alg. 1).
"""

from collections.abc import Callable, Mapping
import dataclasses
import hashlib
import pathlib
from typing import Any

import jax
import numpy as np

from twotsrec import config as config_lib
from twotsrec import models
from twotsrec import plugins
from twotsrec import types
from twotsrec.data import routing
from twotsrec.plugins import plugged
from twotsrec.recipes import experiment as experiment_lib
from twotsrec.recipes import joint
from twotsrec.recipes import runs

# Directory of each system and its name in tables (PIN Table 4).
SYSTEMS = {'base': 'base', 'ga': '+GA', 'ga_pn': '+GA+PN'}


def train(
  config: config_lib.Config,
  workdir: str,
  should_stop: Callable[[], bool] = lambda: False,
  quiet: bool = False,
) -> dict[str, Any] | None:
  """Base model, +GA and +GA+PN, each a run in a directory of its own.

  Args:
    config: of all three; `aggregator` is that of both stages (joint counts as
      backdoor) and `plugin` that of stage 2 (none counts as light).
    workdir: its folders `base`, `ga` and `ga_pn` are run directories.
    should_stop: as in `runs.train`.
    quiet: no progress display.
  Returns:
    {directory: report}; None if it was stopped. Repeating the call resumes.
  Raises:
    types.UserError: as `runs.train`.
  """
  reports = {}
  for name, settings in systems(config, workdir).items():
    place = str(pathlib.Path(workdir) / name)
    train_one = joint.train if name != 'ga_pn' else train_plugins
    reports[name] = train_one(settings, place, should_stop, quiet)
    if reports[name] is None:
      return None
  return reports


def systems(
  config: config_lib.Config, workdir: str
) -> dict[str, config_lib.Config]:
  """Configuration of each system, by directory."""
  replace = dataclasses.replace
  if config.plugin.trunk:
    raise types.UserError(
      f'plugin.trunk {config.plugin.trunk!r}: stage 1 is trained here; leave'
      ' it out, or train stage 2 alone with launch/train.py'
    )
  aggregator, plugin = config.aggregator, config.plugin
  if aggregator.name == 'joint':
    aggregator = replace(aggregator, name='backdoor')
  if plugin.name == 'none':
    plugin = replace(plugin, name='light')
  none = config_lib.PluginConfig()
  plugin = replace(plugin, trunk=str(pathlib.Path(workdir) / 'ga'))
  joint_one = replace(config.aggregator, name='joint')
  return {
    'base': replace(config, aggregator=joint_one, plugin=none),
    'ga': replace(config, aggregator=aggregator, plugin=none),
    'ga_pn': replace(config, aggregator=aggregator, plugin=plugin),
  }


def train_plugins(
  config: config_lib.Config,
  workdir: str,
  should_stop: Callable[[], bool] = lambda: False,
  quiet: bool = False,
) -> dict[str, Any] | None:
  """Stage 2 alone, from the finished run in `config.plugin.trunk`.

  Raises:
    types.UserError: a trunk trained on other data, groups or with another
      model, besides those of `runs.train`.
  """
  return runs.train(config, workdir, should_stop, quiet, _start)


def _start(experiment: experiment_lib.Experiment) -> runs.Start:
  """The selected trunk of stage 1 and plugins that change nothing yet."""
  config = experiment.config
  trunk_experiment, trunk = experiment_lib.load(config.plugin.trunk)
  _check_trunk(experiment, trunk_experiment)
  model = models.make(config.model)
  plugin = plugins.make(config.plugin)
  own = plugin.init(
    jax.random.fold_in(jax.random.key(config.train.seed), 2),
    model.stages,
    trunk,
    config.groups.num_groups,
    experiment.sizes,
  )
  return runs.Start(plugged.join(trunk, own), {'trunk_digest': digest(trunk)})


def _check_trunk(experiment, trunk):
  """Refuses a trunk of another experiment."""
  ours, theirs = experiment.config, trunk.config
  where = f'plugin.trunk {ours.plugin.trunk}'
  if routing.from_config(theirs) is not None:
    raise types.UserError(
      f'{where} has parameters for every group already; give a run of one'
      ' model for all users'
    )
  if ours.groups.num_groups != theirs.groups.num_groups:
    raise types.UserError(
      f'{where} was trained with {theirs.groups.num_groups} groups, this run'
      f' has {ours.groups.num_groups}; set groups.num_groups to the former, or'
      ' train another trunk'
    )
  pairs = {
    'groups': (ours.groups, theirs.groups),
    'model': (ours.model, theirs.model),
    'data.history_length': (
      ours.data.history_length,
      theirs.data.history_length,
    ),
    'data': tuple(e.prepared.manifest['digest'] for e in (experiment, trunk)),
  }
  for name, (here, there) in pairs.items():
    if here != there:
      raise types.UserError(
        f'{where} was trained with another {name} ({there}) than this run'
        f' ({here}); use the same, or train another trunk'
      )


def digest(params: Mapping[str, Any]) -> str:
  """Of all numbers, in the order of the tree."""
  hashed = hashlib.sha256()
  for leaf in jax.tree.leaves(jax.device_get(params)):
    hashed.update(np.ascontiguousarray(leaf).tobytes())
  return hashed.hexdigest()
