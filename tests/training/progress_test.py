"""Progress is shown, seldom and truthfully, or not at all."""

import io

import jax.numpy as jnp
import pytest

from twotsrec.training import progress


class Terminal(io.StringIO):
  """A stream that says it is a terminal."""

  def isatty(self):
    return True


class Clock:
  """Time that passes when told."""

  def __init__(self):
    self.now = 100.0

  def __call__(self):
    return self.now


def run(stream, chunks, seconds_each, **options):
  """Reports chunks of 10 steps and 640 examples."""
  clock = Clock()
  options = {'stream': stream, 'clock': clock, **options}
  with progress.reporter(10 * chunks, 'train', **options) as report:
    for chunk in range(1, chunks + 1):
      clock.now += seconds_each
      report(10 * chunk, 640, jnp.float32(1 / chunk))
  return stream.getvalue()


def test_plain_lines_are_an_interval_apart():
  lines = run(io.StringIO(), chunks=40, seconds_each=1.0).splitlines()
  assert len(lines) == 4  # 40 seconds, a line every 10
  assert lines[0] == (
    'train: 100/400 steps, 640 examples/s, loss 0.1000, 0:30 left'
  )
  assert lines[-1].endswith('loss 0.0250, 0:00 left')


def test_short_work_gets_one_line():
  text = run(io.StringIO(), chunks=3, seconds_each=0.5)
  assert text == 'train: 30/30 steps, 1,280 examples/s, loss 0.3333\n'


def test_quiet_shows_nothing():
  assert run(Terminal(), chunks=3, seconds_each=20.0, quiet=True) == ''


def test_a_terminal_gets_a_bar(monkeypatch):
  monkeypatch.setenv('TERM', 'xterm')
  monkeypatch.setenv('COLUMNS', '200')
  text = run(Terminal(), chunks=3, seconds_each=2.0)
  assert '30/30 steps' in text
  assert '320 examples/s, loss 0.3333' in text
  assert '\x1b[' in text  # drawn in place


def test_a_dumb_terminal_gets_lines(monkeypatch):
  monkeypatch.setenv('TERM', 'dumb')
  assert '\x1b[' not in run(Terminal(), chunks=3, seconds_each=20.0)


def test_users_are_counted_as_users():
  text = run(io.StringIO(), chunks=1, seconds_each=1.0, unit='users')
  assert text == 'train: 10/10 users, 640 users/s, loss 1.0000\n'


def test_a_resumed_run_counts_only_its_own_steps():
  stream, clock = io.StringIO(), Clock()
  options = {'start': 900, 'stream': stream, 'clock': clock}
  with progress.reporter(1000, 'train', **options) as report:
    clock.now += 10.0
    report(950, 500)
  assert stream.getvalue() == (
    'train: 950/1000 steps, 50 examples/s, 0:10 left\n'
  )


def test_totals_begin_with_what_was_done_before():
  stream, clock = io.StringIO(), Clock()
  options = {'stream': stream, 'clock': clock, 'unit': 'users'}
  with progress.reporter(1000, 'rank', **options) as report:
    show = progress.of_totals(report)
    clock.now += 5.0  # until it is clear what was done
    show(900, 1000)
    clock.now += 10.0
    show(950, 1000)
  assert stream.getvalue() == 'rank: 950/1000 users, 5 users/s, 0:10 left\n'


def test_the_rate_forgets_the_compilation():
  stream, clock = io.StringIO(), Clock()
  options = {'stream': stream, 'clock': clock, 'interval': 1e9}
  with progress.reporter(1000, 'train', **options) as report:
    clock.now += 3600.0  # the first chunk compiles
    report(1, 10)
    for step in range(2, 102):
      clock.now += 1.0
      report(step, 10)
  assert '10 examples/s' in stream.getvalue()


def test_an_error_inside_is_not_hidden():
  stream = io.StringIO()
  with pytest.raises(KeyError):
    with progress.reporter(10, 'train', stream=stream) as report:
      report(1)
      raise KeyError
  assert stream.getvalue() == ''


@pytest.mark.parametrize(
  ('seconds', 'text'),
  [(0, '0:00'), (59.6, '1:00'), (3599, '59:59'), (3600 * 25, '25:00:00')],
)
def test_durations(seconds, text):
  assert progress.duration(seconds) == text
