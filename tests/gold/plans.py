"""Record of what every run of every study trains, where, and by which command.

    python -m tests.gold.plans --write

`plans.json` holds a digest for each run of the widest requests. A run's digest
covers the fields in which its configuration departs from the defaults, its
directory, and its command line; the defaults have digests of their own.
"""

from collections.abc import Iterator, Mapping
import contextlib
import dataclasses
import hashlib
import json
import pathlib
import sys
import tempfile
from typing import Any

from twotsrec import config as config_lib
from twotsrec.recipes.reproduction import copf
from twotsrec.recipes.reproduction import pin
from twotsrec.recipes.reproduction import two_time

RECORD = pathlib.Path(__file__).with_name('plans.json')
OUT = 'runs'  # below a directory of its own
STAGE1_EPOCHS = 20  # as the references of 2TS have chosen
_PLACES = ('DIR', 'data', OUT)  # datasets, prepared data, runs


def record() -> dict[str, dict[str, str]]:
  """{study or 'defaults': {directory or section: digest}}."""
  default = dataclasses.asdict(config_lib.Config())
  made = {'defaults': {k: _digest(v) for k, v in default.items()}}
  with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
    for name, runs in _requests().items():
      made[name] = {
        workdir: _digest([_departures(config), workdir, command])
        for config, workdir, command in runs
      }
  return made


def _digest(content: Any) -> str:
  text = json.dumps(content, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _departures(config: config_lib.Config) -> dict[str, Any]:
  """Fields by their dotted name, where they are not the default."""
  default = dataclasses.asdict(config_lib.Config())
  return {
    f'{section}.{name}': value
    for section, fields in dataclasses.asdict(config).items()
    for name, value in fields.items()
    if value != default[section][name]
  }


# ---- The planning interface


def _requests() -> Mapping[str, Iterator[tuple[config_lib.Config, str, str]]]:
  """(configuration, directory, command) of all runs of every request."""
  asked = _two_time(two_time.ASKED)
  return {
    'pin': _runs(pin, _pin()),
    'copf': _runs(copf, _copf()),
    'two_time_scale': _runs(two_time, asked),
    'two_time_scale, all systems': _runs(
      two_time, asked._replace(systems=two_time.SYSTEMS, seeds=(3,))
    ),
    'two_time_scale, few systems': _runs(
      two_time, asked._replace(systems=('two_gru', 'one_gru'), seeds=(4,))
    ),
  }


def _pin():
  tables, datasets, models = map(tuple, (pin.TABLES, pin.FILES, pin.MODELS))
  return pin.Settings(tables, datasets, models, (0, 1, 2), 8, 4, *_PLACES)


def _copf():
  tables, datasets = tuple(copf.TABLES), tuple(copf.FILES)
  return copf.Settings(tables, datasets, copf.SYSTEMS, (0, 1), 200, *_PLACES)


def _two_time(systems):
  return two_time.Settings(
    tuple(two_time.TABLES),
    two_time.FIGURES,
    tuple(two_time.FILES),
    two_time.presets.SPLITS,
    systems,
    (0,),
    *_PLACES,
  )


def _runs(study, settings):
  """A reference that others wait for is taken for finished."""
  for run in study.runs(settings):
    planned = study.plan(settings, run)
    if study is two_time and run.system == two_time.REFERENCE:
      _finish(planned)
    command = study.train_command(settings, run)
    yield planned.config, planned.workdir, command


def _finish(planned) -> None:
  folder = pathlib.Path(planned.workdir)
  folder.mkdir(parents=True)
  report = {'two_time': {'stage1_epochs': STAGE1_EPOCHS}}
  config = dataclasses.asdict(planned.config)
  for name, content in (('config', config), ('report', report)):
    (folder / f'{name}.json').write_text(json.dumps(content))


if __name__ == '__main__':
  if sys.argv[1:] != ['--write']:
    sys.exit('write the record with --write; the tests compare it')
  RECORD.write_text(json.dumps(record(), indent=1) + '\n')
