"""Fixtures of the tests of scripts."""

import signal
import sys

import pytest

from twotsrec.recipes import experiment as experiment_lib
from twotsrec.recipes import joint
from twotsrec.recipes import pin as pin_lib


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

  monkeypatch.setattr(joint, 'train', train)
  monkeypatch.setattr(pin_lib, 'train_plugins', train)
  monkeypatch.setattr(experiment_lib, 'load_data', lambda config: None)
  return seen
