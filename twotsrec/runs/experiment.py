"""The start of every run: data, groups, and finished runs loaded again."""

import shutil
from typing import Any

import jax

from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import recipes
from twotsrec import types
from twotsrec.data import features
from twotsrec.data import groups as groups_lib
from twotsrec.data import pipeline
from twotsrec.data import prepared as prepared_lib
from twotsrec.training import checkpoints
from twotsrec.training import files
from twotsrec.training import run_directory


def make(
  config: config_lib.Config, prepared: prepared_lib.Prepared
) -> contracts.Experiment:
  """Groups the users and builds what the recipe of the configuration needs.

  Raises:
    types.UserError: parts that do not go together.
  """
  groups = groups_lib.assign(prepared, config.groups)
  bare = contracts.Experiment(config=config, prepared=prepared, groups=groups)
  return recipes.of(config).build(bare)


def load_data(config: config_lib.Config) -> prepared_lib.Prepared:
  """The prepared data a configuration names."""
  return pipeline.from_config(config.data)


def keep_data(
  workdir: str, prepared: prepared_lib.Prepared, digest: str = ''
) -> None:
  """Copies the prepared data into the run, which then needs nothing else.

  Args:
    workdir: the run.
    prepared: its data.
    digest: what they must have; '' goes by a copy that is there.
  Raises:
    types.UserError: the run was started on other data.
  """
  path = run_directory.ids_path(workdir)
  for unfinished in path.parent.glob(f'.{path.name}.*'):
    shutil.rmtree(unfinished)  # of a process that was killed
  if path.exists():
    digest = _copy(workdir).manifest['digest']
  if digest and digest != prepared.manifest['digest']:
    raise types.UserError(
      f'the data have changed since the run in {workdir} was started;'
      ' restore them, or use another --workdir'
    )
  copied = prepared_lib.save(prepared, str(path))
  of_items = features.load(prepared)
  if of_items is not None and features.load(copied) is None:
    # Lists are chosen by values; numbers, which may be large, stay behind.
    features.save(features.without_dense(of_items), copied)


def restore_data(
  config: config_lib.Config, workdir: str, report: dict[str, Any]
) -> None:
  """Copies the data of a finished run again, if somebody deleted the copy."""
  if not run_directory.ids_path(workdir).exists():
    digest = report.get('protocol', {}).get('dataset_digest', '')
    keep_data(workdir, load_data(config), digest)


def read_report(workdir: str) -> dict[str, Any]:
  """The report of a finished run.

  Raises:
    types.UserError: it is not what a run writes.
  """
  path = run_directory.report_path(workdir)
  report = files.read_json(path)
  if not isinstance(report, dict) or 'training' not in report:
    raise types.UserError(
      f'{path} lacks training, so it is damaged; delete it and repeat the'
      ' training command, which writes it again'
    )
  return report


def _copy(workdir: str) -> prepared_lib.Prepared:
  """The data of a run, verified: a changed number would be another item."""
  return prepared_lib.load(
    str(run_directory.ids_path(workdir)),
    verify=True,
    again='repeat the training command, which copies the data again',
  )


def load(workdir: str) -> tuple[contracts.Experiment, Any]:
  """A finished run: its experiment and the selected parameters.

  The parameters are a list by group if every group selected its own.

  Raises:
    types.UserError: not a run directory, or training has not finished.
  """
  config = run_directory.typed_config(workdir)
  report_path = run_directory.report_path(workdir)
  if not report_path.is_file():
    raise run_directory.unfinished(workdir)
  report = read_report(workdir)
  recipe = recipes.of(config)
  experiment = make(recipe.in_force(config, report), _copy(workdir))
  template = jax.eval_shape(lambda: recipe.template(experiment))
  # What a run put together itself has no step of a phase.
  selected = report['training'].get('selected_step', 0)
  several = isinstance(selected, list)
  paths = run_directory.best_paths(workdir, len(selected) if several else None)
  params = [
    checkpoints.restore_step(path, {'params': template}, step).state['params']
    for path, step in zip(paths, selected if several else [selected])
  ]
  return experiment, params if several else params[0]


def ranker(experiment: contracts.Experiment, params: Any) -> contracts.Ranker:
  """Ranks with the parameters of a run."""
  return recipes.of(experiment.config).ranker(experiment, params)
