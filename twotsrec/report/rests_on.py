"""Sections on what the numbers rest on: data, protocol, commands."""

from collections.abc import Sequence
import dataclasses
import functools
import json
import shlex
from typing import Any

import numpy as np

from twotsrec import config as config_lib
from twotsrec import fields
from twotsrec.data import groups as groups_lib
from twotsrec.data import report as data_report
from twotsrec.report import content as content_lib
from twotsrec.report import drawings
from twotsrec.report import pictures
from twotsrec.report import section

Content = content_lib.Content


def activity(content: Content) -> section.Section | None:
  """How much users have done, with the borders of groups and t*."""
  run, data = content.first, content.data
  if data is None:
    return None
  options = config_lib.GroupConfig(**run.protocol['groups'])
  keys = groups_lib.keys(data, options)
  borders = run.protocol['group_thresholds']
  thresholds = {
    name: model.report['two_time']['threshold']
    for name, model in content.models.items()
    if model.report.get('two_time', {}).get('threshold') is not None
  }
  named = {
    'user_train_count': 'training samples of a user',
    'user_seq_len': 'training events of a user',
    'sample_history_len': 'events before a training sample',
  }
  threshold = next(iter(thresholds.values()), None)
  star = ''
  if thresholds:
    told = section.listed(f'{t:,} of {n}' for n, t in thresholds.items())
    star = (
      ' The dashed line is the threshold t* of 2TS, in training events'
      f' ({told}).'
    )
  name = named[options.key]
  said = ', '.join(f'{border:,}' for border in borders) or 'any number'
  return section.Section(
    key='activity',
    title='How active users are',
    lead=f'The filled outline counts by {name}, from few on the left to many on'
    ' the right, on a logarithmic scale. The lines are the borders of the'
    f' activeness groups: a group begins at {said}.{star}',
    figures=[
      section.Figure(
        name,
        drawings.picture(
          functools.partial(
            pictures.activity,
            keys=keys,
            borders=borders,
            threshold=threshold,
            name=name,
          ),
          f'Distribution of the {name}, median {int(np.median(keys)):,}, with'
          f' borders of groups at {said}',
        ),
      )
    ],
    grids=[_group_rows(content)],
  )


def _group_rows(content) -> list[list[str]]:
  groups = content.first.test['groups']
  span = lambda row: (
    '-'
    if row.get('min_activity') is None
    else f'{row["min_activity"]:,} to {row["max_activity"]:,}'
  )
  return [
    ['group', 'test users', 'training events'],
    *([f'group {g["group"]}', f'{g["users"]:,}', span(g)] for g in groups),
  ]


def data(content: Content) -> section.Section | None:
  """The data report."""
  run, data = content.first, content.data
  if data is None:
    return None
  options = config_lib.GroupConfig(**run.protocol['groups'])
  return section.Section(
    key='data',
    title='The data',
    lead='What was read, what was dropped and what is left, as prepare.py says'
    ' it. All runs of this page rest on the same data, by their digest.',
    text=data_report.text(data, options),
  )


def protocol(content: Content) -> section.Section:
  """Settings that the numbers rest on."""
  names = [*content.models] or [content.base]
  settings = [_settings(content.systems[name][0]) for name in names]
  keys = dict.fromkeys(key for one in settings for key in one)
  rows = [[key, *(one.get(key, '-') for one in settings)] for key in keys]
  shared = [row[:2] for row in rows if len(set(row[1:])) == 1]
  differ = [row for row in rows if len(set(row[1:])) > 1]
  grids = [[['setting', *names], *differ]] if differ else []
  return section.Section(
    key='protocol',
    title='Protocol',
    lead='What the numbers rest on. Runs with another split, other candidates,'
    ' groups or digests are refused, since their numbers cannot stand side by'
    ' side.'
    + ' What differs stands first, then what is shared.'
    * bool(differ),
    grids=[*grids, [['setting', 'value'], *shared]],
  )


def _settings(run) -> dict[str, str]:
  """Protocol and training of a run, flat."""
  told = {'training': run.report.get('training', {}), 'run': run.workdir}
  flat: dict[str, str] = {}
  for name, value in {**run.protocol, **told}.items():
    inner = value if isinstance(value, dict) else {'': value}
    for key, entry in inner.items():
      flat[f'{name}.{key}' if key else name] = _value(entry)
  return flat


def _value(value: Any) -> str:
  if value is None:
    return '-'
  if isinstance(value, float):
    return f'{value:.6g}'
  text = value if isinstance(value, str) else json.dumps(value)
  return text if len(text) <= 80 else f'{text[:50]}...{text[-12:]}'


def versions(content: Content) -> section.Section | None:
  """What computed the numbers."""
  runs = {
    name: run.report['versions']
    for name, run in content.models.items()
    if run.report.get('versions')
  }
  if not runs:
    return None
  keys = dict.fromkeys(key for versions in runs.values() for key in versions)
  return section.Section(
    key='versions',
    title='Versions',
    lead='What computed the numbers.',
    grids=[
      [
        ['package', *runs],
        *(
          [key, *(str(versions.get(key, '-')) for versions in runs.values())]
          for key in keys
        ),
      ]
    ],
  )


def commands(content: Content) -> section.Section:
  """Lines that train the runs again."""
  every: list[Sequence[str]] = [
    command(run.workdir, content_lib.config_of(run))
    for name in content.models
    for run in content.systems[name]
  ]
  if content.request.command:
    every.append(content.request.command)
  return section.Section(
    key='commands',
    title='Commands',
    lead='What trains each run again, setting by setting, and what made this'
    ' page.',
    text='\n\n'.join(map(_typed, every)),
  )


# What configs/quickstart.py sets, so that a command says it in any case.
_OF_FILE = ('data.dataset', 'train.epochs', 'plugin.epochs')


def _typed(words: Sequence[str]) -> str:
  """A command as one types it, a flag on each line."""
  program, script, *flags = map(shlex.quote, words)
  return ' \\\n  '.join([f'{program} {script}', *flags])


def command(workdir: str, config: config_lib.Config) -> list[str]:
  """The words that train a run, whatever file it was made from."""
  flags = [
    f'--config.{path}={_flag(value)}'
    for path, field, value in fields.walk(config)
    if path in _OF_FILE or value != default_of(field)
  ]
  words = ['python', 'launch/train.py', '--config=configs/quickstart.py']
  return [*words, f'--workdir={workdir}', *flags]


def default_of(field: dataclasses.Field) -> Any:
  """What a setting is unless it is given."""
  if field.default is not dataclasses.MISSING:
    return field.default
  return field.default_factory()  # pyright: ignore[reportCallIssue]


def _flag(value: Any) -> str:
  """A setting as a flag; a comma tells a tuple of one."""
  if isinstance(value, tuple):
    return f'({"".join(f"{one!r}," for one in value)})'
  return str(value)
