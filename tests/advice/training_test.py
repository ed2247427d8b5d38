"""What a run is refused with before its first update, followed."""

import functools
import shutil

import numpy as np
import pytest

from tests import asked as phases
from tests import finished
from tests import small_runs
from tests import two_time_toys
from tests.advice import following
from tests.advice.following import Case
from tests.advice.following import done
from tests.advice.following import together
from tests.advice.setting import config
from tests.advice.setting import default
from tests.advice.setting import refusal
from tests.advice.setting import to
from tests.advice.setting import verified
from twotsrec.data import interactions
from twotsrec.data import pipeline
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import splits
from twotsrec.data import tables
from twotsrec.runs import experiment as experiment_lib

SMALL = ['data.users=25', 'groups.num_groups=3', 'model.width=4']
SMALL += ['model.hidden=(4,)']
BEHAVIORS = ["data.dataset='synthetic-behaviors'", *SMALL[1:]]
BEHAVIORS += ['data.users=40']
GRAPHS = [one for one in BEHAVIORS if 'hidden' not in one]
GRAPHS += ["model.name='multi_behavior'", "train.select_metric='none'"]
STREAMS = ["model.name='two_time_scale'", 'model.width=4']
STREAMS += ['groups.num_groups=3', 'two_time.stage1_epochs=(1,)']
STREAMS += ['data.prepared=%events']
TO_THE_END = to(
  'train.select_metric', 'none', 'last epoch with train.select_metric=none'
)


def made(
  users: int, items, num_items: int, validation: bool = True
) -> prepared_lib.Prepared:
  """Users who touch items in the same order, each from another one on."""
  user = np.repeat(np.arange(users, dtype=np.int32), len(items))
  item = np.add.outer(np.arange(users), np.asarray(items)).reshape(-1)
  return prepared_lib.build(
    user,
    (1 + item % num_items).astype(np.int32),
    splits.leave_last_out(user, validation),
    user_ids=np.arange(users),
    item_ids=np.arange(num_items),
  )


def few() -> prepared_lib.Prepared:
  """Users of whom two have enough for a validation."""
  user = np.repeat(np.arange(20, dtype=np.int32), [2] * 18 + [5, 5])
  return prepared_lib.build(
    user,
    (1 + np.arange(len(user)) % 9).astype(np.int32),
    splits.leave_last_out(user),
    user_ids=np.arange(20),
    item_ids=np.arange(9),
  )


def rated(dislikes: str) -> prepared_lib.Prepared:
  """A log with behaviors and ratings, some of which are low."""
  path = two_time_toys.folder() / 'rated.csv'
  rows = [
    f'{n // 9},{n % 9 + n // 9},{"view" if n % 3 else "buy"},{n % 7}'
    for n in range(54)
  ]
  path.write_text('\n'.join(['user_id,item_id,event,rating', *rows, '']))
  columns = tables.Columns(behavior='event', rating='rating')
  options = pipeline.Options(
    table=str(path),
    reading=pipeline.TableOptions(columns=columns),
    filters=interactions.Filters(min_rating=1, dislikes=dislikes),
    behaviors=('view', 'buy'),
  )
  return pipeline.prepare(options)


@functools.cache
def logs() -> dict[str, str]:
  """Directories of prepared data by name."""
  folder = two_time_toys.folder() / 'advice'
  data = {
    'again': made(6, [1, 2, 3, 1, 2, 1, 2], 9),
    'lonely': made(6, [1, 1, 1, 1, 1], 1),
    'whole': made(6, [1, 2, 3, 4, 5], 5),
    'short': made(6, [1, 2, 3], 9),
    'alike': made(9, range(8), 20),
    'unvalidated': made(9, [1, 2, 3, 4, 1], 20, validation=False),
    'few': few(),
    'rated': rated('negatives'),
    'rated_seen': rated('seen'),
  }
  for name, log in data.items():
    prepared_lib.save(log, str(folder / name))
  paths = {name: str(folder / name) for name in data}
  return {**paths, 'events': str(two_time_toys.prepared_path())}


def on(name: str) -> str:
  return f'data.prepared=%{name}'


def of_log(name: str, *settings: str) -> list[str]:
  """A small model on one of the logs."""
  few = [one for one in SMALL[1:] if 'groups' not in one]
  return [*few, 'groups.num_groups=2', on(name), *settings]


DATA = [
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

MODELS = [
  Case(
    'model.num_heads is {}, but it must divide',
    [*SMALL[:2], 'model.width=6', "model.name='sasrec'"],
    [to('model.num_heads', 3, 'must divide model.width, which is 6')],
  ),
  Case(
    "objective 'every_position' needs a causal",
    [*SMALL, "train.objective='every_position'"],
    [to('train.objective', 'bce', 'use train.objective=bce')],
  ),
  Case(
    "objective 'every_position' needs a causal",
    [*SMALL[:3], "model.name='sasrec'", "train.objective='every_position'"],
    [to('model.causal', ..., r'model\.causal=(True)')],
  ),
  Case(
    '{} needs train.objective=bce, not {}',
    [*SMALL, "train.penalty='fishr'", "train.objective='bpr'"],
    [to('train.objective', 'bce', 'needs train.objective=bce')],
  ),
  Case(
    "train.penalty 'fishr' compares gradients",
    [*SMALL[:3], "model.name='sasrec_original'", "train.penalty='fishr'"],
    [to('train.penalty', 'vrex', 'or train.penalty=vrex')],
  ),
  Case(
    "train.penalty 'fishr' compares gradients",
    [*SMALL[:3], "model.name='sasrec_original'", "train.penalty='fishr'"],
    [to('model.name', 'sasrec', 'use model.name=sasrec')],
  ),
  Case(
    'steps.py: {} needs an aggregator whose weights',
    [*SMALL, "train.penalty='vrex'", "aggregator.name='pcgrad'"],
    [to('aggregator.name', 'backdoor', 'use joint, backdoor')],
  ),
  Case(
    '{} acts on rows that no group touches',
    [*SMALL, "aggregator.name='agr_rand'", "aggregator.table_gradients='rows'"],
    [to('aggregator.table_gradients', 'dense', 'use dense')],
  ),
]

PAIR = """from twotsrec.models import cogcn


def make(config, sizes):
  return cogcn.make(config, sizes)._replace(least_behaviors=2)
"""
BEHAVED = [
  Case(
    'fusion.name={} fuses {} behaviors or',
    [*GRAPHS[1:], "fusion.name='pair.py:make'"],
    [to('fusion.name', 'cogcn', 'or use fusion.name=cogcn')],
    files={'pair.py': PAIR},
  ),
  Case(
    'changes nothing {}; leave it at',
    [*GRAPHS[1:], 'data.strip_heldout=True'],
    [to('data.dataset', 'synthetic-behaviors', 'give a behavior column with')],
  ),
  Case(
    'head.name={} reads one representation for all',
    [*GRAPHS, "head.name='mmoe'"],
    [
      to('fusion.post_behavior', 'merged', 'fusion.post_behavior=merged'),
    ],
  ),
  Case(
    'head.name={} reads one representation for all',
    [*GRAPHS, "head.name='mmoe'"],
    [to('head.name', 'bilinear', 'use head.name experts or bilinear')],
  ),
  Case(
    'fusion.num_layers has {} numbers, but',
    [*GRAPHS, 'fusion.num_layers=(1, 1)'],
    [to('fusion.num_layers', (1, 1, 1), 'are 3 behaviors; give one for each')],
  ),
  Case(
    'fusion.name=rgcn walks all behaviors together',
    [*GRAPHS, "fusion.name='rgcn'", 'fusion.num_layers=(1, 1)'],
    [to('fusion.num_layers', (2,), 'give one')],
  ),
  Case(
    'head.score_scale has {} numbers; give one',
    [*GRAPHS, 'head.score_scale=(1.0, 2.0)'],
    [to('head.score_scale', (1.0,), 'give one, or')],
  ),
  Case(
    'behavior.weights has {} numbers, but',
    [*GRAPHS, 'behavior.weights=(1.0, 1.0)'],
    [to('behavior.weights', ..., r"behavior\.weights='(\(\))'")],
  ),
  Case(
    'behavior.weights is {}; allowed are',
    [*GRAPHS, 'behavior.weights=(0.0, 0.0, 0.0)'],
    [to('behavior.weights', (0.0, 0.0, 1.0), 'from 0, not all 0')],
  ),
  Case(
    'train.select_metric loss judges sequence',
    [*GRAPHS[:-1], "train.select_metric='loss'"],
    [to('train.select_metric', 'hr@10', 'use hr@10')],
  ),
  Case(
    'makes one expert of all other behaviors',
    [*GRAPHS, "head.transfer='attention'"],
    [
      together(
        to('head.gradient_policy', 'stop_all', 'head.gradient_policy=stop_all'),
        to('head.gate', 'none', 'use head.gate=none'),
      )
    ],
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

OWN = """from twotsrec import aggregators
from twotsrec import config
from twotsrec import types


def make(options):
  return aggregators.make(config.AggregatorConfig())


text = 'none'


def wrong(options):
  return 'none'
"""


def own(says, name, way, content=OWN) -> Case:
  return Case(
    says, [*SMALL, f"aggregator.name='{name}'"], [way], {'own.py': content}
  )


def rewritten(says):
  return done(lambda folder: (folder / 'own.py').write_text(OWN), says)


FILES = [
  own(
    'own.py: {}: cannot read {}: {}; give the path',
    'nowhere/own.py:make',
    to('aggregator.name', 'own.py:make', 'from the folder you are in'),
  ),
  own(
    'own.py: {} {}: {} has no {}; it has',
    'own.py:mine',
    to('aggregator.name', 'own.py:make', r'it has .*\bmake\b'),
  ),
  own(
    '{} is a {}; name a function that returns a',
    'own.py:text',
    to('aggregator.name', 'own.py:make', 'a function that returns a Grad'),
  ),
  own(
    '{} returns a {}; it must return a',
    'own.py:wrong',
    to('aggregator.name', 'own.py:make', 'return a .*GradientAggregator'),
  ),
  own(
    'own.py: fails: {}: {}; correct it',
    'own.py:make',
    rewritten(r'line 1 fails: .*correct it'),
    'not python',
  ),
]


def damaged(damage):
  """Makes prepared data and damages them."""

  def make(path):
    prepared_lib.save(made(6, [1, 2, 3, 1, 2], 9), str(path))
    damage(path)

  return make


def renewed(folder):
  """Deletes the data and prepares them again, as is said."""
  shutil.rmtree(folder / 'data')
  prepared_lib.save(made(6, [1, 2, 3, 1, 2], 9), str(folder / 'data'))


def changed(path, old, new):
  path.write_bytes(path.read_bytes().replace(old, new, 1))


DAMAGED = [
  Case(
    says,
    [*of_log('again')[:-1], "data.prepared='data'"],
    [done(renewed, 'prepare')],
    {'data': damaged(damage)},
  )
  for says, damage in (
    ('({} it is missing {})', lambda data: (data / 'items.npy').unlink()),
    (
      'its size is wrong or it is not an array',
      lambda data: (data / 'items.npy').write_bytes(b'x'),
    ),
    (
      '({} it is not a manifest {})',
      lambda data: (data / 'manifest.json').write_text('{}'),
    ),
    (
      'directories.py: ({} its content has changed {})',
      lambda data: np.save(
        data / 'items.npy', np.load(data / 'items.npy')[::-1]
      ),
    ),
    ('it should be', lambda data: np.save(data / 'items.npy', np.arange(3))),
    (
      'prepared.py: ({} its content has changed {})',
      lambda data: changed(
        data / 'manifest.json', b'"history_rule": "', b'"history_rule": "x'
      ),
    ),
    (
      '{} has format version {}, this program reads',
      lambda data: changed(
        data / 'manifest.json', b'"version": ', b'"version": 9'
      ),
    ),
  )
]

# Stage 2 on a finished stage 1.
STAGE_2 = [f'{path}={value!r}' for path, value in small_runs.SETTINGS.items()]
STAGE_2 += ["plugin.name='light'", "plugin.trunk='%trunk'"]
TRUNKS = [
  Case(
    says,
    [*(one for one in STAGE_2 if not one.startswith(f'{path}=')), wrong],
    [way],
  )
  for says, path, wrong, way in (
    (
      'pin.py: {} was trained with {} {}, this run has',
      'model.width',
      'model.width=8',
      to('model.width', ..., r'trained with model\.width (\d+)'),
    ),
    (
      'pin.py: {} was trained on other data than',
      'data.users',
      'data.users=26',
      to('data.users', 25, 'use the same'),
    ),
    (
      'which leaves a vector of width {} no hidden unit',
      'plugin.ratio',
      'plugin.ratio=0.01',
      to('plugin.ratio', ..., r'at least ([\d.]+)'),
    ),
    (
      'own.py: is unknown; known: {}, or one of your own',
      'plugin.name',
      "plugin.name='heavy'",
      to('plugin.name', 'light', 'known: .*light'),
    ),
  )
]

CASES = [*DATA, *MODELS, *BEHAVED, *TIMES, *FILES, *DAMAGED, *TRUNKS]


def attempt(asked: list[str]) -> str:
  """What settings are refused with; %NAME is one of the logs, or a run."""
  paths = logs()
  named = {f'%{name}': path for name, path in paths.items()}
  if any('%trunk' in one for one in asked):
    named['%trunk'] = str(finished.run())
  placed = []
  for one in asked:
    path, _, value = one.partition('=')
    value = value.strip("'")
    placed.append(f'{path}={named[value]!r}' if value in named else one)
  said = verified(placed)
  if not said and '%trunk' in named:
    said = refusal(started, placed)
  return said


def started(asked: list[str]) -> None:
  """Loads what the first phase starts from."""
  made = config(asked)
  experiment = experiment_lib.make(made, experiment_lib.load_data(made))
  first = phases.first(experiment, experiment_lib.load)
  first.start()


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
def test_a_run_begins_as_advised(case, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  following.follow(case, attempt, tmp_path)
