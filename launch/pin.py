"""Trains the base model, +GA and +GA+PN, and shows them side by side.

    python launch/pin.py --config=configs/pin/ml1m.py --workdir=runs/pin

Each is a run directory of its own: WORKDIR/base, WORKDIR/ga, WORKDIR/ga_pn.
"""

import pathlib

from absl import flags

import cli
import run_flags

_RUN = run_flags.define()
flags.adopt_module_key_flags(run_flags)
_BESIDE = flags.DEFINE_bool(
  'beside', False, 'Train the base model beside +GA: sooner on a CPU.'
)


def main() -> int:
  """Trains what is missing and prints one table; 143 or 130 if stopped."""
  from twotsrec.recipes import pin
  from twotsrec.runs import systems
  from twotsrec.runs import tables

  config = run_flags.config(_RUN)
  workdir = cli.required(_RUN.workdir)
  stop = cli.stop_on_signal()
  reports = systems.train(
    config, workdir, stop, _RUN.quiet.value, _BESIDE.value
  )
  if reports is None:
    return cli.stopped(workdir, stop)
  named = {pin.SYSTEMS[name]: report for name, report in reports.items()}
  print(tables.of_reports(named))
  places = ','.join(str(pathlib.Path(workdir) / name) for name in reports)
  print(f'paired differences: python launch/compare.py --runs={places}')
  return 0


if __name__ == '__main__':
  cli.run(main)
