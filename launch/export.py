"""A finished run as a folder that is served without this package's machinery.

python launch/export.py --workdir=runs/mine --out=exported/mine

`twotsrec.serving.load_exported` opens it with JAX and NumPy alone.
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
_OVERWRITE = flags.DEFINE_bool(
  'overwrite', False, 'Replace an export that is there.'
)


def main() -> int:
  """Writes the folder; says what is in it."""
  from twotsrec.runs import exports

  workdir, out = cli.required(_WORKDIR), cli.required(_OUT)
  print(exports.run(workdir, out, _PLATFORMS.value, _OVERWRITE.value))
  return 0


if __name__ == '__main__':
  cli.run(main)
