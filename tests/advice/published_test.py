"""What prepare.py refuses of published files, and those who do as it says."""

import collections
import functools
import gzip
import pickle

import numpy as np
import pytest
from scipy import sparse

from tests.advice import following
from tests.advice.following import Case
from tests.advice.following import done
from tests.advice.following import dropped
from tests.advice.following import given
from tests.advice.following import together
from tests.advice.following import written
from tests.advice.logs import prepare
from tests.advice.logs import table


def pickled(**matrices) -> dict[str, bytes]:
  return {
    f'kit/{name}': made if isinstance(made, bytes) else pickle.dumps(made)
    for name, made in matrices.items()
  }


def matrix(rows: int = 3) -> sparse.csr_matrix:
  return sparse.csr_matrix(np.tril(np.ones((rows, 6)), 3))


KIT = ['--release=@/kit', '--behaviors=view,buy', '--novalidation']
HELD = [5, 5, 5]


def write_kit(folder, **matrices):
  for name, content in pickled(**matrices).items():
    (folder / name).write_bytes(content)


def kit(says, way, flags=KIT, **matrices) -> Case:
  whole = {'trn_view': matrix(), 'trn_buy': matrix(), 'tst_int': HELD}
  return Case(says, flags, [way], pickled(**{**whole, **matrices}))


RELEASES = [
  kit(
    '--release needs the names of its behaviors',
    given('behaviors', 'view,buy', says=r'as in (\S+)'),
    [KIT[0], KIT[2]],
  ),
  kit(
    'Behaviors are named as after',
    given('behaviors', 'view,buy', says='has .*trn_(buy)'),
    [KIT[0], '--behaviors=view,pay', KIT[2]],
  ),
  kit(
    'matrices of other shapes',
    done(lambda f: write_kit(f, trn_view=matrix()), 'copy'),
    trn_view=matrix(4),
  ),
  kit(
    '{} has {} entries, but the matrices have {} users',
    done(lambda f: write_kit(f, tst_int=HELD), 'copy'),
    tst_int=HELD[:2],
  ),
  kit(
    '{} holds out no item',
    done(lambda f: write_kit(f, tst_int=HELD), 'copy'),
    tst_int=[None] * 3,
  ),
  kit(
    'holds out an item that is not among',
    done(lambda f: write_kit(f, tst_int=HELD), 'copy'),
    tst_int=[5, 5, 6],
  ),
  kit(
    'is damaged or not a pickled matrix or list',
    done(lambda f: write_kit(f, tst_int=HELD), 'copy it again'),
    tst_int=b'junk',
  ),
]


def locked(content: bytes):
  """A file that may not be read."""

  def make(path):
    path.write_bytes(content)
    path.chmod(0)

  return make


def unlocked(name: str, says: str):
  return done(lambda folder: (folder / name).chmod(0o600), says)


RELEASES += [
  kit(says, done(lambda f: write_kit(f, tst_int=HELD), advice), tst_int=wrong)
  for says, wrong, advice in (
    ('{}: {}; copy it again, or write matrices', 7, 'or write .* lists of int'),
    ('the file holds no list', 7, 'copy it again'),
    ('the file asks for {}, which is', [collections.Counter()] * 3, 'lists'),
    ('an array holds {}, which are no', np.array(['a'] * 3), 'lists of int'),
    ('an entry is a {}, no integer', [1.5] * 3, 'lists of integers'),
  )
]
RELEASES += [
  kit(
    'the file holds a {}, no {}',
    done(lambda f: write_kit(f, trn_view=matrix()), 'write matrices of SciPy'),
    trn_view=HELD,
  ),
  kit(
    'arrays_only.py: cannot read {}: {}; check its',
    unlocked('kit/tst_int', 'check its permissions'),
  )._replace(
    files={
      **pickled(trn_view=matrix(), trn_buy=matrix()),
      'kit/tst_int': locked(pickle.dumps(HELD)),
    }
  ),
]


RATINGS = gzip.compress(
  table(
    'user_id,item_id,rating,timestamp', lambda u, n: f'{u},{n},3,{n}'
  ).encode()
)
ANOTHER_EDITION = together(
  dropped('dataset', 'another edition with --table'),
  dropped('data_root', 'another edition'),
  given('table', '@/ml-100k/interactions.csv.gz'),
)
DATASETS = [
  Case(
    'dataset {} is unknown; known',
    ['--dataset=ml-100'],
    [
      given('dataset', says='known: .*(ml-100k),'),
      given('data_root', '@'),
      ANOTHER_EDITION,
    ],
    {'ml-100k/interactions.csv.gz': RATINGS},
  ),
  Case(
    'is read from a folder; pass --data_root=DIR',
    ['--dataset=ml-100k'],
    [given('data_root', '@'), ANOTHER_EDITION],
    {'ml-100k/interactions.csv.gz': RATINGS},
  ),
  Case(
    'datasets.py: dataset {}: no file {}; pass',
    ['--dataset=ml-100k', '--data_root=@/nowhere'],
    [given('data_root', '@'), ANOTHER_EDITION],
    {'ml-100k/interactions.csv.gz': RATINGS},
  ),
  Case(
    'copy the file again, or read another edition',
    ['--dataset=ml-100k', '--data_root=@'],
    [ANOTHER_EDITION],
    {'ml-100k/interactions.csv.gz': RATINGS},
  ),
  Case(
    'the files are read from a folder; pass',
    ['--dataset=taobao-userbehavior'],
    [given('data_root', '@')],
    {
      'UserBehavior.csv': ''.join(
        f'{u},{n},1,pv,{1511600000 + n}\n' for u in range(4) for n in range(5)
      )
    },
  ),
  Case(
    'raw_rows.py: no file {}, nor {}; pass',
    ['--dataset=taobao-userbehavior', '--data_root=@/nowhere'],
    [given('data_root', '@')],
    {
      'UserBehavior.csv': ''.join(
        f'{u},{n},1,pv,{1511600000 + n}\n' for u in range(4) for n in range(5)
      )
    },
  ),
]


def clicks(first: int, kind: str = 'pv', users: int = 4) -> str:
  """A file of Taobao."""
  rows = [(u, n) for u in range(users) for n in range(5)]
  return ''.join(f'{u},{n},1,{kind},{first + n}\n' for u, n in rows)


USER_BEHAVIOR = 'UserBehavior.csv'
RATED = table('userId,movieId,rating,timestamp', lambda u, n: f'{u},{n},3,{n}')
MOVIES = table('movieId,title,genres', lambda u, n: f'{n},t,A|B', users=1)
PUBLISHED = [
  Case(says, ['--data_root=@', *asked], [way], files)
  for says, asked, way, files in (
    (
      '{}: no row is left of {} ({}); use the file',
      ['--dataset=taobao-userbehavior'],
      written(USER_BEHAVIOR, clicks(1511600000), 'file that its owner'),
      {USER_BEHAVIOR: clicks(0)},
    ),
    (
      'no tag of any movie; use ml-25m instead',
      ['--dataset=ml-25m-tags'],
      given('dataset', says='use (ml-25m) instead'),
      {
        'ml-25m/ratings.csv': RATED,
        'ml-25m/movies.csv': MOVIES,
        'ml-25m/tags.csv': 'userId,movieId,tag,timestamp\n7,1,,1\n',
      },
    ),
    (
      '{} has no behaviors, but they are {}; leave',
      ['--dataset=ml-25m', '--behaviors=view,buy'],
      dropped('behaviors', 'leave out --behaviors'),
      {'ml-25m/ratings.csv': RATED, 'ml-25m/movies.csv': MOVIES},
    ),
  )
]

CASES = [*RELEASES, *DATASETS, *PUBLISHED]


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
def test_whoever_does_as_it_says_gets_further(case, capsys, tmp_path):
  attempt = functools.partial(prepare, capsys, tmp_path)
  following.follow(case, attempt, tmp_path)
