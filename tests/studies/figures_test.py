import pathlib
import tempfile
import unittest.mock

from absl.testing import absltest
import numpy as np
import pytest

from tests.evaluation import online_toys
from twotsrec.data import prepared
from twotsrec.evaluation import buckets
from twotsrec.evaluation import movement
from twotsrec.evaluation import online
from twotsrec.evaluation import online_report
from twotsrec.studies import figures
from twotsrec.studies import online as studied
from twotsrec.studies import results


def _panels():
  """Panels with what they draw."""
  rng = np.random.default_rng(0)
  data = online_toys.log(rng, num_users=30)
  options = online_report.Options(
    lists=8, edges=(2, 4), threshold=3, resamples=20
  )
  ranked = {
    name: online.rank(
      online.Queries(
        online_toys.blocks(rng, data, prepared.TEST),
        online_toys.vectors(rng, data),
      ),
      data,
      online.held_out(data, prepared.TEST),
      online.usual_rules(data, lists=0),
    )
    for name in ('one', 'other')
  }
  law = studied.Activity(
    **buckets.histogram(prepared.train_counts(data)),
    alpha=2.0,
    minimum=0,
    zeta=np.pi**2 / 6,
  )
  systems = {
    name: results.Measured(studied.cells(online_report.build(arrays, options)))
    for name, arrays in ranked.items()
  }
  moved = movement.curves(ranked['one'], 3, longest=5)
  return {
    figures.buckets_panel: (options, systems),
    figures.movement_panel: moved,
    figures.activity_panel: law,
  }


class DrawTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    folder = self.enter_context(tempfile.TemporaryDirectory())
    self.path = pathlib.Path(folder) / 'picture.png'

  def test_every_figure_is_a_picture_of_all_datasets(self):
    pytest.importorskip('matplotlib')
    for panel, content in _panels().items():
      widths = []
      for names in ('a', 'ab'):
        picture = figures.of_chapters(lambda chapter: chapter, panel)
        self.assertTrue(picture(dict.fromkeys(names, content), self.path))
        drawn = self.path.read_bytes()
        self.assertStartsWith(drawn, b'\x89PNG')
        widths.append(int.from_bytes(drawn[16:20], 'big'))
      self.assertEqual(widths[1], 2 * widths[0])

  def test_what_is_missing_is_not_drawn(self):
    pytest.importorskip('matplotlib')
    picture = figures.of_chapters(
      lambda chapter: chapter, figures.activity_panel
    )
    counts = studied.Activity(values=[0, 3], users=[9, 1])
    self.assertTrue(picture({'a': counts, 'b': None}, self.path))
    self.path.unlink()
    for nothing in ({}, {'a': None}):
      self.assertFalse(picture(nothing, self.path))
    self.assertFalse(self.path.exists())

  def test_nothing_is_drawn_without_matplotlib(self):
    with unittest.mock.patch('importlib.util.find_spec', return_value=None):
      drawn = figures.draw({'a': 1}, [], self.path, 1.0, 1.0)
    self.assertFalse(drawn)


class ThresholdPlaceTest(absltest.TestCase):
  def test_an_edge_is_the_border_behind_its_bucket(self):
    place = lambda x: figures.threshold_place(x, buckets.EDGES)
    names = buckets.names()
    for edge in buckets.EDGES:
      bucket = int(buckets.assign(edge))
      self.assertEqual(place(edge), bucket + 0.5)
    self.assertEqual(place(0), 0.5)  # only new users are inactive
    self.assertEqual(place(75), 2.0)
    self.assertEqual(place(1000), len(names) - 1)
