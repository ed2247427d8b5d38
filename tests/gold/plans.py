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

from tests.studies import papers
from twotsrec import config as config_lib
from twotsrec.presets import two_time as two_time_presets
from twotsrec.studies import plans
from twotsrec.studies import study as study_lib

RECORD = pathlib.Path(__file__).with_name('plans.json')
OUT = 'runs'  # below a directory that is gone afterwards
STAGE1_EPOCHS = 20  # as the references of 2TS have chosen


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
  two_time = {'splits': two_time_presets.SPLITS, 'seeds': (0,)}
  every = papers.load('two_time_scale').systems
  return {
    'pin': _runs('pin', {}),
    'copf': _runs('copf', {'seeds': (0, 1)}),
    'two_time_scale': _runs('two_time_scale', two_time),
    'two_time_scale, all systems': _runs(
      'two_time_scale', two_time | {'systems': every, 'seeds': (3,)}
    ),
    'two_time_scale, few systems': _runs(
      'two_time_scale',
      two_time | {'systems': ('two_gru', 'one_gru'), 'seeds': (4,)},
    ),
  }


def _runs(name, given):
  """A reference that others wait for is taken for finished."""
  study = papers.load(name)
  given = {'datasets': study.axes['datasets'].values, **given}
  plan = plans.plan(study, study_lib.ask(study, given, OUT, data_root='DIR'))
  for run in plans.runs(plan):
    config, workdir = plans.config(plan, run), plans.workdir(plan, run)
    if name == 'two_time_scale' and run.system == '2ts':
      _finish(config, workdir)
    yield config, workdir, plans.train_command(plan, run)


def _finish(config, workdir) -> None:
  folder = pathlib.Path(workdir)
  folder.mkdir(parents=True)
  report = {'two_time': {'stage1_epochs': STAGE1_EPOCHS}}
  for name, content in (
    ('config', dataclasses.asdict(config)), ('report', report)
  ):  # fmt: skip
    (folder / f'{name}.json').write_text(json.dumps(content))


if __name__ == '__main__':
  if sys.argv[1:] != ['--write']:
    sys.exit('write the record with --write; the tests compare it')
  RECORD.write_text(json.dumps(record(), indent=1) + '\n')
