"""Every refusal in the code: where it is made, and what it says.

A refusal is a call of `types.UserError`, or of a function that gives one. Its
text is read from the code; what is filled in only when it is said is {}.
"""

import ast
from collections.abc import Iterator
import functools
import pathlib
import re
import types
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = sorted(
  path
  for folder in ('twotsrec', 'launch')
  for path in (ROOT / folder).rglob('*.py')
)
_PATHS = tuple(path.relative_to(ROOT).as_posix() for path in SOURCES)
_ERROR = 'UserError'
_ERRORS = (_ERROR, 'Unavailable')
# What tells what is allowed, or what to do: a sentence that asks for something,
# or words before that which may be.
_VERBS = (
  'add begin cast check choose close compare copy correct cut declare delete'
  ' change draw end evaluate exchange filter finish give leave lower make name'
  ' pass prepare put quote raise recommend rename repeat restore run save say'
  ' see set sort split start train turn unpack unset use wait write'
).split()
_WAYS_OUT = re.compile(
  rf'(^|[;:,.(\n]\s*|\bor )(or |please )?({"|".join(_VERBS)}|Name|Use)\b'
  r'|; (\{\}|--\w+=)'  # filled in by whoever knows the way out, or a flag
  r'|\b(allowed|known( models)?|must|needs?|such as|as in|ids are like'
  r'|columns? (are|has)|values are|features are|at (most|least)|for example'
  r'|it has|one id per line|go with|; use|drops and counts)\b'
)


class Message(NamedTuple):
  """A refusal.

  Attributes:
    path: of the file below the checkout.
    lines: of the call, first and last.
    text: what it says, {} for what is filled in.
  """

  path: str
  lines: tuple[int, int]
  text: str

  @property
  def where(self) -> str:
    """File and line."""
    return f'{self.path}:{self.lines[0]}'

  @property
  def has_way_out(self) -> bool:
    """Whether it tells what is allowed, or what to do."""
    return bool(_WAYS_OUT.search(self.text))


class _Maker(NamedTuple):
  """A function that gives a refusal, for others to raise."""

  path: str
  name: str
  lines: tuple[int, int]
  text: str


@functools.cache
def everything() -> tuple[Message, ...]:
  """All refusals, in the order of the files."""
  inner = {(maker.path, maker.lines) for maker in _makers()}
  names, made = {maker.name for maker in _makers()}, []
  for path in _PATHS:
    source = _source(path)
    if not any(name in source for name in (*_ERRORS, *names)):
      continue
    for call, scopes in _calls_of(path):
      lines, maker = (call.lineno, call.end_lineno), _maker(call.func, path)
      if _name(call.func) in _ERRORS and (path, lines) not in inner:
        made.append(Message(path, lines, _said(call.args, scopes)))
      elif maker is not None:
        text = f'{maker.text} ({_said(call.args, scopes)})'
        made.append(Message(path, lines, text))
  return tuple(sorted(made))


def at(frame: types.FrameType) -> Message | None:
  """The refusal that a frame is making; None outside of the code."""
  path = pathlib.Path(frame.f_code.co_filename)
  if not path.is_relative_to(ROOT):
    return None
  name = path.relative_to(ROOT).as_posix()
  call, scopes = _call_in(name, frame.f_lineno, *_ERRORS)
  said, lines = _said(call.args, scopes), (call.lineno, call.end_lineno)
  if not _is_maker(scopes[-1]):
    return Message(name, lines, said)
  caller = frame.f_back
  path = pathlib.Path(caller.f_code.co_filename).relative_to(ROOT).as_posix()
  call, scopes = _call_in(path, caller.f_lineno, scopes[-1].name)
  lines = call.lineno, call.end_lineno
  return Message(path, lines, f'{said} ({_said(call.args, scopes)})')


def _call_in(path, line, *names):
  """The call of a function in a line of a file, and what is around it."""
  for call, scopes in _calls_of(path):
    if call.lineno <= line <= call.end_lineno and _name(call.func) in names:
      return call, scopes
  raise LookupError(f'{path}:{line} makes no {names[0]}')


@functools.cache
def _source(path) -> str:
  return (ROOT / path).read_text(encoding='utf-8')


@functools.cache
def _calls_of(path):
  tree = ast.parse(_source(path))
  return list(_calls(tree, (tree,)))


def says(message: Message | None, words: str) -> bool:
  """Whether a refusal is the one with these words, see `the_one`."""
  file, words = _divided(words)
  return message is not None and (
    message.path.endswith(file) and words in message.text
  )


def _divided(words) -> tuple[str, str]:
  file, _, rest = words.partition('.py: ')
  return (f'{file}.py', rest) if rest else ('', words)


def the_one(words: str) -> Message:
  """The refusal with these words; all with them say the same.

  Where other files have the same, its file goes before: 'rows.py: words'.
  """
  named = _named(words)
  where = [message.where for message in named]
  assert len({one.text for one in named}) == 1, f'{words!r}: {where}'
  return named[0]


def is_in_code(words: str) -> bool:
  """Whether there is a refusal with these words."""
  return bool(_named(words))


def _named(words) -> list[Message]:
  file, words = _divided(words)
  there = [one for one in everything() if one.path.endswith(file)]
  named = [one for one in there if one.text == words]
  return named or [one for one in there if words in one.text]


def _calls(node, scopes) -> Iterator[tuple[ast.Call, tuple[ast.AST, ...]]]:
  """Calls below a node, with the module and the functions around them."""
  for child in ast.iter_child_nodes(node):
    inside = scopes
    if isinstance(child, ast.FunctionDef):
      inside = (*scopes, child)
    elif isinstance(child, ast.Call):
      yield child, scopes
    yield from _calls(child, inside)


@functools.cache
def _makers() -> tuple[_Maker, ...]:
  made = []
  for path in _PATHS:
    if f'-> types.{_ERROR}' not in _source(path):
      continue
    for call, scopes in _calls_of(path):
      if _name(call.func) in _ERRORS and _is_maker(scopes[-1]):
        lines = (call.lineno, call.end_lineno)
        text = _said(call.args, scopes)
        made.append(_Maker(path, scopes[-1].name, lines, text))
  return tuple(made)


def _is_maker(scope) -> bool:
  """Whether a function gives a refusal to whoever calls it."""
  gives = getattr(scope, 'returns', None)
  return gives is not None and ast.unparse(gives) == f'types.{_ERROR}'


def _maker(function, path) -> _Maker | None:
  """The function that is called, if it gives a refusal."""
  name, module = _name(function), pathlib.Path(path).stem
  if isinstance(function, ast.Attribute):
    module = _name(function.value).removesuffix('_lib')
  return _named_makers().get((name, module))


@functools.cache
def _named_makers() -> dict[tuple[str, str], _Maker]:
  return {(one.name, pathlib.Path(one.path).stem): one for one in _makers()}


def _name(function) -> str:
  return getattr(function, 'attr', getattr(function, 'id', ''))


def _said(arguments, scopes) -> str:
  """The text of an expression; names stand for what they were assigned."""
  texts = {}
  for scope in scopes:
    for name, values in _assigned(scope).items():
      texts[name] = [*texts.get(name, ()), *values]
  return ' '.join(_text(node, texts) for node in arguments)


@functools.cache
def _assigned(scope) -> dict[str, list[ast.expr]]:
  """Texts that are assigned to names in a function, or in a module itself."""
  nodes = scope.body if isinstance(scope, ast.Module) else ast.walk(scope)
  texts = {}
  for node in nodes:
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
      if _is_text(node.value):
        texts.setdefault(node.targets[0].id, []).append(node.value)
  return texts


def _is_text(node) -> bool:
  if isinstance(node, ast.IfExp):
    return _is_text(node.body) and _is_text(node.orelse)
  return isinstance(node, ast.JoinedStr) or (
    isinstance(node, ast.Constant) and isinstance(node.value, str)
  )


def _text(node, texts) -> str:
  if isinstance(node, ast.Constant):
    return str(node.value)
  if isinstance(node, ast.JoinedStr):
    return ''.join(_text(value, texts) for value in node.values)
  if isinstance(node, ast.FormattedValue):
    return _text(node.value, texts)
  if isinstance(node, ast.BinOp):
    left = _text(node.left, texts)
    is_sum = isinstance(node.op, ast.Add)
    return left + _text(node.right, texts) if is_sum else left
  if isinstance(node, ast.IfExp):
    return f'{_text(node.body, texts)}/{_text(node.orelse, texts)}'
  if isinstance(node, ast.Name) and node.id in texts:
    rest = {name: t for name, t in texts.items() if name != node.id}
    return '/'.join(_text(value, rest) for value in texts[node.id])
  return '{}'
