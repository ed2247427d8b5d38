import dataclasses
import typing

from absl import flags
from ml_collections import config_flags
import pytest

from tests import configured
from twotsrec import aggregators
from twotsrec import behavior_config
from twotsrec import config as config_lib
from twotsrec import fields
from twotsrec import losses
from twotsrec import models
from twotsrec import plugins
from twotsrec import types
from twotsrec.data import choices
from twotsrec.data import event_feeds
from twotsrec.data import interactions
from twotsrec.data import plans
from twotsrec.data import splits
from twotsrec.data import stream_jobs
from twotsrec.models import behavior_heads
from twotsrec.models import fusion as fusion_lib
from twotsrec.models import shared_heads
from twotsrec.ops import contrastive
from twotsrec.ops import graph
from twotsrec.ops import recurrence
from twotsrec.training import penalties
from twotsrec.training import row_optimizers
from twotsrec.training import sequential

_FIELDS = {path: field for path, field, _ in fields.walk(config_lib.Config())}
# The recipe that reads every setting: conditions of the fields alone are left.
_ALL = (fields.Reads('*'),)
_CONDITIONAL = [
  (path, number)
  for path, field in _FIELDS.items()
  if field.metadata['setting'].read != fields.ALWAYS
  for number in range(len(field.metadata['setting'].read))
]


def _kind(path):
  """(kind of a value, whether the setting has several)."""
  several = typing.get_origin(_FIELDS[path].type) is tuple
  kind = _FIELDS[path].type
  return (typing.get_args(kind)[0] if several else kind), several


def _with(path, value):
  """The default but for one setting, which gets several values if it has."""
  value = (value,) if _kind(path)[1] else value
  return configured.by(**{path: value})


def _refusal(function, *arguments):
  with pytest.raises(types.UserError) as caught:
    function(*arguments)
  assert len(str(caught.value).splitlines()) <= 2
  return str(caught.value)


@pytest.mark.parametrize('path', _FIELDS)
class TestEverySetting:
  def test_declares_what_it_may_be(self, path):
    setting = _FIELDS[path].metadata['setting']
    assert isinstance(setting, fields.Setting)
    kind, _ = _kind(path)
    # What is a number says from where on; free ones have no sense of a sign.
    assert bool(setting.limits) <= (kind in (int, float))
    assert setting.limits or kind is not int
    for value in setting.idle:
      fields.refuse_values(_with(path, value))

  def test_takes_its_default_and_every_name(self, path):
    fields.refuse_values(config_lib.Config())
    for name in _FIELDS[path].metadata['setting'].names:
      fields.refuse_values(_with(path, name))

  def test_refuses_another_kind(self, path):
    kind, several = _kind(path)
    wrong = {int: 1.5, float: '1', bool: 'yes', str: 3}[kind]
    text = _refusal(fields.refuse_values, _with(path, wrong))
    assert text.startswith(f'{path} {wrong!r} must be')
    if several:
      one = configured.by(**{path: wrong})
      text = _refusal(fields.refuse_values, one)
      assert text.startswith(f'{path} {wrong!r} must be several')

  def test_refuses_what_is_out_of_bounds(self, path):
    setting = _FIELDS[path].metadata['setting']
    outside = [
      limit + {'at least': -1, 'above': 0, 'at most': 1, 'below': 0}[words]
      for words, limit in setting.limits
    ]
    if _kind(path)[0] is float:
      outside += [float('nan'), float('inf'), -float('inf')]
    if setting.names:
      outside += ['no such name', 'my/file.py:make']
    for value in outside:
      text = _refusal(fields.refuse_values, _with(path, value))
      assert text.startswith(path)


# ---- When a setting is read


def _is_one(path, value):
  return (value,) if _kind(path)[1] and not isinstance(value, tuple) else value


def _other(path, values):
  """A value of a setting that is none of `values`."""
  names = {
    'aggregator.name': aggregators.NAMES,
    'plugin.name': plugins.NAMES,
    'head.name': behavior_heads.NAMES,
    'data.prepared': ('somewhere',),
  }.get(path, _FIELDS[path].metadata['setting'].names)
  number = 0.5 if _kind(path)[0] is float else 1
  return next(value for value in (*names, number) if value not in values)


def _set(config, condition, holds):
  path, values = condition.path, condition.values
  has_one = holds == condition.has_one
  value = values[0] if has_one else _other(path, values)
  config_lib.change(config, {path: _is_one(path, value)})


def _changed(path):
  """A value besides the default that is not idle either."""
  field = _FIELDS[path]
  kind, several = _kind(path)
  if field.metadata['setting'].names:
    return _other(path, (field.default, *field.metadata['setting'].idle))
  if kind is bool:
    return not field.default
  value = {int: 7, float: 0.25, str: 'x'}[kind]
  return (value,) if several else value


@pytest.mark.parametrize(('path', 'number'), _CONDITIONAL)
def test_a_setting_is_refused_where_one_of_its_conditions_fails(path, number):
  read = _FIELDS[path].metadata['setting'].read
  value, default = _changed(path), _FIELDS[path].default
  value_of = lambda config: getattr(
    getattr(config, path.split('.')[0]), path.split('.')[1]
  )
  config = config_lib.Config()
  for other in read:
    _set(config, other[0], other is read[number])
  for condition in read[number]:
    _set(config, condition, True)
  config_lib.change(config, {path: value})
  fields.refuse_values(config)
  assert value_of(fields.only_read(config, _ALL)) == value
  for condition in read[number]:
    broken = fields.only_read(config, _ALL)
    _set(broken, condition, False)
    assert value_of(fields.only_read(broken, _ALL)) == default
    broken = fields.only_read(broken, _ALL)
    config_lib.change(broken, {path: value})
    text = _refusal(fields.refuse_unread, broken, _ALL, '')
    assert text.startswith(f'{path} {value!r} changes nothing with')
    assert f'leave it at {default!r}' in text


def test_conditions_are_about_values_there_are():
  for field in _FIELDS.values():
    for conditions in field.metadata['setting'].read:
      for condition in conditions:
        for value in condition.values:
          fields.refuse_values(configured.by(**{
            condition.path: _is_one(condition.path, value)
          }))  # fmt: skip
        if condition.path == 'aggregator.name':
          assert set(condition.values) <= set(aggregators.NAMES)
        if condition.path == 'head.name':
          assert set(condition.values) <= set(behavior_heads.NAMES)


# ---- Names are those of the code


@pytest.mark.parametrize(
  ('path', 'names'),
  [
    ('data.split', splits.NAMES),
    ('data.core', interactions.CORES),
    ('groups.key', choices.GROUP_KEYS),
    ('groups.balance', choices.GROUP_BALANCES),
    ('train.method', ('aggregator', *sequential.NAMES, 'separate')),
    ('train.objective', (*losses.OF_CANDIDATES, 'gbce', 'cross_entropy')),
    ('train.batching', plans.BATCHINGS),
    ('train.penalty', ('none', *penalties.NAMES)),
    ('fusion.normalization', graph.NORMALIZATIONS),
    ('behavior.loss', tuple(losses.OF_CANDIDATES)),
    ('behavior.similarity', contrastive.SIMILARITIES),
    ('two_time.variant', tuple(stream_jobs.PARTS)),
    ('two_time.cell', tuple(recurrence.CELLS)),
    ('two_time.pool', event_feeds.POOLS),
    ('train.table_optimizer', ('adam', *row_optimizers.NAMES)),
    ('routing.mode', choices.ROUTING),
  ],
)
def test_names_are_those_of_the_code(path, names):
  assert sorted(_FIELDS[path].metadata['setting'].names) == sorted(names)


def test_groups_of_names_are_those_of_the_code():
  ((shared, _),) = behavior_config._OWN
  assert shared.values == shared_heads.NAMES


@pytest.mark.parametrize(
  ('path', 'make', 'listed'),
  [
    ('model.name', lambda c: models.make(c.model), 'din, din_original'),
    ('aggregator.name', lambda c: aggregators.make(c.aggregator), 'joint, ba'),
    ('plugin.name', lambda c: plugins.make(c.plugin), 'light, naive, film'),
    (
      'head.name',
      lambda c: behavior_heads.make(
        c,
        fusion_lib.make(c, types.NodeSizes(2, 3, 4, 4)),
        types.NodeSizes(2, 3, 4, 4),
      ),
      'experts, bilinear',
    ),
  ],
)
def test_parts_are_listed_by_what_makes_them(path, make, listed):
  config = _with(path, 'no such name')
  fields.refuse_values(config)
  text = _refusal(make, config)
  assert path.split('.')[0] in text and listed in text


# ---- Flags, copies and dictionaries


def test_flags_set_settings_of_every_kind():
  arguments = [
    'x.py',
    '--config.train.epochs=7',
    '--config.train.learning_rate=0.5',
    '--config.data.split=date',
    '--noconfig.data.validation',
    "--config.data.behaviors='view','buy'",
    '--config.evaluation.ks=3,4',
    '--config.aggregator.prior=(1.0,2.0)',
  ]
  values = flags.FlagValues()
  holder = config_flags.DEFINE_config_dataclass(
    'config', config_lib.Config(), flag_values=values, sys_argv=arguments
  )
  values(arguments)
  expected = configured.by(
    train__epochs=7,
    train__learning_rate=0.5,
    data__split='date',
    data__validation=False,
    data__behaviors=('view', 'buy'),
    evaluation__ks=(3, 4),
    aggregator__prior=(1.0, 2.0),
  )
  assert holder.value == expected
  fields.refuse_values(holder.value)


def test_a_copy_changes_nothing_in_the_first():
  first = config_lib.Config()
  second = dataclasses.replace(
    first, train=dataclasses.replace(first.train, epochs=3)
  )
  assert (first.train.epochs, second.train.epochs) == (20, 3)
  assert first == config_lib.Config()
  as_dict = dataclasses.asdict(second)
  assert as_dict['train']['epochs'] == 3
  assert as_dict['evaluation']['ks'] == first.evaluation.ks


def test_a_field_that_does_not_exist_is_not_made():
  with pytest.raises(AttributeError):
    configured.by(train__lrate=0.1)
