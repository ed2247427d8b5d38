"""What the tests of launch/reproduce share."""

from collections.abc import Sequence
import dataclasses
from typing import Any

from tests.launch import scripts
from twotsrec.studies import plans
from twotsrec.studies import study as study_lib


def assert_as_trained_alone(
  capsys,
  trained: dict[str, Any],
  plan: plans.Plan,
  runs: Sequence[study_lib.Run],
) -> None:
  """Field by field: the runs in `trained` are what launch/train.py makes.

  Args:
    capsys: of pytest.
    trained: the fixture, with the runs of the driver.
    plan: of the driver.
    runs: those to train again.
  """
  ours = {**trained}
  trained.clear()
  for run in runs:
    ended = scripts.run(
      capsys, 'train', '--quiet', *plans.train_flags(plan, run)
    )
    assert ended.code == 0, ended.err
    here, there = (
      dataclasses.asdict(seen[plans.workdir(plan, run)])
      for seen in (ours, trained)
    )
    assert here == there
