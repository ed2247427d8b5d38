"""Refuses settings that cannot work, before anything is read or written."""

from collections.abc import Iterable
import math
from typing import Any

from twotsrec import config as config_lib
from twotsrec import types

SPLITS = ('validation', 'test')

# Smallest values; what the data, models and protocols check is theirs.
_AT_LEAST = {
  'data.history_length': 1,
  'data.num_negatives': 1,
  'data.seed': 0,
  'model.width': 1,
  'model.hidden': 1,
  'model.num_layers': 1,
  'model.dropout': 0,
  'train.batch_size': 1,
  'train.beta2': 0,
  'train.epochs': 1,
  'train.patience': 0,
  'train.evaluate_every': 1,
  'train.checkpoint_every': 0,
  'train.keep': 1,
  'train.seed': 0,
  'evaluation.user_tile': 1,
  'evaluation.item_tile': 1,
  'evaluation.bootstrap': 0,
  'evaluation.seed': 0,
}
_BELOW_ONE = ('model.dropout', 'train.beta2')
_FINITE = ('data.gamma', 'aggregator.tau', 'train.learning_rate')
_KNOWN = {
  'data.negative_mode': ('static', 'per_epoch'),
  'data.negative_exclude': ('all', 'train'),
  'train.select_on': SPLITS,
}


def check(config: config_lib.Config) -> None:
  """Refuses values, and combinations that would train something else.

  Raises:
    types.UserError: the value, what is allowed and the way out.
  """
  for path, low in _AT_LEAST.items():
    for value in _values(config, path):
      if not value >= low:
        raise types.UserError(f'{path} {value} must be at least {low}')
  for path in _BELOW_ONE:
    for value in _values(config, path):
      if not value < 1:
        raise types.UserError(f'{path} {value} must be below 1')
  for path in _FINITE:
    for value in _values(config, path):
      if not math.isfinite(value):
        raise types.UserError(f'{path} {value} must be a finite number')
  for path, known in _KNOWN.items():
    for value in _values(config, path):
      if value not in known:
        raise types.UserError(f'{path} {value!r}; known: {", ".join(known)}')
  if not config.train.learning_rate > 0:
    raise types.UserError(
      f'train.learning_rate {config.train.learning_rate} must be positive'
    )
  _check_combinations(config)


def _check_combinations(config: config_lib.Config) -> None:
  if config.data.prepared:
    for name in ('split', 'validation', 'min_user', 'min_item', 'core'):
      value = getattr(config.data, name)
      if value != getattr(config_lib.DataConfig(), name):
        raise types.UserError(
          f'data.{name} {value!r} changes nothing in prepared data'
          f' ({config.data.prepared}); give it to launch/prepare.py'
        )
  given, wanted = len(config.aggregator.prior), config.groups.num_groups
  if given and given != wanted:
    raise types.UserError(
      f'aggregator.prior has {given} values for {wanted} groups; give one per'
      ' group'
    )
  if config.model.name == 'popularity':
    raise types.UserError(
      "model.name 'popularity' has nothing to train; every report shows it"
      ' beside the model'
    )
  if (
    config.train.objective == 'every_position'
    and config.groups.key == 'sample_history_len'
  ):
    raise types.UserError(
      "groups.key 'sample_history_len' divides single samples, but an example"
      " of train.objective 'every_position' is a whole sequence; use"
      ' train.objective=bce or groups.key=user_train_count'
    )


def _values(config: config_lib.Config, path: str) -> Iterable[Any]:
  """The value under a dotted name; every one of several."""
  section, name = path.split('.')
  value = getattr(getattr(config, section), name)
  return value if isinstance(value, tuple | list) else (value,)
