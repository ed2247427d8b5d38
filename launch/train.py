r"""Trains a model and reports how every activeness group is served.

python launch/train.py --config=configs/quickstart.py --workdir=runs/demo
python launch/train.py --config=configs/quickstart.py --workdir=runs/demo \
  --track=tensorboard
python launch/train.py --config=configs/quickstart.py --dry_run

--track shows curves by epoch and the report in TensorBoard (the extra `track`;
files in WORKDIR/tensorboard), MLflow or Weights & Biases too, where they are
installed. A run that has finished is shown likewise, and no step twice.
"""

from absl import flags

import cli
import run_flags

_RUN = run_flags.define()
flags.adopt_module_key_flags(run_flags)
_FINISH = flags.DEFINE_bool(
  'finish',
  False,
  'Train no more: rank and report the best epoch so far. Needs no --config.',
)
_DRY_RUN = flags.DEFINE_bool(
  'dry_run',
  False,
  'Train nothing: tell steps and memory of the first phase; without --workdir.',
)


def main() -> int:
  """Trains, prints the table by group; 143 or 130 if it was stopped."""
  from twotsrec.runs import dry_run
  from twotsrec.runs import run
  from twotsrec.runs import tables
  from twotsrec.training import run_directory

  if _DRY_RUN.value:
    print(dry_run.describe(run_flags.config(_RUN)))
    return 0
  if _FINISH.value and _RUN.config.value is None:
    config = run_directory.typed_config(cli.required(_RUN.workdir))
  else:
    config = run_flags.config(_RUN)
  workdir = cli.required(_RUN.workdir)
  stop = cli.stop_on_signal()
  with run_flags.tracked(_RUN, stop) as asked:
    report = run.train(
      config, workdir, asked, _RUN.quiet.value, finish=_FINISH.value
    )
  if report is None:
    as_it_is = ', with --finish it takes the best epoch so far'
    return cli.stopped(workdir, stop, as_it_is)
  print(tables.of_report(report))
  return 0


if __name__ == '__main__':
  cli.run(main)
