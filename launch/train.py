"""Trains a model and reports how every activeness group is served.

python launch/train.py --config=configs/quickstart.py --workdir=runs/demo
"""

import signal

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
_QUIET = flags.DEFINE_bool('quiet', False, 'No progress display.')


def main() -> int:
  """Trains, prints the table by group; 143 after a SIGTERM."""
  from twotsrec.runs import run
  from twotsrec.runs import tables

  config = cli.experiment(_CONFIG, _DATA_ROOT.value)
  workdir = cli.required(_WORKDIR)
  stop = cli.stop_on_signal()
  report = run.train(config, workdir, stop, _QUIET.value)
  if report is None:
    print(f'stopped and saved in {workdir}; the same command resumes')
    return 128 + signal.SIGTERM
  print(tables.of_report(report))
  return 0


if __name__ == '__main__':
  cli.run(main)
