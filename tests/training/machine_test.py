import importlib.metadata
import pathlib

import numpy as np
import pytest

from twotsrec.training import machine


def test_peak_memory_is_the_high_water_mark_of_the_kernel():
  status = pathlib.Path('/proc/self/status')
  if not status.exists():
    pytest.skip('no /proc on this system')
  lines = dict(line.split(':', 1) for line in status.read_text().splitlines())
  kilobytes = int(lines['VmHWM'].split()[0])
  np.testing.assert_allclose(
    machine.peak_rss_mb(), kilobytes * 1024 / 1e6, rtol=0.05
  )


def test_versions_are_those_installed():
  found = machine.versions()
  assert found['numpy'] == np.__version__
  assert found['optax'] == importlib.metadata.version('optax')
  assert found['backend'] in ('cpu', 'gpu', 'tpu')


def test_free_memory_is_less_than_the_machine_has():
  free = machine.free_bytes()
  if free is None:
    pytest.skip('this system does not tell')
  assert 0 < free < 2**50
