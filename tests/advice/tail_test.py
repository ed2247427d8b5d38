"""What trying ways for the tail refuses before the base is trained."""

import pytest

from tests import small_runs as runs
from tests.advice import following
from tests.advice.following import Call
from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import tail


def asked(groups: int = 1, **changes) -> None:
  """The checks of a small run."""
  config = runs.config(**changes)
  prepared = experiment_lib.load_data(config)
  tail._check(config, prepared, ('backdoor',), 'ndcg@10', groups)


CALLS = [
  Call(
    '{} groups of the tail, but there are {} groups',
    lambda folder: asked(groups=9),
    r'allowed are 1 to (\d)',
    lambda folder, most: asked(groups=int(most)),
  ),
  Call(
    'ways are chosen on validation items, and the data',
    lambda folder: asked(data__validation=False),
    r'prepare them with data\.validation=(True)',
    lambda folder, value: asked(data__validation=value == 'True'),
  ),
]


@pytest.mark.parametrize('call', CALLS, ids=lambda call: call.name)
def test_calls_go_on_as_advised(call, tmp_path):
  following.obey(call, tmp_path)
