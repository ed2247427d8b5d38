"""The thread that answers what waits together."""

import threading

import pytest

from twotsrec.web import worker as worker_lib


def test_every_job_gets_its_own_result():
  worker = worker_lib.start(lambda jobs: [job * job for job in jobs])
  futures = [worker.submit(n) for n in range(500)]
  assert [f.result(10) for f in futures] == [n * n for n in range(500)]
  worker.stop()


def test_what_waits_is_answered_together_and_in_order():
  begun, go, batches = threading.Event(), threading.Event(), []

  def handle(jobs):
    batches.append(list(jobs))
    begun.set()
    go.wait(10)
    return jobs

  worker = worker_lib.start(handle, together=3)
  first = worker.submit(0)
  assert begun.wait(10)
  rest = [worker.submit(n) for n in range(1, 6)]
  go.set()
  assert [f.result(10) for f in (first, *rest)] == list(range(6))
  worker.stop()
  assert batches == [[0], [1, 2, 3], [4, 5]]


def test_a_fault_is_told_to_who_asked_and_ends_nothing():
  def handle(jobs):
    if 'all' in jobs:
      raise ValueError('all of them')
    return [KeyError(job) if job == 'one' else job for job in jobs]

  worker = worker_lib.start(handle, together=1)
  for job, error in (('all', ValueError), ('one', KeyError)):
    with pytest.raises(error):
      worker.submit(job).result(10)
  assert worker.submit('good').result(10) == 'good'
  worker.stop()


def test_more_than_may_wait_is_refused():
  begun, go = threading.Event(), threading.Event()

  def handle(jobs):
    begun.set()
    go.wait(10)
    return jobs

  worker = worker_lib.start(handle, together=1, waiting=2)
  taken = [worker.submit(0)]
  assert begun.wait(10)
  taken += [worker.submit(n) for n in (1, 2)]
  assert worker.submit(3) is None
  go.set()
  assert [f.result(10) for f in taken] == [0, 1, 2]
  worker.stop()


def test_what_waits_is_answered_before_the_end_and_then_nothing():
  closed = []
  worker = worker_lib.start(
    lambda jobs: jobs, lambda: closed.append(threading.current_thread().name)
  )
  futures = [worker.submit(n) for n in range(50)]
  worker.stop()
  assert [f.result(0) for f in futures] == list(range(50))
  assert closed == ['model_0']
  with pytest.raises(RuntimeError):
    worker.submit(1)


def test_who_has_gone_is_not_answered():
  begun, go, seen = threading.Event(), threading.Event(), []

  def handle(jobs):
    seen.extend(jobs)
    begun.set()
    go.wait(10)
    return jobs

  worker = worker_lib.start(handle, together=1)
  worker.submit('first')
  assert begun.wait(10)
  gone, stays = worker.submit('gone'), worker.submit('stays')
  assert gone.cancel()
  go.set()
  assert stays.result(10) == 'stays'
  worker.stop()
  assert seen == ['first', 'stays']
