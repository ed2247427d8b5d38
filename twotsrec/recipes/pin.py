"""PIN: common knowledge in the trunk, a group's own in its plugin (sec. 3).

Stage 1 trains the trunk on back-door weighted gradients (eq. 7); stage 2 adds
a plugin per activeness group and trains both (Alg. 1).
"""

from collections.abc import Callable
import dataclasses
import hashlib
import pathlib
from typing import Any

import jax
import numpy as np

from twotsrec import config as config_lib
from twotsrec import fields
from twotsrec import models
from twotsrec import plugins
from twotsrec import types
from twotsrec.data import routing
from twotsrec.plugins import plugged
from twotsrec.recipes import checks
from twotsrec.recipes import experiment as experiment_lib
from twotsrec.recipes import joint
from twotsrec.recipes import phases
from twotsrec.recipes import reports as reports_lib
from twotsrec.recipes import runs
from twotsrec.runs import settings as settings_lib
from twotsrec.training import run_directory

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
  reports, settings_of = {}, systems(config, workdir)
  _verify(settings_of, workdir)
  for name, settings in settings_of.items():
    place = str(pathlib.Path(workdir) / name)
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
  grouped = replace(config, aggregator=aggregator, plugin=none)
  if config.model.name == models.MULTI_BEHAVIOR:
    return _of_behaviors(grouped, plugin)
  joint_one = replace(config.aggregator, name='joint')
  return {
    'base': fields.only_read(
      replace(grouped, aggregator=joint_one), settings_lib.SEQUENCE
    ),
    'ga': grouped,
    'ga_pn': replace(grouped, plugin=plugin),
  }


def _of_behaviors(grouped, plugin):
  """The same for several behaviors, where a system refuses what it ignores.

  A gradient is one sum there (COPF eq. 16) unless it is asked for by group.
  """
  replace, default = dataclasses.replace, config_lib.Config()
  by_group = replace(grouped.behavior, aggregate='groups')
  stage2 = replace(
    grouped,
    behavior=by_group,
    aggregator=replace(grouped.aggregator, form=default.aggregator.form),
    plugin=plugin,
  )
  reads = settings_lib.MULTI_BEHAVIOR
  stage1 = fields.only_read(replace(grouped, behavior=by_group), reads)
  as_one = replace(grouped.behavior, aggregate='loss')
  base = replace(stage1, behavior=as_one, aggregator=default.aggregator)
  return {'base': base, 'ga': stage1, 'ga_pn': stage2}


def _verify(settings_of, workdir):
  """All that can be wrong with any of them shows before one is trained."""
  missing = [
    settings
    for name, settings in settings_of.items()
    if not runs.is_finished(settings, str(pathlib.Path(workdir) / name))
  ]
  for settings in missing:
    checks.check(settings)
  prepared = experiment_lib.load_data(missing[0]) if missing else None
  for settings in missing:
    experiment = experiment_lib.make(settings, prepared)
    reports_lib.check_protocol(experiment)
    phases.verify(experiment)


def train_one(
  config: config_lib.Config,
  workdir: str,
  should_stop: Callable[[], bool] = lambda: False,
  quiet: bool = False,
) -> dict[str, Any] | None:
  """One run: stage 2 if it has plugins, else `joint.train`."""
  train_it = joint.train if config.plugin.name == 'none' else train_plugins
  return train_it(config, workdir, should_stop, quiet)


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
  _check_moved(config, workdir)
  return runs.train(config, workdir, should_stop, quiet, _start)


def _start(experiment: experiment_lib.Experiment) -> runs.Start:
  """The selected trunk of stage 1 and plugins that change nothing yet."""
  config = experiment.config
  plugin = plugins.make(config.plugin)
  trunk_experiment, trunk = experiment_lib.load(config.plugin.trunk)
  _check_trunk(experiment, trunk_experiment)
  origin = _origin(trunk)
  trunk = experiment_lib.as_trunk(trunk_experiment, trunk)
  own = plugin.init(
    jax.random.fold_in(jax.random.key(config.train.seed), 2),
    experiment.trunk.stages,
    trunk,
    config.groups.num_groups,
    experiment.sizes,
  )
  return runs.Start(plugged.join(trunk, own), origin)


def _origin(trunk):
  return {'trunk_digest': digest(trunk)}


def _check_moved(config, workdir):
  """Refuses a finished run of another trunk than is asked for now."""
  if not run_directory.report_path(workdir).is_file():
    return  # `_start` is compared before it goes on
  saved = experiment_lib.config_from_dict(run_directory.read_config(workdir))
  if saved.plugin.trunk != config.plugin.trunk:
    _, trunk = experiment_lib.load(config.plugin.trunk)
    runs.check_origin(workdir, _origin(trunk))


def _check_trunk(experiment, trunk):
  """Refuses a trunk of another experiment."""
  ours, theirs = experiment.config, trunk.config
  where = f'plugin.trunk {ours.plugin.trunk}'
  if routing.from_config(theirs) is not None:
    raise types.UserError(
      f'{where} has parameters for every group already; give a run of one'
      ' model for all users'
    )
  for name in _shared_fields():
    section, field = name.split('.')
    here = getattr(getattr(ours, section), field)
    there = getattr(getattr(theirs, section), field)
    if here != there:
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
  marked = reports_lib.selected_on_test
  if marked(theirs) and not marked(ours):
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


def digest(params: types.PyTree) -> str:
  """Of all numbers, in the order of the tree."""
  hashed = hashlib.sha256()
  for leaf in jax.tree.leaves(jax.device_get(params)):
    hashed.update(np.ascontiguousarray(leaf).tobytes())
  return hashed.hexdigest()
