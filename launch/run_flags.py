"""Flags of the scripts that train: with what, where to, on which data."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

from absl import flags
from ml_collections import config_flags

import cli

if TYPE_CHECKING:
  from twotsrec import config as config_lib


class Flags(NamedTuple):
  """Holders of the flags."""

  config: Any
  workdir: Any
  data_root: Any
  quiet: Any
  track: Any


def define() -> Flags:
  """Defines them; for --help a script adopts the key flags of this module."""
  return Flags(
    config=config_flags.DEFINE_config_file(
      'config',
      None,
      'A file in configs/; --config.section.field=value changes it.',
    ),
    workdir=flags.DEFINE_string(
      'workdir', None, 'Directory of the run or runs; the same again resumes.'
    ),
    data_root=flags.DEFINE_string(
      'data_root', None, 'Folder of the named datasets.'
    ),
    quiet=flags.DEFINE_bool('quiet', False, 'No progress display.'),
    track=flags.DEFINE_enum(
      'track',
      'none',
      ['none', 'tensorboard', 'mlflow', 'wandb'],
      'Where curves and reports are shown too, while it trains.',
    ),
  )


def config(holders: Flags) -> config_lib.Config:
  """The configuration that the flags give; raises as `cli.experiment`."""
  return cli.experiment(holders.config, holders.data_root.value)


def tracked(
  holders: Flags, stop: Callable[[], int]
) -> contextlib.AbstractContextManager[Callable[[], Any]]:
  """`stop` for a training inside, which is shown where --track says."""
  from twotsrec.training import tracking

  return tracking.beside(holders.track.value, holders.workdir.value, stop)
