"""A shop's table whose columns are guessed wrongly, and what is said of it."""

import datetime
import random
import re

import pytest

from twotsrec import types
from twotsrec.data import pipeline
from twotsrec.data import report
from twotsrec.data import tables

_SHARES = {'product_view': 0.8, 'add_to_cart': 0.15, 'purchase': 0.05}
_RIGHT = {'user': 'customer', 'item': 'sku', 'time': 'created_at'}
_ORDER = tuple(_SHARES)


@pytest.fixture(scope='module')
def shop(tmp_path_factory):
  """2,000 rows with zones, of which half a percent are broken."""
  draw, rows = random.Random(0), ['order,created_at,customer,event,sku,price']
  for number in range(2000):
    hours = datetime.timezone(datetime.timedelta(hours=draw.choice([-5, 1, 2])))
    when = datetime.datetime.fromtimestamp(1.7e9 + 600 * number, hours)
    row = [f'r{number}', when.isoformat(), f'c-{draw.randrange(150)}']
    row += draw.choices(_ORDER, list(_SHARES.values()))
    row += [f'SKU-{draw.randrange(60):03}', f'{draw.uniform(1, 90):.2f}']
    if number % 200 == 7:
      row = [row[:3], [*row[:2], '', *row[3:]]][number % 400 == 7]
    rows.append(','.join(row))
  path = tmp_path_factory.mktemp('shop') / 'shop.csv'
  path.write_text('\n'.join(rows) + '\n')
  return str(path)


def _options(path, behaviors=(), **columns):
  reading = pipeline.TableOptions(
    columns=tables.Columns(**(_RIGHT | columns)), bad_rows='drop'
  )
  return pipeline.Options(table=path, reading=reading, behaviors=behaviors)


def _notes(path, behaviors=(), **columns):
  data = pipeline.prepare(_options(path, behaviors, **columns))
  told = data.manifest['report']['doubts']
  text = report.text(data)
  assert all(f'note: {line}' in text for line in told)
  return told


def test_a_table_that_is_named_rightly_raises_no_doubt(shop):
  assert _notes(shop, _ORDER, behavior='event') == []


@pytest.mark.parametrize(
  ('columns', 'says'),
  [
    ({}, '--behavior_column=event tells them apart'),
    (
      {'user': 'sku', 'item': 'customer'},
      'exchanged: --user_column=customer --item_column=sku',
    ),
    ({'time': 'price'}, 'times are from 1970-01-01 00:00:01 to 1970-01-01'),
    ({'item': 'event'}, "events are of 3 items; if column 'event' is not"),
    ({'item': 'order'}, 'items; if column .order. is not that of items'),
  ],
)
def test_a_wrong_guess_is_told(shop, columns, says):
  notes = _notes(shop, **columns)
  assert any(re.search(says, note) for note in notes), notes


@pytest.mark.parametrize(
  ('behaviors', 'columns', 'says'),
  [
    (
      (),
      {'behavior': 'event'},
      'perhaps --behaviors=product_view,add_to_cart,purchase',
    ),
    (
      ('product_view', 'add_to_cart', 'buy'),
      {'behavior': 'event'},
      "target behavior 'buy'; the behavior column has add_to_cart,",
    ),
    (
      ('product_view', 'purchase'),
      {'behavior': 'price'},
      r'\d, \.\.\.: name one of them last in --behaviors, or another',
    ),
    ((), {'behavior': 'price'}, r'behaviors \(.*, \.\.\.\); at most 127'),
    (
      (),
      {'user': 'who'},
      r"no column 'who'; .* \(perhaps --user_column=customer "
      '--item_column=sku --time_column=created_at',
    ),
    ((), {'behavior': 'evnt'}, r"no column 'evnt'; .* \(perhaps 'event'\)"),
    ((), {'user': 'order'}, 'no user has 3 events; .*another --user_column'),
    ((), {'time': 'event'}, 'no row is left, .*event is not a time'),
  ],
)
def test_a_guess_that_cannot_be_is_refused_in_a_line(
  shop, behaviors, columns, says
):
  with pytest.raises(types.UserError, match=says) as error:
    pipeline.prepare(_options(shop, behaviors, **columns))
  assert len(str(error.value)) < 600 and '\n' not in str(error.value)


@pytest.mark.parametrize(
  ('form', 'told'),
  [
    ('%d/%m/%Y %H:%M', "--time_format='%d/%m/%Y %H:%M';"),
    ('%m/%d/%Y %H:%M', "--time_format='%m/%d/%Y %H:%M';"),
    ('%d.%m.%Y', "--time_format='%d.%m.%Y';"),
    ('%Y-%m-%d %I:%M %p', "--time_format='%Y-%m-%d %I:%M %p';"),
    ('at %H', '; or name another --time_column'),
  ],
)
def test_the_form_of_dates_is_told(tmp_path, form, told):
  begin = datetime.datetime(2024, 1, 1, 13, 5)
  rows = [
    f'{n % 7},{n},{begin + datetime.timedelta(days=n):{form}}'
    for n in range(60)
  ]
  path = tmp_path / 'log.csv'
  path.write_text('\n'.join(['user_id,item_id,day', *rows]))
  columns = tables.Columns(time='day')
  with pytest.raises(types.UserError) as error:
    tables.read_table(str(path), columns)
  assert told in str(error.value)
  if '%d' in form:
    forms = tables.Forms(time_format=form)
    assert tables.read_table(str(path), columns, forms=forms).rows_read == 60


def test_a_day_that_may_be_a_month_is_told_in_both_forms(tmp_path):
  path = tmp_path / 'log.csv'
  path.write_text('user_id,item_id,day\n1,2,01/02/2024\n1,3,03/02/2024\n')
  with pytest.raises(types.UserError) as error:
    tables.read_table(str(path), tables.Columns(time='day'))
  both = "--time_format='%d/%m/%Y' or --time_format='%m/%d/%Y'"
  assert both in str(error.value)
