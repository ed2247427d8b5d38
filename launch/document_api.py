"""Writes a page for every module from its docstrings, the recipes in front.

    python launch/document_api.py --out=DIR
    bash launch/docs.sh DIR  # the same in an environment of its own

The pages are files to look at, without a server; they need the extra `docs`.
DIR/index.html has the text of launch/README.md and all modules.
"""

import dataclasses
import importlib
import inspect
import pathlib
import pkgutil
import re
from types import ModuleType

from absl import flags

import cli
import field_comments
import twotsrec
from twotsrec import extras

ROOT = pathlib.Path(__file__).resolve().parents[1]
FRONT = ROOT / 'launch' / 'README.md'
# To a place outside of the page.
_LINK = re.compile(r'\[([^\]]+)\]\((?!#|https?:)([^)#\s]+)(?:#[^)\s]*)?\)')

_OUT = flags.DEFINE_string('out', None, 'Folder of the pages.')


def main() -> int:
  """Writes the pages."""
  out = pathlib.Path(cli.required(_OUT))
  count = write(out)
  print(f'{count} modules are described in {out / "index.html"}')
  return 0


def write(out: pathlib.Path) -> int:
  """Writes the pages; how many modules there are.

  It changes what the modules say of themselves: the process should end then.

  Raises:
    types.UserError: no pdoc.
  """
  pdoc, render = (extras.load(name, 'docs') for name in ('pdoc', 'pdoc.render'))
  import jax

  found = pkgutil.walk_packages(twotsrec.__path__, 'twotsrec.')
  modules = [importlib.import_module(one.name) for one in found]
  for module in modules:
    _describe_fields(module)
  jax.Array.__qualname__ = 'Array'  # else it is jax.jaxlib._jax.Array
  twotsrec.__doc__ = f'{twotsrec.__doc__}\n\n{front()}'
  render.configure(
    docformat='google',
    show_source=False,
    search=False,  # its index would be larger than all pages
    footer_text=f'twotsrec {twotsrec.__version__}',
  )
  pdoc.pdoc('twotsrec', output_directory=out)
  return 1 + len(modules)


def front() -> str:
  """The recipes; what they link to beside themselves is named instead."""

  def named(match):
    path = (FRONT.parent / match[2]).resolve()
    place = path.relative_to(ROOT).as_posix()
    plain = match[1].strip('`')
    return f'`{place}`' if place.endswith(plain) else f'{plain} (`{place}`)'

  return _LINK.sub(named, FRONT.read_text(encoding='utf-8'))


def _describe_fields(module: ModuleType) -> None:
  """Gives the fields of records and settings the comments beside them."""
  kinds = [
    value
    for value in vars(module).values()
    if isinstance(value, type) and value.__module__ == module.__name__
  ]
  said = field_comments.read(inspect.getsource(module)) if kinds else {}
  for kind in kinds:
    comments = said.get(kind.__name__, {})
    if issubclass(kind, tuple) and hasattr(kind, '_fields'):
      _describe_record(kind, comments)
    elif dataclasses.is_dataclass(kind):
      # What pdoc has read, and keeps.
      read = importlib.import_module('pdoc.doc_ast').walk_tree(kind)
      read.var_docstrings.update(comments)


def _describe_record(kind: type, comments: dict[str, str]) -> None:
  """The same of a NamedTuple, whose constructor tells little of itself.

  It says that it is of another module, which does not know the names in its
  annotations, and that it makes an instance; fields say that they are fields.
  """
  kind.__new__.__module__, kind.__new__.__doc__ = kind.__module__, ''
  for name in kind._fields:
    getattr(kind, name).__doc__ = comments.get(name, '')


if __name__ == '__main__':
  cli.run(main, compiles=False)
