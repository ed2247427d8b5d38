"""What the tests of launch/reproduce share."""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

from tests.launch import scripts


def assert_as_trained_alone(
  capsys,
  trained: dict[str, Any],
  runs: Sequence[Any],
  flags_of: Callable[[Any], list[str]],
  workdir_of: Callable[[Any], str],
) -> None:
  """Field by field: the runs in `trained` are what launch/train.py makes.

  Args:
    capsys: of pytest.
    trained: the fixture, with the runs of the driver.
    runs: those to train again.
    flags_of: run -> flags of launch/train.py.
    workdir_of: run -> its directory.
  """
  ours = {**trained}
  trained.clear()
  for run in runs:
    ended = scripts.run(capsys, 'train', '--quiet', *flags_of(run))
    assert ended.code == 0, ended.err
    here, there = (
      dataclasses.asdict(seen[workdir_of(run)]) for seen in (ours, trained)
    )
    assert here == there
