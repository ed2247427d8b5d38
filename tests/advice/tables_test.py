"""What prepare.py refuses to read, and those who do as it says."""

import functools
import gzip

import numpy as np
import pytest

from tests.advice import following
from tests.advice.following import Case
from tests.advice.following import done
from tests.advice.following import dropped
from tests.advice.following import given
from tests.advice.following import mended
from tests.advice.following import together
from tests.advice.following import written
from tests.advice.logs import BEHAVIOR
from tests.advice.logs import BY_DATE
from tests.advice.logs import DROP
from tests.advice.logs import ORDER
from tests.advice.logs import PLAIN
from tests.advice.logs import RATED
from tests.advice.logs import SHOP
from tests.advice.logs import TIME
from tests.advice.logs import TIMED
from tests.advice.logs import broken
from tests.advice.logs import log
from tests.advice.logs import parquet
from tests.advice.logs import prepare
from tests.advice.logs import replaced
from tests.advice.logs import zipped

TWENTY = np.arange(20)
GOOD_PARQUET = parquet(user_id=TWENTY % 4, item_id=TWENTY // 4)
BAD_CELL = functools.partial(log, says='{}{}')

FILES = [
  log(
    PLAIN.replace('user_id', 'who'),
    says='Name yours with --user_column',
    ways=[given('user_column', says=r'columns are: (\w+),')],
  ),
  log(
    PLAIN.split('\n', 2)[2],
    says='Name yours with --user_column',
    ways=[given('column_names', 'user_id,item_id')],
  ),
  log(
    PLAIN.replace(',', ';'),
    says='Name yours with --user_column',
    ways=[given('delimiter', ';')],
  ),
  log(
    'user_id,item_id,item_id\n1,2,3\n',
    says='column {} occurs {} times',
    ways=[written('log.csv', PLAIN, 'give every column its own name')],
  ),
  log(
    '',
    says='it needs a header line and rows)',
    ways=[written('log.csv', PLAIN, 'it needs a header line and rows')],
  ),
  log(
    '',
    name='log.jsonl',
    says='it needs a JSON object on every line)',
    ways=[
      written(
        'log.jsonl',
        '{"user_id": 1, "item_id": 2}\n' * 3,
        'a JSON object on every line',
      )
    ],
  ),
  log(
    'user_id,item_id\n',
    says='a header but no rows; the table needs',
    ways=[written('log.csv', PLAIN, 'needs at least one row')],
  ),
  log(
    PLAIN,
    name='log.jsonl',
    says='not a JSON object; every line is one',
    ways=[
      written(
        'log.jsonl',
        '{"user_id": 1, "item_id": 2}\n' * 3,
        r'such as \{"user_id": 1, "item_id": 2\}',
      )
    ],
  ),
  log(
    PLAIN,
    name='log.parquet',
    says='not a Parquet file, or a damaged one',
    ways=[written('log.parquet', GOOD_PARQUET, 'write it again')],
  ),
  log(
    parquet(user_id=TWENTY + 0.5, item_id=TWENTY),
    name='log.parquet',
    says='column {} has type {}; allowed',
    ways=[written('log.parquet', GOOD_PARQUET, 'allowed: integers.*; cast it')],
  ),
  log(
    PLAIN.replace(',', '^'),
    name='log.txt',
    says='no delimiter found in the first line',
    ways=[given('delimiter', '^')],
  ),
  log(
    PLAIN.replace(',', ';'),
    '--delimiter="',
    says='delimiter {} cannot be used',
    ways=[given('delimiter')],
  ),
  log(
    PLAIN,
    '--column_names=user_id,item_id',
    says='the file has a header line with these names',
    ways=[dropped('column_names')],
  ),
  log(
    PLAIN.split('\n', 1)[1],
    '--column_names=user_id,item_id,t',
    says='{} fields, but --column_names gives {} names',
    ways=[given('column_names', 'user_id,item_id')],
  ),
  log(
    PLAIN,
    '--column_names=who,what',
    '--user_column=who',
    '--item_column=what',
    says='over columns of integers looks like a header line',
    ways=[
      together(
        dropped('column_names'),
        given('user_column', says=r": '(\w+)', '\w+' over"),
        given('item_column', says=r": '\w+', '(\w+)' over"),
      )
    ],
  ),
  log(
    f'"{PLAIN}',
    says='the first record has broken quotes',
    ways=[mended('log.csv', replaced('"', ''), 'close every quote')],
  ),
  log(
    broken(3, '"1,2'),
    says='a quoted field is not closed',
    ways=[mended('log.csv', replaced('"', ''), 'close the quote')],
  ),
  log(
    PLAIN,
    name='log.data',
    says='unknown extension {}; known',
    ways=[given('delimiter', ',')],
  ),
  Case(
    'a folder without a file',
    ['--table=@/log'],
    [given('table', '@/log.csv', says='(name a table)')],
    {'log/_none': '', 'log.csv': PLAIN},
  ),
  Case(
    'a folder with files of several kinds',
    ['--table=@/log'],
    [given('table', says=r'as in (\S+)')],
    {'log/a.csv': PLAIN, 'log/b.tsv': PLAIN},
  ),
  Case(
    'no file has a name of this pattern',
    ['--table=@/part-*.csv'],
    [given('table', '@/log*.csv', says='(pattern)')],
    {'log1.csv': PLAIN},
  ),
  Case(
    'no such file; looked in',
    ['--table=@/lgo.csv'],
    [given('table', '@/log.csv', says='(looked in )')],
    {'log.csv': PLAIN},
  ),
  log(
    PLAIN.encode('utf-8').replace(b'1', b'\xe9'),
    says='is not UTF-8; save the file as UTF-8',
    ways=[
      written(
        'log.csv',
        PLAIN.replace('1', '\xe9'),
        'iconv -f LATIN1 -t UTF-8',
      )
    ],
  ),
  log(
    PLAIN.replace('3', '\0'),
    says='a NUL byte; the file is damaged',
    ways=[written('log.csv', PLAIN, 'save it as UTF-8 text')],
  ),
  log(
    gzip.compress(PLAIN.encode())[:-12],
    name='log.csv.gz',
    says='file is truncated/damaged ({})',
    ways=[written('log.csv.gz', gzip.compress(PLAIN.encode()), 'copy')],
  ),
  log(
    b'BZh' + PLAIN.encode(),
    name='log.csv.bz2',
    says='file is damaged ({}); copy or download it again',
    ways=[written('log.csv.bz2', PLAIN, 'copy or download')],
  ),
  log(
    b'\x28\xb5\x2f\xfd' + PLAIN.encode(),
    name='log.csv.zst',
    says='the zstd file is truncated or damaged',
    ways=[written('log.csv.zst', PLAIN, 'copy it again')],
  ),
  log(
    zipped('a.csv', 'b.csv'),
    name='log.csv.zip',
    says='holds {} files ({}); unpack it',
    ways=[
      together(
        written('a.csv', PLAIN, 'unpack it, and name one'),
        given('table', '@/a.csv', says=r'(a\.csv)'),
      )
    ],
  ),
]


def locked(path):
  path.write_text(PLAIN)
  path.chmod(0)


JSON = '{"user_id": 1, "item_id": 2}\n'
FILES += [
  log(
    locked,
    says='text_files.py: cannot be read ({}); check the',
    ways=[
      done(
        lambda folder: (folder / 'log.csv').chmod(0o600),
        'check the path and its permissions',
      )
    ],
  ),
  log(
    f'{JSON * 2}{JSON.replace("2", "1e999")}',
    name='log.jsonl',
    says='cannot be read as JSON ({}); correct it',
    ways=[mended('log.jsonl', replaced('1e999', '3'), 'correct it')],
  ),
]

CELLS = [
  BAD_CELL(broken(3, ',7'), ways=[DROP]),
  BAD_CELL(broken(3, ',7'), ways=[mended('log.csv', lambda _: '1,7', 'corr')]),
  BAD_CELL(broken(3, 'NA,7'), ways=[DROP]),
  BAD_CELL(broken(3, 'NA,7'), ways=[given('keep_ids')]),
  BAD_CELL(broken(3, '1,2,3'), ways=[DROP]),
  BAD_CELL(
    broken(3, '1,2,3'), ways=[mended('log.csv', lambda _: '1,2', 'correct it')]
  ),
  BAD_CELL(broken(3, 'user_id,item_id'), ways=[DROP]),
  BAD_CELL(broken(3, '007,7'), '--id_type=int', ways=[DROP]),
  BAD_CELL(broken(3, '007,7'), '--id_type=int', ways=[given('id_type')]),
  BAD_CELL(broken(3, f'{"x" * 300},7'), ways=[DROP]),
  BAD_CELL(
    broken(3, f'{"x" * 300},7'),
    ways=[mended('log.csv', lambda _: f'{"x" * 256},7', 'at most 256 bytes')],
  ),
  BAD_CELL(broken(3, '1,"a"b'), ways=[DROP]),
  BAD_CELL(
    broken(3, '1,"a"b'), ways=[mended('log.csv', lambda _: '1,"a""b"', 'doubl')]
  ),
  BAD_CELL(broken(3, '1,1,soon', TIMED), TIME, ways=[DROP]),
  BAD_CELL(
    broken(3, '1,1,soon', TIMED),
    TIME,
    ways=[
      mended('log.csv', lambda _: '1,1,1970-01-01', 'dates like 2021-07-01')
    ],
  ),
  BAD_CELL(
    TIMED.replace(',10', ',16000000').replace(
      ',1600000000\n', ',1600000000000\n', 1
    ),
    TIME,
    ways=[given('time_unit')],
  ),
  BAD_CELL(
    TIMED.replace(',10', ',16000000').replace(
      ',1600000000\n', ',1600000000000\n', 1
    ),
    TIME,
    ways=[DROP],
  ),
  BAD_CELL(
    broken(3, '1,1,soon', BY_DATE), TIME, '--time_format=%d.%m.%Y', ways=[DROP]
  ),
  BAD_CELL(
    BY_DATE,
    TIME,
    '--time_format=%d/%m/%Y',
    ways=[given('time_format')],
  ),
  BAD_CELL(
    broken(3, '1,1,good', RATED),
    '--rating_column=rating',
    '--min_rating=1',
    ways=[DROP],
  ),
  BAD_CELL(
    broken(3, '1,1,3.5x', RATED),
    '--rating_column=rating',
    '--min_rating=1',
    ways=[mended('log.csv', lambda _: '1,1,3.5', 'allowed: finite numbers')],
  ),
  BAD_CELL(broken(3, '1,1,', SHOP), BEHAVIOR, ORDER, ways=[DROP]),
  BAD_CELL(
    '{"user_id": 1, "item_id": 2}\n' * 3 + 'x\n', name='log.jsonl', ways=[DROP]
  ),
  log(
    BY_DATE,
    TIME,
    '--time_format=%d/%m/%Y',
    '--bad_rows=drop',
    says='no row is left, {} of {} were dropped',
    ways=[
      dropped('bad_rows', 'leave out --bad_rows=drop'),
      given('time_format'),
    ],
  ),
  BAD_CELL(
    BY_DATE,
    TIME,
    '--time_format=%d.%m.%',
    ways=[given('time_format')],
  ),
]

CASES = [*FILES, *CELLS]


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
def test_whoever_does_as_it_says_gets_further(case, capsys, tmp_path):
  attempt = functools.partial(prepare, capsys, tmp_path)
  following.follow(case, attempt, tmp_path)
