"""What the scripts in reproduce/ share: common flags, and their frame."""

from collections.abc import Callable
import functools
import signal
from typing import Any, NamedTuple

from absl import flags

import cli

# (should_stop, quiet, tell) -> whether all is trained; False after a stop.
Train = Callable[[Callable[[], bool], bool, Callable[[str], None]], bool]


class Common(NamedTuple):
  """Flag holders."""

  data_root: Any
  cache_dir: Any
  out: Any
  report_only: Any
  quiet: Any

  def places(self) -> tuple[str, str, str]:
    """Folders of the datasets, of prepared data and of the runs."""
    out = cli.required(self.out)
    return self.data_root.value, self.cache_dir.value, out


def define() -> Common:
  """Defines the flags.

  For --help to show them, the script adopts the key flags of this module.
  """
  return Common(
    flags.DEFINE_string('data_root', '', 'Folder of the datasets.'),
    flags.DEFINE_string('cache_dir', 'data', 'Prepared datasets.'),
    flags.DEFINE_string('out', None, 'Folder of the runs and the document.'),
    flags.DEFINE_bool(
      'report_only', False, 'Train nothing; what is missing is shown as -.'
    ),
    flags.DEFINE_bool('quiet', False, 'No progress display.'),
  )


def run(common: Common, train: Train | None, write: Callable[[], Any]) -> int:
  """Trains what is missing and writes the document; 143 after a SIGTERM.

  Args:
    common: flags.
    train: what trains; None where nothing needs a run.
    write: what writes the document and returns its path.
  """
  if train is not None and not common.report_only.value:
    cli.required(common.data_root)
    stop = cli.stop_on_signal()
    tell = functools.partial(print, flush=True)
    if not train(stop, common.quiet.value, tell):
      out = common.out.value
      print(f'stopped and saved in {out}; the same command resumes')
      return 128 + signal.SIGTERM
  print(f'written to {write()}')
  return 0
