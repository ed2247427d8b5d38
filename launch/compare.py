"""Paired differences between finished runs, by activeness group or part.

python launch/compare.py --runs=runs/base,runs/ga --names=base,+GA
python launch/compare.py --runs=runs/base0+runs/base1,runs/ga0+runs/ga1
python launch/compare.py --runs=runs/base:popularity,runs/base
python launch/compare.py --runs=runs/a0+runs/a1,runs/b --table --out=table.tex

The first run is the reference; '+' joins the seeds of a system, and RUN:RULE is
a rule that stands beside the model in the table of a run. Nothing is evaluated
again. --by=parts tells held-out items apart by what their user had shown toward
them: items that they had, or other behaviors. --table shows the systems
themselves, with the rules beside them, and is written as .md, .csv or .tex.
"""

from collections.abc import Mapping, Sequence

from absl import flags

import cli
import system_flags

_OF = system_flags.define()
flags.adopt_module_key_flags(system_flags)
_BY = flags.DEFINE_enum(
  'by', 'groups', ['groups', 'parts'], 'Rows of the table.'
)
_TABLE = flags.DEFINE_bool(
  'table', False, 'Systems and rules by group, in place of differences.'
)
_OUT = flags.DEFINE_string(
  'out',
  '',
  'File for the numbers (.json) or the table (.md); with --table .md, .csv or'
  ' .tex.',
)


def main() -> int:
  """Prints one table for every run after the first, or one of all."""
  from twotsrec.runs import compare

  if _TABLE.value:
    return _show_table(_OF.systems())
  print(
    compare.run(
      _OF.systems(),
      _OF.metrics.value,
      _OF.resamples.value,
      _OF.seed.value,
      _BY.value,
      _OUT.value,
    )
  )
  return 0


def _show_table(systems: Mapping[str, Sequence[str]]) -> int:
  """Prints and writes means and their spread over seeds."""
  from twotsrec.report import formats
  from twotsrec.report import tables
  from twotsrec.runs import compare

  cli.refuse_unread('with --table; leave it out', ['resamples', 'seed', 'by'])
  kind = formats.kind_of(_OUT.value) if _OUT.value else ''
  beside = tables.with_rules(compare.opened(systems))
  made = [tables.results(beside, _OF.metrics.value)]
  if kind:
    formats.write(made, _OUT.value, kind)
  print(formats.text(made))
  return 0


if __name__ == '__main__':
  cli.run(main, compiles=False)
