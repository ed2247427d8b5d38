"""Writes configs/README.md: every setting with its default and its source.

    python launch/document_settings.py
    python launch/document_settings.py --check  # writes nothing; 2 if it is old

The list is made of the dataclasses of twotsrec/config.py and the comments that
stand beside their fields, so it says what the code says.
"""

import ast
import dataclasses
import pathlib
from typing import Any

from absl import flags

import cli
import field_comments
from twotsrec import aggregator_config
from twotsrec import behavior_config
from twotsrec import config as config_lib
from twotsrec import types

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / 'configs' / 'README.md'

_CHECK = flags.DEFINE_bool('check', False, 'Only tell whether it is current.')

_HEAD = """\
# Settings

This page is written by `python launch/document_settings.py` from
`twotsrec/config.py`.

A file in this folder describes one experiment: its docstring has the command,
and `get_config()` returns the settings. Where a file has several experiments, a
name after a colon chooses one: `--config=configs/pin/ml1m.py:gru4rec`. Every
setting is a flag of `launch/train.py` and `launch/pin.py` as well,
`--config.SECTION.NAME=VALUE`, for example `--config.train.learning_rate=1e-4`;
several values are written `--config.data.behaviors="'view','buy'"`. A wrong
name or value is refused in one line that says what is allowed. A model,
aggregator or plugin may be one of your own, named `my_file.py:make`. What the
aggregators are, cost and keep: [AGGREGATORS.md](AGGREGATORS.md).
"""


def main() -> int:
  """Writes the page, or says that it is old."""
  text = page()
  is_current = PAGE.is_file() and PAGE.read_text(encoding='utf-8') == text
  if _CHECK.value and not is_current:
    raise types.UserError(
      'configs/README.md is not what config.py says; run:'
      ' python launch/document_settings.py'
    )
  if not is_current:
    PAGE.write_text(text, encoding='utf-8')
    print(f'written to {PAGE.relative_to(ROOT)}')
  return 0


def page() -> str:
  """The text of configs/README.md."""
  said, default = {}, config_lib.Config()
  for module in (config_lib, aggregator_config, behavior_config):
    source = pathlib.Path(module.__file__).read_text(encoding='utf-8')
    said |= field_comments.read(source)
  sections = [
    _section(field.name, getattr(default, field.name), said)
    for field in dataclasses.fields(default)
  ]
  return '\n'.join([_HEAD, _files(), *sections])


def allowed(path: str, field: dataclasses.Field) -> str:
  """The values a field declares or names of parts; '' where it has neither."""
  from twotsrec import aggregators
  from twotsrec import plugins
  from twotsrec import recipes

  # Names of parts are listed by the packages that make them.
  parts = {
    'model.name': tuple(recipes.RECIPES),
    'aggregator.name': aggregators.NAMES,
    'plugin.name': ('none', *plugins.NAMES),
  }
  declared = field.metadata.get('setting')
  limits = getattr(declared, 'limits', ())
  names = getattr(declared, 'names', ()) or parts.get(path, ())
  return ', '.join(
    [
      *(f'`{name}`' for name in names),
      *(f'{words} {limit}' for words, limit in limits),
    ]
  )


def _files() -> str:
  """A list of the files with the first lines of their docstrings."""
  lines = ['## Files\n']
  for path in sorted((ROOT / 'configs').rglob('*.py')):
    tree = ast.parse(path.read_text(encoding='utf-8'))
    first = (ast.get_docstring(tree) or '').splitlines()[0]
    lines.append(f'* `{path.relative_to(ROOT).as_posix()}`: {first}')
  return '\n'.join(lines) + '\n'


def _section(name: str, made: Any, said: dict[str, dict[str, str]]) -> str:
  from twotsrec.evaluation import comparison

  rows = []
  for field in dataclasses.fields(made):
    rows.append(
      [
        f'`{name}.{field.name}`',
        f'`{getattr(made, field.name)!r}`',
        allowed(f'{name}.{field.name}', field),
        said[type(made).__name__][field.name],
      ]
    )
  head = [['setting', 'default', 'allowed', 'source and meaning'], ['---'] * 4]
  # Without a column where nothing of this section declares anything.
  columns = [i for i in range(4) if i != 2 or any(row[2] for row in rows)]
  lines = [
    f'| {" | ".join(comparison.escaped(row[i]) for i in columns)} |'
    for row in [*head, *rows]
  ]
  summary = (type(made).__doc__ or '').strip()
  paragraphs = '\n\n'.join(
    ' '.join(part.split()) for part in summary.split('\n\n')
  )
  return '\n'.join([f'## {name}\n', f'{paragraphs}\n', *lines, ''])


if __name__ == '__main__':
  cli.run(main, compiles=False)
