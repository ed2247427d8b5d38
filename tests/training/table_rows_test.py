import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import worlds
from twotsrec import aggregators
from twotsrec import config as config_lib
from twotsrec import models
from twotsrec import types
from twotsrec.data import batches
from twotsrec.data import feeds
from twotsrec.data import plans
from twotsrec.objectives import sampled as objectives
from twotsrec.training import steps
from twotsrec.training import table_rows

GROUPS, LENGTH, BATCH, ITEMS = 3, 4, 6, 60
SIZES = types.Sizes(12, ITEMS, LENGTH)
# GradDrop draws for the rows that there are. The others have weights that come
# of the Gram matrix or of the losses alone, as many that are tried have.
_LEFT_OUT = (
  'graddrop', 'dualproj', 'krum', 'rlw', 'uw', 'imtl_l', 'imtl', 'dwa', 'gls',
  'cosmos', 'pbi',
)  # fmt: skip
EXACT = [
  name
  for name in aggregators.NAMES
  if name not in (*table_rows.DENSE_ONLY, *_LEFT_OUT)
]


@functools.cache
def _batch():
  """A stacked batch that touches few of the items, and the group sizes."""
  prepared, groups = worlds.log(num_items=ITEMS)
  data = config_lib.DataConfig(history_length=LENGTH)
  feed = feeds.make_feed(prepared, groups, data)
  group = np.asarray(feed.group)
  plan = plans.make_plan(group, GROUPS, BATCH, 'balanced', 0, 0)
  stacked = plans.stack_plan(plan[:1], group, GROUPS, 3)[0]  # with filling
  batch_of = functools.partial(
    batches.make_batch, draws=batches.Draws(LENGTH, ITEMS, 1)
  )
  make = jax.jit(jax.vmap(batch_of, in_axes=(None, 0, None)))
  batch = make(feed, stacked, jax.random.key(7))
  return batch, jnp.asarray(groups.sizes, jnp.float32)


def _gradients(model, name, form='explicit'):
  """(dense, by rows) of one batch: (grads, state, losses, counts) each."""
  batch, sizes = _batch()
  if form == 'fused':
    merge = lambda leaf: leaf.reshape(-1, *leaf.shape[2:])
    batch = jax.tree.map(merge, batch)
  params = model.init(jax.random.key(0), {}, SIZES)
  aggregator = aggregators.make(config_lib.AggregatorConfig(name=name))
  gradient = steps.make_gradient(
    objectives.make(objectives.Loss(), model), aggregator, sizes, form
  )
  state = aggregator.init(GROUPS, params)

  def both(params, state, key):
    arguments = (params, {}, batch, state, key)
    return gradient(*arguments), table_rows.by_rows(gradient)(*arguments)

  run = jax.jit(both)
  return run(params, state, jax.random.key(3))


_assert_equal = functools.partial(
  chex.assert_trees_all_close, rtol=1e-4, atol=1e-6
)


@pytest.mark.parametrize('name', EXACT)
def test_aggregators_give_the_dense_gradient(name):
  _assert_equal(*_gradients(worlds.mean_model(), name))


def test_graddrop_takes_one_sign_of_an_entry_by_rows_too():
  _, by_rows = _gradients(worlds.mean_model(), 'graddrop')
  (dense, *_), _ = _gradients(worlds.mean_model(), 'joint')
  leaves = jax.tree.leaves((by_rows[0].tables, dense.tables))
  touched = [np.any(np.asarray(leaf) != 0, axis=1) for leaf in leaves]
  assert np.all(touched[0] <= touched[1]) and 0 < touched[0].sum() < ITEMS / 2


@pytest.mark.parametrize(
  ('name', 'aggregator', 'form'),
  [
    ('din', 'pcgrad', 'explicit'),
    ('gru4rec', 'backdoor', 'fused'),
    ('sasrec', 'pcgrad', 'explicit'),
  ],
)
def test_every_base_model_gives_the_dense_gradient(name, aggregator, form):
  options = {'din': {'hidden': (5,)}, 'sasrec': {'num_heads': 2}}
  config = config_lib.ModelConfig(name=name, width=4, **options.get(name, {}))
  dense, by_rows = _gradients(models.make(config), aggregator, form)
  _assert_equal(dense, by_rows)
  table = dense[0].tables['item']['embedding']
  touched = np.any(np.asarray(table) != 0, axis=1)
  assert not touched[0] and 0 < touched.sum() < ITEMS / 2


def test_rows_are_taken_where_stacked_tables_are_large():
  table = lambda rows: {'item': jax.ShapeDtypeStruct((rows, 64), jnp.float32)}
  small, large = table(4_000), table(1_000_000)
  resolve = functools.partial(table_rows.resolve, num_groups=5)
  assert not resolve('auto', 'pcgrad', tables=small)
  assert resolve('auto', 'pcgrad', tables=large)
  assert resolve('rows', 'pcgrad', tables=small)
  assert not resolve('dense', 'pcgrad', tables=large)
  # Nothing is stacked where one weighted pass does.
  assert not table_rows.resolve('auto', 'backdoor', 1, large)


@pytest.mark.parametrize('name', table_rows.DENSE_ONLY)
def test_methods_that_act_on_every_row_are_kept_dense(name):
  large = {'item': jax.ShapeDtypeStruct((1_000_000, 64), jnp.float32)}
  assert not table_rows.resolve('auto', name, 5, large)
  with pytest.raises(types.UserError, match=f'{name} acts on rows'):
    table_rows.resolve('rows', name, 5, large)
