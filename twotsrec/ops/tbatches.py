"""t-batches: events that may be taken at once (JODIE sec. 4).

Events move the states of their user and item, one after the other. An event
waits for the last one that moved what it reads, and for whatever still reads
what it moves. What waits for nothing more stands in one batch: no event of a
batch moves anything that another of them reads or moves, so a batch at once,
or cut anywhere, gives exactly what its events give in order.
"""

import jax
import jax.numpy as jnp
import numpy as np


def of_events(
  user: np.ndarray,
  item: np.ndarray,
  previous: np.ndarray,
  span: np.ndarray,
) -> np.ndarray:
  """Number of the batch of every event, i32[N], from 1.

  Departure: JODIE's own batches do not ask whether the item that a user had
  before, which an event reads too, has moved on in the meantime.

  Args:
    user: i32[N], in the order of time.
    item: i32[N], from 1; its state is read and moved, as that of the user.
    previous: i32[N], an item whose state is read alone, or 0.
    span: i32[N], ascending; the batches of a span come after all before it.
  """
  if not len(user):
    return np.zeros(0, np.int32)
  users, items = int(np.max(user)) + 1, int(np.max(item)) + 1
  items = max(items, int(np.max(previous)) + 1)
  columns = [jnp.asarray(c, jnp.int32) for c in (user, item, previous, span)]
  return np.asarray(_batches(tuple(columns), users, items))


def _batches(columns, users, items):
  def step(carry, event):
    moved_user, moved_item, read_item, floor, highest, last = carry
    user, item, previous, span = event
    floor = jnp.where(span != last, highest, floor)
    waits = (moved_user[user], moved_item[item], moved_item[previous])
    batch = 1 + jnp.maximum(jnp.max(jnp.stack(waits)), read_item[item])
    batch = jnp.maximum(batch, floor + 1)
    moved_user = moved_user.at[user].set(batch)
    moved_item = moved_item.at[item].set(batch)
    read_item = read_item.at[previous].max(batch)
    highest = jnp.maximum(highest, batch)
    return (moved_user, moved_item, read_item, floor, highest, span), batch

  nothing = jnp.zeros((), jnp.int32)
  start = (
    jnp.zeros(users, jnp.int32),
    jnp.zeros(items, jnp.int32),
    jnp.zeros(items, jnp.int32),
    nothing,
    nothing,
    columns[3][0],
  )
  return jax.jit(lambda xs: jax.lax.scan(step, start, xs)[1])(columns)


def in_rows(
  batch: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Cuts batches into rows of at most `width` events.

  Args:
    batch: i32[N], of `of_events`.
    width: W.
  Returns:
    The events in order of batch i64[N], the row of each of these i64[N], from
    0, and its place in the row i64[N]. No row has events of two batches.
  """
  order = np.argsort(batch, kind='stable')
  numbers = batch[order]
  first = np.flatnonzero(np.diff(numbers, prepend=0))
  counts = np.diff(first, append=len(order))
  rank = np.arange(len(order)) - np.repeat(first, counts)
  rows_before = np.cumsum(-(-counts // width)) - -(-counts // width)
  row = np.repeat(rows_before, counts) + rank // width
  return order, row, rank % width
