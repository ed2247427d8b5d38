"""Trains a model and reports how every activeness group is served.

python launch/train.py --config=configs/quickstart.py --workdir=runs/demo
"""

from absl import flags
from ml_collections import config_flags

import cli

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'A file in configs/; --config.section.field=value changes it.'
)
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Run directory; the same one again resumes.'
)
_DATA_ROOT = flags.DEFINE_string(
  'data_root', None, 'Folder of the named datasets.'
)
_FINISH = flags.DEFINE_bool(
  'finish',
  False,
  'Train no more: rank and report the best epoch so far. Needs no --config.',
)
_QUIET = flags.DEFINE_bool('quiet', False, 'No progress display.')


def main() -> int:
  """Trains, prints the table by group; 143 or 130 if it was stopped."""
  from twotsrec.runs import run
  from twotsrec.runs import tables
  from twotsrec.training import run_directory

  if _FINISH.value and _CONFIG.value is None:
    config = run_directory.typed_config(cli.required(_WORKDIR))
  else:
    config = cli.experiment(_CONFIG, _DATA_ROOT.value)
  workdir = cli.required(_WORKDIR)
  stop = cli.stop_on_signal()
  report = run.train(config, workdir, stop, _QUIET.value, finish=_FINISH.value)
  if report is None:
    as_it_is = ', with --finish it takes the best epoch so far'
    return cli.stopped(workdir, stop, as_it_is)
  print(tables.of_report(report))
  return 0


if __name__ == '__main__':
  cli.run(main)
