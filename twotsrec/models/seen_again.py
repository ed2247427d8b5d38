"""Seen again, then popular: what the user had comes first, then popularity.

Nothing is trained. Where people come back to the same items, such a rule is
hard to beat, so it stands beside every model of a log with repeats.

The items of a history stand above all others, either the most frequent first
(of equally frequent ones the most recent), or the most recent first. The others
stand in the order of their popularity; of equal ones the lower item is first.
"""

import jax
import jax.numpy as jnp
import numpy as np

from twotsrec import types
from twotsrec.data import prepared as prepared_lib
from twotsrec.models import reminders

FREQUENT, RECENT = 'frequent', 'recent'


def rule(
  popularity: np.ndarray, first: str
) -> tuple[types.Model, types.Params]:
  """The rule as a model that reads inputs['history'], and its parameters.

  Args:
    popularity: f64[I + 1], orders what the user has not had; entry 0 is unused.
    first: FREQUENT or RECENT.
  """
  num_items = popularity.size - 1
  table = {
    'id': jnp.arange(num_items + 1, dtype=jnp.int32),
    'usual': jnp.asarray(reminders.places(popularity) - num_items - 1),
  }
  net = {
    'by_count': jnp.asarray(first == FREQUENT),
    'blank': jnp.zeros(num_items + 1, jnp.float32),
  }
  return _MODEL, types.Params({'item': table}, net)


def better_order(data: prepared_lib.Prepared) -> str:
  """FREQUENT or RECENT, whichever finds repeats in training sooner.

  Looked at is the last training event of every user, where it is a repeat: its
  place (mean reciprocal) among the items of the user's training events before.
  """
  train = np.flatnonzero(np.asarray(data.split) == prepared_lib.TRAIN)
  user = data.event_users[train]
  pair = prepared_lib.pairs(user, np.asarray(data.items)[train], data.num_items)
  is_last = np.diff(user, append=-1) != 0
  asked, before = pair[is_last], np.flatnonzero(~is_last)
  pairs, inverse = np.unique(pair[before], return_inverse=True)
  count = np.bincount(inverse, minlength=pairs.size)
  last = np.zeros(pairs.size, np.int64)
  last[inverse] = before  # ascending, so the latest event stays
  whose = pairs // (data.num_items + 1)
  score = {}
  for name, keys in ((FREQUENT, (last, count)), (RECENT, (last,))):
    # Best first inside a user.
    order = np.lexsort((*(-key for key in keys), whose))
    start = np.searchsorted(whose, whose[order])
    place = np.empty(pairs.size)
    place[order] = np.arange(pairs.size) - start + 1
    repeated = np.isin(pairs, asked)
    score[name] = np.sum(1.0 / place[repeated])
  return FREQUENT if score[FREQUENT] >= score[RECENT] else RECENT


def _encode(net, rows, context, inputs, *, key=None):
  """How strongly a user is reminded of every item, f32[B, I + 1], 0 of none."""
  del rows, context, key
  steps = 1.0 + jnp.arange(inputs['history'].shape[1], dtype=jnp.float32)

  def strength(history):
    last = net['blank'].at[history].max(steps)
    count = net['blank'].at[history].add(1.0)
    # The place is a tie-break below 1.
    by_count = count + last / (1.0 + steps[-1])
    return jnp.where(net['by_count'], by_count, last)

  return jax.vmap(strength)(inputs['history'])


# What differs between data is all in the parameters.
_MODEL = types.Model(reminders.init, _encode, reminders.score)
