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
from twotsrec.recipes.reproduction import two_time_figures


def _found():
  rng = np.random.default_rng(0)
  data = online_toys.log(rng, num_users=30)
  options = online_report.Options(
    lists=8, edges=(2, 4), threshold=3, resamples=20
  )
  ranked = {
    name: online.rank(
      online_toys.blocks(rng, data, prepared.TEST),
      online_toys.vectors(rng, data), data, prepared.TEST,
      online.usual_rules(data, lists=0),
    )
    for name in ('one', 'other')
  }  # fmt: skip
  activity = buckets.histogram(prepared.train_counts(data))
  return {
    'reports': {
      name: online_report.build(arrays, options)
      for name, arrays in ranked.items()
    },
    'movement': movement.curves(ranked['one'], 3, longest=5),
    'activity': {**activity, 'alpha': 2.0, 'minimum': 0, 'zeta': np.pi**2 / 6},
  }


class DrawTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(
      self.enter_context(tempfile.TemporaryDirectory())
    )

  def test_every_figure_is_a_picture_of_all_datasets(self):
    pytest.importorskip('matplotlib')
    found = _found()
    drawn = two_time_figures.draw({'a': found, 'b': found}, self.folder)
    self.assertEqual(list(drawn), ['fig3', 'fig4', 'fig5'])
    for name in drawn.values():
      content = (self.folder / name).read_bytes()
      self.assertStartsWith(content, b'\x89PNG')

  def test_what_is_missing_is_not_drawn(self):
    pytest.importorskip('matplotlib')
    result = {
      'a': {'movement': None, 'activity': {'values': [0, 3], 'users': [9, 1]}}
    }
    self.assertEqual(list(two_time_figures.draw(result, self.folder)), ['fig5'])
    self.assertEqual(two_time_figures.draw({}, self.folder), {})

  def test_nothing_is_drawn_without_matplotlib(self):
    with unittest.mock.patch('importlib.util.find_spec', return_value=None):
      drawn = two_time_figures.draw(
        {'a': {'activity': {'values': [0], 'users': [1]}}}, self.folder
      )
    self.assertEqual(drawn, {})


class ThresholdPlaceTest(absltest.TestCase):
  def test_an_edge_is_the_border_behind_its_bucket(self):
    place = lambda x: two_time_figures.threshold_place(x, buckets.EDGES)
    names = buckets.names()
    for edge in buckets.EDGES:
      bucket = int(buckets.assign(edge))
      self.assertEqual(place(edge), bucket + 0.5)
    self.assertEqual(place(0), 0.5)  # only new users are inactive
    self.assertEqual(place(75), 2.0)
    self.assertEqual(place(1000), len(names) - 1)
