"""What functions of time refuse, and the calls that they advise."""

from unittest import mock

import numpy as np
import pytest

from tests import configured
from tests import jodie_toys
from tests import worlds
from tests.advice import following
from tests.advice.following import Call
from twotsrec import contracts
from twotsrec import recipes
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import splits
from twotsrec.data import timelines
from twotsrec.recipes import dyn_aernn as dyn_aernn_recipe
from twotsrec.recipes import jodie as jodie_recipe
from twotsrec.runs import experiment as experiment_lib


def of_many_items(static: str):
  log = prepared_lib.Prepared(*jodie_toys.log())
  many = log._replace(item_ids=np.arange(60_000))
  config = jodie_toys.config(jodie__static=static)
  made = contracts.Experiment(config, prepared_lib.Prepared(*many), None)
  return jodie_recipe.build(made)


def of_nodes(most: int = 1 << 30, **changes):
  named = {
    'model__name': 'dyn_aernn',
    'dyn_aernn__snapshots': 4,
    'train__select_metric': 'mrr',
    **changes,
  }
  config = configured.by(**named)
  recipe = recipes.of(config)
  recipe.check(config)
  made = experiment_lib.make(config, jodie_toys.log())
  with mock.patch.object(dyn_aernn_recipe, '_MOST', most):
    return dyn_aernn_recipe.make_parts(dyn_aernn_recipe.build(made))


def cut_into(split: str, coarse: bool = True):
  rule = splits.Rule(split, shares=(0.8, 0.1, 0.1))
  splits.check_shares(rule, coarse)


CALLS = [
  Call(
    'plays events in order of time, and the data have no',
    lambda folder: timelines.require_times(worlds.log()[0]),
    'prepare them with --time_column',
    lambda folder: timelines.require_times(jodie_toys.log()),
  ),
  Call(
    'needs a prediction layer of {} bytes',
    lambda folder: of_many_items('one_hot'),
    'use jodie.static=(learned)',
    lambda folder, static: of_many_items(static),
  ),
  Call(
    'needs {} bytes for the pairs of',
    lambda folder: of_nodes(255),
    'use model.name=(jodie)',
    lambda folder, name: experiment_lib.make(
      jodie_toys.config(model__name=name), jodie_toys.log()
    ),
  ),
  Call(
    'snapshots none has so many before it',
    lambda folder: of_nodes(dyn_aernn__lookback=4),
    'allowed are 1 to (3)',
    lambda folder, most: of_nodes(dyn_aernn__lookback=int(most)),
  ),
  Call(
    'use mrr, another ranking metric, or none',
    lambda folder: of_nodes(train__select_metric='loss'),
    'use (mrr),',
    lambda folder, metric: of_nodes(train__select_metric=metric),
  ),
  Call(
    'cannot be cut where times are coarse',
    lambda folder: cut_into('global_time'),
    'use split (per_user_time)',
    lambda folder, split: cut_into(split),
  ),
  *(
    Call(
      'change nothing with split {}',
      lambda folder: cut_into('date'),
      f'use split.*({split})',
      lambda folder, split: cut_into(split, coarse=False),
    )
    for split in ('global_time', 'per_user_time')
  ),
  Call(
    'shares are {}; give three numbers',
    lambda folder: splits.parse_shares(['most', 'rest']),
    'as in (.*)',
    lambda folder, shares: splits.check_shares(
      splits.Rule('global_time', shares=splits.parse_shares(shares.split(',')))
    ),
  ),
]


@pytest.mark.parametrize('call', CALLS, ids=lambda call: call.name)
def test_calls_go_on_as_advised(call, tmp_path):
  following.obey(call, tmp_path)
