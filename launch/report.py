r"""Makes one page from finished runs: pictures, tables, data and commands.

    python launch/report.py --runs=runs/base,runs/ga --names=base,+GA \
        --out=report.html
    python launch/report.py --runs=runs/base,runs/ga --format=tex --out=t.tex

The first run is the base that others are compared with, unless --base names
another; '+' joins the seeds of a system, and RUN:RULE is a rule that stands
beside the model of a run. The page is a single file that needs no network, is
light or dark as its reader is and fits a phone. Nothing is trained or evaluated
again. Pictures need matplotlib (the extra `plots`); --format=md, tex or csv
writes the tables alone, and does not.
"""

import sys

from absl import flags

import cli
import system_flags

_OF = system_flags.define()
flags.adopt_module_key_flags(system_flags)
_BASE = flags.DEFINE_string(
  'base', '', 'Name of the system others are compared with; default: the first.'
)
_FORMAT = flags.DEFINE_enum(
  'format', 'html', ['html', 'md', 'tex', 'csv'], 'The page, or tables alone.'
)
_OUT = flags.DEFINE_string('out', None, 'File to write.')


def main() -> int:
  """Writes the page or the tables."""
  from twotsrec.report import content
  from twotsrec.report import formats
  from twotsrec.report import page

  out = cli.required(_OUT)
  request = content.Request(
    systems=_OF.systems(),
    base=_BASE.value,
    metrics=tuple(_OF.metrics.value),
    resamples=_OF.resamples.value,
    seed=_OF.seed.value,
    command=('python', 'launch/report.py', *sys.argv[1:]),
  )
  read = content.read(request)
  if _FORMAT.value == 'html':
    page.write(read, out)
  else:
    formats.write(page.every_table(read), out, _FORMAT.value)
  print(f'written to {out}')
  return 0


if __name__ == '__main__':
  cli.run(main, compiles=False)
