"""Reminder rules: what a user looked at and did not buy, then popularity.

Nothing is trained. In logs where most purchases were viewed or carted before,
such a rule is hard to beat (on taobao-copf it is far above the published
models), so every table of a multi-behavior run shows it.

All items stand in one order by purchases; those a user has shown some behavior
toward, but has not bought, stand above them in an order of their own. Ties go
to the lower item id. A score is a place in these orders, so no two items score
the same and f32 is exact (up to 2^24 items).

Departure: our plan had any upstream behavior shown, by purchases / (views + 5).
The view reminder takes what was shown by the first behavior; on taobao-copf
both rank .354 of HR@10 (whole training set).
"""

import jax.numpy as jnp
import numpy as np

from twotsrec import types
from twotsrec.data import behaviors as behaviors_lib
from twotsrec.data import prepared
from twotsrec.models import discovery
from twotsrec.ops import rows as rows_ops

SMOOTHING = 5.0


def rules(
  behaviors: behaviors_lib.Behaviors,
) -> dict[str, tuple[types.Model, types.Params]]:
  """The rules beside every table, simplest first.

  buy_popularity   all items by purchases
  cart_reminder    on top what has the user's last behavior before a purchase,
                   a cart in most logs, by purchases / (carts + 5)
  view_reminder    on top what has the user's first behavior, a view in most
                   logs, by purchases / (views + 5)
  last_reminder    on top what the user has shown any behavior toward before a
                   purchase, the latest first; only of a log with times

  Of a behavior without rows nothing can be reminded; the next one stands in.
  Where one behavior alone comes before the target, both reminders are the same
  rule, which is shown once, as cart_reminder.
  """
  *upstream, target = behaviors.train
  upstream = [pairs for pairs in upstream if len(pairs.items)] or upstream[-1:]
  count = lambda pairs: item_counts(pairs, behaviors.num_items)
  buys = count(target)
  made = {'buy_popularity': reminder(behaviors, buys)}
  if upstream:
    by_rate = lambda pairs: reminder(
      behaviors, buys, pairs, buys / (count(pairs) + SMOOTHING)
    )
    made['cart_reminder'] = by_rate(upstream[-1])
  if len(upstream) > 1:
    made['view_reminder'] = by_rate(upstream[0])
  if behaviors.touches is not None:
    made['last_reminder'] = _latest(behaviors, buys)
  return made


def bought_again(
  behaviors: behaviors_lib.Behaviors,
) -> tuple[types.Model, types.Params]:
  """What the user has bought on top, then all others; both by purchases."""
  buys = item_counts(behaviors.train[-1], behaviors.num_items)
  return _rule(behaviors.train[-1], buys, buys)


def reminder(
  behaviors: behaviors_lib.Behaviors,
  popularity: np.ndarray,
  touched: prepared.SeenItems | None = None,
  appeal: np.ndarray | None = None,
) -> tuple[types.Model, types.Params]:
  """Reminds of items touched and not bought, then ranks all by popularity.

  Args:
    behaviors: training pairs.
    popularity: f64[I + 1], orders all items; entry 0 is not used.
    touched: pairs of an upstream behavior; None reminds of nothing.
    appeal: f64[I + 1], orders what a user has touched; popularity if None.
  Returns:
    A model that reads inputs['user'] (to nobody, -1, it is popularity), and
    its parameters.
  """
  appeal = popularity if appeal is None else appeal
  return _rule(_unbought(behaviors, touched), popularity, appeal)


def _latest(behaviors, popularity) -> tuple[types.Model, types.Params]:
  """What was touched and not bought on top, by when that was; then all."""
  touches = behaviors.touches
  upstream = ~touches.is_target
  code = prepared.pairs(
    touches.user[upstream], touches.item[upstream], behaviors.num_items
  )
  # The last event of a pair; items of one moment stand by their ids.
  order = np.lexsort([touches.time[upstream], code])
  code, time = code[order], touches.time[upstream][order]
  last = np.append(np.diff(code) != 0, True)[: len(code)]
  target = behaviors.train[-1]
  last &= ~np.isin(code, target.numbers(behaviors.num_items))
  code, time = code[last], time[last]
  user, item = np.divmod(code, behaviors.num_items + 1)
  place = np.empty(len(code))
  place[np.lexsort([-item, time, user])] = np.arange(1, len(code) + 1)
  counts = np.bincount(user, minlength=behaviors.num_users)
  table = {
    'id': jnp.arange(popularity.size, dtype=jnp.int32),
    'usual': jnp.asarray(places(popularity) - behaviors.num_items),
  }
  starts = np.cumsum(counts) - counts
  net = {
    'touched': discovery.ragged(counts, item),
    'place': jnp.asarray(np.append(place - starts[user], 0), jnp.float32),
    'blank': jnp.zeros(popularity.size),
  }
  return _OF_PAIRS, types.Params({'item': table}, net)


def _rule(pairs, popularity, appeal) -> tuple[types.Model, types.Params]:
  """Pairs of users and items (offsets, items) on top, by appeal."""
  (offsets, items), num_items = pairs, popularity.size - 1
  longest = int(np.max(np.diff(offsets), initial=0))
  table = {
    'id': jnp.arange(num_items + 1, dtype=jnp.int32),
    'usual': jnp.asarray(places(popularity) - num_items),
    'reminded': jnp.asarray(places(appeal)),
  }
  # Nobody is one user more, without items.
  net = {
    'offsets': jnp.asarray(np.append(offsets, offsets[-1]), jnp.int32),
    'items': jnp.asarray(np.append(items, 0), jnp.int32),
    'steps': jnp.arange(longest, dtype=jnp.int32),
    'blank': jnp.zeros(num_items + 1, jnp.bool_),
  }
  return _MODEL, types.Params({'item': table}, net)


def places(values: np.ndarray) -> np.ndarray:
  """Places from the end, f32[I + 1]: I for the best item, 1 for the worst.

  Of equal items the one with the lower id is better. Entry 0 has place 0.
  """
  order = np.argsort(-values[1:], kind='stable')
  result = np.zeros(values.shape, np.float32)
  result[1 + order] = np.arange(order.size, 0, -1)
  return result


def item_counts(pairs: prepared.SeenItems, num_items: int) -> np.ndarray:
  """Users of each item, f64[I + 1]."""
  return np.bincount(pairs.items, minlength=num_items + 1).astype(np.float64)


def _unbought(
  behaviors: behaviors_lib.Behaviors, touched: prepared.SeenItems | None
) -> tuple[np.ndarray, np.ndarray]:
  """Items a user touched but did not buy, (offsets [U + 1], items [M])."""
  num_users, num_items = behaviors.num_users, behaviors.num_items
  if touched is None:
    return np.zeros(num_users + 1, np.int64), np.zeros(0, np.int64)
  bought = behaviors.train[-1].numbers(num_items)
  left = np.setdiff1d(touched.numbers(num_items), bought, True)
  return prepared.items_of_pairs(left, num_users, num_items)


def _init(key, context, sizes):
  del key, sizes  # nothing is drawn
  return context['params']


def _encode(net, rows, context, inputs, *, key=None):
  """Items that users of a tile are reminded of, bool[B, I + 1]."""
  del rows, context, key
  user = inputs['user']
  nobody = net['offsets'].shape[0] - 2
  user = jnp.where(user < 0, nobody, user)
  start, end = net['offsets'][user], net['offsets'][user + 1]
  place = start[:, None] + net['steps']
  item = net['items'].at[place].get(mode='clip')
  item = jnp.where(place < end[:, None], item, 0)
  touched = jnp.broadcast_to(net['blank'], (user.shape[0], net['blank'].size))
  return touched.at[jnp.arange(user.shape[0])[:, None], item].set(True)


def _score(net, encoded, candidate_rows, *, key=None):
  del net, key
  touched = rows_ops.of_candidates(encoded, candidate_rows['id'])
  return jnp.where(touched, candidate_rows['reminded'], candidate_rows['usual'])


def _encode_pairs(net, rows, context, inputs, *, key=None):
  """Places of touched items from the oldest, f32[B, I + 1]; 0 of others."""
  del rows, context, key
  item, place = discovery.items_of(net['touched'], inputs['user'])
  blank = jnp.broadcast_to(net['blank'], (item.shape[0], net['blank'].size))
  row = jnp.arange(item.shape[0])[:, None]
  return blank.at[row, item].set(net['place'][place])


def _score_pairs(net, encoded, candidate_rows, *, key=None):
  del net, key
  place = rows_ops.of_candidates(encoded, candidate_rows['id'])
  return jnp.where(place > 0, place, candidate_rows['usual'])


# What differs between rules and data is all in the parameters.
_MODEL = types.Model(_init, _encode, _score)
_OF_PAIRS = types.Model(_init, _encode_pairs, _score_pairs)
