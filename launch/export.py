"""A finished run as a folder that is served without this package's machinery.

python launch/export.py --workdir=runs/mine --out=exported/mine

`twotsrec.serving.load_exported` opens it with JAX and NumPy alone. With
--search=approximate it has an index of the items, for catalogs where exact
lists take too long; what the index finds of them is measured and told.
"""

from absl import flags

import cli

_WORKDIR = flags.DEFINE_string('workdir', None, 'Run directory.')
_OUT = flags.DEFINE_string('out', None, 'Folder of the export.')
_PLATFORMS = flags.DEFINE_multi_enum(
  'platform',
  ['cpu', 'cuda', 'tpu'],
  ['cpu', 'cuda', 'rocm', 'tpu'],
  'Where it can be served; several times for several.',
)
_SEARCH = flags.DEFINE_enum(
  'search',
  'exact',
  ['exact', 'approximate'],
  'approximate: also an index, for many items; needs the extra ann.',
)
_RECALL = flags.DEFINE_float(
  'recall',
  0.95,
  'Of exact lists of 20 items, what the index is to find.',
  lower_bound=0.0,
  upper_bound=1.0,
)
_OVERWRITE = flags.DEFINE_bool(
  'overwrite', False, 'Replace an export that is there.'
)


def main() -> int:
  """Writes the folder; says what is in it."""
  from twotsrec.runs import exports

  if _SEARCH.value == 'exact':
    cli.refuse_unread(
      'without --search=approximate; leave it out, or ask for an index',
      ['recall'],
    )
  workdir, out = cli.required(_WORKDIR), cli.required(_OUT)
  search = exports.Search(_SEARCH.value, _RECALL.value)
  options = _PLATFORMS.value, _OVERWRITE.value, search
  print(exports.run(workdir, out, *options))
  return 0


if __name__ == '__main__':
  cli.run(main)
