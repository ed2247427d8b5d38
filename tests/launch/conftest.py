"""Fixtures of the tests of scripts."""

import signal
import sys

import pytest

from twotsrec.runs import experiment as experiment_lib
from twotsrec.runs import run as run_lib


@pytest.fixture
def undone(monkeypatch):
  """Puts back who listens to signals, and where modules are looked for."""
  kept = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
  monkeypatch.setattr(sys, 'path', [*sys.path])
  yield
  for number, handler in kept.items():
    signal.signal(number, handler)


@pytest.fixture
def trained(monkeypatch, undone):
  """Configurations by directory, in place of their training."""
  seen = {}

  def train(config, workdir, should_stop, quiet, finish=False):
    seen[workdir] = config
    return {'protocol': {'model': 'none'}, 'test': None}

  monkeypatch.setattr(run_lib, 'train', train)
  monkeypatch.setattr(experiment_lib, 'load_data', lambda config: None)
  return seen
