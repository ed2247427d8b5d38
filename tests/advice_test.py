"""What messages advise exists: flags, settings and files that they name.

The messages are read from the code, all texts of the calls that make an error
for the user, so that advice which is added is checked, too.
"""

import ast
import dataclasses
import pathlib
import re

import pytest

from twotsrec import config

ROOT = pathlib.Path(__file__).resolve().parents[1]
SOURCES = sorted(
  path
  for folder in ('twotsrec', 'launch')
  for path in (ROOT / folder).rglob('*.py')
)
_ERRORS = ('UserError', '_nothing_left', 'damaged', '_fail')


def _name(function):
  return getattr(function, 'attr', getattr(function, 'id', ''))


def _texts(node):
  """Texts in an expression; what is filled in is a blank."""
  parts = []
  for child in ast.walk(node):
    if isinstance(child, ast.Constant) and isinstance(child.value, str):
      parts.append(child.value)
  return ' '.join(parts)


def _messages():
  """(where, text) of every error for the user."""
  for path in SOURCES:
    tree = ast.parse(path.read_text(encoding='utf-8'))
    for node in ast.walk(tree):
      if isinstance(node, ast.Call) and _name(node.func) in _ERRORS:
        text = ' '.join(map(_texts, node.args))
        yield f'{path.relative_to(ROOT)}:{node.lineno}', text


def _flags():
  """Names that DEFINE_* calls of scripts have, and of the roles of columns."""
  names = set()
  for path in (ROOT / 'launch').rglob('*.py'):
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
      if isinstance(node, ast.Call) and _name(node.func).startswith('DEFINE'):
        first = node.args[0]
        if isinstance(first, ast.Constant):
          names.add(first.value)
  roles = ('user', 'item', 'time', 'rating', 'behavior', 'split', 'order')
  return names | {f'{role}_column' for role in roles} | {'help', 'seeds'}


SETTINGS = {
  # A section's name may be that of a script: train.py.
  part.name: {'py', *(f.name for f in dataclasses.fields(part.default_factory))}
  for part in dataclasses.fields(config.Config)
}
MESSAGES = list(_messages())


def test_messages_are_there():
  assert len(MESSAGES) > 300
  assert sum('--' in text for _, text in MESSAGES) > 50


@pytest.mark.parametrize('kind', ['flags', 'settings', 'files'])
def test_what_a_message_names_exists(kind):
  known, wrong = _flags(), []
  for where, text in MESSAGES:
    if kind == 'flags':
      named = re.findall(r'(?<![\w-])--(?:no)?([a-z_]+)\b(?!\.)', text)
      wrong += [(where, n) for n in named if n not in known]
    elif kind == 'settings':
      for section, field in re.findall(r'\b([a-z_0-9]+)\.([a-z_0-9]+)', text):
        if section in SETTINGS and field not in SETTINGS[section]:
          wrong.append((where, f'{section}.{field}'))
    else:
      named = re.findall(r'\b(?:launch|configs)/[\w/]+\.\w+', text)
      wrong += [(where, n) for n in named if not (ROOT / n).exists()]
  assert not wrong
