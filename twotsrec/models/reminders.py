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

import jax
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
  bought = behaviors.train[-1]
  buys = item_counts(bought, behaviors.num_items)
  return _rule(bought, buys, places(buys)[bought.items])


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
  pairs = _unbought(behaviors, touched)
  return _rule(pairs, popularity, places(appeal)[pairs.items])


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
  pairs = prepared.items_of_pairs(
    code, behaviors.num_users, behaviors.num_items
  )
  place = np.empty(len(code))
  order = np.lexsort([-pairs.items, time, pairs.users])
  place[order] = np.arange(1, len(code) + 1)
  return _rule(pairs, popularity, place - pairs.offsets[pairs.users])


def _rule(pairs, popularity, place) -> tuple[types.Model, types.Params]:
  """Pairs on top, by their places [M] from 1, highest first; then all."""
  num_items = popularity.size - 1
  table = {
    'id': jnp.arange(num_items + 1, dtype=jnp.int32),
    'usual': jnp.asarray(places(popularity) - num_items),
  }
  net = {
    'touched': discovery.ragged(np.diff(pairs.offsets), pairs.items),
    'place': jnp.asarray(np.append(place, 0), jnp.float32),
    'blank': jnp.zeros(popularity.size),
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
) -> prepared.SeenItems:
  """Items a user touched but did not buy."""
  num_users, num_items = behaviors.num_users, behaviors.num_items
  if touched is None:
    nothing = np.zeros(num_users + 1, np.int64)
    return prepared.SeenItems(nothing, np.zeros(0, np.int64))
  bought = behaviors.train[-1].numbers(num_items)
  left = np.setdiff1d(touched.numbers(num_items), bought, True)
  return prepared.items_of_pairs(left, num_users, num_items)


def init(key, context, sizes) -> types.Params:
  """The parameters that are given; nothing is drawn."""
  del key, sizes
  return context['params']


def score(net, strength, candidate_rows, *, key=None) -> jax.Array:
  """What a user is reminded of by its strength, above all others."""
  del net, key
  strength = rows_ops.of_candidates(strength, candidate_rows['id'])
  return jnp.where(strength > 0, strength, candidate_rows['usual'])


def _encode(net, rows, context, inputs, *, key=None):
  """Places of touched items from the last, f32[B, I + 1]; 0 of others."""
  del rows, context, key
  item, place = discovery.items_of(net['touched'], inputs['user'])
  blank = jnp.broadcast_to(net['blank'], (item.shape[0], net['blank'].size))
  row = jnp.arange(item.shape[0])[:, None]
  return blank.at[row, item].set(net['place'][place])


# What differs between rules and data is all in the parameters.
_MODEL = types.Model(init, _encode, score)
