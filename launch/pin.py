"""Trains the base model, +GA and +GA+PN, and shows them side by side.

    python launch/pin.py --config=configs/pin/ml1m.py --workdir=runs/pin

Each is a run directory of its own: WORKDIR/base, WORKDIR/ga, WORKDIR/ga_pn.
"""

import pathlib

from absl import flags
from ml_collections import config_flags

import cli

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'A file in configs/; --config.section.field=value changes it.'
)
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Directory of the runs; the same one again resumes.'
)
_DATA_ROOT = flags.DEFINE_string(
  'data_root', None, 'Folder of the named datasets.'
)
_BESIDE = flags.DEFINE_bool(
  'beside', False, 'Train the base model beside +GA: sooner on a CPU.'
)
_QUIET = flags.DEFINE_bool('quiet', False, 'No progress display.')


def main() -> int:
  """Trains what is missing and prints one table; 143 or 130 if stopped."""
  from twotsrec.recipes import pin
  from twotsrec.runs import systems
  from twotsrec.runs import tables

  config = cli.experiment(_CONFIG, _DATA_ROOT.value)
  workdir = cli.required(_WORKDIR)
  stop = cli.stop_on_signal()
  reports = systems.train(config, workdir, stop, _QUIET.value, _BESIDE.value)
  if reports is None:
    return cli.stopped(workdir, stop)
  named = {pin.SYSTEMS[name]: report for name, report in reports.items()}
  print(tables.of_reports(named))
  places = ','.join(str(pathlib.Path(workdir) / name) for name in reports)
  print(f'paired differences: python launch/compare.py --runs={places}')
  return 0


if __name__ == '__main__':
  cli.run(main)
