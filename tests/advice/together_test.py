"""Settings that do not go together, and what their messages advise."""

import pytest

from tests.advice import following
from tests.advice.following import Case
from tests.advice.setting import checked
from tests.advice.setting import default
from tests.advice.setting import to

GRAPHS = "model.name='multi_behavior'"
STREAMS = "model.name='two_time_scale'"
LIGHT, TRUNK = "plugin.name='light'", "plugin.trunk='runs/base'"
OF_GRAPHS = [GRAPHS, LIGHT, TRUNK, "plugin.points='Z'"]
OF_GRAPHS += ['plugin.trunk_learning_rate=0.0']
GROUPED = "aggregator.name='pcgrad'"
TOGETHER = [
  *(
    Case(
      'aggregator.{} has {} values for {} {}; give one for each',
      [f'aggregator.name={name!r}', f'{path}=(1.0, 2.0)'],
      [to(path, (1.0,) * 5, 'for 5 groups; give one for each')],
    )
    for name, path in (
      ('backdoor', 'aggregator.prior'),
      ('pbi', 'aggregator.ideal'),
    )
  ),
  Case(
    'aggregator.trim_number {} at both ends leaves none',
    ["aggregator.name='trimmed_mean'", 'aggregator.trim_number=3'],
    [to('aggregator.trim_number', 2, 'none of 5 groups; use 2 at most')],
  ),
  *(
    Case(
      'aggregator.krum_byzantine {} needs {} {}',
      ["aggregator.name='krum'", 'aggregator.krum_byzantine=3'],
      ways,
    )
    for ways in (
      [to('aggregator.krum_byzantine', 2, 'and there are 5; use 2')],
      [
        to(
          'aggregator.name', 'trimmed_mean', 'or aggregator.name=trimmed_mean'
        ),
        default('aggregator.krum_byzantine'),
      ],
    )
  ),
  Case(
    'aggregator.krum_selected {} is more than {} {}',
    ["aggregator.name='krum'", 'aggregator.krum_selected=6'],
    [to('aggregator.krum_selected', 5, 'use 5 at most')],
  ),
  Case(
    'aggregator.pcd_primary {} is none of {} {}',
    ["aggregator.name='pcd'", 'aggregator.pcd_primary=6'],
    [to('aggregator.pcd_primary', 5, 'use 1 to 5')],
  ),
  *(
    Case(
      'prior.weights has {} values, but prior.terms {}',
      ["prior.terms=('repeats',)", 'prior.weights=(1.0, 2.0)'],
      [way],
    )
    for way in (
      to('prior.weights', (1.0,) * 10, 'has 10: .*; give one for each'),
      default('prior.weights', 'or leave it out'),
    )
  ),
  *(
    Case(
      'data.negative_sharing sequence is for train.positions every or masked',
      ["data.negative_sharing='sequence'"],
      [way],
    )
    for way in (
      to('train.positions', 'every', 'train.positions every or masked'),
      to('train.positions', 'masked', 'train.positions every or masked'),
      default('data.negative_sharing', '; leave it out'),
    )
  ),
  Case(
    'routing.groups is {}, but there are {} groups',
    [LIGHT, TRUNK, 'routing.groups=6'],
    [to('routing.groups', ..., r'for all to (\d+)')],
  ),
  Case(
    'routing.groups is {}, but routing.mode shrunk weighs',
    [LIGHT, TRUNK, 'routing.groups=1', "routing.mode='shrunk'"],
    [default('routing.groups', 'leave routing.groups out')],
  ),
  Case(
    'routing.groups is {}, but train.method separate has',
    ["train.method='separate'", 'routing.groups=1'],
    [default('routing.groups', 'leave routing.groups out')],
  ),
  Case(
    'augment.groups is {}, but there are {} groups',
    ['augment.insert=0.1', 'augment.groups=6'],
    [to('augment.groups', ..., r'allowed are 1 to (\d+)')],
  ),
  Case(
    'train.temperatures has {} values for {} groups',
    ["train.objective='softmax'", 'train.temperatures=(0.5, 1.0)'],
    [to('train.temperatures', (0.5,), 'give one for all')],
  ),
  Case(
    'train.temperatures has {} values for {} groups',
    ["train.objective='softmax'", 'train.temperatures=(0.5, 1.0)'],
    [to('train.temperatures', (0.5,) * 5, 'or one per group')],
  ),
  Case(
    'train.objective cross_entropy moves the rows of all items',
    [
      "train.objective='cross_entropy'",
      "aggregator.table_gradients='rows'",
    ],
    [to('aggregator.table_gradients', 'dense', 'use dense')],
  ),
  *(
    Case(
      'moves the rows of a batch, and {}',
      [*changes, "train.table_optimizer='row_sgd'"],
      [way],
    )
    for changes, way in (
      (
        ["train.objective='cross_entropy'"],
        to('train.objective', 'softmax', 'use train.objective=softmax'),
      ),
      (
        ["train.method='separate'"],
        to('train.method', 'aggregator', 'use train.method=aggregator'),
      ),
      (
        ["aggregator.table_gradients='dense'"],
        to('aggregator.table_gradients', 'auto', 'use auto'),
      ),
      (
        ["aggregator.name='agr_rand'"],
        to('aggregator.name', 'backdoor', 'use backdoor'),
      ),
      (
        [LIGHT, TRUNK, 'plugin.trunk_learning_rate=0.0'],
        to('plugin.trunk_learning_rate', 1e-4, 'use a rate above 0'),
      ),
      (
        ["train.objective='cross_entropy'"],
        to('train.table_optimizer', 'adam', 'train.table_optimizer=adam'),
      ),
    )
  ),
  Case(
    "groups.key 'sample_history_len' divides single samples",
    [
      "train.positions='every'",
      "model.name='gru4rec'",
      "groups.key='sample_history_len'",
    ],
    [to('train.positions', 'last', 'train.positions=last')],
  ),
  Case(
    "groups.key 'sample_history_len' divides single samples",
    [GRAPHS, "groups.key='sample_history_len'"],
    [to('groups.key', 'user_train_count', 'use user_train_count')],
  ),
  Case(
    'aggregator.form explicit changes nothing with',
    ["aggregator.form='explicit'", "train.penalty='vrex'"],
    [to('aggregator.form', 'auto', 'use auto')],
  ),
  *(
    Case(
      '{} {} {}, but train.method separate has',
      ["train.method='separate'", f'{path}={value!r}'],
      [default(path, f'leave {path} out')],
    )
    for path, value in (
      ('aggregator.table_gradients', 'rows'),
      ('routing.mode', 'soft'),
      ('routing.mode', 'shrunk'),
      ('routing.cold', 'trunk'),
    )
  ),
  Case(
    'is for stage 1; stage 2 (plugin.name {}) needs',
    [LIGHT, TRUNK, "train.penalty='vrex'"],
    [to('train.penalty', 'none', 'train.penalty=none')],
  ),
  Case(
    'is for stage 1; stage 2 (plugin.name {}) needs',
    [LIGHT, TRUNK, "train.method='fish'"],
    [to('train.method', 'aggregator', 'train.method=aggregator')],
  ),
  Case(
    'needs plugin.trunk, the run directory',
    [LIGHT],
    [to('plugin.trunk', 'runs/base', 'plugin.trunk, the run directory')],
  ),
  Case(
    'plugin.history_only is True, but',
    [LIGHT, TRUNK, 'plugin.history_only=True', "plugin.points='Z'"],
    [to('plugin.points', 'A', 'use A or AZ')],
  ),
  Case(
    'needs non-negative numbers with a positive sum',
    [
      "aggregator.name='backdoor'",
      'aggregator.prior=(0.0, 0.0, 0.0, 0.0, 0.0)',
    ],
    [to('aggregator.prior', (1.0,) * 5, 'a positive sum')],
  ),
  Case(
    'plugin.trunk_gradient bare changes nothing in',
    [
      LIGHT,
      TRUNK,
      "plugin.trunk_gradient='bare'",
      'plugin.trunk_learning_rate=0.0',
    ],
    [default('plugin.trunk_gradient')],
  ),
  Case(
    'plugin.select per_group needs',
    [LIGHT, TRUNK, "plugin.select='per_group'", "plugin.select_metric='none'"],
    [to('plugin.select_metric', 'group_auc', 'needs a plugin.select_metric')],
  ),
  Case(
    'blends plugins of one trunk, but plugin.select',
    [LIGHT, TRUNK, "plugin.select='per_group'", "routing.mode='soft'"],
    [to('plugin.select', 'global', 'plugin.select=global')],
  ),
  Case(
    'plugin.points is {}, but {} reads no history',
    [one for one in OF_GRAPHS if 'points' not in one],
    [to('plugin.points', 'Z', 'use Z')],
  ),
  Case(
    'plugin.name naive moves parameters of the head',
    [
      GRAPHS,
      "plugin.name='naive'",
      TRUNK,
      "head.gate='none'",
      'plugin.trunk_learning_rate=0.0',
    ],
    [
      to('plugin.name', 'light', 'use light'),
      to('plugin.points', 'Z', 'use Z'),
    ],
  ),
  Case(
    'plugins stand on what the graphs gave; set it to 0',
    [one for one in OF_GRAPHS if 'learning_rate' not in one],
    [to('plugin.trunk_learning_rate', 0.0, 'set it to 0')],
  ),
  Case(
    "plugin.select_metric 'loss' judges sequence models",
    [*OF_GRAPHS, "plugin.select_metric='loss'"],
    [to('plugin.select_metric', 'hr@10', 'use group_auc, hr@10')],
  ),
  Case(
    'two_time_scale selects on',
    [STREAMS, "train.select_on='test'"],
    [default('train.select_on')],
  ),
  Case(
    'two_time.stage1_epochs names no number of epochs',
    [STREAMS, 'two_time.stage1_epochs=()'],
    [to('two_time.stage1_epochs', (10, 20), 'as in 10,20')],
  ),
  Case(
    'two_time.cell scaled_gru takes its scale from',
    [
      STREAMS,
      "two_time.cell='scaled_gru'",
      "two_time.variant='single_stage'",
    ],
    [to('two_time.cell', 'gru', 'use gru')],
  ),
  Case(
    'two_time.share_readout is for two networks',
    [STREAMS, 'two_time.share_readout=True'],
    [to('two_time.variant', '2ts_plus', 'use 2ts_plus')],
  ),
  Case(
    'two_time.share_readout is for two networks',
    [STREAMS, 'two_time.share_readout=True'],
    [default('two_time.share_readout')],
  ),
  Case(
    'needs a gradient per group, but networks that',
    [STREAMS, GROUPED, "two_time.variant='single_stage'"],
    [to('aggregator.name', 'backdoor', 'use joint, backdoor')],
  ),
  Case(
    'makes no gradient per group, which aggregator',
    [STREAMS, GROUPED, "train.table_optimizer='row_adagrad'"],
    [to('train.table_optimizer', 'adam', 'use table_optimizer=adam')],
  ),
  Case(
    'makes no gradient per group, which aggregator',
    [STREAMS, GROUPED, "train.table_optimizer='row_adagrad'"],
    [to('aggregator.name', 'joint', 'or aggregator joint')],
  ),
  Case(
    'has no network of inactive users of its own',
    [STREAMS, LIGHT, "plugin.points='Z'", "two_time.variant='one_gru'"],
    [to('two_time.variant', '2ts', 'use 2ts')],
  ),
  Case(
    'would change the frozen item vectors',
    [STREAMS, LIGHT],
    [to('plugin.points', 'Z', 'plugin.points=Z')],
  ),
  Case(
    'would change the frozen item vectors',
    [STREAMS, LIGHT],
    [to('plugin.history_only', True, 'plugin.history_only=True')],
  ),
  Case(
    'two_time.feature_width is {}; allowed is 0 up to',
    [STREAMS, 'two_time.feature_width=32'],
    [to('two_time.feature_width', 31, r'model.width less 1, 31')],
  ),
  Case(
    'has nothing to train, and every report shows it',
    ["model.name='popularity'"],
    [to('model.name', 'ease', 'choose another')],
  ),
  Case(
    'model.name is {}; known models',
    ["model.name='sasrecc'"],
    [to('model.name', 'sasrec', 'known models: .*sasrec,')],
  ),
  Case(
    '{} {} is unknown; known: {}, or one of your own',
    ["aggregator.name='mean'"],
    [to('aggregator.name', 'joint', 'known: .*joint')],
  ),
  Case(
    'but {} has no such option; it takes',
    [LIGHT, TRUNK, "plugin.name='film'", "plugin.activation='relu'"],
    [default('plugin.activation', 'leave it at')],
  ),
]


@pytest.mark.parametrize('case', TOGETHER, ids=lambda case: case.name)
def test_settings_go_together_as_advised(case, tmp_path):
  following.follow(case, checked, tmp_path)
