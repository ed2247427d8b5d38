"""Comments beside the fields of classes, for pages made from code."""

import ast
from collections.abc import Iterator
import io
import tokenize


def read(source: str) -> dict[str, dict[str, str]]:
  """What is said beside the fields of classes, {class: {field: comment}}.

  A comment stands at the end of a field's lines, or above it on lines of its
  own; where there are both, the one above comes first.

  Args:
    source: of a module.
  """
  by_line = {
    token.start[0]: (token.string.lstrip('# '), token.line.lstrip()[0] == '#')
    for token in tokenize.generate_tokens(io.StringIO(source).readline)
    if token.type == tokenize.COMMENT
  }
  return {
    node.name: {
      field.target.id: ' '.join(_lines_about(field, by_line))
      for field in node.body
      if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    }
    for node in ast.parse(source).body
    if isinstance(node, ast.ClassDef)
  }


def _lines_about(field: ast.AnnAssign, by_line) -> Iterator[str]:
  above = []
  line = field.lineno - 1
  while line in by_line and by_line[line][1]:
    above.append(by_line[line][0])
    line -= 1
  yield from reversed(above)
  for line in range(field.lineno, (field.end_lineno or field.lineno) + 1):
    if line in by_line:
      yield by_line[line][0]
