"""Users who have touched every item, from training to the report."""

import logging

import numpy as np
import pytest

from tests import small_runs as runs
from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import splits
from twotsrec.runs import run
from twotsrec.runs import tables

ITEMS = 9


def prepare(folder, full):
  """Twelve users, of whom the first `full` have all items; its folder."""
  generator = np.random.default_rng(0)
  counts = np.where(np.arange(12) < full, ITEMS, generator.integers(4, 7, 12))
  user = np.repeat(np.arange(12), counts)
  item = [1 + generator.permutation(ITEMS)[:count] for count in counts]
  data = prepared_lib.build(
    user,
    np.concatenate(item),
    splits.leave_last_out(user, True),
    user_ids=np.arange(12),
    item_ids=np.arange(ITEMS),
  )
  prepared_lib.save(data, str(folder))
  return str(folder)


def config(path, **changes):
  return runs.config(
    data__prepared=path,
    aggregator__name='joint',
    groups__num_groups=1,
    train__epochs=1,
    train__log_groups=False,
    **changes,
  )


@pytest.mark.parametrize('exclude', ['all', 'train'])
def test_training_goes_on_without_them_and_counts_them(
  tmp_path, caplog, exclude
):
  path = prepare(tmp_path / 'data', full=1)
  asked = config(path, data__negative_exclude=exclude)
  with caplog.at_level(logging.WARNING):
    report = run.train(asked, str(tmp_path / 'run'), quiet=True)
  part = 'the validation loss'
  part = part if exclude == 'train' else f'training or {part}'
  note = (
    '1 of 12 users have touched all 9 items, so they have no negatives and take'
    f' no part in {part}'
  )
  assert report['dataset']['notes'] == [note]
  assert note in caplog.text
  assert report['training']['selected_epoch'] == 1
  test = report['test']
  assert (test['rivals']['held_out'], test['rivals']['without']) == (12, 1)
  assert {cell['count'] for cell in test['overall'].values()} == {11}
  table = tables.of_report(report)
  assert '1 of 12 held-out items have no rival and are not ranked' in table
  assert '11 fewer than 10' in table


def test_advice_for_a_log_of_such_users_can_be_followed(tmp_path):
  path = prepare(tmp_path / 'data', full=12)
  asked = {'data__negative_exclude': 'train', 'evaluation__bootstrap': 0}
  for metric, message in (
    ('loss', 'no user with validation events has an item left'),
    ('hr@1', '12 of 12 validation items have no rival'),
  ):
    with pytest.raises(types.UserError, match=message) as error:
      one = config(path, train__select_metric=metric, **asked)
      run.train(one, str(tmp_path / metric), quiet=True)
    assert str(error.value).endswith('with train.select_metric=none')
    assert not (tmp_path / metric).exists()
  with pytest.raises(types.UserError, match='negative_exclude=train'):
    run.train(
      config(path, train__select_metric='none'), str(tmp_path / 'a'), quiet=True
    )
  followed = config(path, train__select_metric='none', **asked)
  report = run.train(followed, str(tmp_path / 'run'), quiet=True)
  assert report['test']['rivals']['without'] == 12
  for system in (report['test'], report['baselines']['popularity']):
    assert {cell['value'] for cell in system['overall'].values()} == {None}
  assert '12 of 12 held-out items have no rival' in tables.of_report(report)
