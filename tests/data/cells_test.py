"""Cells are parsed as Python parses them, one at a time."""

import datetime
import math
import re
import unicodedata

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import polars
import pytest

from twotsrec.data import cells
from twotsrec.data import times

# At the ends of a text; the White_Space of Unicode.
_SPACE = '[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+'
WHITE_SPACE = re.compile(rf'\A{_SPACE}|{_SPACE}\Z')


def column(texts):
  return polars.Series(texts, dtype=polars.String)


def in_seconds(raw):
  """Times whose unit is given, so that no column is judged by its scale."""
  return times.parse(raw, times.Writing(unit='s'))


SMALL = settings(max_examples=50, deadline=None, derandomize=True)


@SMALL
@given(
  st.lists(
    st.integers(-(10**25), 10**25).map(str)
    | st.integers(-(2**63) - 3, -(2**63) + 3).map(str)
    | st.integers(2**63 - 3, 2**63 + 3).map(str)
    | st.text('-+ 01a', max_size=4),
    min_size=1,
    max_size=20,
  )
)
def test_integer_ids_are_the_texts_that_python_writes(texts):
  parsed = cells.parse_integer_ids(column(texts))
  for cell, value, fault in zip(
    texts, parsed.values.tolist(), parsed.faults.tolist(), strict=True
  ):
    text = cell.strip(' ')  # blanks around a cell are no part of it
    try:
      plain = str(int(text)) == text
    except ValueError:
      plain = False
    if not plain:
      leading = text.lstrip('-')[:1] == '0'
      wanted = {cells.NOT_INTEGER} if text else {cells.EMPTY}
      assert fault in (wanted | {cells.TOO_LARGE} if leading else wanted)
    elif -(2**63) <= int(text) < 2**63:
      assert (fault, value) == (0, int(text))
    else:
      assert fault == cells.TOO_LARGE


@SMALL
@given(
  st.lists(
    st.floats(allow_nan=False, allow_infinity=False) | st.integers(0, 10**30),
    min_size=1,
    max_size=20,
  )
)
def test_numbers_are_those_of_float(values):
  parsed = cells.parse_numbers(column([str(v) for v in values]))
  np.testing.assert_array_equal(parsed.values, [float(v) for v in values])
  assert not parsed.faults.any()


@SMALL
@given(
  st.lists(
    st.datetimes(datetime.datetime(1970, 1, 1)), min_size=1, max_size=10
  ),
  st.sampled_from(['T', ' ']),
  st.sampled_from([0, 330, -480]),
)
def test_dates_are_unix_seconds(moments, separator, offset):
  zone = datetime.timezone(datetime.timedelta(minutes=offset))
  moments = [
    # Up to then, microseconds are exact as integers of 53 bits.
    moment.replace(tzinfo=zone, year=min(max(moment.year, 1971), 2250))
    for moment in moments
    if (moment.month, moment.day) != (2, 29)
  ]
  texts = [moment.isoformat(separator) for moment in moments]
  parsed = times.parse(column(texts))
  np.testing.assert_array_equal(
    parsed.values, [moment.timestamp() for moment in moments]
  )
  assert not parsed.faults.any()


@pytest.mark.parametrize(
  'text', ['2021-07-01', '2021-07-01 00:00:00', '2021-07-01T00:00Z']
)
def test_a_date_without_an_offset_is_utc_and_whole(text):
  parsed = times.parse(column([text]))
  days = datetime.date(2021, 7, 1) - datetime.date(1970, 1, 1)
  assert parsed.values.tolist() == [days.days * 86400]
  assert parsed.values.dtype == np.int64


@SMALL
@given(
  st.lists(st.datetimes(datetime.datetime(1, 1, 1)), min_size=1, max_size=9),
  st.sampled_from(['%Y-%m-%d', '%Y-%m-%d %H:%M:%S', '%Y-%m-%dT%H:%M:%S']),
  st.booleans(),
)
def test_columns_of_plain_dates_are_unix_seconds(moments, form, mixed):
  # One number among them takes the way of one cell after the other.
  # strftime does not fill up the year on every system.
  texts = [
    moment.strftime(form.replace('%Y', f'{moment.year:04d}'))
    for moment in moments
  ]
  expected = [
    datetime.datetime.fromisoformat(text)
    .replace(tzinfo=datetime.UTC)
    .timestamp()
    for text in texts
  ]
  raw = column(texts + ['2.5'] * mixed)
  parsed = times.parse(raw)
  np.testing.assert_array_equal(parsed.values, expected + [2.5] * mixed)
  np.testing.assert_array_equal(
    parsed.faults == cells.NEGATIVE, parsed.values < 0
  )


@pytest.mark.parametrize(
  'text',
  ['2021-13-01', '2021-02-30', '2021-07-01 24:00:01', '2021-07-01x00:00:00'],
)
def test_days_that_do_not_exist_are_not_times(text):
  good = '2021-07-01 00:00:00'[: len(text)]
  parsed = times.parse(column([good, text, good]))
  assert parsed.faults.tolist() == [0, cells.NOT_TIME, 0]


def test_times_are_floats_if_one_is():
  parsed = times.parse(column(['1', '2.5']))
  assert parsed.values.tolist() == [1.0, 2.5]


def test_an_order_key_may_be_negative_or_zero_filled():
  parsed = cells.parse_order(column(['-3', '007', '1.5', '']))
  assert parsed.values[:2].tolist() == [-3, 7]
  assert parsed.faults.tolist() == [0, 0, cells.NOT_INTEGER, cells.EMPTY]


@SMALL
@given(st.lists(st.text(min_size=1).filter(lambda s: '\0' not in s)))
def test_texts_are_kept_but_for_blanks_and_composed(texts):
  texts = [text.encode('utf-8', 'ignore').decode() for text in texts]
  parsed = cells.parse_texts(column(texts))
  for text, value, fault in zip(
    texts, parsed.values.to_list(), parsed.faults.tolist(), strict=True
  ):
    text = unicodedata.normalize('NFC', WHITE_SPACE.sub('', text))
    if len(text.encode()) > cells.MAX_ID_BYTES:
      assert fault == cells.TOO_LONG
    elif text in cells.MISSING_NAMES:
      assert fault == cells.MISSING
    else:
      assert (value, fault) == (text, 0 if text else cells.EMPTY)


@pytest.mark.parametrize('form', ['%Y-%m-%d', '%Y-%m-%dT%H:%M:%SZ'])
def test_a_column_of_dates_of_one_form_is_parsed_as_each_of_them(form):
  moments = [datetime.datetime(1999 + n, 2, 28, n, 7, 59) for n in range(9)]
  texts = [moment.strftime(form) for moment in moments]
  together = times.parse(column(texts))
  alone = [times.parse(column([text, '1'])) for text in texts]
  assert together.values.tolist() == [int(each.values[0]) for each in alone]
  assert not np.any(together.faults)
  wrong = times.parse(column([*texts, '2021-02-30' + texts[0][10:]]))
  assert wrong.faults.tolist() == [0] * 9 + [cells.NOT_TIME]


@SMALL
@given(
  st.lists(
    st.text('+-0159.eE_naif ', max_size=6)
    | st.sampled_from(['+5', '.5', '5.', '1e400', '-0', '٣', '1E+5', '9' * 40]),
    min_size=1,
    max_size=20,
  )
)
def test_a_column_is_parsed_as_its_cells_alone(texts):
  # What polars takes and what Python takes are the same.
  for parse in (
    cells.parse_integer_ids,
    cells.parse_order,
    in_seconds,
    cells.parse_numbers,
  ):
    together = parse(column(texts))
    for row, text in enumerate(texts):
      # Behind a cell that only Python reads, and one that none does.
      alone = parse(column(['x', '2021-07-01 12:30+01:00', text]))
      assert together.faults[row] == alone.faults[2]
      if not together.faults[row]:
        assert together.values[row] == alone.values[2]


@SMALL
@given(st.text('+-0123456789.eE_naif ', max_size=8))
def test_numbers_are_decimal_and_finite(text):
  # What `float` takes besides: 1_000, nan, spaces.
  try:
    number = float(text)
    good = math.isfinite(number) and not set(text.strip(' ')) & set('_ ')
  except ValueError:
    good = False
  parsed = cells.parse_numbers(column([text]))
  assert (parsed.faults[0] == 0) == good
  if good:
    assert parsed.values[0] == number


def test_typed_columns_are_parsed_like_text():
  integers = polars.Series([5, None, 2**40])
  for parse in (
    cells.parse_integer_ids,
    cells.parse_order,
    in_seconds,
    cells.parse_numbers,
  ):
    parsed = parse(integers)
    assert parsed.faults.tolist() == [0, cells.EMPTY, 0]
    assert parsed.values[[0, 2]].tolist() == [5, 2**40]
  floats = polars.Series([1.5, None, float('nan'), -1.0])
  assert times.parse(floats).faults.tolist() == [
    0, cells.EMPTY, cells.NOT_TIME, cells.NEGATIVE,
  ]  # fmt: skip
  assert cells.parse_numbers(floats).faults.tolist() == [
    0, cells.EMPTY, cells.NOT_NUMBER, 0,
  ]  # fmt: skip


def test_texts_are_strings_whatever_the_type():
  strings = ['a', '', 'ö', '12']
  assert cells.texts(column(strings)) == strings
  assert cells.texts(polars.Series([5, None])) == ['5', '']
  assert [cells.text_at(polars.Series([5, None]), row) for row in (0, 1)] == [
    '5',
    '',
  ]
