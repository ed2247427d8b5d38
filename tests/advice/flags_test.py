"""Flags that prepare.py refuses, and those who do as it says."""

import functools

import pytest

from tests.advice import following
from tests.advice.following import Case
from tests.advice.following import dropped
from tests.advice.following import given
from tests.advice.following import together
from tests.advice.logs import BY_DATE
from tests.advice.logs import ITEMS
from tests.advice.logs import PLAIN
from tests.advice.logs import SHOP
from tests.advice.logs import TIME
from tests.advice.logs import TIMED
from tests.advice.logs import log
from tests.advice.logs import prepare

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
    '--time_format=%H',
    says='--time_format={} cannot be used ({}); it is',
    ways=[given('time_format', '%d.%m.%Y', says='as (for strptime)')],
  ),
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

BUILT_IN = [
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
    ['--tabl=@/log.csv'],
    [
      together(
        given('table', '@/log.csv', says='Did you mean: (table)'),
        dropped('tabl', 'Unknown'),
      )
    ],
    {'log.csv': PLAIN},
  ),
]

CASES = [*OPTIONS, *BUILT_IN, *UNREAD, *FLAGS]


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
def test_whoever_does_as_it_says_gets_further(case, capsys, tmp_path):
  attempt = functools.partial(prepare, capsys, tmp_path)
  following.follow(case, attempt, tmp_path)
