import importlib.metadata

import numpy as np

from twotsrec.training import machine


def test_peak_memory_is_a_maximum_in_megabytes():
  before = machine.peak_rss_mb()
  touched = np.ones(int(before * 1e6 / 8) + 10_000_000)
  after = machine.peak_rss_mb()
  assert after >= before + 60
  del touched
  assert machine.peak_rss_mb() >= after


def test_versions_are_those_installed():
  found = machine.versions()
  assert found['numpy'] == np.__version__
  assert found['optax'] == importlib.metadata.version('optax')
  assert found['backend'] in ('cpu', 'gpu', 'tpu')
