"""A pytest plugin: which test files take the processor's time.

Seconds of the processor, of child processes too, do not depend on how many
workers there are or what else the machine does. Every run ends with the ten
files that took most; what a file imports is not counted.
"""

import collections
from collections.abc import Iterator
import os

import pytest

_LISTED = 10
_AT = pytest.StashKey[float]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
  """Begins to count."""
  item.stash[_AT] = _processor_seconds()
  return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
  """Attaches the seconds of a setup, a call or a teardown to its report."""
  report = yield
  now = _processor_seconds()
  report.processor_seconds = now - item.stash[_AT]
  item.stash[_AT] = now
  return report


def pytest_terminal_summary(terminalreporter) -> None:
  """Prints the files that took most, and the sum of all."""
  seconds = collections.Counter()
  for reports in terminalreporter.stats.values():
    for report in reports:
      if hasattr(report, 'processor_seconds'):
        file = report.nodeid.partition('::')[0]
        seconds[file] += report.processor_seconds
  terminalreporter.section('processor time')
  for file, spent in seconds.most_common(_LISTED):
    terminalreporter.write_line(f'{spent:8.1f} s  {file}')
  terminalreporter.write_line(
    f'{seconds.total():8.1f} s  all {len(seconds)} files'
  )


def _processor_seconds():
  times = os.times()
  return sum(times[:4])
