"""A small log with times, and JODIE on it event by event in NumPy."""

import functools

import jax
import numpy as np

from tests import behavior_toys
from tests import configured
from twotsrec import config as config_lib
from twotsrec.data import prepared as prepared_lib
from twotsrec.data import splits
from twotsrec.models import jodie

USERS, ITEMS, WIDTH, SPANS = 9, 7, 4, 6


@functools.cache
def log(events: int = 150) -> prepared_lib.Prepared:
  """Users who come back to items, some of them at the same times."""
  generator = np.random.default_rng(3)
  user = np.sort(generator.integers(USERS - 1, size=events))  # one has none
  item = 1 + generator.integers(ITEMS - 1, size=events)  # so has an item
  time = generator.integers(400, size=events)
  order = np.lexsort((time, user))
  user, item, time = user[order], item[order], time[order]
  return prepared_lib.build(
    user.astype('i4'),
    item.astype('i4'),
    splits.global_time(time, True),
    times=time.astype('i8'),
    user_ids=np.arange(USERS),
    item_ids=np.arange(ITEMS),
  )


def config(**changes) -> config_lib.Config:
  """Settings at this size; `jodie__loss='mse'` changes jodie.loss."""
  named = {
    'model.name': 'jodie',
    'model.width': WIDTH,
    'jodie.spans': SPANS,
    'jodie.static_width': 3,
    'groups.num_groups': 3,
    'train.epochs': 2,
    'train.learning_rate': 0.01,
    'train.checkpoint_every': 0.0,
    'data.users': 25,
    'data.split': 'global_time',
    'evaluation.bootstrap': 20,
  }
  if changes.get('jodie__static') != 'learned':
    del named['jodie.static_width']
  return configured.by(named, **changes)


def net(static: str = 'one_hot') -> jodie.Net:
  """Random parameters."""
  made = config(jodie__static=static)
  init = functools.partial(
    jodie.init, config=made, num_users=USERS, num_items=ITEMS
  )
  return behavior_toys.random_like(jax.eval_shape(init, jax.random.key(0)), 0.5)


def unit(x):
  """A vector of length 1."""
  return x / np.linalg.norm(x)


class Replay:
  """States by the equations, one event after the other, in f64."""

  def __init__(self, parameters: jodie.Net):
    self.net = jax.tree.map(lambda x: np.asarray(x, np.float64), parameters)
    start = self.net['start']
    self.users = np.tile(unit(start['user']), (USERS, 1))
    self.items = np.tile(unit(start['item']), (ITEMS + 1, 1))

  def _moved(self, cell, other, gap, state):
    inside = other @ cell['input'] + gap * cell['gap']
    return unit(np.tanh(inside + state @ cell['state'] + cell['bias']))

  def event(self, user: int, item: int, gaps) -> None:
    """Moves both states, from the old ones."""
    old_user, old_item = self.users[user].copy(), self.items[item].copy()
    own = self.net['user_cell'], self.net['item_cell']
    self.users[user] = self._moved(own[0], old_item, gaps[0], old_user)
    self.items[item] = self._moved(own[1], old_user, gaps[1], old_item)

  def static(self, side: str, row: int):
    """s of a user or item."""
    if 'static' in self.net:
      return self.net['static'][side][row]
    return np.eye({'user': USERS, 'item': ITEMS + 1}[side])[row]

  def predict(self, user: int, previous: int, gap: float):
    """j~, before the event."""
    drift, blocks = self.net['drift'], self.net['predict']
    moved = self.users[user] * (1 + gap * drift['weight'] + drift['bias'])
    return (
      moved @ blocks['state']
      + self.items[previous] @ blocks['previous']
      + self.static('user', user) @ blocks['user']
      + self.static('item', previous) @ blocks['item']
      + blocks['bias']
    )

  def distances(self, predicted):
    """Squared distances of a prediction to all items, f64[I]."""
    every = [
      np.concatenate([self.items[i], self.static('item', i)])
      for i in range(1, ITEMS + 1)
    ]
    return np.sum((predicted - np.array(every)) ** 2, axis=1)
