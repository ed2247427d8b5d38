"""What a run is refused with because of its data, followed."""

import pytest

from tests.advice import following
from tests.advice.begun import SMALL
from tests.advice.begun import STREAMS
from tests.advice.begun import TO_THE_END
from tests.advice.begun import attempt
from tests.advice.begun import of_log
from tests.advice.begun import on
from tests.advice.following import Case
from tests.advice.following import together
from tests.advice.setting import default
from tests.advice.setting import to

SHOWN = ["data.dataset='synthetic-impressions'", *SMALL[1:], 'data.users=30']
DATA = [
  Case(
    'parameters and optimizer take {} bytes, and {} are free',
    [*SMALL, 'model.width=1000000'],
    [to('model.width', ..., r'use model\.width=(\d+)')],
  ),
  Case(
    'num_groups is {}, but there are {} users',
    [*SMALL, 'groups.num_groups=30'],
    [to('groups.num_groups', ..., r'at most (\d+)')],
  ),
  Case(
    'evaluation.candidates is {}, but no held-out',
    of_log('again', "evaluation.candidates='all'"),
    [to('evaluation.candidates', ..., r"use ('catalog')")],
  ),
  Case(
    'no {} events to select on; prepare the data',
    [*SMALL, 'data.validation=False'],
    [to('data.validation', ..., r'data\.validation=(True)')],
  ),
  Case(
    'no {} events to select on; prepare the data',
    [*SMALL, 'data.validation=False'],
    [TO_THE_END],
  ),
  Case(
    'have fewer than num_candidates={} items',
    [
      *SMALL,
      "evaluation.candidates='sampled'",
      'evaluation.num_candidates=1000000',
    ],
    [to('evaluation.num_candidates', ..., r'to at most (\d+)')],
  ),
  Case(
    'have fewer than num_candidates={} items',
    [
      *SMALL,
      "evaluation.candidates='sampled'",
      'evaluation.num_candidates=1000000',
    ],
    [
      together(
        to('evaluation.candidates', ..., r"evaluation\.candidates=('all')"),
        default('evaluation.num_candidates', 'or use'),
      )
    ],
  ),
  Case(
    '{} {}; known: {}',
    [*SMALL, "evaluation.rules=('als',)"],
    [to('evaluation.rules', ('ease',), 'known: ease')],
  ),
  Case(
    'but the data have labels of impressions: {}',
    [*SHOWN, "train.objective='bpr'"],
    [to('train.objective', 'bce', "set it to 'bce'")],
  ),
  Case(
    'has labels of impressions, which {} does not',
    [
      'model.width=4',
      "model.name='multi_behavior'",
      "train.select_metric='none'",
      'groups.num_groups=2',
      "data.dataset='synthetic-impressions'",
      'data.users=30',
    ],
    [to('model.name', 'gru4rec', 'sequence model .*gru4rec')],
  ),
  Case(
    "evaluation.candidates 'shown' is for data with",
    [*SMALL, "evaluation.candidates='shown'"],
    [to('evaluation.candidates', 'auto', 'use auto')],
  ),
  Case(
    'users that are drawn have no clicks in the {}',
    [*SHOWN, 'evaluation.users=1', 'evaluation.seed=2'],
    [to('evaluation.users', ..., r'of the (\d+) users')],
  ),
  Case(
    'train.select_metric {}; known',
    [*SMALL, "train.select_metric='hr@7'"],
    [to('train.select_metric', 'hr@10', r'known: .*hr@10')],
  ),
  Case(
    'none of the evaluation.users={} users that',
    of_log('few', 'evaluation.users=1'),
    [to('evaluation.users', ..., r'of the (\d+) users')],
  ),
  Case(
    'num_groups is {}, but there are {} training',
    of_log('few', "groups.key='sample_history_len'", 'groups.num_groups=99'),
    [to('groups.num_groups', ..., r'at most (\d+)')],
  ),
  *(
    Case(
      'plugin.near needs one state a user, and',
      [
        *SMALL[:-1],
        "plugin.name='light'",
        "plugin.trunk='runs/base'",
        'plugin.transfer=1.0',
        'plugin.near=2',
      ],
      [way],
    )
    for way in (
      to('plugin.near', ..., r'use plugin\.near=(0)'),
      to('model.name', 'gru4rec', r'model\.name=gru4rec'),
    )
  ),
  Case(
    'was prepared with --dislikes=negatives, which',
    [
      'model.width=4',
      "model.name='multi_behavior'",
      "train.select_metric='none'",
      'groups.num_groups=2',
      on('rated'),
    ],
    [to('data.prepared', '%rated_seen', 'prepare it with --dislikes=seen')],
  ),
  Case(
    'dislikes to train against (--dislikes=negatives) take',
    [
      'model.width=4',
      'groups.num_groups=2',
      "train.objective='cross_entropy'",
      on('rated'),
    ],
    [to('train.objective', 'softmax', 'another train.objective than cross')],
  ),
  Case(
    'dislikes to train against (--dislikes=negatives) take',
    [
      'model.width=4',
      'groups.num_groups=2',
      "model.name='gru4rec'",
      "train.positions='every'",
      "data.negative_sharing='sequence'",
      on('rated'),
    ],
    [to('data.negative_sharing', 'none', 'data.negative_sharing=none')],
  ),
  Case(
    'no user with {} events has an item left that',
    of_log('whole', "data.negative_exclude='train'"),
    [TO_THE_END],
  ),
  Case(
    'since their users have touched every other',
    of_log(
      'whole', "data.negative_exclude='train'", "train.select_metric='hr@1'"
    ),
    [TO_THE_END],
  ),
  Case(
    'users of group {}1 have touched all {} items',
    of_log('unequal'),
    [to('groups.num_groups', 1, 'lower groups.num_groups')],
  ),
  Case(
    'there is one item, so there is nothing',
    of_log('lonely'),
    [to('data.prepared', '%again', 'use a log with more items')],
  ),
  Case(
    'feeds.py: all users have touched all',
    of_log('whole'),
    [
      to('data.negative_exclude', 'train', 'data.negative_exclude=train'),
      TO_THE_END,
    ],
  ),
  Case(
    'two training events, so there is nobody',
    of_log('short'),
    [to('data.prepared', '%alike', 'or a log with more of a user')],
  ),
  Case(
    'batch_size {} is below the {} groups',
    [*SMALL, 'train.batch_size=2'],
    [to('train.batch_size', 3, 'raise train.batch_size')],
  ),
  Case(
    'split date needs its dates; run',
    [*SMALL, "data.split='date'"],
    [default('data.split', 'run launch/prepare.py')],
  ),
  Case(
    'was prepared with {}; prepare it again',
    of_log('again', "data.behaviors=('view', 'buy')"),
    [default('data.behaviors', 'leave data.behaviors out')],
  ),
  Case(
    'was prepared with --split={}; prepare it again',
    of_log('again', "data.split='global_time'"),
    [default('data.split', 'or set data.split=')],
  ),
  Case(
    'is not a prepared directory (no manifest.json)',
    [*SMALL[1:], "data.prepared='nowhere'"],
    [to('data.prepared', '%again', 'make one with launch/prepare.py')],
  ),
]

TIMES = [
  Case(
    'so nobody would be inactive/active; choose',
    STREAMS,
    [
      together(
        to('two_time.threshold', ..., r'choose \d+ to (\d+)'),
        to('two_time.window', 1, 'lower two_time.window, now 50, to no more'),
      )
    ],
  ),
  Case(
    'must lie in 1..{}, the threshold: an active',
    [*STREAMS, 'two_time.threshold=6'],
    [to('two_time.window', ..., r'choose 1 to (\d+)')],
  ),
  Case(
    'must lie in 1..{}, the threshold: an active',
    [*STREAMS, 'two_time.threshold=6', 'two_time.window=8'],
    [to('two_time.threshold', ..., r'raise two_time\.threshold to (\d+)')],
  ),
  Case(
    'no user has more train events, so',
    [*STREAMS, "two_time.variant='shrunk'"],
    [to('two_time.window', ..., r'choose \d+ to (\d+)')],
  ),
  Case(
    'no user has more train events, so',
    [*STREAMS, "two_time.variant='shrunk'"],
    [to('two_time.variant', 'one_gru', 'use two_time.variant=one_gru')],
  ),
  Case(
    'train events, so nobody is more active',
    [*STREAMS[:-1], on('alike')],
    [to('two_time.variant', 'one_gru', 'use two_time.variant=one_gru')],
  ),
  Case(
    'validation: name what to try in',
    [
      *STREAMS,
      "two_time.threshold_rule='validation'",
      'two_time.window=1',
    ],
    [to('two_time.thresholds', (5, 6), 'in two_time.thresholds, as in 25,50')],
  ),
  Case(
    'validation: the data have no validation',
    [
      *STREAMS[:-1],
      on('unvalidated'),
      "two_time.threshold_rule='validation'",
      'two_time.thresholds=(4, 5)',
    ],
    [
      together(
        default('two_time.threshold_rule', 'or give two_time.threshold'),
        default('two_time.thresholds', ''),
        to('two_time.variant', 'one_gru', ''),
      )
    ],
  ),
  Case(
    'stages.py: are chosen by validation events, and',
    [
      *STREAMS[:-2],
      on('unvalidated'),
      "two_time.variant='one_gru'",
      'two_time.stage1_epochs=(1, 2)',
    ],
    [to('two_time.stage1_epochs', (2,), 'name one number')],
  ),
  Case(
    'they need their share of model.width; set',
    [
      *STREAMS,
      'two_time.threshold=6',
      'two_time.window=4',
      "two_time.item_features='items.csv'",
    ],
    [default('two_time.item_features', 'or leave the file out')],
  ),
  Case(
    'but the data have no item features; prepare',
    [
      *STREAMS,
      'two_time.threshold=6',
      'two_time.window=4',
      'two_time.feature_width=2',
    ],
    [to('two_time.feature_width', 0, 'or set it to 0')],
  ),
]

CASES = [*DATA, *TIMES]


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
def test_a_run_begins_as_advised(case, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  following.follow(case, attempt, tmp_path)
