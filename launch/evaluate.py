"""Evaluates finished runs, side by side by activeness group.

python launch/evaluate.py --workdir=runs/base,runs/ga --names=base,+GA
"""

from absl import flags

import cli
from twotsrec.data import choices

_WORKDIR = flags.DEFINE_list('workdir', None, 'Run directories.')
_NAMES = flags.DEFINE_list('names', [], 'Their names in the table.')
_SPLIT = flags.DEFINE_enum(
  'split', 'test', ['validation', 'test'], 'Which held-out events.'
)
_METRICS = flags.DEFINE_list(
  'metrics', [], 'Columns of the table; default: AUCs, HR and NDCG at 10.'
)
_ROUTING = flags.DEFINE_enum(
  'routing',
  None,
  choices.ROUTING,
  'Which plugin serves whom; default: as trained.',
)
_QUIET = flags.DEFINE_bool('quiet', False, 'No progress display.')


def main() -> int:
  """Prints one table for all runs."""
  from twotsrec.runs import tables

  print(
    tables.side_by_side(
      cli.required(_WORKDIR),
      _NAMES.value,
      _SPLIT.value,
      _METRICS.value,
      quiet=_QUIET.value,
      routing=_ROUTING.value or '',
    )
  )
  return 0


if __name__ == '__main__':
  cli.run(main)
