"""Settings that are refused before training, and what their messages advise.

What a setting may be, and where it is read, is declared for all of them in one
form, so their refusals are generated: every setting, under every recipe.
"""

import ast
import math
import re
import typing

import pytest

from tests import configured
from tests.advice import following
from tests.advice import messages
from tests.advice.setting import refusal
from twotsrec import config as config_lib
from twotsrec import fields
from twotsrec import recipes

FIELDS = {path: field for path, field, _ in fields.walk(config_lib.Config())}
# Words that refuse a value whatever the recipe, as the code has them.
OF_VALUES = {
  'known': '{} {}; known: {}',
  'limit': '{} {} must be {}',
  'finite': '{} {} must be a finite number',
  'several': '{} {} must be several, as in ({},)',
  'kind': '{} {} must be a name; quote each',
  'comma': 'is one name with commas; quote each',
}
UNREAD = 'changes nothing {}; leave it at'


def config(model: str = 'din', **changes) -> config_lib.Config:
  return configured.by({'model.name': model}, **changes)


def of_value(path, value) -> str:
  made = config()
  config_lib.change(made, {path: value})
  return refusal(fields.refuse_values, made)


def kind_of(field) -> tuple[type, bool]:
  several = typing.get_origin(field.type) is tuple
  return (typing.get_args(field.type)[0] if several else field.type), several


def wrong_values():
  """(path, what is wrong, value) of every setting."""
  for path, field in FIELDS.items():
    (kind, several), setting = kind_of(field), field.metadata['setting']
    one = lambda value, several=several: (value,) if several else value
    if several:
      yield path, 'several', 3 if kind is not str else 'a'
    if setting.names:
      yield path, 'known', one('nonsense')
    if kind in (int, float):
      yield path, 'kind', one('a lot')
      for words, limit in setting.limits:
        step = -1 if words in ('at least', 'above') else 1
        beyond = limit if words in ('above', 'below') else limit + step
        yield path, 'limit', one(kind(beyond))
    if kind is float:
      yield path, 'finite', one(math.nan)
    if kind is str and several:
      yield path, 'comma', ('view,buy',)


def advised_values(text, kind, several) -> list:
  """Values that a message says are allowed."""
  one = lambda value: (value,) if several else value
  if match := re.search(r'known: (.*)', text):
    return [one(name) for name in match[1].split(', ')]
  if match := re.search(r'as in (\(.*\))', text):
    return [ast.literal_eval(match[1])]
  if match := re.search(r'as in --config\.\S+="(.*)"', text):
    return [ast.literal_eval(f'({match[1]},)')]
  if 'must be positive' in text:
    return [one(kind(1))]
  if match := re.search(r'must be (at least|at most) (\S+)', text):
    return [one(kind(float(match[2])))]
  if match := re.search(r'must be below (\S+)', text):
    return [one(kind(0.5 * float(match[1])))]
  if match := re.search(r'must be a (finite |whole )?number', text):
    return [one(kind(1))]
  raise AssertionError(f'no advice in {text}')


@pytest.mark.parametrize(('what', 'words'), OF_VALUES.items())
def test_values_that_a_setting_may_have_are_taken(what, words):
  wrong = [(path, value) for path, w, value in wrong_values() if w == what]
  assert wrong
  for path, value in wrong:
    with following.made() as at:
      text = of_value(path, value)
    assert text.startswith(path), (path, what, text)
    assert messages.says(at[-1].message, words), text
    kind, several = kind_of(FIELDS[path])
    for allowed in advised_values(text, kind, several):
      again = of_value(path, allowed)
      # A limit below may be followed by one above, never by itself.
      further = re.search('must be|known', again)
      assert not again or again != text and further, (text, again)


def another(field) -> object:
  """A value that a setting may have, other than its default."""
  (kind, several), setting = kind_of(field), field.metadata['setting']
  if setting.names:
    return setting.names[-1:] if several else setting.names[-1]
  if kind is bool:
    return not field.default
  if kind is str:
    return ('a',) if several else 'a'
  limits = dict(setting.limits)
  top = limits.get('at most', limits.get('below'))
  value = kind(2) if top is None else kind(0.25)
  value = (value,) if several else value
  return value if value != field.default else type(field.default)(3)


MODELS = ('din', 'ease', 'multi_behavior', 'two_time_scale')
_SETTING = r'([a-z_0-9]+\.[a-z_0-9]+)'
_USE = re.compile(rf"use {_SETTING}=('[^']*'|[^\s,;]+)")
_LEAVE = re.compile(rf'or leave {_SETTING} at (.+)')
_ADD = re.compile(rf"or add ('[a-z]+')(?: or '[a-z]+')* to {_SETTING}")
_CHANGE = re.compile(rf'or change {_SETTING}')


def _uses(text) -> list[tuple[str, object]]:
  """Settings and values by which a setting would be read."""
  pairs = _LEAVE.findall(text)
  return [
    *((path, _value(path, value)) for path, value in _USE.findall(text)),
    *((path, ast.literal_eval(value)) for path, value in pairs),
    *((path, another(FIELDS[path])) for path in _CHANGE.findall(text)),
    *(
      (path, (*FIELDS[path].default, ast.literal_eval(name)))
      for name, path in _ADD.findall(text)
    ),
  ]


def _value(path, text) -> object:
  """A value as a message writes it."""
  kind, several = kind_of(FIELDS[path])
  value = text.strip("'") if kind is str else ast.literal_eval(text)
  return (value,) if several else value


def _unread(made, path) -> str:
  """What is said of a setting that nothing reads, or ''."""
  text = refusal(recipes.check, made)
  return text if text.startswith(path) and 'changes nothing' in text else ''


@pytest.mark.parametrize(
  ('model', 'words'), [(model, UNREAD) for model in MODELS]
)
def test_a_setting_that_nothing_reads_is_read_as_advised(model, words):
  refused = 0
  assert not refusal(recipes.check, config(model))
  for path, field in FIELDS.items():
    if path == 'model.name':
      continue
    made = config(model)
    config_lib.change(made, {path: another(field)})
    with following.made() as at:
      text = _unread(made, path)
    if not text:
      continue
    assert messages.says(at[-1].message, words), text
    refused += 1
    default = re.search(r'leave it at (.*?)(?:, or |$)', text)[1]
    assert ast.literal_eval(default) == field.default
    for setting, value in _uses(text):
      _read_by(config(model), path, another(field), setting, value)
  assert refused > 10


def _read_by(made, path, value, setting, wanted) -> None:
  """Uses what is advised, up to three times, until the setting is read."""
  config_lib.change(made, {path: value})
  seen = set()
  for _ in range(3):
    config_lib.change(made, {setting: wanted})
    text = _unread(made, path)
    if not text:
      return
    assert text not in seen, f'refused again: {text}'
    seen.add(text)
    uses = _uses(text)
    assert uses, f'no way to have it read: {text}'
    setting, wanted = uses[0]
  raise AssertionError(f'three steps lead nowhere: {seen}')
