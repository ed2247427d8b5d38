"""Says what to try first on prepared data, and what a model has to beat.

    python launch/advise.py --data=data/mine

Popularity, item-item neighbors, EASE and, where there are behaviors, reminders
rank the test items, in about a minute; nothing is trained. What would take
longer is left out, and said. The commands stand below, the first one first.
"""

from absl import flags

import cli

_DATA = flags.DEFINE_string(
  'data', None, 'A directory that launch/prepare.py made.'
)
_NUM_GROUPS = flags.DEFINE_integer('num_groups', 5, 'Activeness groups.', 1)
_OUT = flags.DEFINE_string('out', '', 'JSON file for all numbers.')
_QUIET = flags.DEFINE_bool('quiet', False, 'No progress display.')


def main() -> int:
  """Prints the advice."""
  from twotsrec.runs import which_model
  from twotsrec.training import files

  found = which_model.of(cli.required(_DATA), _NUM_GROUPS.value, _QUIET.value)
  print(which_model.text(found))
  if _OUT.value:
    files.write_json(_OUT.value, found)
  return 0


if __name__ == '__main__':
  cli.run(main)
