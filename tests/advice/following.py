"""Provokes a refusal, does what it says, and tries again.

A case is a command that is refused, the words of the refusal, and the ways that
are followed, each of which reads in the message what to do: a way that is not
in the message fails. A call is the same of a function of the package.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import pathlib
import re
import sys
from typing import Any, NamedTuple
from unittest import mock

import pytest

from tests.advice import messages
from twotsrec import types

# (message, flags, folder) -> flags of the next attempt; it may change files.
Way = Callable[[str, list[str], pathlib.Path], list[str]]


class Case(NamedTuple):
  """A refusal and a way out of it.

  Attributes:
    says: words of the refusal, as they stand in the code.
    asked: flags of the command that is refused; @ is its folder.
    ways: followed one after the other, each for the message that there is;
      after the last one the command succeeds.
    files: content by name, in the folder: bytes, text, or a function that makes
      what it is given the path of.
  """

  says: str
  asked: Sequence[str]
  ways: Sequence[Way]
  files: dict[str, Any] = {}

  @property
  def name(self) -> str:
    """A name of the case for pytest."""
    return name_of(self.says)


class Call(NamedTuple):
  """A refusal of a function, and what it advises.

  Attributes:
    says: words of the refusal, as they stand in the code.
    refused: what is refused, given an empty folder.
    advice: a pattern of the message.
    advised: what the message advises, which succeeds; it is given the folder
      and the groups of the pattern.
  """

  says: str
  refused: Callable[[pathlib.Path], Any]
  advice: str
  advised: Callable[..., Any]

  @property
  def name(self) -> str:
    """A name of the call for pytest."""
    return name_of(self.says)


class Made(NamedTuple):
  """A refusal that was made: what it says, and where in the code."""

  text: str
  message: messages.Message | None


class Tried(NamedTuple):
  """How an attempt ended: what it said, '' if well, and what was refused."""

  text: str
  made: tuple[Made, ...] = ()

  def is_of(self, words: str) -> bool:
    """Whether a refusal with these words in the code is in what was said."""
    return any(
      one.text in self.text and messages.says(one.message, words)
      for one in self.made
    )


def name_of(words: str) -> str:
  """A name for pytest of a refusal with these words."""
  return re.sub(r'\W+', '_', words)[:48].strip('_')


def follow(
  case: Case, attempt: Callable[[list[str]], str], folder: pathlib.Path
) -> None:
  """Follows the ways of a case.

  Args:
    case: the refusal.
    attempt: gives what a command with these flags is refused with, or ''.
    folder: of its files.
  """
  for name, content in case.files.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if callable(content):
      content(path)
      continue
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(content)
  asked = [_placed(flag, folder) for flag in case.asked]
  seen = []
  for way in case.ways:
    tried = _try(attempt, asked)
    assert tried.text, f'{asked} is not refused'
    if not seen:
      if not tried.made:  # of flags, or a file that is run
        assert case.says in tried.text
      else:
        assert tried.is_of(case.says), tried
    assert tried.text not in seen, f'refused again: {tried.text}'
    assert len(tried.text.splitlines()) <= 2, tried.text
    seen.append(tried.text)
    asked = way(tried.text, asked, folder)
  tried = _try(attempt, asked)
  assert not tried.text, f'{asked} is refused: {tried.text}'


def obey(call: Call, folder: pathlib.Path) -> None:
  """Calls what is refused, and what its message advises.

  Args:
    call: both.
    folder: an empty one.
  """
  with made() as at, pytest.raises(types.UserError) as error:
    call.refused(folder)
  text = str(error.value)
  assert Tried(text, tuple(at)).is_of(call.says), (text, at)
  assert len(text.splitlines()) <= 2, text
  match = re.search(call.advice, text)
  assert match, f'{call.advice!r} is not said: {text}'
  call.advised(folder, *match.groups())


def _try(attempt, asked) -> Tried:
  with made() as at:
    text = attempt(asked)
  return Tried(text, tuple(at) if text else ())


@contextlib.contextmanager
def made() -> Iterator[list[Made]]:
  """Lists the refusals that are made inside, as they stand in the code."""
  at: list[Made] = []

  def init(self, *words):
    ValueError.__init__(self, *words)
    at.append(Made(str(self), messages.at(sys._getframe(1))))

  with mock.patch.object(types.UserError, '__init__', init, create=True):
    yield at


# Ways.


def given(name: str, value: str = '', says: str = '') -> Way:
  """Gives --name=VALUE as the message writes it, or a value of one's own.

  Args:
    name: of the flag.
    value: in place of the one in the message, which may be an example.
    says: where to find the value, if it stands without the flag; a pattern
      with one group.
  """

  def way(text, asked, folder):
    if says:
      match = re.search(says, text)
      assert match, f'{says!r} is not said: {text}'
      read = match[1]
    else:
      match = re.search(rf'--{name}\b(?:=(\S+))?', text)
      assert match, f'--{name} is not said: {text}'
      read = (match[1] or '').rstrip('.,;:)').strip('"\'')
    put = _placed(value, folder) or read
    assert put, f'--{name} has no value in: {text}'
    return [*_without(asked, name), f'--{name}={put}']

  return way


def switched(name: str) -> Way:
  """Gives --name, which is a switch."""

  def way(text, asked, folder):
    assert f'--{name}' in text, text
    return [*asked, f'--{name}']

  return way


def dropped(name: str, says: str = '') -> Way:
  """Leaves --name out, as the message says."""

  def way(text, asked, folder):
    wanted = says or rf'leave (out )?(it|them|--{name}\b).*'
    assert re.search(wanted, text), f'{wanted!r} is not said: {text}'
    left = _without(asked, name)
    assert len(left) < len(asked)
    return left

  return way


def written(name: str, content: str | bytes, says: str) -> Way:
  """Writes a file as the message says; `says` is a pattern."""

  def way(text, asked, folder):
    assert re.search(says, text), f'{says!r} is not said: {text}'
    data = content.encode() if isinstance(content, str) else content
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return asked

  return way


def mended(name: str, make: Callable[[str], str], says: str) -> Way:
  """Mends the line of a file that the message names."""

  def way(text, asked, folder):
    assert re.search(says, text), f'{says!r} is not said: {text}'
    number = int(re.search(rf'{re.escape(name)}, line (\d+)', text)[1])
    lines = (folder / name).read_text(encoding='utf-8').splitlines()
    lines[number - 1] = make(lines[number - 1])
    (folder / name).write_text('\n'.join(lines) + '\n', encoding='utf-8')
    return asked

  return way


def done(action: Callable[[pathlib.Path], Any], says: str) -> Way:
  """Does something else that the message says."""

  def way(text, asked, folder):
    assert re.search(says, text), f'{says!r} is not said: {text}'
    action(folder)
    return asked

  return way


def together(*ways: Way) -> Way:
  """Follows several ways of one message at once."""

  def way(text, asked, folder):
    for one in ways:
      asked = one(text, asked, folder)
    return asked

  return way


def _placed(text, folder) -> str:
  """A flag or value with the folder in place of @, but not in hr@10."""
  return re.sub(r'(?<![^=,+])@(?=/|$)', str(folder), text)


def _without(asked, name) -> list[str]:
  return [
    flag
    for flag in asked
    if flag.lstrip('-').split('=')[0] not in (name, f'no{name}')
  ]
