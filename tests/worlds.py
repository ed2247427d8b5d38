"""Small prepared logs and models that several tests share."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import config as config_lib
from twotsrec import types
from twotsrec.data import batches
from twotsrec.data import feeds
from twotsrec.data import groups as groups_lib
from twotsrec.data import impressions
from twotsrec.data import plans
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import splits
from twotsrec.ops import rows


@functools.cache
def log(num_users: int = 12, num_items: int = 30, seed: int = 0):
  """A random log without repeats, leave-last-out: (prepared, groups)."""
  generator = np.random.default_rng(seed)
  counts = generator.integers(4, 15, num_users)
  user = np.repeat(np.arange(num_users, dtype=np.int32), counts)
  item = np.concatenate(
    [1 + generator.permutation(num_items)[:c] for c in counts]
  ).astype(np.int32)
  prepared = prepared_lib.build(
    user,
    item,
    splits.leave_last_out(user, True),
    user_ids=np.arange(num_users),
    item_ids=np.arange(num_items),
  )
  options = config_lib.GroupConfig(num_groups=3)
  return prepared, groups_lib.assign(prepared, options)


class Shown(NamedTuple):
  """Rows of a table of impressions, by user and time."""

  user: np.ndarray
  item: np.ndarray
  label: np.ndarray
  split: np.ndarray
  time: np.ndarray


@functools.cache
def shown(num_users: int = 12, num_items: int = 20, fixed: bool = False):
  """Random pages of three items with labels: (rows, prepared, groups).

  The first user never clicks, and no test click is of the last item.
  """
  rng = np.random.default_rng(3)
  pages = rng.integers(4, 12, num_users)
  user = np.repeat(np.arange(num_users, dtype=np.int32), 3 * pages)
  page = np.concatenate([np.repeat(np.arange(n), 3) for n in pages])
  share = page / np.repeat(pages, 3 * pages)
  split = (share >= 0.6).astype(np.int8) + (share >= 0.8)
  item = rng.integers(1, num_items + 1, user.size).astype(np.int32)
  label = (rng.random(user.size) < 0.4) & (user > 0)
  label &= (item < num_items) | (split < prepared_lib.TEST)
  rows = Shown(user, item, label.astype(np.int8), split, page)
  click, arrays = impressions.divided(
    user, item, rows.label, split, page, num_users, fixed
  )
  prepared = prepared_lib.build(
    user[click],
    item[click],
    split[click],
    user_ids=np.arange(num_users),
    item_ids=np.arange(num_items),
    times=page[click],
    shown=arrays,
    history_rule=prepared_lib.FIXED if fixed else prepared_lib.EARLIER,
  )
  options = config_lib.GroupConfig(num_groups=3)
  return rows, prepared, groups_lib.assign(prepared, options)


@functools.cache
def stacked_batches(count: int, length: int, batch_size: int):
  """Batches of the random log with a row per group, a list of `count`."""
  prepared, groups = log()
  data = config_lib.DataConfig(history_length=length)
  feed = feeds.make_feed(prepared, groups, data)
  group = np.asarray(feed.group)
  plan = plans.make_plan(group, 3, batch_size, 'proportional', 0, 0)
  stacked = plans.stack_plan(plan[:count], group, 3, batch_size)
  batch_of = functools.partial(
    batches.make_batch, draws=batches.Draws(length, 30, 2)
  )
  make = jax.jit(jax.vmap(batch_of, in_axes=(None, 0, None)))
  return [make(feed, rows, jax.random.key(7)) for rows in stacked]


def mean_model(width: int = 4) -> types.Model:
  """The mean of the history rows times the candidate rows, through a layer."""

  def init(key, context, sizes):
    del context
    table_key, net_key = jax.random.split(key)
    shape = (sizes.num_items + 1, width)
    table = {'embedding': 0.3 * jax.random.normal(table_key, shape)}
    net = {'kernel': 0.5 * jax.random.normal(net_key, (width, width))}
    return types.Params({'item': table}, net)

  def encode(net, history_rows, context, inputs, *, key=None):
    del context, key
    history = inputs['history']
    values = rows.mask_padding(history_rows['embedding'], history)
    count = jnp.maximum(jnp.sum(history > 0, axis=-1, keepdims=True), 1)
    return jnp.tanh(jnp.sum(values, axis=-2) / count @ net['kernel'])

  def score(net, encoded, candidate_rows, *, key=None):
    del net, key
    return jnp.einsum('...d,...cd->...c', encoded, candidate_rows['embedding'])

  def encode_positions(net, history_rows, context, inputs, *, key=None):
    del context, key
    history = inputs['history']
    values = rows.mask_padding(history_rows['embedding'], history)
    count = jnp.maximum(jnp.cumsum(history > 0, axis=-1), 1)[..., None]
    return jnp.tanh(jnp.cumsum(values, axis=-2) / count @ net['kernel'])

  return types.Model(init, encode, score, encode_positions)
