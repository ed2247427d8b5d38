"""What prepare.py refuses to read, and those who do as it says."""

import functools
import gzip
import pathlib
import re
import tempfile

import numpy as np
import polars
import pytest

from tests import worlds
from tests.advice import following
from tests.advice import messages
from tests.advice.following import Case
from tests.advice.following import dropped
from tests.advice.following import given
from tests.advice.following import mended
from tests.advice.following import together
from tests.advice.following import written
from tests.advice.logs import BEHAVIOR
from tests.advice.logs import BY_DATE
from tests.advice.logs import DROP
from tests.advice.logs import ITEMS
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
from tests.advice.logs import table
from tests.advice.logs import zipped
from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import contracts
from twotsrec import types
from twotsrec.data import ids
from twotsrec.data import interactions
from twotsrec.data import plans
from twotsrec.data import settings
from twotsrec.data import splits
from twotsrec.data import tables
from twotsrec.data import times
from twotsrec.evaluation import fitted
from twotsrec.training import steps

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
    ways=[given('time_format', '%d.%m.%Y', says='as (for) strptime')],
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
      given('time_format', '%d.%m.%Y', says='as (for) strptime'),
    ],
  ),
  BAD_CELL(
    BY_DATE,
    TIME,
    '--time_format=%d.%m.%',
    ways=[given('time_format', '%d.%m.%Y', says='as (for) strptime')],
  ),
]

OPTIONS = [
  log(
    PLAIN,
    '--item_column=user_id',
    says='users come from column {} and items from',
    ways=[given('item_column', 'item_id')],
  ),
  log(
    SHOP,
    '--where=event',
    says='--where={} is no condition',
    ways=[given('where', 'event=buy')],
  ),
  log(
    SHOP,
    '--where=event=buy',
    '--where=event=cart',
    says='--where names {} twice',
    ways=[given('where', 'event=buy,cart')],
  ),
  log(
    SHOP,
    '--where=event=purchase',
    says='no row has {}; the column has',
    ways=[given('where', 'event=buy', says='has (buy)')],
  ),
]

OPTIONS += [
  log(
    BY_DATE,
    TIME,
    '--time_format=iso',
    says='has no % sign',
    ways=[given('time_format', says=r'for example --time_format=(\S+)')],
  ),
  log(
    BY_DATE,
    TIME,
    '--time_format=%d.%m.%Y',
    '--time_unit=s',
    says='is of numbers, --time_format={} of dates',
    ways=[dropped('time_unit', 'give one of them')],
  ),
  Case(
    'give either --dataset=NAME or --table=FILE',
    [],
    [given('table', '@/log.csv')],
    {'log.csv': PLAIN},
  ),
  log(
    PLAIN,
    '--dataset=ml-1m',
    says='give either --dataset=NAME or --table=FILE',
    ways=[dropped('dataset', 'not both')],
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
  Case(
    '{} is written as it is drawn; leave out',
    ['--dataset=synthetic-stream', '--users=20', '--min_user=2'],
    [dropped('min_user', 'leave out the filters')],
  ),
  Case(
    'split {} of a streamed log is unknown',
    ['--dataset=synthetic-stream', '--users=20', '--split=given'],
    [given('split', says='allowed are .*(leave_last_out)')],
  ),
  Case(
    '{}: nothing reads it/them {}',
    ['--table=@/log.csv', '--users=20'],
    [dropped('users')],
    {'log.csv': PLAIN},
  ),
]
# Flags that a script refuses because of others, with what has them read.
UNREAD = [
  log(PLAIN, *flags, says='{}: nothing reads it/them {}', ways=[way], **files)
  for flags, way, files in (
    (['--time_unit=ms'], dropped('time_unit'), {}),
    (['--time_format=%Y'], dropped('time_format'), {}),
    (['--decimal=,'], dropped('decimal'), {}),
    (['--dislikes=drop'], dropped('dislikes'), {}),
    (['--core=single_pass'], dropped('core'), {}),
    (['--core=single_pass'], given('min_user', '2'), {}),
    (['--seed=1'], dropped('seed'), {}),
    (['--data_root=x'], dropped('data_root'), {}),
    (['--events=9'], dropped('events'), {}),
    (['--missing_features=zero'], dropped('missing_features'), {}),
    (
      ['--missing_features=zero', '--feature_columns=genre:categorical'],
      given('features', '@/items.csv'),
      {'items.csv': ITEMS},
    ),
    (['--id_type=int', '--keep_ids=NA'], dropped('keep_ids'), {}),
  )
]
UNREAD += [
  log(
    '{"user_id": 1, "item_id": 2}\n' * 3,
    '--delimiter=;',
    name='log.jsonl',
    says='{}: nothing reads it/them {}',
    ways=[dropped('delimiter')],
  ),
  log(
    TIMED,
    '--time_unit=s',
    says='{}: nothing reads it/them {}',
    ways=[given('time_column', 't')],
  ),
]

# What is wrong with flags themselves, which absl says.
FLAGS = [
  log(
    PLAIN,
    '--split=last',
    says='should be one of',
    ways=[given('split', says=r'one of <(\w+)\|')],
  ),
  log(
    PLAIN,
    '--min_user=few',
    says='flag --min_user=few',
    ways=[given('min_user', '2', says='(int)')],
  ),
  Case(
    'Unknown command line flag',
    ['--tabel=@/log.csv'],
    [
      together(
        given('table', '@/log.csv', says='Did you mean: (table)'),
        dropped('tabel', 'Unknown'),
      )
    ],
    {'log.csv': PLAIN},
  ),
]
FOLLOWED = [*FILES, *CELLS, *OPTIONS, *DATASETS, *UNREAD]


@pytest.mark.parametrize(
  'case', [*FOLLOWED, *FLAGS], ids=lambda case: case.name
)
def test_whoever_does_as_it_says_gets_further(case, capsys, tmp_path):
  attempt = functools.partial(prepare, capsys, tmp_path)
  following.follow(case, attempt, tmp_path)


# Names that functions take, which a script has as the values of a flag.
NAMED = {
  'interactions.py: {} is {}; allowed are {}': (
    lambda name: interactions.from_table(
      tables.make('t', user=TWENTY, item=TWENTY),
      interactions.Filters(dedup=name),
    )
  ),
  'tables.py: --{}={} is unknown; allowed': (
    lambda name: interactions_of(id_type=name)
  ),
  '--time_unit={} is unknown; allowed': (
    lambda name: times.check(times.Writing(unit=name))
  ),
  'split is {}; allowed are': lambda name: settings.check(
    settings.Options(table='t', split=settings.SplitOptions(name))
  ),
  'batching {}; known': lambda name: plans.make_plan(
    np.zeros(9, int), 1, 3, name, 0, 0
  ),
  'the split column has {}; allowed': lambda name: splits.given(
    ids.texts(polars.Series(['train', 'test', name]))
  ),
  'evaluation.rules {}; known': lambda name: fitted.ranker(
    contracts.Experiment(
      config=config_lib.Config(), prepared=worlds.log()[0], groups=None
    ),
    name,
  ),
  'aggregator form {}; known': lambda name: steps.resolve_form(
    aggregators.make(config_lib.AggregatorConfig()), name
  ),
}


def interactions_of(**options):
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'log.csv'
    path.write_text(PLAIN, encoding='utf-8')
    return tables.read_table(path, tables.Columns(), **options)


@pytest.mark.parametrize('words', NAMED)
def test_names_that_are_allowed_are_taken(words):
  with following.made() as at, pytest.raises(types.UserError) as error:
    NAMED[words]('nonsense')
  assert messages.says(at[-1], words)
  listed = re.search(r'(?:known|allowed)(?: are)?: ?(.*)', f'{error.value}')
  listed = listed or re.search(r'allowed are (.*)', str(error.value))
  names = re.sub(r' \(.*?\)', '', listed[1]).split(', ')
  assert len(names) > 1
  for name in names:
    NAMED[words](name)


CASES = [*FOLLOWED, *(Case(words, [], []) for words in NAMED)]
