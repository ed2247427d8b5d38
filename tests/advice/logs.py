"""Tables that are read or refused, and cases of them."""

import io
import zipfile

import polars

from tests.advice.following import Case
from tests.advice.following import given
from tests.launch import scripts


def table(
  header: str = 'user_id,item_id',
  row=lambda user, n: f'{user},{n}',
  users: int = 4,
  events: int = 5,
) -> str:
  """A log: every user touches the same number of items."""
  rows = [row(u, n) for n in range(events) for u in range(users)]
  return '\n'.join([header, *rows, ''])


PLAIN = table()
TIMED = table('user_id,item_id,t', lambda u, n: f'{u},{n},{1000 + n}')
RATED = table('user_id,item_id,rating', lambda u, n: f'{u},{n},{n}')
KINDS = ('view', 'view', 'cart', 'buy', 'buy', 'buy', 'buy')
SHOP = table(
  'user_id,item_id,event', lambda u, n: f'{u},{n},{KINDS[n]}', events=7
)
PARTS = ('train', 'train', 'train', 'validation', 'test')
LABELED = table(
  'user_id,item_id,part', lambda u, n: f'{u},{n},{PARTS[n]}', events=5
)
SHOWN = table(
  'user_id,item_id,t,clicked,one',
  lambda u, n: f'{u},{n},{100 * u + n},{int((u, n) > (3, 1)) or (u + n) % 2},1',
  events=10,
)
ITEMS = table('item_id,genre', lambda u, n: f'{n},g{n % 2}', users=1)
BY_DATE = table('user_id,item_id,t', lambda u, n: f'{u},{n},0{n + 1}.02.2020')
TIME = '--time_column=t'
BEHAVIOR = '--behavior_column=event'
ORDER = '--behaviors=view,cart,buy'
DROP = given('bad_rows')


def replaced(old: str, new: str):
  return lambda line: line.replace(old, new)


def broken(row: int, new: str, base: str = PLAIN) -> str:
  """A log with another row."""
  lines = base.splitlines()
  lines[row] = new
  return '\n'.join(lines) + '\n'


def log(content, *flags, ways, says, name='log.csv', **more) -> Case:
  """A case of a table."""
  asked = [f'--table=@/{name}', *flags]
  return Case(says, asked, ways, {name: content, **more})


def zipped(*names: str) -> bytes:
  content = io.BytesIO()
  with zipfile.ZipFile(content, 'w') as archive:
    for name in names:
      archive.writestr(name, PLAIN)
  return content.getvalue()


def parquet(**columns) -> bytes:
  content = io.BytesIO()
  polars.DataFrame(columns).write_parquet(content)
  return content.getvalue()


def prepare(capsys, folder, asked) -> str:
  """What prepare.py says of flags; nothing if it succeeds."""
  if not any(flag.startswith('--out=') for flag in asked):
    asked = [*asked, f'--out={folder}/out']
  ended = scripts.run(capsys, 'prepare', *asked)
  assert ended.code in (0, 2), ended
  return ended.err.removeprefix('error: ').strip()
