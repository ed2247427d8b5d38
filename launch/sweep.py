r"""Tries settings with optuna and writes the best as a configuration.

    python launch/sweep.py --config=configs/own.py \
      --config.data.prepared=data/mine --trials=20 --workdir=runs/sweep \
      --vary=train.learning_rate=1e-4..1e-2:log --vary=model.width=16,32,64
    python launch/train.py --config=runs/sweep/best.py --workdir=runs/best

Needs the extra `tune`. What varies is --vary, once for each setting, and what
`get_space()` beside `get_config()` in the file of --config gives: a range
LOW..HIGH, with :log behind it for equal chances of every magnitude, or values
between commas. The configuration as it is comes first, if it is inside. Trials
are judged on validation items, and end early where their curve is below the
median of those before. Every trial is a run directory that compare.py reads.
The same command goes on where it stopped, and with more --trials.
"""

import runpy

from absl import flags

import cli
import run_flags
from twotsrec import types

_RUN = run_flags.define()
flags.adopt_module_key_flags(run_flags)
_VARY = flags.DEFINE_multi_string(
  'vary', [], 'SECTION.FIELD=LOW..HIGH[:log] or =VALUE,VALUE; several times.'
)
_TRIALS = flags.DEFINE_integer('trials', 20, 'How many in all.', 1)
_OBJECTIVE = flags.DEFINE_enum(
  'objective',
  'overall',
  ['overall', 'group1', 'groups', 'worst', 'both'],
  'Best overall, for group 1, for the mean of the groups, or for the worst one;'
  ' both: a front of overall and group 1, without ends before the last epoch.',
)
_METRIC = flags.DEFINE_string(
  'metric', '', 'Of validation items; default: ndcg@10, or auc of labels.'
)
_SEED = flags.DEFINE_integer('seed', 0, 'Of what is tried.', 0)
_PRUNE = flags.DEFINE_bool('prune', True, 'Trials may end early.')


def main() -> int:
  """Tries what is left and prints a table; 143 or 130 if stopped."""
  from twotsrec.runs import search_space
  from twotsrec.runs import sweep
  from twotsrec.runs import sweep_result

  config = run_flags.config(_RUN)
  workdir = cli.required(_RUN.workdir)
  texts = {**_beside_config(), **search_space.of_flags(_VARY.value)}
  stop = cli.stop_on_signal()
  task = sweep.Task(
    config=config,
    space=search_space.parse(config, texts),
    trials=_TRIALS.value,
    objective=_OBJECTIVE.value,
    metric=_METRIC.value,
    seed=_SEED.value,
    prune=_PRUNE.value,
  )
  with run_flags.tracked(_RUN, stop) as asked:
    result = sweep.train(task, workdir, asked, _RUN.quiet.value)
  if result is None:
    return cli.stopped(workdir, stop)
  print(sweep_result.format(result, workdir))
  return 0


def _beside_config() -> dict[str, str]:
  """What `get_space()` in the file of --config gives, if it has one."""
  from ml_collections import config_flags

  path = config_flags.get_config_filename(flags.FLAGS['config'])
  given = runpy.run_path(path.partition(':')[0]).get('get_space', dict)()
  if not isinstance(given, dict):
    raise types.UserError(
      f'--config: get_space() gives a {type(given).__name__}; it must give'
      " texts by setting, such as {'model.width': '16,32'}"
    )
  return given


if __name__ == '__main__':
  cli.run(main)
