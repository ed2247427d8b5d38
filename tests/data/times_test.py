"""A column of times is judged as a whole, whatever the order of its rows."""

import datetime

import numpy as np
import polars
import pytest

from twotsrec import types
from twotsrec.data import cells
from twotsrec.data import times

MOMENT = datetime.datetime(2020, 9, 13, 12, 26, 40, tzinfo=datetime.UTC)
SECONDS = int(MOMENT.timestamp())


def column(values):
  return polars.Series('ts', [str(value) for value in values])


def in_orders(values):
  """The column in several orders, with the place of each row."""
  count = len(values)
  for places in (range(count), range(count)[::-1], np.roll(range(count), 1)):
    yield column([values[place] for place in places]), np.array(places)


@pytest.mark.parametrize(('unit', 'scale'), times.UNITS.items())
@pytest.mark.parametrize('typed', [False, True])
def test_the_unit_of_numbers_is_told_by_their_scale(unit, scale, typed):
  values = [(SECONDS + n) * scale for n in range(4)]
  raw = polars.Series('ts', values) if typed else column(values)
  parsed = times.parse(raw)
  assert parsed.values.tolist() == [SECONDS + n for n in range(4)]
  assert parsed.values.dtype == np.int64
  assert bool(parsed.notes) == (unit != 's')
  given = times.parse(raw, times.Writing(unit=unit))
  np.testing.assert_array_equal(given.values, parsed.values)


def test_parts_of_a_second_stay():
  values = [SECONDS * 1000, SECONDS * 1000 + 250]
  parsed = times.parse(column(values))
  assert parsed.values.tolist() == [SECONDS, SECONDS + 0.25]


@pytest.mark.parametrize('factor', [1000, 10**6, 0, 1e-3])
def test_numbers_of_another_scale_than_most_are_faults(factor):
  values = [SECONDS + 9 * n for n in range(7)]
  values[2] = int(values[2] * factor)
  for raw, places in in_orders(values):
    faults = times.parse(raw).faults
    wanted = np.where(places == 2, cells.OTHER_SCALE, 0)
    np.testing.assert_array_equal(faults, wanted)
    # Who says what numbers count is believed.
    assert not times.parse(raw, times.Writing(unit='s')).faults.any()


@pytest.mark.parametrize('factor', [1, 1000, 10**6])
def test_numbers_of_another_scale_stay_if_they_are_no_faults(factor):
  # Most rows say what numbers count, and only of those like them.
  strange = SECONDS * 10**9 if factor == 1 else SECONDS
  values = [(SECONDS + 9 * n) * factor for n in range(7)]
  values[2] = strange
  wanted = np.array([SECONDS + 9 * n for n in range(7)])
  wanted[2] = strange
  writing = times.Writing(one_scale=False)
  for raw, places in in_orders(values):
    parsed = times.parse(raw, writing)
    assert not parsed.faults.any()
    np.testing.assert_array_equal(parsed.values, wanted[places])


def test_times_from_zero_on_are_of_one_scale():
  values = [0, 1, 50, 3_000, 10**5, 10**6]
  assert not times.parse(column(values)).faults.any()
  assert times.parse(column(values)).values.tolist() == values


def test_a_number_among_dates_is_judged_and_a_date_never_is():
  texts = ['1971-01-01', '2020-09-13 12:26:40', str(SECONDS), f'{SECONDS}000']
  for raw, places in in_orders(texts):
    faults = times.parse(raw).faults
    assert faults[places.tolist().index(3)] == cells.OTHER_SCALE
    assert np.sum(faults > 0) == 1


@pytest.mark.parametrize('form', ['%Y%m%d', '%Y%m%d%H%M', '%Y%m%d%H%M%S'])
def test_compact_dates_are_dates_if_all_are(form):
  texts = [
    (MOMENT + datetime.timedelta(days=n)).strftime(form) for n in range(3)
  ]
  wanted = [
    datetime.datetime.strptime(text, form).replace(tzinfo=datetime.UTC)
    for text in texts
  ]
  typed = times.parse(polars.Series('ts', list(map(int, texts))))
  assert typed.values.tolist() == [day.timestamp() for day in wanted]
  parsed = times.parse(column([*texts, '']))
  assert parsed.values[:3].tolist() == [day.timestamp() for day in wanted]
  assert parsed.faults.tolist() == [0, 0, 0, cells.EMPTY]
  assert 'dates like' in parsed.notes[0][0]
  as_numbers = times.parse(column(texts), times.Writing(unit='s'))
  assert as_numbers.values.tolist() == [int(text) for text in texts]
  # The 40th of a month is no date.
  numbers = [*texts, texts[0][:6] + '40' + texts[0][8:]]
  assert (
    times.parse(column(numbers)).values.tolist()[0] != wanted[0].timestamp()
  )


@pytest.mark.parametrize(
  ('form', 'text'),
  [
    ('%d.%m.%Y', '13.09.2020'),
    ('%d/%m/%Y %H:%M', '13/09/2020 12:26'),
    ('%d/%b/%Y:%H:%M:%S %z', '13/Sep/2020:14:26:40 +0200'),
  ],
)
def test_dates_of_a_form_that_is_given(form, text):
  wanted = datetime.datetime.strptime(text, form)
  if wanted.tzinfo is None:
    wanted = wanted.replace(tzinfo=datetime.UTC)
  parsed = times.parse(column([text, 'x', 'NA']), times.Writing(form=form))
  assert parsed.values[0] == wanted.timestamp()
  assert parsed.faults.tolist() == [0, cells.NOT_TIME, cells.MISSING]


@pytest.mark.parametrize(
  ('text', 'seconds'),
  [
    ('2020-09-13 12:26:40 UTC', SECONDS),
    ('2020-09-13T14:26:40.5+02:00', SECONDS + 0.5),
    ('2020-09-13 12:26', SECONDS - 40),
    ('2020-09-13T12:26-0330', SECONDS - 40 + 3.5 * 3600),
  ],
)
def test_zones_and_fractions_of_iso_dates(text, seconds):
  assert times.parse(column([text])).values.tolist() == [seconds]
  both = times.parse(column([text, '2020-09-13 12:26:40']))
  assert both.values.tolist() == [seconds, SECONDS]


def test_wrong_ways_of_writing_are_refused():
  for writing, said in (
    (times.Writing(unit='h'), 'allowed: auto, s, ms, us, ns'),
    (times.Writing(form='dd.mm.yyyy'), 'strptime'),
    (times.Writing(unit='s', form='%Y'), 'give one of them'),
  ):
    with pytest.raises(types.UserError, match=said):
      times.check(writing)
  wrong = times.parse(column(['2020']), times.Writing(form='%Q'))
  assert wrong.faults.tolist() == [cells.NOT_TIME]


def test_a_time_is_shown_as_a_date_or_else_as_a_number():
  assert times.shown(SECONDS) == '2020-09-13 12:26:40'
  assert times.shown(1e15) == '1e+15'
