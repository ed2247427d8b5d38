import numpy as np
import pytest

from twotsrec.runs import event_clocks

_NOW = 1.75e9  # in 2025
_LOG = (1.6e9, 1.63e9)  # a year
_GOOD = [1.7e9, 1.7001e9, 1.7002e9]
_2099 = 4070908800.0


def _limits(times, log=_LOG, reached=-np.inf):
  times = np.asarray(times, float)
  return event_clocks.plausible(log, reached, times, times, _NOW)


def _refused(times, **options):
  limits = _limits(times, **options)
  times = np.asarray(times)
  return list(times[(times < limits.first) | (times > limits.last)])


@pytest.mark.parametrize('wrong', [_2099, 1.7e12, 1.7e15, 5.0, -1.7e9])
@pytest.mark.parametrize('good', [[], _GOOD[:1], _GOOD, 9 * _GOOD])
def test_a_clock_far_from_the_others_is_refused(wrong, good):
  assert _refused([*good, wrong]) == [wrong]
  assert _refused([wrong, *good]) == [wrong]


def test_milliseconds_are_judged_as_seconds_are():
  scale = lambda values: [1e3 * value for value in values]
  for wrong in (1.7e9, 1e3 * _2099, 1.7e15):
    assert _refused([*scale(_GOOD), wrong], log=tuple(scale(_LOG))) == [wrong]


@pytest.mark.parametrize('years', [1, 20])
@pytest.mark.parametrize('users', [1, 3, 30])
def test_a_table_of_another_scale_does_not_move_the_limits(years, users):
  log = (_LOG[1] - years * 3.15e7, _LOG[1])
  for scale in (60, 3600, 86400):
    wrong = [(1.7e9 + 9 * n) / scale for n in range(users)]
    assert _refused(wrong, log=log) == wrong
    assert _refused([*_GOOD[:users], *wrong], log=log) == wrong


def test_a_table_of_years_later_is_not_refused():
  hour = (1.6e9, 1.6e9 + 3600)
  assert not _refused([_NOW], log=hour)
  assert not _refused([1.7e9 + 86400 * day for day in range(30)], log=hour)
  assert not _refused([_NOW, _NOW + 3600])


def test_an_old_log_that_is_played_again_refuses_what_came_years_later():
  old = (9e8, 9.3e8)  # a year, 30 years ago
  assert _refused([9.4e8, 9.41e8, 9.42e8, 1.7e9], log=old) == [1.7e9]


def test_times_that_are_no_dates_are_told_by_the_length_of_the_log():
  assert _refused([500, 900, 1.7e9], log=(0, 117)) == [1.7e9]
  assert not _refused([500, 900, 11_000], log=(0, 117))
  # Events that were played before have moved on from the log.
  assert not _refused([20_000], log=(0, 117), reached=15_000)


def test_without_times_in_the_log_the_table_judges_itself():
  assert _refused([1.7e9, 1.7e12], log=None) == [1.7e12]
  assert _refused([1.7e9, 1.7e9 + 9, 1.7e9 + 20, _2099], log=None) == [_2099]
  assert not _refused([3], log=None)


def test_a_time_is_written_with_its_date():
  assert event_clocks.written(_2099, 1.0) == '4070908800 (2099-01-01)'
  assert event_clocks.written(_2099 * 1e3, 1e3) == '4070908800000 (2099-01-01)'
  assert event_clocks.written(7.5, 0.0) == '7.5'
  assert event_clocks.written(1e300, 1.0) == '1e+300'
