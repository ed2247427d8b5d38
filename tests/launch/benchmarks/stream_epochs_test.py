import jax
import numpy as np
import pytest

import stream_epochs
from twotsrec.data import streams

SMALL = {
  '_USERS': 60,
  '_LONGEST': 12,
  '_TOKENS': 96,
  '_WIDTH': 4,
  '_ITEMS': 20,
  '_LENGTH': 3,
  '_STREAMS': 2,
  '_PASSES': 2,
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
  for name, value in SMALL.items():
    monkeypatch.setattr(stream_epochs, name, value)


def test_most_users_of_the_log_have_few_events():
  log = stream_epochs.make_log()
  assert log.runs.length.min() >= 1 and log.runs.length.max() <= 12
  assert np.median(log.runs.length) < log.runs.length.mean()
  assert len(log.feed.item) == log.runs.length.sum()
  assert np.all((log.feed.item >= 1) & (log.feed.item <= 20))


def test_an_epoch_moves_all_of_the_network():
  log = stream_epochs.make_log()
  run = stream_epochs.make_epoch(log, streams.packed(log.runs, 12, 96))
  moved, again = run(), run()
  jax.tree.map(np.testing.assert_array_equal, moved, again)
  assert np.any(moved.net['extractor']['psi'] != 0)


def test_packed_streams_are_fuller_with_the_same_events():
  rows = stream_epochs.loaders()
  names, events = (
    [row.labels['name'] for row in rows],
    {row.amount for row in rows},
  )
  full = [int(name.split()[1].rstrip('%')) for name in names]
  assert len(events) == 1 and full[0] < full[1]
  assert [name.split(',')[0] for name in names] == ['padded', 'packed']


def test_both_places_of_the_projection_go_the_same_way():
  rows = stream_epochs.projections()
  results = [row.run() for row in rows]
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
  jax.tree.map(close, *results)
  assert {row.amount for row in rows} == {2 * 3 * 2}
