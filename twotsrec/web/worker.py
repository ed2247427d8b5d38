"""One thread has the model; requests that wait are answered together.

Whoever asks puts a job into a queue and gets a future. The thread takes
everything that waits, up to a limit, and hands it to a function at once: under
load batches grow by themselves, and a single request waits for nobody.
"""

from collections.abc import Callable, Sequence
from concurrent import futures
import queue
import threading
from typing import Any, NamedTuple

_TOGETHER = 256  # jobs of a batch at most
_WAITING = 8192  # jobs in the queue at most


class Worker(NamedTuple):
  """A running thread.

  Attributes:
    submit: (job) -> a future of its result, None where too much waits; raises
      RuntimeError after `stop`.
    result: (job) -> its result, however much waits before it.
    stop: () -> None; ends the thread after the jobs that wait.
  """

  submit: Callable[[Any], futures.Future | None]
  result: Callable[[Any], Any]
  stop: Callable[[], None]


def start(
  handle: Callable[[Sequence[Any]], Sequence[Any]],
  close: Callable[[], None] = lambda: None,
  together: int = _TOGETHER,
  waiting: int = _WAITING,
) -> Worker:
  """Starts a thread.

  Args:
    handle: jobs -> a result for each; an exception in a result's place is
      raised to who asked. Called in the thread alone.
    close: called in the thread when it ends.
    together: jobs that are handed over at once, at most.
    waiting: jobs that may wait.
  """
  jobs: queue.Queue = queue.Queue(waiting)
  stopped = threading.Event()

  def put(job, wait):
    if stopped.is_set():
      raise RuntimeError('the worker has been stopped')
    future: futures.Future = futures.Future()
    jobs.put((job, future), block=wait)
    return future

  def submit(job):
    try:
      return put(job, wait=False)
    except queue.Full:
      return None

  model = futures.ThreadPoolExecutor(1, 'model')

  def loop():
    while not (stopped.is_set() and jobs.empty()):
      taken = _taken(jobs, together)
      if taken:
        _settle(taken, model.submit(handle, [job for job, _ in taken]))
    model.submit(close).result()
    model.shutdown()

  thread = threading.Thread(target=loop, name='requests', daemon=True)
  thread.start()

  def stop():
    stopped.set()
    jobs.put(None)  # wakes a thread that waits
    thread.join()

  return Worker(
    submit=submit, result=lambda job: put(job, wait=True).result(), stop=stop
  )


def _taken(jobs, together) -> list[tuple[Any, futures.Future]]:
  """The next job, and what waits behind it."""
  taken = [jobs.get()]
  while len(taken) < together:
    try:
      taken.append(jobs.get_nowait())
    except queue.Empty:
      break
  # Whoever has gone meanwhile gets no answer.
  return [one for one in taken if one and one[1].set_running_or_notify_cancel()]


def _settle(taken, outcome):
  """Gives every future its result; a fault of all ends no service."""
  error = outcome.exception()
  results = [error] * len(taken) if error else outcome.result()
  for (_, future), result in zip(taken, results, strict=True):
    if isinstance(result, Exception):
      future.set_exception(result)
    else:
      future.set_result(result)
