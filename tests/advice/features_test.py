"""Item features that prepare.py refuses, and those who do as it says."""

import functools

import pytest

from tests.advice import following
from tests.advice.following import given
from tests.advice.following import written
from tests.advice.logs import ITEMS
from tests.advice.logs import PLAIN
from tests.advice.logs import log
from tests.advice.logs import prepare

GENRE = '--feature_columns=genre:categorical'
OF_ITEMS = '--features=@/items.csv'
CASES = [
  log(
    PLAIN,
    GENRE,
    says='--feature_columns go with',
    ways=[given('features', '@/items.csv')],
    **{'items.csv': ITEMS},
  ),
  *(
    log(PLAIN, OF_ITEMS, *flags, says=says, ways=ways, **{'items.csv': content})
    for content, flags, says, ways in (
      (
        ITEMS,
        [],
        'no feature columns are named',
        [
          given(
            'feature_columns',
            'genre:categorical',
            says='one of .*(categorical)',
          )
        ],
      ),
      (
        ITEMS,
        ['--feature_columns=genre'],
        'is not a name and a kind',
        [
          given(
            'feature_columns',
            'genre:categorical',
            says='one of .*(categorical)',
          )
        ],
      ),
      (
        ITEMS,
        [f'{GENRE},genre:categorical'],
        'feature column {} is given twice',
        [given('feature_columns', 'genre:categorical', says='name it (once)')],
      ),
      (
        ITEMS,
        ['--feature_columns=kind:categorical'],
        'Name yours with --feature_columns',
        [given('feature_columns', 'genre:categorical', says='(genre)')],
      ),
      (
        ITEMS.replace('item_id', 'id'),
        [GENRE],
        'Name yours with --feature_columns',
        [given('feature_item_column', says=r'columns are: (\w+),')],
      ),
      (
        ITEMS,
        [GENRE + ',item_id:categorical'],
        'is the column of item ids and a feature',
        [given('feature_columns', 'genre:categorical', says='leave it (out)')],
      ),
      (
        'item_id,genre\n',
        [GENRE],
        'a header but no rows; give a row per item',
        [written('items.csv', ITEMS, 'a row per item')],
      ),
      (
        ITEMS,
        ['--feature_columns=genre:multivalued', '--feature_separator='],
        "the separator is ''; give",
        [given('feature_separator', '|', says='(one or more characters)')],
      ),
      (
        ITEMS.replace('\n', '\n9', 1).replace('\n4,', '\n94,') + '91,a\n92,b\n',
        [GENRE, '--missing_features=zero'],
        '{}: {} items ({}) {}',
        [given('extra_features')],
      ),
      (
        ITEMS.rsplit('\n', 2)[0] + '\n',
        [GENRE],
        '{}: {} items ({}) {}',
        [given('missing_features')],
      ),
      (
        'item_id,genre\n77,a\n',
        [GENRE, '--missing_features=zero', '--extra_features=drop'],
        'no item of the data has a row',
        [written('items.csv', ITEMS, 'check the item column')],
      ),
    )
  ),
]


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
def test_whoever_does_as_it_says_gets_further(case, capsys, tmp_path):
  attempt = functools.partial(prepare, capsys, tmp_path)
  following.follow(case, attempt, tmp_path)
