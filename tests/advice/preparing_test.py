"""What prepare.py refuses to make of a table, and those who do as it says."""

import functools

import pytest

from tests.advice import following
from tests.advice.following import Case
from tests.advice.following import dropped
from tests.advice.following import given
from tests.advice.following import switched
from tests.advice.following import together
from tests.advice.following import written
from tests.advice.logs import BEHAVIOR
from tests.advice.logs import DROP
from tests.advice.logs import KINDS
from tests.advice.logs import LABELED
from tests.advice.logs import ORDER
from tests.advice.logs import PLAIN
from tests.advice.logs import RATED
from tests.advice.logs import SHOP
from tests.advice.logs import SHOWN
from tests.advice.logs import TIME
from tests.advice.logs import TIMED
from tests.advice.logs import log
from tests.advice.logs import prepare
from tests.advice.logs import table
from twotsrec.data import pipeline

LAST = given('split', says=r'(leave_last_out)')
PER_USER = given('split', says=r'(per_user_time)')
NO_VALIDATION = switched('novalidation')
NOTHING_LEFT = 'splits.py: nothing is left for {}: {}; {}'
SPLITS = [
  log(
    table(events=2),
    says=NOTHING_LEFT,
    ways=[NO_VALIDATION],
  ),
  log(
    table(events=3),
    '--split=per_user_time',
    says=NOTHING_LEFT,
    ways=[NO_VALIDATION],
  ),
  log(
    table(events=1),
    '--novalidation',
    '--split=per_user_time',
    says=NOTHING_LEFT,
    ways=[written('log.csv', table(events=2), 'a log with more of a user')],
  ),
  log(PLAIN, '--split=global_time', says='needs the time of', ways=[LAST]),
  log(PLAIN, '--split=global_time', says='needs the time of', ways=[PER_USER]),
  log(
    TIMED,
    '--split=global_time',
    says='needs the time of',
    ways=[given('time_column', 't')],
  ),
  log(
    TIMED,
    TIME,
    '--split=date',
    says='split date needs the first date of test',
    ways=[given('test_from', '1003')],
  ),
  log(
    TIMED,
    TIME,
    '--split=date',
    '--test_from=3000',
    says=NOTHING_LEFT,
    ways=[given('test_from', says=r'to (\d+)')],
  ),
  log(
    TIMED,
    TIME,
    '--split=date',
    '--validation_from=1005',
    '--test_from=1005',
    says=NOTHING_LEFT,
    ways=[
      together(
        given('test_from', says=r'to (\d+)'),
        given('validation_from', '1003', says='other (dates)'),
      )
    ],
  ),
  log(
    TIMED,
    TIME,
    '--split=date',
    '--validation_from=1003',
    '--test_from=1003',
    says=NOTHING_LEFT,
    ways=[given('validation_from', '1002', says='other (dates)')],
  ),
  log(
    TIMED,
    TIME,
    '--split=date',
    '--validation_from=1004',
    '--test_from=1003',
    says='is after test_from {}; exchange',
    ways=[
      together(
        given('test_from', says=r'validation_from (\d+)'),
        given('validation_from', says=r'test_from (\d+)'),
      )
    ],
  ),
  log(
    TIMED,
    TIME,
    '--split=date',
    '--test_from=yesterday',
    says='{} is not a time; write',
    ways=[given('test_from', '1003', says='or a (number)')],
  ),
  log(
    PLAIN,
    '--split=given',
    says='split given needs a split column',
    ways=[
      together(
        written('log.csv', LABELED, 'split_column'),
        given('split_column', 'part'),
      )
    ],
  ),
  log(
    LABELED.replace('train', 'training'),
    '--split_column=part',
    says='the split column has {}; allowed',
    ways=[written('log.csv', LABELED, 'train, validation, test')],
  ),
  log(
    LABELED.replace('train', 'test'),
    '--split_column=part',
    says=NOTHING_LEFT,
    ways=[written('log.csv', LABELED, 'train')],
  ),
  log(
    LABELED.replace('test', 'train'),
    '--split_column=part',
    says=NOTHING_LEFT,
    ways=[written('log.csv', LABELED, 'test')],
  ),
  log(
    LABELED,
    '--split_column=part',
    '--split=leave_last_out',
    says='but the data carry a split of their own',
    ways=[given('split')],
  ),
  log(
    LABELED,
    '--split_column=part',
    '--split=leave_last_out',
    says='but the data carry a split of their own',
    ways=[dropped('split_column', 'leave out the split column')],
  ),
  log(
    LABELED,
    '--split_column=part',
    '--test_table=@/log.csv',
    says='give a split column or tables of parts',
    ways=[dropped('test_table', 'not both')],
  ),
  log(
    TIMED,
    TIME,
    '--test_from=1003',
    says='validation_from and test_from go with',
    ways=[given('split')],
  ),
]

IMPRESSIONS = [
  log(
    SHOWN,
    TIME,
    '--label_column=clicked',
    '--split=leave_last_out',
    says='does not go with {}: {}; leave it out',
    ways=[dropped('split'), given('split', 'per_user_time')],
  ),
  log(
    SHOWN,
    '--label_column=one',
    says='name another --label_column, or leave it',
    ways=[given('label_column', 'clicked')],
  ),
  log(
    SHOWN,
    '--label_column=one',
    says='name another --label_column, or leave it',
    ways=[dropped('label_column', 'leave it out where every row is')],
  ),
  log(
    SHOWN,
    TIME,
    '--label_column=clicked',
    says='the labels of the {} split have',
    ways=[given('split', 'per_user_time')],
  ),
]

BUY = given('behaviors', says=r'has (buy, cart, view)')
BEHAVIORS = [
  log(
    SHOP,
    BEHAVIOR,
    says='say their order, the target last',
    ways=[given('behaviors')],
  ),
  log(
    SHOP,
    ORDER,
    says='but there is no behavior column',
    ways=[given('behavior_column', 'event')],
  ),
  log(
    SHOP,
    BEHAVIOR,
    '--behaviors=view,cart,view,buy',
    says='behaviors are {}; name {} once',
    ways=[given('behaviors', 'view,cart,buy', says="name '(view)' once")],
  ),
  log(
    SHOP,
    BEHAVIOR,
    '--behaviors=view,buy',
    says='which is not among {} ({} such rows)',
    ways=[given('behaviors', 'view,cart,buy', says="has '(cart)'")],
  ),
  log(
    SHOP,
    BEHAVIOR,
    '--behaviors=view,buy',
    says='which is not among {} ({} such rows)',
    ways=[DROP],
  ),
  log(
    SHOP,
    BEHAVIOR,
    '--behaviors=view,cart,buy,pay',
    says='no row is of the target behavior',
    ways=[given('behaviors', 'view,cart,buy', says='has (buy)')],
  ),
  log(
    SHOP,
    BEHAVIOR,
    '--behaviors=' + ','.join(['view', *(f'b{n}' for n in range(130)), 'buy']),
    says='{} behaviors ({}); at most {} are allowed',
    ways=[given('behaviors', 'view,cart,buy', says='(at most)')],
  ),
  log(
    table(
      'user_id,item_id,event,part',
      lambda u, n: f'{u},{n},{KINDS[n]},{"test" if n < 1 else "train"}',
      events=7,
    ),
    BEHAVIOR,
    ORDER,
    '--split_column=part',
    '--novalidation',
    says='no test row is of the target behavior',
    ways=[given('behaviors')],
  ),
  log(
    table(
      'user_id,item_id,event,part',
      lambda u, n: f'{u},{n},buy,{"test" if n < 1 else "train"}',
      events=3,
    ),
    BEHAVIOR,
    '--split_column=part',
    says='nothing is left for validation: no user has',
    ways=[NO_VALIDATION],
  ),
]

BACK = table('user_id,item_id,t', lambda u, n: f'{u},{n},{1000 - n}')
PLACED = table('user_id,item_id,t,p', lambda u, n: f'{u},{n},{1000 - n},{n}')
FILTERS = [
  log(
    RATED,
    '--min_rating=1',
    says='--min_rating needs ratings',
    ways=[given('rating_column', 'rating')],
  ),
  log(
    table('user_id,item_id,rating', lambda u, n: f'{u},{n},4'),
    '--rating_column=rating',
    '--min_rating=9',
    says='no rating is {} or more',
    ways=[given('min_rating', says=r'at most (\d+)')],
  ),
  log(
    PLAIN,
    '--min_user=9',
    says='leave none of {} interactions',
    ways=[given('min_user', '5', says='(lower) them')],
  ),
  log(
    PLAIN,
    '--min_user=0',
    says='{} is {}; allowed are 1 and more',
    ways=[given('min_user', says=r'allowed are (1) and more')],
  ),
  log(
    PLAIN,
    '--rows_in_order',
    says='rows are said to be in order',
    ways=[dropped('rows_in_order')],
  ),
  log(
    TIMED,
    '--rows_in_order',
    says='rows are said to be in order',
    ways=[given('time_column', 't')],
  ),
  log(
    BACK,
    TIME,
    '--rows_in_order',
    says='goes back in time, from {} {} to {} by {}',
    ways=[dropped('rows_in_order')],
  ),
  log(
    PLACED,
    TIME,
    '--order_column=p',
    says='goes back in time, from {} {} to {} by {}',
    ways=[dropped('order_column')],
  ),
  log(
    PLAIN,
    '--num_groups=9',
    says='num_groups is {}, but there are {} users',
    ways=[given('num_groups', says=r'at most (\d+)')],
  ),
  log(
    '\n'.join(
      [
        'user_id,item_id',
        *(f'0,{n}' for n in range(40)),
        *(f'{u},{n}' for u in (1, 2) for n in range(4)),
        '',
      ]
    ),
    '--num_groups=3',
    '--group_balance=samples',
    says='has no training samples; lower num_groups',
    ways=[given('num_groups', '2', says='(lower) ')],
  ),
]

SYNTHETIC = pipeline.Options(
  dataset='synthetic', users=20, split=pipeline.SplitOptions('leave_last_out')
)
PLACES = [
  log(
    PLAIN,
    '--out=@/out',
    says='exists and is not a prepared directory',
    ways=[given('out', '@/other', says='another --(out)')],
    **{'out/mine.txt': 'x'},
  ),
  log(
    PLAIN,
    '--out=@/log.csv/data',
    says='prepared.py: cannot write {}: {}; choose a folder',
    ways=[given('out', '@/other', says='choose a (folder)')],
  ),
  *(
    log(
      PLAIN,
      says='holds other prepared data; choose another',
      ways=[way],
      out=lambda path: pipeline.prepare(SYNTHETIC, str(path)),
    )
    for way in (
      given('out', '@/other', says='choose another --(out)'),
      switched('overwrite'),
    )
  ),
  Case(
    '--{} is missing; see --help',
    ['--table=@/log.csv', '--out='],
    [given('out', '@/other')],
    {'log.csv': PLAIN},
  ),
]

CASES = [*SPLITS, *IMPRESSIONS, *BEHAVIORS, *FILTERS, *PLACES]


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
def test_whoever_does_as_it_says_gets_further(case, capsys, tmp_path):
  attempt = functools.partial(prepare, capsys, tmp_path)
  following.follow(case, attempt, tmp_path)
