"""Curves and reports of runs in TensorBoard, MLflow or Weights & Biases.

What is sent stands in `metrics.jsonl` and `report.json` anyway, so training
knows nothing of it: whoever asks a training whether to stop looks what is new
there. Which step came last is read from where the lines were sent to, so that a
command that was killed and goes on sends no step twice.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import importlib
import os
import pathlib
import struct
import time
from typing import Any, NamedTuple
import uuid

from twotsrec import config as config_lib
from twotsrec import fields
from twotsrec import types
from twotsrec.training import files
from twotsrec.training import run_directory

PROJECT = 'twotsrec'
_NONE = 'none'
# Runs and phases below the directory of a command, as WORKDIR/seed0/ga/stage1.
_DEPTH = 3
_PACKAGES = {
  'tensorboard': "-e '.[track]'",
  'mlflow': 'mlflow',
  'wandb': 'wandb',
}
KINDS = (_NONE, *_PACKAGES)


class Sink(NamedTuple):
  """Where the lines of one folder go.

  Attributes:
    last: the last step that is there, or -1.
    log: ({name: value}, step) sends them, all or none.
    close: () -> None.
  """

  last: int
  log: Callable[[Mapping[str, float], int], None]
  close: Callable[[], Any]


@contextlib.contextmanager
def beside(
  kind: str, workdir: str, should_stop: Callable[[], Any]
) -> Iterator[Callable[[], Any]]:
  """Sends what the runs in a directory write while they train inside.

      with tracking.beside('tensorboard', workdir, should_stop) as stop:
        run.train(config, workdir, stop)

  Args:
    kind: of `KINDS`.
    workdir: a run directory, or one with several below it.
    should_stop: of the training.
  Yields:
    `should_stop` that also sends; what comes last is sent at the end.
  Raises:
    types.UserError: an unknown kind, or what it needs is not installed.
  """
  fields.refuse_unknown('track', kind, KINDS)
  if kind == _NONE:
    yield should_stop
    return
  try:
    open_sink = _SINKS[kind]()
  except ImportError as error:
    raise types.UserError(
      f'what --track={kind} needs is not installed; run: pip install'
      f' {_PACKAGES[kind]}'
    ) from error
  top, sinks = pathlib.Path(workdir), {}
  seen: dict[pathlib.Path, Any] = {}

  def send():
    for folder in _folders(top):
      if (state := _state(folder)) != seen.get(folder):
        if folder not in sinks:
          sinks[folder] = open_sink(folder, _name(top, folder))
        sinks[folder] = _sent(folder, sinks[folder])
        seen[folder] = state

  def stop():
    send()
    return should_stop()

  try:
    yield stop
    send()
  finally:
    for sink in sinks.values():
      sink.close()


# ---- What is sent


def _folders(top) -> list[pathlib.Path]:
  """Where runs and their phases write."""
  found = set()
  for name in ('metrics.jsonl', 'report.json'):
    for depth in range(_DEPTH + 1):
      found |= {path.parent for path in top.glob('*/' * depth + name)}
  return sorted(found)


def _state(folder) -> list[Any]:
  """Changes with what is in the files."""
  paths = run_directory.metrics_path(folder), run_directory.report_path(folder)
  stats = [path.stat() if path.exists() else None for path in paths]
  return [(one.st_size, one.st_mtime_ns) if one else None for one in stats]


def _name(top, folder) -> str:
  top, folder = top.absolute(), folder.absolute()
  return folder.relative_to(top.parent).as_posix()


def _sent(folder, sink) -> Sink:
  """The sink after all lines of a folder that it lacks."""
  for step, values in _lines(folder):
    if step > sink.last:
      sink.log(values, step)
      sink = sink._replace(last=step)
  return sink


def _lines(folder) -> Iterator[tuple[int, dict[str, float]]]:
  """(step, values): epochs by the updates until then, and the report last."""
  for record in run_directory.read_metrics(folder):
    yield record['step'], dict(_flat(record))
  path = run_directory.report_path(folder)
  report = files.read_json(path) if path.is_file() else {}
  if report.get('test'):
    training = report['training']
    told = {'epoch': training['epochs'], 'test': _of_part(report['test'])}
    yield training['steps'] + 1, dict(_flat(told))


def _of_part(part) -> dict[str, Any]:
  """Metrics of a part of a report, named as those of an epoch are."""
  values = lambda row, name: row[name]['value']
  names = [k for k, v in part['overall'].items() if isinstance(v, dict)]
  overall = {name: values(part['overall'], name) for name in names}
  by_group = {
    f'{name}_by_group': [values(row, name) for row in part['groups']]
    for name in names
  }
  return overall | by_group


def _flat(value: Any, name: str = '') -> Iterator[tuple[str, float]]:
  """Numbers by path; entries of lists are counted from 1."""
  if isinstance(value, Mapping | list):
    of_list = isinstance(value, list)
    for key, entry in enumerate(value, 1) if of_list else value.items():
      yield from _flat(entry, f'{name}/{key}' if name else str(key))
  elif isinstance(value, int | float) and not isinstance(value, bool):
    yield name, float(value)


def _settings(folder) -> dict[str, Any]:
  """Settings that are not at their default; a phase has those of its run."""
  usual = {path: value for path, _, value in fields.walk(config_lib.Config())}
  for place in (folder, folder.parent):
    if run_directory.config_path(place).is_file():
      saved = run_directory.read_config(place)
      config = run_directory.config_from_dict(saved)
      return {p: v for p, _, v in fields.walk(config) if v != usual[p]}
  return {}


def _kept(folder, kind, make: Callable[[], str]) -> dict[str, Any]:
  """{'id', 'last'} of a folder, the id made once."""
  path = _kept_path(folder, kind)
  if not path.is_file():
    files.write_json(path, {'id': make(), 'last': -1})
  return files.read_json(path)


def _kept_path(folder, kind) -> pathlib.Path:
  return folder / f'{kind}_run.json'


# ---- Where it goes


def _tensorboard():
  """Event files in FOLDER/tensorboard, for `tensorboard --logdir=FOLDER`."""
  from tensorboardX import event_file_writer

  event_pb2 = importlib.import_module('tensorboardX.proto.event_pb2')
  summary_pb2 = importlib.import_module('tensorboardX.proto.summary_pb2')

  def open_sink(folder, name):
    del name  # TensorBoard goes by the folder
    logs, writers = folder / 'tensorboard', []
    steps = [-1]
    for path in sorted(logs.glob('events.*')):
      events = map(event_pb2.Event.FromString, _records(path))
      steps += [event.step for event in events if event.HasField('summary')]

    def log(values, step):
      if not writers:  # no empty files of runs that have finished
        logs.mkdir(exist_ok=True)
        suffix = f'.{os.getpid()}.{time.time_ns()}'
        prefix = str(logs / 'events')
        writers.append(event_file_writer.EventsWriter(prefix, suffix))
      summary = summary_pb2.Summary(
        value=[
          summary_pb2.Summary.Value(tag=tag, simple_value=value)
          for tag, value in values.items()
        ]
      )
      event = event_pb2.Event(wall_time=time.time(), step=step, summary=summary)
      writers[0].write_event(event)
      writers[0].flush()

    return Sink(max(steps), log, lambda: [one.close() for one in writers])

  return open_sink


def _records(path) -> Iterator[bytes]:
  """Whole records of an event file (TFRecord: length, its sum, data, sum)."""
  content, at = path.read_bytes(), 0
  while at + 12 <= len(content):
    (size,) = struct.unpack_from('<Q', content, at)
    if at + size + 16 > len(content):
      return  # a process was killed while it wrote
    yield content[at + 12 : at + 12 + size]
    at += size + 16


def _mlflow():
  """A run of the experiment `twotsrec` for every folder."""
  mlflow = importlib.import_module('mlflow')

  def open_sink(folder, name):
    client = mlflow.MlflowClient()
    there = client.get_experiment_by_name(PROJECT)
    experiment = (
      there.experiment_id if there else client.create_experiment(PROJECT)
    )

    def make():
      run_id = client.create_run(experiment, run_name=name).info.run_id
      for path, value in _settings(folder).items():
        client.log_param(run_id, path, str(value))
      return run_id

    run_id = _kept(folder, 'mlflow', make)['id']
    steps = [one.step for one in client.get_metric_history(run_id, 'epoch')]

    def log(values, step):
      now = int(time.time() * 1000)
      metrics = [
        # @ has no place in a name there.
        mlflow.entities.Metric(tag.replace('@', '_at_'), value, now, step)
        for tag, value in values.items()
      ]
      client.log_batch(run_id, metrics=metrics)

    close = lambda: client.set_terminated(run_id)
    return Sink(max(steps, default=-1), log, close)

  return open_sink


def _wandb():
  """A run of the project `twotsrec` for every folder."""
  wandb = importlib.import_module('wandb')

  def open_sink(folder, name):
    kept = _kept(folder, 'wandb', lambda: uuid.uuid4().hex[:12])
    run = wandb.init(
      project=PROJECT,
      id=kept['id'],
      name=name,
      config=_settings(folder),
      dir=str(folder),
      resume='allow',
      reinit='create_new',
    )

    def log(values, step):
      run.log(values, step=step)
      files.write_json(_kept_path(folder, 'wandb'), {**kept, 'last': step})

    # The step of its next line is 0 of a run without any, and of all offline.
    return Sink(max(run.step - 1, kept['last']), log, run.finish)

  return open_sink


_SINKS: dict[str, Callable[[], Callable[[pathlib.Path, str], Sink]]] = {
  'tensorboard': _tensorboard,
  'mlflow': _mlflow,
  'wandb': _wandb,
}
