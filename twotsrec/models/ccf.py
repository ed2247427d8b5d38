"""Collaborative competitive filtering: stage 1 of 2TS (sec. 3.1, 3.3).

A vector phi_u per training user and v_i = [x_i, g(f_i)] per item; the score is
their inner product. Order and time play no part. x_i of an item without a
training event is 0: nothing was learned about it, its features remain.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.models import item_features
from twotsrec.models import layers
from twotsrec.ops import rows


def make(config: config_lib.Config) -> types.Model:
  """CCF as a model of known users.

  `init` gives what is trained. `encode` and `score` rank with what `serve`
  makes of it: item rows are v_i, and the net holds the users' vectors.

  Args:
    config: widths.
  Raises:
    types.UserError: features do not fit the width.
  """
  check(config)

  def encode(net, history_rows, context, inputs, *, key=None):
    del history_rows, context, key
    # The last row is everybody's mean; -1 is nobody.
    last = net['user']['embedding'].shape[0] - 1
    users = jnp.where(inputs['user'] < 0, last, inputs['user'])
    return rows.gather(net['user'], users)['embedding']

  def score(net, encoded, candidate_rows, *, key=None):
    del net, key
    return layers.products(encoded, candidate_rows['embedding'])

  return types.Model(functools.partial(init, config=config), encode, score)


def check(config: config_lib.Config) -> None:
  """Raises UserError for widths that leave no room for the item table."""
  width, feature_width = config.model.width, config.two_time.feature_width
  if not 0 <= feature_width < width:
    raise types.UserError(
      f'two_time.feature_width is {feature_width}; allowed is 0 up to'
      f' model.width less 1, {width - 1}'
    )


def init(
  key: jax.Array,
  context: dict[str, Any],
  sizes: types.Sizes,
  config: config_lib.Config,
) -> types.Params:
  """Tables drawn from N(0, .1 / sqrt(d)), and the net of the features.

  Args:
    key: PRNG key.
    context: with 'features', if there are any; not traced.
    sizes: U and I.
    config: widths.
  Returns:
    Tables {'user': f32[U, d], 'item': f32[I + 1, d - d_f]}, each as
    'embedding', and net {'features': ...}, or {} without features.
  Raises:
    types.UserError: features without a width, or the other way around.
  """
  check(config)
  width, feature_width = config.model.width, config.two_time.feature_width
  if ('features' in context) != (feature_width > 0):
    there, way_out = 'are no', 'set it to 0, or prepare them with --features'
    if 'features' in context:
      there, way_out = 'are', 'set it to their share of model.width, 1 or more'
    raise types.UserError(
      f'two_time.feature_width is {feature_width}, but there {there} item'
      f' features; {way_out}'
    )
  user_key, item_key, net_key = jax.random.split(key, 3)
  scale = 0.1 / np.sqrt(width)
  table = lambda key, *shape: {
    'embedding': scale * jax.random.normal(key, shape)
  }
  net = {}
  if feature_width:
    net['features'] = item_features.init(
      net_key, context['features'], feature_width, scale
    )
  return types.Params(
    {
      'user': table(user_key, sizes.num_users, width),
      'item': table(item_key, sizes.num_items + 1, width - feature_width),
    },
    net,
  )


def with_features(
  net: dict[str, Any],
  item_rows: dict[str, jax.Array],
  context: dict[str, Any],
  ids: jax.Array,
) -> jax.Array:
  """v_i = [x_i, g(f_i)] of rows x_i, f32[*ids.shape, d]; net may be {}."""
  x = item_rows['embedding']
  if 'features' not in net:
    return x
  g = item_features.vectors(net['features'], context['features'], ids)
  return jnp.concatenate([x, g], axis=-1)


def item_vectors(params: types.Params, context: dict[str, Any]) -> jax.Array:
  """All v_i, f32[I + 1, d]; row 0 is zero.

  The context has 'item_counts' f32[I + 1], training events of every item, and
  features.
  """
  warm = (context['item_counts'] > 0)[:, None]
  table = params.tables['item']['embedding']
  ids = jnp.arange(table.shape[0])
  x = {'embedding': jnp.where(warm, table, 0.0)}
  vectors = with_features(params.net, x, context, ids)
  return rows.mask_padding(vectors, ids)


def user_vectors(params: types.Params, context: dict[str, Any]) -> jax.Array:
  """phi_u, f32[U + 1, d], the last row for a user nobody knows.

  That row, and those of users without a training event, are the mean of the
  others: the paper is silent. The context has 'user_counts' f32[U], training
  events of every user.
  """
  table = params.tables['user']['embedding']
  trained = (context['user_counts'] > 0)[:, None]
  total = jnp.sum(jnp.where(trained, table, 0.0), axis=0)
  mean = total / jnp.maximum(jnp.sum(trained), 1)
  return jnp.concatenate([jnp.where(trained, table, mean), mean[None]])


def serve(params: types.Params, context: dict[str, Any]) -> types.Params:
  """Parameters that the model of `make` ranks with, from trained ones."""
  return types.Params(
    {'item': {'embedding': item_vectors(params, context)}},
    {'user': {'embedding': user_vectors(params, context)}},
  )
