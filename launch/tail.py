"""Tries ways to serve people with little history, on a base of your choice.

    python launch/tail.py --config=configs/sequences/beauty.py \
      --data_root=DIR --workdir=runs/tail

Every way is a run of its own in WORKDIR, with the settings and the budget of
the base: back-door aggregation, training on the worst-served users, changed and
mixed histories, selection by groups, plugins for the least active, and plugins
that learn from active users. The way with the largest gain of group 1 on
validation items is chosen among those that harm no group; WORKDIR/tail.json has
all differences with intervals, on validation and on test. The same command
again goes on where it stopped.
"""

from absl import flags

import cli
import run_flags

_RUN = run_flags.define()
flags.adopt_module_key_flags(run_flags)
_WAYS = flags.DEFINE_list(
  'ways',
  None,
  'Of backdoor, worst_users, insert, substitute, mix, balanced, plugin,'
  ' transfer, near; all by default.',
)
_METRIC = flags.DEFINE_string('metric', 'ndcg@10', 'What to choose by.')
_GROUPS = flags.DEFINE_integer(
  'tail_groups', 1, 'The least active so many groups are the tail.'
)


def main() -> int:
  """Trains what is missing and prints the tables; 143 or 130 if stopped."""
  from twotsrec.runs import tail

  config = run_flags.config(_RUN)
  workdir = cli.required(_RUN.workdir)
  stop = cli.stop_on_signal()
  with run_flags.tracked(_RUN, stop) as asked:
    result = tail.train(
      config,
      workdir,
      tuple(_WAYS.value or tail.WAYS),
      _METRIC.value,
      _GROUPS.value,
      asked,
      _RUN.quiet.value,
    )
  if result is None:
    return cli.stopped(workdir, stop)
  print(tail.format(result))
  print(f'all of it: {workdir}/tail.json')
  return 0


if __name__ == '__main__':
  cli.run(main)
