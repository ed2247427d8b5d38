"""Vectors g(f_i) of items from their features (2TS sec. 3.3).

    categorical    row of a table
    multivalued    mean of rows of a table, then a linear layer
    dense          a linear layer

The vectors of several features are added; the paper does not say how.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import features as features_lib
from twotsrec.data import prepared as prepared_lib
from twotsrec.models import layers
from twotsrec.ops import rows

# {'categorical': {name: i32[I + 1]}, 'multivalued': {name: i32[I + 1, M]},
# 'dense': f32[I + 1, F]}, without what is empty.
Arrays = dict[str, Any]


def to_device(features: features_lib.ItemFeatures) -> Arrays:
  """The arrays a model reads; values keep their numbers, 0 is none."""
  as_i32 = lambda x: jnp.asarray(np.asarray(x), jnp.int32)
  arrays = {
    'categorical': {k: as_i32(v) for k, v in features.categorical.items()},
    'multivalued': {k: as_i32(v) for k, v in features.multivalued.items()},
    'dense': jnp.asarray(np.asarray(features.dense), jnp.float32),
  }
  empty = lambda leaf: not leaf if isinstance(leaf, dict) else not leaf.size
  return {kind: leaf for kind, leaf in arrays.items() if not empty(leaf)}


def load(
  options: config_lib.TwoTimeConfig, prepared: prepared_lib.Prepared
) -> Arrays | None:
  """Features of `two_time.item_features`, or those prepared with the data.

  None for a model without any.

  Raises:
    types.UserError: there are none, or they do not fit the items.
  """
  if not options.feature_width:
    if options.item_features:
      raise types.UserError(
        f'two_time.item_features {options.item_features}: they need their share'
        ' of model.width; set two_time.feature_width, or leave the file out'
      )
    return None
  features = None
  if options.item_features:
    features = features_lib.read(
      options.item_features, prepared.item_ids, options.feature_columns
    )
  elif prepared.path:
    features = features_lib.load(prepared)
  if features is None:
    raise types.UserError(
      f'two_time.feature_width is {options.feature_width}, but the data have no'
      ' item features; prepare the data with --features, name a file in'
      ' two_time.item_features, or set it to 0'
    )
  return to_device(features)


def init(
  key: jax.Array, arrays: Arrays, width: int, scale: float
) -> dict[str, Any]:
  """Parameters of g.

  Args:
    key: PRNG key.
    arrays: from `to_device`, not traced: tables are as long as the largest
      value demands.
    width: d_f.
    scale: deviation of the tables.
  """

  def table(key, values):
    shape = (int(np.max(np.asarray(values), initial=0)) + 1, width)
    return {'embedding': scale * jax.random.normal(key, shape)}

  net = {}
  for number, (name, values) in enumerate(_columns(arrays, 'categorical')):
    own = jax.random.fold_in(key, 3 * number)
    net.setdefault('categorical', {})[name] = table(own, values)
  for number, (name, values) in enumerate(_columns(arrays, 'multivalued')):
    own = jax.random.fold_in(key, 3 * number + 1)
    table_key, layer_key = jax.random.split(own)
    net.setdefault('multivalued', {})[name] = {
      **table(table_key, values),
      'linear': layers.init_dense(layer_key, width, width),
    }
  if 'dense' in arrays:
    own = jax.random.fold_in(key, 2)
    net['dense'] = layers.init_dense(own, arrays['dense'].shape[1], width)
  return net


def vectors(net: dict[str, Any], arrays: Arrays, ids: jax.Array) -> jax.Array:
  """g(f_i), f32[*ids.shape, d_f]; 0 for padding.

  Args:
    net: from `init`.
    arrays: from `to_device`.
    ids: i32[...], items.
  """
  num_rows = jax.tree.leaves(arrays)[0].shape[0]
  if ids.size > num_rows:
    # Every item once is less work.
    everything = _of_items(net, arrays, jnp.arange(num_rows))
    return rows.gather({'all': everything}, ids)['all']
  return _of_items(net, arrays, ids)


def _of_items(net, arrays, ids):
  columns = rows.gather(arrays, ids)
  parts = []
  for name, value in _columns(columns, 'categorical'):
    own = rows.gather(net['categorical'][name], value)['embedding']
    parts.append(rows.mask_padding(own, value))
  for name, values in _columns(columns, 'multivalued'):
    own = net['multivalued'][name]
    each = rows.gather({'embedding': own['embedding']}, values)['embedding']
    each = rows.mask_padding(each, values)
    count = jnp.maximum(jnp.sum(values > 0, axis=-1, keepdims=True), 1)
    parts.append(layers.dense(own['linear'], jnp.sum(each, axis=-2) / count))
  if 'dense' in columns:
    parts.append(layers.dense(net['dense'], columns['dense']))
  return rows.mask_padding(sum(parts[1:], parts[0]), ids)


def _columns(arrays, kind):
  return sorted(arrays.get(kind, {}).items())
