"""Writes the made-up log of a shop, as one would have it from one's own site.

    python launch/benchmarks/shop.py --out=events.csv

The table has the columns user, item, event and time: text ids, times in ISO
form, sessions that view, put into the cart and purchase. Users like a few
categories, items lead to items that go with them, and a part of what is
touched was touched before: repeats are made, not drawn by chance alone.
With --broken=0.005 it is as shops have it: columns of other names, the zone of
each user, and a share of rows that are broken.
"""

import datetime
import pathlib
import sys
from typing import NamedTuple

from absl import flags
import numpy as np
import polars as pl

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
import cli
from twotsrec.training import files

_OUT = flags.DEFINE_string('out', None, 'CSV file to write.')
_EVENTS = flags.DEFINE_integer('events', 120_000, 'Rows.', lower_bound=100)
_ITEMS = flags.DEFINE_integer('items', 3_000, 'Items.', lower_bound=100)
_BROKEN = flags.DEFINE_float(
  'broken', 0.0, 'Share of broken rows, of a table as shops have it.', 0.0, 1.0
)
_SEED = flags.DEFINE_integer('seed', 0, 'Of the random numbers.')

_CATEGORY = 50  # items of one category
_FAVORITES = 8  # categories that a user likes
_PARTNERS = 3  # items that go with an item
_NAMES = {'view': 'product_view', 'cart': 'add_to_cart'}
_EVENTS_PER_USER = 20
_START = 1_735_689_600  # 2025-01-01, seconds
_DAYS = 180


class Shop(NamedTuple):
  """What is sold.

  Fields:
    partners: i64[I, 3], items that are looked at after an item.
    share: f64[C, 50], how often each item of a category is taken.
    categories: f64[C], how often each category is liked.
  """

  partners: np.ndarray
  share: np.ndarray
  categories: np.ndarray


def make(num_items: int, rng: np.random.Generator) -> Shop:
  """Items in categories, popular and rare ones in each."""
  count = num_items // _CATEGORY
  falling = 1 / np.arange(1, _CATEGORY + 1)
  share = np.stack([rng.permutation(falling) for _ in range(count)])
  own = np.arange(count * _CATEGORY) // _CATEGORY * _CATEGORY
  near = own[:, None] + rng.integers(_CATEGORY, size=(len(own), _PARTNERS))
  far = rng.integers(len(own), size=near.shape)
  likes = rng.permutation(1 / np.arange(1, count + 1) ** 0.8)
  return Shop(
    partners=np.where(rng.random(near.shape) < 0.7, near, far),
    share=share / share.sum(axis=1, keepdims=True),
    categories=likes / likes.sum(),
  )


def log(shop: Shop, num_events: int, rng: np.random.Generator) -> pl.DataFrame:
  """The rows of all users, in the order of time."""
  rows = []
  user = 0
  while len(rows) < num_events:
    rows += _history(shop, user, rng)
    user += 1
  users, items, events, times = zip(*rows[:num_events])
  texts = lambda form, ids: [form.format(i) for i in ids]
  table = pl.DataFrame(
    {
      'user': texts('u{:06d}', users),
      'item': texts('SKU-{:05d}', items),
      'event': events,
      'time': times,
    }
  )
  moments = pl.from_epoch('time').dt.strftime('%Y-%m-%dT%H:%M:%SZ')
  return table.sort('time').with_columns(moments)


def messy(
  table: pl.DataFrame, share: float, rng: np.random.Generator
) -> list[str]:
  """Lines of the same rows with zones, under other names, some of them broken.

  Args:
    table: of `log`.
    share: of rows without a user or an item, with a wrong time, with too few
      fields, or with a broken quote.
    rng: draws them.
  """
  lines = ['created_at,customer,event,sku,channel']
  moments = pl.col('time').str.to_datetime(time_zone='UTC')
  for user, item, event, time in table.with_columns(moments).iter_rows():
    zone = datetime.timezone(datetime.timedelta(hours=int(user[1:]) % 5 - 2))
    row = [time.astimezone(zone).isoformat(), user, _NAMES.get(event, event)]
    row += [item, 'web']
    if rng.random() < share:
      place, cell = (
        (1, ''),
        (3, ''),
        (0, 'soon'),
        (3, f'"{item}"x'),
        (4, None),
      )[rng.integers(5)]
      row[place : place + 1] = [] if cell is None else [cell]
    lines.append(','.join(row))
  return lines


def _history(shop, user, rng):
  """Rows (user, item, event, second) of one user."""
  size = min(len(shop.categories), _FAVORITES)
  likes = rng.choice(
    len(shop.categories), size, replace=False, p=shop.categories
  )
  taste = rng.dirichlet(np.ones(size))
  sessions = 1 + rng.geometric(6 / _EVENTS_PER_USER)
  starts = np.sort(rng.integers(_DAYS * 86_400, size=sessions)) + _START
  rows, past, bought = [], [], []
  for start in starts:
    if bought and rng.random() < 0.15:  # bought again, on purpose
      steps = [(bought[rng.integers(len(bought))], 'purchase')]
    else:
      steps = _session(shop, likes, taste, past, rng)
    for place, (item, event) in enumerate(steps):
      rows.append((user, item, event, int(start) + 30 * place))
      past.append(item)
      if event == 'purchase':
        bought.append(item)
  return rows


def _session(shop, likes, taste, past, rng):
  """Steps (item, event): views, some of which lead to cart and purchase."""
  views, item = [], None
  for _ in range(rng.geometric(0.3)):
    item = _next(shop, likes, taste, past, item, rng)
    views.append(item)
  carts = [item for item in views if rng.random() < 0.08]
  purchases = [item for item in carts if rng.random() < 0.6]
  every = (('view', views), ('cart', carts), ('purchase', purchases))
  return [(item, event) for event, items in every for item in items]


def _next(shop, likes, taste, past, item, rng):
  """The item that is viewed after `item`."""
  kind = rng.random()
  if item is not None and kind < 0.2:
    return int(rng.choice(shop.partners[item]))
  if past and kind < 0.35:
    return past[rng.integers(len(past))]
  category = rng.choice(likes, p=taste)
  within = rng.choice(_CATEGORY, p=shop.share[category])
  return int(category * _CATEGORY + within)


def main() -> None:
  """Writes the table."""
  rng = np.random.default_rng(_SEED.value)
  table = log(make(_ITEMS.value, rng), _EVENTS.value, rng)
  out = cli.required(_OUT)
  with files.replacing(out) as file:
    if _BROKEN.value:
      lines = messy(table, _BROKEN.value, rng)
      file.write('\n'.join([*lines, '']).encode())
    else:
      table.write_csv(file)
  print(f'{len(table):,} rows: {out}')


if __name__ == '__main__':
  cli.run(main, compiles=False)
