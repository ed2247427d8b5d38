"""Public logs: where their owners publish them, on which terms, how to read.

Sizes and checksums are those that somebody published; where nobody has, the
entry says so, and the first file that is fetched is trusted. The module imports
next to nothing, so that --help does not wait.
"""

import re
import shlex
from typing import NamedTuple

from twotsrec import types

MARK = '{category}'  # in addresses and file names
UNPUBLISHED = (
  'none is published: the first file that comes is trusted, and its SHA-256'
  ' recorded beside it'
)
_GROUPLENS = 'https://files.grouplens.org/datasets/movielens/'
_BY_GROUPLENS = 'MD5 by GroupLens, SHA-256 and size by TensorFlow Datasets'
_MOVIELENS_TERMS = (
  'research; not commercial, and not passed on, without permission; name'
  ' Harper and Konstan 2015 (all terms are in README.txt or README of the file)'
)


class Entry(NamedTuple):
  """A public log."""

  what: str  # in a line
  page: str  # of its owner, with the terms
  terms: str
  file: str  # its name
  commands: tuple[str, ...]  # that read it; {out} is the folder it is in
  address: str = ''  # of the file; '' if an account is needed
  size: int = 0  # bytes, 0 if nobody has published the exact number
  about: str = ''  # the size in words, where `size` is 0
  # 'md5:...' or 'sha256:...' of the file; () if none is published.
  digests: tuple[str, ...] = ()
  digests_by: str = ''  # who published size and digests
  folder: str = ''  # that members of an archive are unpacked into
  # Files of the archive that are unpacked, by their last names; () to read the
  # file as it is.
  members: tuple[str, ...] = ()
  category: str = ''  # of `address`, if it has several; digests are of this one
  by_hand: str = ''  # what to do where an account is needed


def of_category(entry: Entry, category: str) -> Entry:
  """The entry of one category; what is known of another one is left out.

  Raises:
    types.UserError: a category that cannot be one.
  """
  if not re.fullmatch(r'\w*', category, re.ASCII):
    raise types.UserError(
      f'--category={category}: letters, digits and _ are allowed, as in'
      f' {entry.category}'
    )
  if category not in ('', entry.category):
    entry = entry._replace(category=category, size=0, about='', digests=())
  filled = lambda text: text.replace(MARK, entry.category)
  return entry._replace(
    file=filled(entry.file),
    address=filled(entry.address),
    commands=tuple(map(filled, entry.commands)),
  )


def text(name: str, entry: Entry, out: str) -> str:
  """What there is to know before a log is fetched, in lines.

  Args:
    name: of the log.
    entry: of one category.
    out: the folder it is fetched into.
  """
  size = f'{entry.size:,} bytes' if entry.size else entry.about
  digests = ', '.join(entry.digests)
  if digests:
    digests += f' ({entry.digests_by})'
  rows = {
    'address': entry.address or f'none without an account; {entry.by_hand}',
    'size': size or 'not published; the server tells it',
    'checksum': digests or UNPUBLISHED,
    'terms': entry.terms,
    'page': entry.page,
  }
  if not entry.address:
    del rows['checksum']
  lines = [f'{name}: {entry.what}']
  lines += [f'  {title:<9} {value}' for title, value in rows.items()]
  commands = (f'  read by   {command}' for command in reading(entry, out))
  return '\n'.join([*lines, *commands])


def reading(entry: Entry, out: str) -> list[str]:
  """The commands that read a log in a folder, as one types them."""
  return [one.format(out=shlex.quote(out)) for one in entry.commands]


def _movielens(
  name: str, what: str, size: int, digests: tuple[str, str], reading: str
) -> Entry:
  rating_files = {
    'ml-100k': ('README', 'u.data'),
    'ml-1m': ('README', 'ratings.dat'),
    'ml-25m': ('README.txt', 'ratings.csv', 'movies.csv', 'tags.csv'),
  }
  return Entry(
    what=what,
    page=f'https://grouplens.org/datasets/movielens/{name[3:]}/',
    terms=_MOVIELENS_TERMS,
    file=f'{name}.zip',
    address=f'{_GROUPLENS}{name}.zip',
    size=size,
    digests=(f'md5:{digests[0]}', f'sha256:{digests[1]}'),
    digests_by=_BY_GROUPLENS,
    folder=name,
    members=rating_files[name],
    commands=(f'python launch/prepare.py {reading} --out=data/{name}',),
  )


_RATED = '--column_names=user_id,item_id,rating,timestamp'
CATALOG = {
  'ml-100k': _movielens(
    'ml-100k',
    'MovieLens 100K, 100,000 ratings of films',
    4_924_029,
    (
      '0e33842e24a9c977be4e0107933c0723',
      '50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229',
    ),
    "--table={out}/ml-100k/u.data --delimiter='\\t'"
    f' {_RATED} --time_column=timestamp',
  ),
  'ml-1m': _movielens(
    'ml-1m',
    'MovieLens 1M, 1,000,209 ratings of films',
    5_917_549,
    (
      'c4d9eecfca2ab87c1945afe126590906',
      'a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20',
    ),
    '--table={out}/ml-1m/ratings.dat --delimiter=::'
    f' {_RATED} --time_column=timestamp',
  ),
  'ml-25m': _movielens(
    'ml-25m',
    'MovieLens 25M, 25,000,095 ratings of films, their genres and tags',
    261_978_986,
    (
      '6b51fb2759a8657d3bfcbfc42b592ada',
      '8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa',
    ),
    '--dataset=ml-25m --data_root={out}',
  ),
  'amazon-2014': Entry(
    what='reviews of a category of Amazon until 2014, users and items with'
    ' five at least, as JSON lines',
    page='https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html',
    terms='no license is stated; its owner asks to be named (McAuley et al.'
    ' 2015)',
    file=f'reviews_{MARK}_5.json.gz',
    address='https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/'
    f'reviews_{MARK}_5.json.gz',
    category='Beauty',
    commands=(
      f'python launch/prepare.py --table={{out}}/reviews_{MARK}_5.json.gz'
      ' --user_column=reviewerID --item_column=asin'
      f' --time_column=unixReviewTime --out=data/amazon-2014-{MARK}',
    ),
  ),
  'amazon-2023': Entry(
    what='ratings of a category of Amazon until 2023, users and items with'
    ' five at least',
    page='https://amazon-reviews-2023.github.io/data_processing/5core.html',
    terms='its owners say that they cannot give a license; for research; name'
    ' Hou et al. 2024',
    file=f'{MARK}.csv.gz',
    address='https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/'
    f'benchmark/5core/rating_only/{MARK}.csv.gz',
    digests=(
      'sha256:a2bde5f3b945960d161538c200dd87845e6ee471b46da96410dde61613c6901c',
    ),
    digests_by='two projects that fetched it, not its owners',
    category='Video_Games',
    commands=(
      f'python launch/prepare.py --table={{out}}/{MARK}.csv.gz'
      ' --item_column=parent_asin --time_column=timestamp'
      f' --out=data/amazon-2023-{MARK}',
    ),
  ),
  'taobao-userbehavior': Entry(
    what='clicks, collects, carts and purchases of a million people in nine'
    ' days (Tianchi data set 649)',
    page='https://tianchi.aliyun.com/dataset/649',
    terms='those that the page shows once you are signed in',
    file='UserBehavior.csv.zip',
    about='about 906 MB',
    by_hand='sign in at the page, fetch UserBehavior.csv.zip and put it into'
    ' the folder, as it is or unpacked',
    commands=(
      'python launch/prepare.py --dataset=taobao-userbehavior'
      ' --data_root={out} --split=global_time --out=data/taobao',
      'python launch/prepare.py --dataset=taobao-userbehavior'
      ' --data_root={out} --behaviors=view,collect,cart,buy'
      ' --out=data/taobao-behaviors',
    ),
  ),
  'lastfm-1k': Entry(
    what='who of 992 people listened to which track, 19,150,868 times',
    page='https://zenodo.org/records/6090214',
    terms='not commercial (distributed with permission of Last.fm); name Celma'
    ' 2010',
    file='lastfm-dataset-1K.tar.gz',
    address='https://zenodo.org/records/6090214/files/lastfm-dataset-1K.tar.gz',
    about='672.7 MB',
    digests=('md5:a79a6808f54f73354789a9fb02cb1e41',),
    digests_by='Zenodo',
    folder='lastfm-dataset-1K',
    members=(
      'README.txt',
      'userid-timestamp-artid-artname-traid-traname.tsv',
    ),
    commands=(
      'python launch/prepare.py --dataset=lastfm-1k-artists --data_root={out}'
      ' --split=global_time --out=data/lastfm-artists',
      'python launch/prepare.py --dataset=lastfm-1k --data_root={out}'
      ' --split=global_time --out=data/lastfm',
    ),
  ),
  'retailrocket': Entry(
    what='2,756,101 views, carts and purchases of visitors of a shop',
    page='https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset',
    terms='CC BY-NC-SA 4.0',
    file='events.csv',
    about='told by the page',
    by_hand='sign in at the page, download the archive and unpack events.csv'
    ' into the folder',
    commands=(
      'python launch/prepare.py --table={out}/events.csv'
      ' --user_column=visitorid --item_column=itemid --time_column=timestamp'
      ' --behavior_column=event --behaviors=view,addtocart,transaction'
      ' --out=data/retailrocket',
    ),
  ),
}
