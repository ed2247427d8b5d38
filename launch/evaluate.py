"""Evaluates finished runs, side by side by activeness group.

python launch/evaluate.py --workdir=runs/base,runs/ga --names=base,+GA
python launch/evaluate.py --workdir=runs/base,runs/ga --out=both.csv
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
_OUT = flags.DEFINE_string(
  'out', '', 'File for the table (.md) or its numbers (.csv, .json).'
)
_QUIET = flags.DEFINE_bool('quiet', False, 'No progress display.')


def main() -> int:
  """Prints one table for all runs."""
  from twotsrec.runs import tables

  tables.check_out(_OUT.value)
  found = tables.evaluated(
    cli.required(_WORKDIR),
    _NAMES.value,
    _SPLIT.value,
    _METRICS.value,
    quiet=_QUIET.value,
    routing=_ROUTING.value or '',
  )
  print(found.text)
  if _OUT.value:
    tables.write(found, _OUT.value)
  return 0


if __name__ == '__main__':
  cli.run(main)
