"""Exit codes, error lines and column flags that all scripts share.

A script imports inside `main` what brings arrays or trains, so that --help and
a mistyped flag are answered at once.

Exit codes: 0 success, 2 wrong input, 130 interrupted, 143 stopped by SIGTERM;
a command that trains has saved its state by then. Wrong input is one or two
lines on stderr, never a traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import dataclasses
import errno
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from absl import app
from absl import flags
from absl import logging

from twotsrec import config
from twotsrec import types

if TYPE_CHECKING:
  from twotsrec.data import pipeline

_WRONG_INPUT = 2
_INTERRUPTED = 130
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def run(main: Callable[[], int | None], compiles: bool = True) -> None:
  """Parses the flags, runs `main` and exits with its code.

  Args:
    main: the script.
    compiles: whether it runs compiled programs, which are then kept on disk.
  """
  # Libraries tell much at INFO (which backends are absent, and so on).
  logging.set_verbosity(logging.WARNING)
  if compiles:
    main = _cached(main)
  app.run(lambda argv: _guard(main, argv), flags_parser=_parse)


def _cached(main):
  """`main` with compiled programs on disk; defines the flag that says where."""
  holder = flags.DEFINE_string(
    'compile_cache',
    '',
    'Folder of compiled programs, which later commands reuse, or off; default:'
    ' $TWOTSREC_COMPILE_CACHE, else twotsrec/compiled in the cache folder of'
    ' the user.',
    module_name=sys.argv[0],  # --help shows it among the flags of the script
  )

  def cached():
    from twotsrec.training import compilation

    compilation.keep(holder.value)
    return main()

  return cached


def required(flag: Any) -> Any:
  """The value of a flag holder; an error if the flag is missing."""
  if flag.value is None or flag.value == '' or flag.value == []:
    raise types.UserError(f'--{flag.name} is missing; see --help')
  try:
    # A config file that could not be read shows only when it is used.
    getattr(flag.value, 'data', None)
  except OSError as error:
    reason = str(error).splitlines()[-1].strip()
    raise types.UserError(f'--{flag.name}: {reason}') from error
  return flag.value


def experiment(config_flag: Any, data_root: str | None) -> config.Config:
  """The configuration of a --config file, with the flags applied.

  Raises:
    types.UserError: no file, or one that gives something else.
  """
  given = required(config_flag)
  if not isinstance(given, config.Config):
    raise types.UserError(
      f'--config: get_config() gives a {type(given).__name__}, not a'
      ' twotsrec.config.Config; see configs/quickstart.py'
    )
  if data_root is not None:
    given.data.data_root = data_root
  return given


def stop_on_signal() -> Callable[[], int]:
  """From now on SIGTERM and Ctrl-C only ask to stop; returns which has come.

  The function that is returned gives the number of the signal, 0 for none. A
  second Ctrl-C ends the program at once.
  """
  came = []

  def ask(number, frame):
    if number == signal.SIGINT and came:
      raise KeyboardInterrupt
    came.append(number)
    if number == signal.SIGINT:
      # Not print: a signal may come while something is printed.
      os.write(2, b'\nstopping when it is saved; Ctrl-C again ends at once\n')

  signal.signal(signal.SIGTERM, ask)
  if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as under nohup
    signal.signal(signal.SIGINT, ask)
  return lambda: came[0] if came else 0


def stopped(place: str, stop: Callable[[], int], more: str = '') -> int:
  """Says where a stopped command saved, and how to go on; its exit code."""
  print(f'stopped and saved in {place}; the same command resumes{more}')
  return 128 + (stop() or signal.SIGTERM)


def column_flags() -> Callable[[], pipeline.TableOptions]:
  """Defines the flags that tell how to read a table.

  For --help to show them, the script adopts the key flags of this module.

  Returns:
    A function that gives the options, to call after the flags are parsed.
  """
  holders = {
    role: flags.DEFINE_string(
      f'{role}_column', default, f'Column of the {what}.'
    )
    for role, default, what in (
      ('user', 'user_id', 'user ids'),
      ('item', 'item_id', 'item ids'),
      ('time', '', 'times'),
      ('rating', '', 'ratings'),
      ('behavior', '', 'behaviors'),
      ('split', '', 'labels train, validation and test'),
      ('order', '', 'positions inside a user'),
    )
  }
  delimiter = flags.DEFINE_string(
    'delimiter', '', 'Between fields; default: told by the file.'
  )
  names = flags.DEFINE_list(
    'column_names',
    [],
    'Names of all columns, for a file without a header line.',
  )
  id_type = flags.DEFINE_enum(
    'id_type', 'auto', ['auto', 'int', 'string'], 'What ids are.'
  )
  bad_rows = flags.DEFINE_enum(
    'bad_rows', 'error', ['error', 'drop'], 'Stop at a bad row, or count it.'
  )

  def options():
    from twotsrec.data import pipeline
    from twotsrec.data import tables

    return pipeline.TableOptions(
      columns=tables.Columns(
        **{role: holder.value or None for role, holder in holders.items()}
      ),
      delimiter=delimiter.value,
      column_names=tuple(names.value),
      id_type=id_type.value,
      bad_rows=bad_rows.value,
    )

  return options


def _parse(argv: Sequence[str]) -> list[str]:
  try:
    return flags.FLAGS(argv)
  except flags.Error as error:
    _fail(f'{_first_cause(error)}; see --help')
  except (KeyError, AttributeError):  # what config_flags raises
    unknown = _unknown_field(argv)
    if unknown is None:
      raise
    _fail(unknown)


def _first_cause(error: flags.Error) -> str:
  """The cause of an error, without the traceback of a configuration file."""
  flag, wrapped, trace = str(error).partition(': Error whilst parsing')
  if not wrapped:
    return str(error)
  cause = trace.strip().splitlines()[-1]
  return f'{flag}: {cause.partition(": ")[2] or cause}'


def _unknown_field(argv: Sequence[str]) -> str | None:
  """Names the first --config.section.field that no configuration has."""
  for argument in argv:
    path = argument.lstrip('-').split('=')[0].split('.')
    holder: Any = config.Config
    if not argument.startswith('-') or path[0] not in ('config', 'noconfig'):
      continue
    for name in path[1:]:
      is_section = dataclasses.is_dataclass(holder)
      fields = dataclasses.fields(holder) if is_section else ()
      allowed = {field.name: field.type for field in fields}
      if name not in allowed:
        return f'{argument}: no field {name!r}; known: ' + (
          ', '.join(allowed) or 'none, it is a value'
        )
      holder = allowed[name]
  return None


def _guard(main: Callable[[], int | None], argv: Sequence[str]) -> NoReturn:
  try:
    if len(argv) > 1:
      raise types.UserError(f'unexpected argument {argv[1]!r}; see --help')
    sys.exit(main())
  except types.UserError as error:
    _fail(str(error))
  except KeyboardInterrupt:
    print('interrupted', file=sys.stderr)
    sys.exit(_INTERRUPTED)
  except OSError as error:
    if error.errno not in _NO_ROOM:
      raise
    _fail(f'{error.filename or "cannot write"}: {error.strerror}')


def _fail(message: str) -> NoReturn:
  print(f'error: {message}', file=sys.stderr)
  sys.exit(_WRONG_INPUT)
