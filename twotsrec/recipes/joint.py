"""One model for all users, with the group gradients aggregated as configured.

`aggregator.name=joint` is PIN's base model; `backdoor` is stage 1 of PIN
(sec. 3.2, eq. 7).
"""

from collections.abc import Callable
from typing import Any

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.recipes import runs


def train(
  config: config_lib.Config,
  workdir: str,
  should_stop: Callable[[], bool] = lambda: False,
  quiet: bool = False,
) -> dict[str, Any] | None:
  """As `runs.train`, from fresh parameters.

  Raises:
    types.UserError: plugins, which start from a trained trunk; or as
      `runs.train`.
  """
  if config.plugin.name != 'none':
    raise types.UserError(
      f'plugin.name {config.plugin.name!r} starts from a trained trunk; use'
      ' pin.train_plugins, as launch/train.py does'
    )
  return runs.train(config, workdir, should_stop, quiet)
