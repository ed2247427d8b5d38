"""A log of repeated and cold items, and literal counts for it."""

import numpy as np

from twotsrec.data import prepared
from twotsrec.evaluation import online


def log(
  rng: np.random.Generator, num_users: int = 9, num_items: int = 21
) -> prepared.Prepared:
  """Users with 1-14 events of any split; items repeat, some are cold."""
  user, item, split = [], [], []
  for row in range(num_users):
    count = rng.integers(1, 15)
    user += [row] * count
    item += rng.integers(1, num_items + 1, size=count).tolist()
    split += np.sort(rng.integers(0, 3, size=count)).tolist()
  split[-1] = prepared.TEST  # there is one at least
  return prepared.build(
    np.array(user, np.int32),
    np.array(item, np.int32),
    np.array(split, np.int8),
    user_ids=np.arange(num_users),
    item_ids=np.arange(1, num_items + 1),
  )


def blocks(rng, data, split, width=3, pieces=3):
  """Small integers, so that products are exact; events in any order."""
  event = rng.permutation(np.flatnonzero(np.asarray(data.split) == split))
  query = rng.integers(-2, 3, size=(event.size, width)).astype(np.float32)
  movement = rng.random(event.size).astype(np.float32)
  norm = 1.0 + rng.random(event.size).astype(np.float32)
  return [
    online.Block(event[part], query[part], movement[part], norm[part])
    for part in np.array_split(np.arange(event.size), pieces)
  ]


def vectors(rng, data, width=3):
  return rng.integers(-2, 3, (data.num_items + 1, width)).astype(np.float32)


def loop_counts(data, blocks, item_vectors, lists):
  """{event: {rule: (better, tied, number)}}, one by one."""
  users = data.event_users
  counts = {}
  for block in blocks:
    for event, query in zip(block.event, block.query):
      start = data.user_offsets[users[event]]
      past = set(data.items[start:event].tolist())
      target = int(data.items[event])
      others = [i for i in range(1, data.num_items + 1) if i != target]
      scores = item_vectors @ query
      counts[int(event)] = {
        rule: (
          sum(scores[i] > scores[target] for i in chosen),
          sum(scores[i] == scores[target] for i in chosen),
          len(chosen),
        )
        for rule, chosen in (
          ('', others),
          ('_without_past', [i for i in others if i not in past]),
          ('_sampled', lists.get(int(event), [])),
        )
      }
  return counts
