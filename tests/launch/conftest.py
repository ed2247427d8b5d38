"""Fixtures of the tests of scripts."""

import signal
import sys

import pytest

from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import run as run_lib


@pytest.fixture
def undone(monkeypatch):
  """Puts back who listens to SIGTERM, and where modules are looked for."""
  kept = signal.getsignal(signal.SIGTERM)
  monkeypatch.setattr(sys, 'path', [*sys.path])
  yield
  signal.signal(signal.SIGTERM, kept)


@pytest.fixture
def trained(monkeypatch, undone):
  """Configurations by directory, in place of their training."""
  seen = {}

  def train(config, workdir, should_stop, quiet):
    seen[workdir] = config
    return {'protocol': {'model': 'none'}, 'test': None}

  monkeypatch.setattr(run_lib, 'train', train)
  monkeypatch.setattr(experiment_lib, 'load_data', lambda config: None)
  return seen
