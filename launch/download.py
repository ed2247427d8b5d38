r"""Fetches a public log from its owner, once you have seen its terms.

python launch/download.py --list
python launch/download.py --dataset=ml-1m                # fetches nothing
python launch/download.py --dataset=ml-1m --out=data/raw --accept
python launch/download.py --dataset=amazon-2023 --category=Books --accept

Address, size, checksum and terms are shown before anything is fetched. What was
cut goes on with the same command. A file gets its name when its checksum is
right; its events are then unpacked beside it, and the command is shown that
reads them.
"""

import os

from absl import flags

import cli
from twotsrec import types
from twotsrec.downloads import catalog

_LIST = flags.DEFINE_bool('list', False, 'Show all, and fetch nothing.')
_DATASET = flags.DEFINE_enum(
  'dataset', None, sorted(catalog.CATALOG), 'The log to fetch.'
)
_CATEGORY = flags.DEFINE_string(
  'category', '', 'Of Amazon, as in its addresses; default: see --list.'
)
_OUT = flags.DEFINE_string('out', 'data/raw', 'Folder of the files.')
_ACCEPT = flags.DEFINE_bool(
  'accept', False, 'The terms that were shown are accepted: fetch it.'
)


def main() -> int:
  """Shows, and fetches what is accepted."""
  if _LIST.value:
    cli.refuse_unread(
      'beside --list; leave it out', ['dataset', 'category', 'accept']
    )
    entries = {
      name: catalog.of_category(entry, '')
      for name, entry in catalog.CATALOG.items()
    }
    print('\n\n'.join(_shown(name, entry) for name, entry in entries.items()))
    return 0
  name = cli.required(_DATASET)
  if catalog.MARK not in catalog.CATALOG[name].address:
    cli.refuse_unread(f'for {name}; leave it out', ['category'])
  entry = catalog.of_category(catalog.CATALOG[name], _CATEGORY.value)
  if not _ACCEPT.value:
    print(_shown(name, entry))
    if entry.address:
      print('\nnothing is fetched; add --accept if you accept the terms')
    return 0
  if not entry.address:
    raise types.UserError(
      f'{name} cannot be fetched without an account: {entry.by_hand}; see'
      f' {entry.page}, and leave out --accept to see what reads it'
    )
  print(_shown(name, entry), flush=True)
  _fetch(entry)
  return 0


def _shown(name: str, entry: catalog.Entry) -> str:
  return catalog.text(name, entry, _OUT.value)


def _fetch(entry: catalog.Entry) -> None:
  from twotsrec.downloads import fetching
  from twotsrec.downloads import unpacking

  path = fetching.fetch(
    fetching.Source(
      address=entry.address,
      page=entry.page,
      name=entry.file,
      size=entry.size,
      digests=entry.digests,
    ),
    _OUT.value,
  )
  print(f'\nfetched and checked: {path}')
  if entry.members:
    folder = os.path.join(_OUT.value, entry.folder)
    for file in unpacking.unpack(path, folder, entry.members):
      print(f'unpacked: {file}')
  print(f'read it: {catalog.reading(entry, _OUT.value)[0]}')


if __name__ == '__main__':
  cli.run(main, compiles=False)
