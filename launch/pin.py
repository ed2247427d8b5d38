"""Trains the base model, +GA and +GA+PN, and shows them side by side.

    python launch/pin.py --config=configs/pin/ml1m.py --workdir=runs/pin

Each is a run directory of its own: WORKDIR/base, WORKDIR/ga, WORKDIR/ga_pn.
With --seeds=0,1,2 all three are trained with each of these seeds, in
WORKDIR/seed0 and so on, and the means over the seeds are compared.
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
_SEEDS = flags.DEFINE_list(
  'seeds', [], 'Of the training, as in 0,1,2; default: train.seed alone.'
)


def main() -> int:
  """Trains what is missing and prints one table; 143 or 130 if stopped."""
  from twotsrec.runs import systems
  from twotsrec.runs import tables

  config = run_flags.config(_RUN)
  workdir = cli.required(_RUN.workdir)
  stop = cli.stop_on_signal()
  seeds = systems.parse_seeds(_SEEDS.value)
  with run_flags.tracked(_RUN, stop) as asked:
    how = asked, _RUN.quiet.value, _BESIDE.value
    if seeds:
      text = systems.compared(config, workdir, seeds, *how)
      if text is None:
        return cli.stopped(workdir, stop)
      print(text)
      return 0
    reports = systems.train(config, workdir, *how)
  if reports is None:
    return cli.stopped(workdir, stop)
  print(tables.of_reports(systems.named(reports)))
  places = ','.join(str(pathlib.Path(workdir) / name) for name in reports)
  print(f'paired differences: python launch/compare.py --runs={places}')
  return 0


if __name__ == '__main__':
  cli.run(main)
