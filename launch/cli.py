"""Exit codes and error lines that all scripts share.

A script imports inside `main` what brings arrays or trains, so that --help and
a mistyped flag are answered at once.

Exit codes: 0 success, 2 wrong input or a machine that cannot do it, 130
interrupted, 141 a reader of the output that has gone, 143 stopped by SIGTERM; a
command that trains has saved its state by then. What a user can mend is one or
two lines on stderr, never a traceback; nothing is said to a reader that has
gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
import contextlib
import dataclasses
import errno
import os
import re
import signal
import sys
from typing import Any, NoReturn

from absl import app
from absl import flags
from absl import logging

from twotsrec import config
from twotsrec import types
from twotsrec.data import choices

_WRONG_INPUT = 2
_INTERRUPTED = 130
_READER_GONE = 128 + 13  # SIGPIPE, as other programs end then
# Of a file that the program itself handles wrongly; all else is the machine's.
_OUR_FAULTS = (errno.EBADF, errno.EINVAL)
_HELP = ('help', 'helpshort', 'helpfull', 'helpxml', '?')
# A home folder that starts a value, or one part of a list.
_HOME = re.compile(r'(?<=[=,+])~[\w.-]*(?=/)')


def run(main: Callable[[], int | None], compiles: bool = True) -> None:
  """Parses the flags, runs `main` and exits with its code.

  Args:
    main: the script.
    compiles: whether it runs compiled programs, which are then kept on disk.
  """
  _open_streams()
  # Libraries tell much at INFO (which backends are absent, and so on).
  logging.set_verbosity(logging.WARNING)
  if compiles:
    main = _cached(main)
  try:
    app.run(lambda argv: _guard(main, argv), flags_parser=_parse)
  finally:  # whoever interrupts what is at its end needs no traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)


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
    raise types.UserError(f'--{flag.name}: {_unreadable(error)}') from error
  return flag.value


def refuse_unread(why: str, flag_names: Iterable[str]) -> None:
  """Refuses flags of the command line that nothing reads.

  Args:
    why: what follows 'nothing reads it' and says what to do.
    flag_names: without dashes.
  Raises:
    types.UserError: the flags among them that were given.
  """
  given = [f'--{name}' for name in flag_names if flags.FLAGS[name].present]
  if given:
    it = 'it' if len(given) == 1 else 'them'
    raise types.UserError(f'{", ".join(given)}: nothing reads {it} {why}')


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
    data = given.data
    if data.prepared or data.dataset in choices.BUILT_IN:
      name = 'prepared' if data.prepared else 'dataset'
      refuse_unread(
        f'with data.{name}={getattr(data, name)}; leave it out, or name a'
        ' dataset that is read from files',
        ['data_root'],
      )
    given.data.data_root = data_root
  # The shell and `_parse` know the values of flags alone.
  for section in vars(given).values():
    for name, value in vars(section).items():
      if isinstance(value, str) and value.startswith('~'):
        setattr(section, name, os.path.expanduser(value))
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


def _parse(argv: Sequence[str]) -> list[str]:
  # Also for --config, which looks there for the fields that it changes.
  sys.argv = list(map(_at_home, argv))
  with _explained():
    try:
      return flags.FLAGS(sys.argv)
    except SystemExit as left:
      if any(a.lstrip('-').split('=')[0] in _HELP for a in argv):
        _leave(0)  # absl ends with 1
      _leave(left.code)
    except flags.Error as error:
      _fail(f'{_first_cause(error)}; see --help')
    except BrokenPipeError:  # of --help
      raise
    except OSError as error:
      _fail(f'--config: {_unreadable(error)}')
    except Exception as error:  # of a file that is run as it is read
      _fail(_unknown_field(argv) or _fault_of_file(error))


def _at_home(argument: str) -> str:
  """An argument with ~ spelled out, which a shell does not do after '='."""
  return _HOME.sub(lambda match: os.path.expanduser(match[0]), argument)


def _unreadable(error: OSError) -> str:
  """Why a configuration file cannot be read, without how it was tried."""
  reason = str(error).splitlines()[-1].rpartition('to load: ')[2].strip(' .')
  return f'{reason}; name a file, as in --config=configs/quickstart.py'


def _fault_of_file(error: Exception) -> str:
  """What the code of a configuration file does wrong, and in which line."""
  line, trace = getattr(error, 'lineno', None), error.__traceback__
  while trace is not None:
    if trace.tb_frame.f_code.co_name in ('<module>', 'get_config'):
      line = line or trace.tb_lineno
    trace = trace.tb_next
  where = f', line {line}' if line else ''
  why = (str(error) or 'without a message').splitlines()[0]
  return f'--config{where}: {type(error).__name__}: {why}'


def _first_cause(error: flags.Error) -> str:
  """The cause of an error, without the traceback of a configuration file."""
  if 'before a value for --config' in str(error):
    return 'settings follow --config=FILE; give --config first'
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
  with _explained():
    if len(argv) > 1:
      raise types.UserError(f'unexpected argument {argv[1]!r}; see --help')
    code = main()
    sys.stdout.flush()
  _leave(code)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
  """Ends the program with a line where a user, not this code, can mend it."""
  try:
    yield
  except BrokenPipeError:
    _leave(_READER_GONE)
  except KeyboardInterrupt:
    _leave(_INTERRUPTED, 'interrupted')
  except Exception as error:
    if _was_interrupted(error):
      _leave(_INTERRUPTED, 'interrupted')
    line = _explanation(error)
    if line is None:
      raise
    _fail(line)


def _explanation(error: Exception) -> str | None:
  """A line for an error that is not this program's own; None for others."""
  first = (str(error) or type(error).__name__).strip().splitlines()[0]
  if isinstance(error, types.UserError):
    return str(error)
  if (
    isinstance(error, MemoryError)
    or 'RESOURCE_EXHAUSTED' in first
    or "can't start new thread" in first
    or getattr(error, 'errno', None) == errno.ENOMEM
  ):
    return (
      f'not enough memory: {first}; ask for less at once, or use a machine'
      ' that has more'
    )
  if isinstance(error, UnicodeEncodeError) and error.encoding == 'utf-8':
    return f'{error.object!a} is not UTF-8; rename it'
  if isinstance(error, OSError) and error.errno not in _OUR_FAULTS:
    where = error.filename or 'cannot read or write'
    return f'{where}: {error.strerror or first}'
  return _missing_device()


def _missing_device() -> str | None:
  """Says that JAX cannot start on the device it was told to use."""
  jax = sys.modules.get('jax')
  asked = os.environ.get('JAX_PLATFORMS')
  if jax is None or not asked:
    return None
  try:
    jax.devices()
  except Exception as error:
    why = (str(error) or 'it is not installed').splitlines()[0]
    why = why.partition(' (set JAX_PLATFORMS')[0].rstrip('.')
    return (
      f'JAX_PLATFORMS={asked}: no such device: {why}; unset it, and see'
      ' launch/doctor.py'
    )
  return None


def _fail(message: str) -> NoReturn:
  _leave(_WRONG_INPUT, f'error: {message}')


def _leave(code: int | str | None, line: str = '') -> NoReturn:
  """Ends the program, with a line on stderr; whoever has gone hears nothing."""
  for stream, text in ((sys.stdout, ''), (sys.stderr, line and f'{line}\n')):
    try:
      stream.write(text)
      stream.flush()
    except OSError:
      # What could not be written is tried again at the very end.
      with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
  sys.exit(code)


def _open_streams() -> None:
  """Gives every output a place, and names of files in any bytes a form."""
  for name in ('stdout', 'stderr'):
    if getattr(sys, name) is None:  # closed by who started the program
      setattr(sys, name, open(os.devnull, 'w', encoding='utf-8'))
    with contextlib.suppress(AttributeError):  # some other stream
      getattr(sys, name).reconfigure(errors='backslashreplace')


def _was_interrupted(error: BaseException | None) -> bool:
  """Whether Ctrl-C is behind an error: what was imported then says so."""
  while error is not None and not isinstance(error, KeyboardInterrupt):
    error = error.__cause__ or error.__context__
  return error is not None


def _unhandled(kind, error, trace):
  """Before `run` has begun, too, Ctrl-C is no fault of the program."""
  if _was_interrupted(error):
    print('interrupted', file=sys.stderr)
  else:
    sys.__excepthook__(kind, error, trace)


sys.excepthook = _unhandled
