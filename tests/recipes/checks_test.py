import math

import pytest

from tests import runs
from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.recipes import checks


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'train__epochs': 0}, 'train.epochs 0 must be at least 1'),
    ({'train__batch_size': -5}, 'train.batch_size -5 must be at least 1'),
    ({'train__evaluate_every': 0}, 'must be at least 1'),
    ({'train__patience': -1}, 'must be at least 0'),
    ({'train__keep': 0}, 'train.keep 0 must be at least 1'),
    ({'train__seed': -1}, 'train.seed -1 must be at least 0'),
    ({'train__learning_rate': 0.0}, 'must be positive'),
    ({'train__learning_rate': math.nan}, 'must be a finite number'),
    ({'train__learning_rate': math.inf}, 'must be a finite number'),
    ({'train__beta2': 1.0}, 'train.beta2 1.0 must be below 1'),
    ({'train__select_on': 'train'}, "'train'; known: validation, test"),
    ({'data__history_length': 0}, 'must be at least 1'),
    ({'data__num_negatives': 0}, 'must be at least 1'),
    ({'data__negative_mode': 'rare'}, "'rare'; known: static, per_epoch"),
    ({'data__gamma': math.nan}, 'must be a finite number'),
    ({'model__width': 0}, 'model.width 0 must be at least 1'),
    ({'model__hidden': (4, 0)}, 'model.hidden 0 must be at least 1'),
    ({'model__num_layers': 0}, 'must be at least 1'),
    ({'model__dropout': 1.0}, 'model.dropout 1.0 must be below 1'),
    ({'model__dropout': -0.1}, 'must be at least 0'),
    ({'model__name': 'popularity'}, 'nothing to train'),
    ({'aggregator__tau': math.inf}, 'must be a finite number'),
    ({'evaluation__bootstrap': -1}, 'must be at least 0'),
    ({'evaluation__item_tile': 0}, 'must be at least 1'),
    (
      {
        'train__objective': 'every_position',
        'groups__key': 'sample_history_len',
      },
      'groups.key=user_train_count',
    ),
  ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(changes, message):
  with pytest.raises(types.UserError) as error:
    checks.check(runs.config(**changes))
  assert message in str(error.value)
  assert len(str(error.value).splitlines()) == 1


def test_the_defaults_and_the_extremes_pass():
  checks.check(config_lib.Config())
  checks.check(
    runs.config(
      model__hidden=(),
      train__patience=0,
      train__checkpoint_every=0.0,
      train__beta2=0.0,
      evaluation__bootstrap=0,
      aggregator__tau=-1.0,
    )
  )
