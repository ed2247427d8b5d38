import json

import numpy as np

import graph_products
import timing
from twotsrec import config as config_lib
from twotsrec.data import behaviors as behaviors_lib
from twotsrec.evaluation import comparison
from twotsrec.ops import graph_layouts
from twotsrec.presets import copf
from twotsrec.runs import experiment as experiment_lib


def make_config() -> config_lib.Config:
  config = config_lib.Config()
  config.data.users = 60
  config.behavior.samples = 3
  return config


def test_figures_are_positive_and_scipy_is_the_unit(monkeypatch):
  monkeypatch.setattr(graph_products, '_WIDTHS', (4,))
  said = []
  measured = graph_products.measure(make_config(), 2, 'processor', said.append)
  assert measured['source'] == 'synthetic' and measured['rounds'] == 2
  assert measured['clock'] == 'processor'
  log = behaviors_lib.of_prepared(experiment_lib.load_data(make_config()))
  assert measured['nodes'] == log.num_users + log.num_items
  assert measured['entries'] == 2 * len(log.train[0].items)
  kinds = {(row['name'], row['layout']) for row in measured['rows']}
  assert {
    ('product', 'scipy'),
    ('product', 'bcsr'),
    ('product and gradient', 'bcsr'),
    ('product', 'buckets'),
    ('product and gradient', 'buckets'),
  } < kinds
  assert len(measured['rows']) == 5 + 2
  for row in measured['rows']:
    is_product = row['name'].startswith('product')
    assert (row['over_scipy'] is not None) == is_product
    if row['layout'] == 'scipy':
      assert row['over_scipy'] == {'median': 1, 'min': 1, 'max': 1}
      assert row['compile_seconds'] is None
    for figure in filter(None, (row['milliseconds'], row['over_scipy'])):
      assert 0 <= figure['min'] <= figure['median'] <= figure['max']
  assert said == ['compiling', 'warming up', 'round 1/2', 'round 2/2']
  assert json.loads(json.dumps(measured)) == measured
  shown = comparison.aligned(timing.table(measured)).splitlines()
  assert len(shown) == 1 + len(measured['rows'])


def test_what_is_timed_beside_scipy_gives_the_same_numbers(monkeypatch):
  monkeypatch.setattr(graph_products, '_WIDTHS', (4,))
  log = behaviors_lib.of_prepared(experiment_lib.load_data(make_config()))
  graphs = {
    layout: graph_products._merged_graph(log, layout)
    for layout in graph_layouts.NAMES
  }
  unit = graph_products._scipy_product(graphs['bcsr'], 4)
  scaled = np.asarray(graphs['bcsr'].left)[:, None] * unit.run()
  for work in graph_products._products(graphs):
    done = work.run()
    product = done[0] if 'gradient' in work.labels['name'] else done
    np.testing.assert_allclose(product, scaled, rtol=1e-4, atol=1e-5)


def test_anchors_count_the_pairs_of_a_batch():
  log = behaviors_lib.of_prepared(experiment_lib.load_data(make_config()))
  users, items = graph_products._draw_anchors(log, samples=3)
  target = log.train[-1]
  np.testing.assert_array_equal(np.sort(users[0]), np.arange(log.num_users))
  np.testing.assert_array_equal(
    users[1], np.minimum(np.diff(target.offsets), 3)[users[0]]
  )
  assert items[1].sum() == users[1].sum()
  assert set(items[0] + 1) <= set(target.items.tolist())


def test_an_epoch_and_a_ranking_are_timed(monkeypatch):
  small = copf.preset('synthetic-behaviors', 'no_aggregation')
  small.model.width = 4
  small.behavior.samples = 3
  monkeypatch.setattr(graph_products.copf, 'preset', lambda name: small)
  data = small.data
  data.users = 100
  measured = graph_products.train(data, 1)
  assert measured['steps_per_epoch'] == 1
  assert measured['users'] == 100 and measured['items'] > 0
  assert measured['epoch_seconds']['median'] > 0
  assert measured['ranking_seconds']['median'] > 0
  assert measured['peak_rss_mb'] > 0
