"""Columns of times become Unix seconds, judged as a whole.

A column may hold numbers, ISO-8601 dates, or dates of a form that is given.
What the numbers count (seconds, milliseconds and so on) and whether they are
compact dates such as 20200913 is decided from all rows, never from the first.
"""

import datetime
from typing import Any, NamedTuple

import numpy as np
import polars

from twotsrec import types
from twotsrec.data import cells

UNITS = {'s': 1, 'ms': 10**3, 'us': 10**6, 'ns': 10**9}
_NAMES = {'ms': 'milliseconds', 'us': 'microseconds', 'ns': 'nanoseconds'}
_MAX_INT64 = 2**63 - 1
# A unit is told by the numbers from 1973 to 5138; others count seconds.
_SCALES = {'ms': (1e11, 1e14), 'us': (1e14, 1e17), 'ns': (1e17, 1e20)}
# Between two neighbors in a sorted column of times no such gap is plausible:
# from 1985 on, one is so many times the other.
_FROM, _GAP = 5e8, 30
_COMPACT = {8: '%Y%m%d', 12: '%Y%m%d%H%M', 14: '%Y%m%d%H%M%S'}
# A moment up to its seconds; polars takes the 61st second for a 60th.
_MOMENT = r'^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-5][0-9]$'
_ZONE = (
  r'(?:Z| UTC| GMT|(?<sign>[+-])(?<hours>[01][0-9]|2[0-3]):?'
  r'(?<minutes>[0-5][0-9]))?$'
)
_TAIL = rf'^(?:\.(?<part>[0-9]+))?{_ZONE}'  # of a moment
_SHORT = rf'^(?<moment>[0-9-]{{10}}[ T][0-9]{{2}}:[0-9]{{2}}){_ZONE}'
_DATES = (
  '%d/%m/%Y', '%m/%d/%Y', '%d.%m.%Y', '%d-%m-%Y', '%m-%d-%Y', '%Y/%m/%d',
  '%Y-%m-%d', '%d %b %Y', '%d %B %Y', '%b %d, %Y', '%B %d, %Y',
)  # fmt: skip
_CLOCKS = (
  '', ' %H:%M', ' %H:%M:%S', ' %H:%M:%S%.f', ' %I:%M %p', ' %I:%M:%S %p',
  ' %H:%M:%S %z', ' %H:%M:%S%.f %z',
)  # fmt: skip
_TRIED = 1000  # cells from which a form is told
ALLOWED = (
  'Unix seconds from 0 on, or dates like 2021-07-01 and 2021-07-01 12:30:00;'
  ' --time_unit and --time_format tell of others'
)


class Writing(NamedTuple):
  """How the times of a table are written."""

  unit: str = 'auto'  # of numbers: one of UNITS, or told by their scale
  form: str = ''  # of dates, as for strptime; '' for ISO-8601 and numbers
  # Numbers of another scale than most are faults, or else stay as they stand.
  one_scale: bool = True


def parse(raw: polars.Series, writing: Writing | None = None) -> cells.Parsed:
  """Unix seconds, i64[R] or f64[R].

  Anything but finite times from 0 on is a fault, and so are the numbers of
  another scale than most, where the unit is not given. Dates without a zone
  are UTC. A note says what the numbers count if it is not seconds.
  """
  writing = writing or Writing()
  if raw.dtype.is_integer() and (writing.form or _maybe_compact(raw)):
    raw = raw.cast(polars.String)
  if raw.dtype == polars.String:
    parsed, counts = _of_text(cells.tidied(raw), writing)
  else:
    parsed, counts = _typed(raw)
  values, faults = parsed.values, parsed.faults
  good = faults == 0
  faults[good & (values < 0)] = cells.NEGATIVE
  unit, strange = writing.unit, np.zeros(len(values), bool)
  if unit == 'auto':
    # A date is what it says; a number may be of another unit.
    strange = _strange(values, faults == 0) & counts
    unit = _unit(values[(faults == 0) & counts & ~strange])
    if writing.one_scale:
      faults[strange] = cells.OTHER_SCALE
  notes = parsed.notes
  if unit in _NAMES and np.any(counts):
    counts = counts & (faults == 0) & ~strange
    values = _scaled(values, counts, UNITS[unit])
    count = int(np.sum(counts))
    notes = ((f'{raw.name} cells that count {_NAMES[unit]}', count),)
  return cells.Parsed(values, faults, notes)


KIND = cells.Kind(
  parse, ALLOWED, 'integers, floats, dates, datetimes or strings'
)


def check(writing: Writing) -> None:
  """Raises UserError for an unknown unit, or a form that is none."""
  units = ('auto', *UNITS)
  if writing.unit not in units:
    raise types.UserError(
      f'--time_unit={writing.unit} is unknown; allowed: {", ".join(units)}'
    )
  if writing.form and '%' not in writing.form:
    raise types.UserError(
      f'--time_format={writing.form} has no % sign; it is written as for '
      'strptime, for example --time_format=%d.%m.%Y'
    )
  if writing.form and writing.unit != 'auto':
    raise types.UserError(
      f'--time_unit={writing.unit} is of numbers, --time_format='
      f'{writing.form} of dates; give one of them'
    )


def shown(seconds: Any) -> str:
  """A time as a date for people; the number where no date has it."""
  try:
    moment = datetime.datetime.fromtimestamp(float(seconds), datetime.UTC)
  except (ValueError, OverflowError, OSError):
    return f'{float(seconds):.15g}'
  return moment.replace(microsecond=0, tzinfo=None).isoformat(' ')


def _typed(raw: polars.Series) -> tuple[cells.Parsed, np.ndarray]:
  """Numbers or dates of a typed column, and which are numbers, bool[R]."""
  numbers = np.full(len(raw), not raw.dtype.is_temporal())
  if raw.dtype.is_temporal():
    micros = raw.cast(polars.Datetime('us')).dt.epoch('us')
    # Whole seconds stay integers.
    whole = not (micros % 1_000_000).max()
    raw = micros // 1_000_000 if whole else micros / 1e6
  if raw.dtype.is_integer():
    return cells.parse_order(raw), numbers
  seconds = raw.cast(polars.Float64)
  good = seconds.is_finite().fill_null(False)
  return cells.typed(raw, seconds, good, cells.NOT_TIME), numbers


def _of_text(
  text: polars.Series, writing: Writing
) -> tuple[cells.Parsed, np.ndarray]:
  """Numbers as they stand and dates in seconds; which are numbers, bool[R]."""
  form = writing.form
  if not form and writing.unit == 'auto':
    form = _compact_form(text)
  if form:
    return _formed(text, form, bool(writing.form))
  integers = text.cast(polars.Int64, strict=False)
  numeric = cells.is_integer(text, integers)
  if numeric.all():
    return cells.Parsed(
      np.array(integers), _no_faults(text)
    ), numeric.to_numpy()
  seconds, micros = _iso(text)
  dated = seconds.is_not_null()
  seconds = integers.zip_with(numeric, seconds)
  parsed = cells.completed(text, seconds, numeric | dated, _number)
  if (micros > 0).any():
    rows = np.flatnonzero(micros.to_numpy() > 0)
    values = parsed.values.astype(np.float64)
    total = seconds.gather(rows).to_numpy() * 1_000_000
    values[rows] = (total + micros.gather(rows).to_numpy()) / 1e6
    parsed = parsed._replace(values=values)
  return parsed._replace(values=np.array(parsed.values)), ~dated.to_numpy()


def _iso(text: polars.Series) -> tuple[polars.Series, polars.Series]:
  """Whole seconds of ISO dates, null for other text; and their microseconds."""
  days = text.str.len_bytes() == 10
  if days.any():
    text = text.zip_with(~days, text + ' 00:00:00')
  short = text.str.contains(_SHORT)
  if short.any():
    parts = text.str.extract_groups(_SHORT).struct
    whole = parts.field('moment') + ':00'
    text = text.zip_with(~short, whole + text.str.slice(16))
  moments = text.str.head(19)
  moments = moments.set(~moments.str.contains(_MOMENT), None)
  moments = moments.str.replace('T', ' ', literal=True)
  seconds = moments.str.to_datetime('%Y-%m-%d %H:%M:%S', strict=False)
  offset, micros = _tails(text.str.slice(19))
  return seconds.dt.epoch('s') - offset, micros


def _tails(tails: polars.Series) -> tuple[polars.Series, polars.Series]:
  """Seconds of zones, null for what is none, and microseconds, of what follows
  the second of a moment; a few texts that are many times there."""
  distinct = tails.unique()
  parts = polars.DataFrame({'tail': distinct}).with_columns(
    distinct.str.extract_groups(_TAIL).struct.unnest(),
    good=distinct.str.contains(_TAIL),
  )
  count = lambda name: polars.col(name).cast(polars.Int64)
  east = polars.when(polars.col('sign') == '-').then(-60).otherwise(60)
  zone = (east * (count('hours') * 60 + count('minutes'))).fill_null(0)
  # As Python reads a fraction: six digits of it.
  part = polars.col('part').str.head(6).str.pad_end(6, '0')
  parts = parts.select(
    offset=polars.when('good').then(zone),
    micros=part.cast(polars.Int64).fill_null(0),
  )
  told = lambda values: tails.replace_strict(
    distinct, values, return_dtype=polars.Int64
  )
  if len(distinct) == 1:
    told = lambda values: values.new_from_index(0, len(tails))
  return told(parts['offset']), told(parts['micros'])


def _formed(
  text: polars.Series, form: str, given: bool
) -> tuple[cells.Parsed, np.ndarray]:
  """Dates of one form in seconds; none of them is a number."""
  try:
    moments = _strptime(text, form)
  except polars.exceptions.PolarsError as error:
    reason = str(error).splitlines()[0][:200]
    raise types.UserError(
      f'--time_format={form} cannot be used ({reason}); it is written as for '
      'strptime, for example %d.%m.%Y %H:%M'
    ) from error
  micros = moments.dt.epoch('us')
  whole = not (micros % 1_000_000).max()
  seconds = micros // 1_000_000 if whole else micros / 1e6
  good = seconds.is_not_null()
  parsed = cells.completed(text, seconds, good, _no_date)
  notes = ()
  if not given:
    example = text.filter(good).min()
    notes = ((f'{text.name} cells that are dates like {example}', len(text)),)
  values = np.array(parsed.values)
  return parsed._replace(values=values, notes=notes), np.zeros(len(text), bool)


def likely_forms(raw: polars.Series) -> list[str]:
  """Usual forms of dates that most cells have; two if the day may be first."""
  text = cells.tidied(raw.cast(polars.String))
  text = text.filter(text != '')
  text = text.gather_every(max(len(text) // _TRIED, 1))
  forms = [date + clock for date in _DATES for clock in _CLOCKS]
  read = {form: _strptime(text, form) for form in forms}
  most = max(moments.count() for moments in read.values())
  if 2 * most <= len(text):
    return []
  fitting = [form for form in forms if read[form].count() == most]
  first = fitting[0]
  others = [form for form in fitting if not read[form].equals(read[first])]
  return [first, *others[:1]]


def _strptime(text: polars.Series, form: str) -> polars.Series:
  """Moments in UTC of texts of a form, null for others."""
  if not any(f'%{letter}' in form for letter in 'HIMSTRscfk'):
    dates = text.str.to_date(form, strict=False)
    return dates.cast(polars.Datetime('us'))
  moments = text.str.to_datetime(
    form,
    strict=False,
    time_unit='us',
    time_zone='UTC' if _zoned(form) else None,
  )
  return moments.dt.replace_time_zone(None) if _zoned(form) else moments


def _zoned(form: str) -> bool:
  return any(zone in form for zone in ('%z', '%:z', '%#z', '%Z', '%+'))


def _maybe_compact(numbers: polars.Series) -> bool:
  """Whether all integers have as many digits as a compact date has."""
  digits = {len(str(end)) for end in (numbers.min(), numbers.max())}
  return len(digits) == 1 and digits <= set(_COMPACT)


def _compact_form(text: polars.Series) -> str:
  """The form of compact dates if all cells that are good are such, or ''."""
  rest = text.filter(~text.is_in(['', *cells.MISSING_NAMES]))
  lengths = rest.str.len_bytes()
  if not len(rest) or lengths[0] not in _COMPACT:
    return ''
  form = _COMPACT[lengths[0]]
  if (lengths != lengths[0]).any() or not rest.str.contains('^[0-9]+$').all():
    return ''
  moments = _strptime(rest, form)
  years = moments.dt.year()
  plausible = (years >= 1970) & (years < 2100)
  return form if plausible.fill_null(False).all() else ''


def _strange(values: np.ndarray, good: np.ndarray) -> np.ndarray:
  """Good times that a gap in scale divides from most of the others, bool[R]."""
  strange = np.zeros(len(values), bool)
  if not np.any(good):
    return strange
  first, last = np.min(values[good]), np.max(values[good])
  # No two times are further apart than the ends are.
  if last < _FROM or last < _GAP * float(first):
    return strange
  ordered = np.sort(values[good]).astype(np.float64)
  low, high = ordered[:-1], ordered[1:]
  ends = np.flatnonzero((high >= _FROM) & (high >= _GAP * low)) + 1
  if not len(ends):
    return strange
  # What is early enough to be no date, such as 0, is never the right part.
  start = 0 if ordered[0] >= _FROM else ends[0]
  borders = np.unique(np.concatenate([[start], ends, [len(ordered)]]))
  most = np.argmax(np.diff(borders))
  first, last = ordered[borders[most]], ordered[borders[most + 1] - 1]
  return good & ((values < first) | (values > last))


def _unit(values: np.ndarray) -> str:
  """What numbers count, by their scale."""
  if not len(values):
    return 's'
  first, last = np.min(values), np.max(values)
  fitting = (
    unit
    for unit, (low, high) in _SCALES.items()
    if low <= first and last < high
  )
  return next(fitting, 's')


def _scaled(values: np.ndarray, counts: np.ndarray, unit: int) -> np.ndarray:
  """Seconds, whole ones as integers, of values that count a part of one."""
  if values.dtype.kind == 'i' and not np.any(values[counts] % unit):
    return np.where(counts, values // unit, values)
  return np.where(counts, values / unit, values)


def _number(text: str) -> tuple[int | float, int]:
  """A decimal number or nothing, and its fault."""
  if not text:
    return 0, cells.EMPTY
  if text.lstrip('-').isdecimal() and text.isascii():
    return cells.integer(text)
  value, fault = cells.number(text)
  if fault:
    return 0, cells.NOT_TIME
  return (value, 0) if abs(value) <= _MAX_INT64 else (0, cells.TOO_LARGE)


def _no_date(text: str) -> tuple[int, int]:
  return 0, cells.NOT_TIME if text else cells.EMPTY


def _no_faults(text: polars.Series) -> np.ndarray:
  return np.zeros(len(text), np.uint8)
