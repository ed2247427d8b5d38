import os
import pathlib

import pytest

import state_kills
import state_size
from tests.runs import postgres


@pytest.mark.parametrize('kind', ['sqlite', 'postgres'])
def test_killed_writers_lose_nothing_and_play_nothing_twice(kind, tmp_path):
  # TWOTSREC_KILLS=100 is what launch/benchmarks/states.py does.
  kills = int(os.environ.get('TWOTSREC_KILLS', '3'))
  place = postgres.url() if kind == 'postgres' else str(tmp_path / 's.db')
  measured = state_kills.run(place, kills, writers=2)
  assert measured['kills'] == kills
  # A writer is killed, and stopped in the end, after a batch of its own.
  assert measured['events'] == 64 * measured['batches'] >= 64 * 2


def test_bytes_and_seconds_are_measured(tmp_path):
  measured = state_size.size(pathlib.Path(tmp_path), 50, lambda text: None)
  assert measured['users'] == measured['batch'] == 50
  assert min(measured['bytes'].values()) > 50 * 320
  assert {'import', 'read a batch', 'write a batch'} <= set(measured['seconds'])
