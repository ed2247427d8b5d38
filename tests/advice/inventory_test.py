"""All refusals: what they advise exists, and whoever follows it is served."""

from collections.abc import Iterator
import dataclasses
import importlib
import pathlib
import re

import pytest

from tests.advice import messages
from twotsrec import config

ROOT = messages.ROOT
# Refusals whose way out is in words that the code around them fills in.
FILLED = {
  'cli.py: --{}: {}': '_unreadable ends with a file to name',
  'cli.py: {}: nothing reads it/them {}': 'a script says what to leave out',
  'arrays_only.py: which is no array, matrix or list': '_read adds it',
  'arrays_only.py: an array holds {}, which are no': '_read adds it',
  'arrays_only.py: the file holds no list': '_read adds it',
  'arrays_only.py: an entry is a {}, no integer': '_read adds it',
  'arrays_only.py: the file holds a {}, no {}': '_read adds it',
  'features.py: {}: {} items ({}) {}': 'each fault has a flag or a fix',
  'rows.py: {}{}': 'tables.py has a remedy for every fault',
  'protocols.py: since their users have touched every': 'offline.last_epoch',
  'state_files.py: {}: {}': 'online_bytes.py ends with a way out',
  'state_store.py: {}: {}': 'online_bytes.py ends with a way out',
  'online_bytes.py: state {}1: {}': 'the reasons end with a way out',
  "groups.key 'sample_history_len' divides single": 'who refuses says it',
}
# Refusals that no case provokes, with the reason.
UNPROVOKED: dict[str, str] = {}


def provoked() -> set[str]:
  """Texts of the refusals that tests of this folder provoke.

  A test provokes those of its parameter `case` or `call`, and those with
  `words` in the code; it fails if it meets another refusal instead.
  """
  made = set()
  for path in pathlib.Path(__file__).parent.glob('*_test.py'):
    module = importlib.import_module(f'tests.advice.{path.stem}')
    for function in vars(module).values():
      for words in _words_of(function):
        if messages.is_in_code(words):  # or absl refuses, or a file that is run
          made.add(messages.the_one(words).text)
  return made


def _words_of(function) -> Iterator[str]:
  for mark in getattr(function, 'pytestmark', ()):
    if mark.name != 'parametrize':
      continue
    names, rows = mark.args
    one = isinstance(names, str)
    for row in rows:
      named = {names: row} if one else dict(zip(names, row, strict=True))
      for name in {'case', 'call', 'words'}.intersection(named):
        yield named[name] if name == 'words' else named[name].says


def test_every_refusal_says_what_is_allowed_or_what_to_do():
  filled = {messages.the_one(words) for words in FILLED}
  silent = {m for m in messages.everything() if not m.has_way_out}
  assert sorted(silent - filled) == [] and sorted(filled - silent) == []


def test_every_refusal_is_provoked_and_its_advice_followed():
  unprovoked = {messages.the_one(words) for words in UNPROVOKED}
  made, every = provoked(), messages.everything()
  missing = {message for message in every if message.text not in made}
  assert sorted(missing - unprovoked) == [] == sorted(unprovoked - missing)
  assert len(every) >= 400


def flags() -> set[str]:
  """Names that DEFINE_* calls of scripts have, and of the roles of columns."""
  names = set()
  for path in (ROOT / 'launch').rglob('*.py'):
    source = path.read_text(encoding='utf-8')
    names |= set(re.findall(r"DEFINE\w*\(\s*'(\w+)'", source))
  roles = ('user', 'item', 'time', 'rating', 'behavior', 'split', 'order')
  roles += ('label',)
  return names | {f'{role}_column' for role in roles} | {'help', 'seeds'}


SETTINGS = {
  # A section's name may be that of a script: train.py.
  part.name: {'py', *(f.name for f in dataclasses.fields(part.default_factory))}
  for part in dataclasses.fields(config.Config)
}


@pytest.mark.parametrize('kind', ['flags', 'settings', 'files'])
def test_what_a_message_names_exists(kind):
  known, wrong, seen = flags(), [], 0
  for message in messages.everything():
    if kind == 'flags':
      named = re.findall(r'(?<![\w-])--(?:no)?([a-z_]+)\b(?!\.)', message.text)
      wrong += [(message.where, n) for n in named if n not in known]
    elif kind == 'settings':
      named = re.findall(r'\b([a-z_0-9]+)\.([a-z_0-9]+)', message.text)
      named = [pair for pair in named if pair[0] in SETTINGS]
      for section, field in named:
        if field not in SETTINGS[section]:
          wrong.append((message.where, f'{section}.{field}'))
    else:
      named = re.findall(r'\b(?:launch|configs)/[\w/]+\.\w+', message.text)
      wrong += [(message.where, n) for n in named if not (ROOT / n).exists()]
    seen += len(named)
  assert wrong == [] and seen >= 5
